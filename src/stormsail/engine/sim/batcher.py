"""Somebody who does the same to many runs at once, looks how far it got, and stops it now and then."""

import asyncio
from collections.abc import Callable
from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    DescribeBatchOperationResponse,
    ListBatchOperationsRequest,
    ListBatchOperationsResponse,
    StartBatchOperationRequest,
    StartBatchOperationResponse,
    StopBatchOperationRequest,
    StopBatchOperationResponse,
)

from stormsail.engine.core.errors import Refused
from stormsail.engine.core.ids import RunKey
from stormsail.engine.sim.batch_book import JOB, BatchBook
from stormsail.engine.sim.caller import Caller
from stormsail.engine.sim.network import Unknown
from stormsail.engine.sim.people import ACTIVITY_TYPE
from stormsail.engine.sim.swarm import Swarm
from stormsail.engine.sim.trace import Violation
from stormsail.engine.sim.watch import Watch

_NAMED_MAX: Final = 4
_BEGIN_SHARE: Final = (3, 1, 2)
"""Of beginning, stopping and looking."""


class Batcher:
    """See the module."""

    def __init__(self, caller: Caller, swarm: Swarm, watch: Watch, book: BatchBook) -> None:
        self._caller = caller
        self._swarm = swarm
        self._watch = watch
        self._book = book
        self._chance = caller.chance
        self._jobs: list[str] = []

    async def work(self) -> None:
        """Do one thing after the other."""
        for _ in range(self._swarm.operations):
            await asyncio.sleep(self._chance.random() * self._chance.choice((0.3, 2.0)))
            await self._chance.choices((self._begin, self._stop, self._look), _BEGIN_SHARE)[0]()

    async def _begin(self) -> None:
        job_id = f"{JOB}{self._caller.name}.{len(self._jobs)}"
        request = StartBatchOperationRequest(namespace=self._caller.namespace, job_id=job_id, reason="all of them")
        self._chance.choice(self._offered())(request)
        if not self._choose_runs(request):
            return
        request.max_operations_per_second = self._chance.choice((0, 1, 3))
        self._jobs.append(job_id)
        done = await self._caller.done("StartBatchOperation", request, StartBatchOperationResponse)
        if done and not self._book.known((request.namespace, job_id)):
            self._broken(f"batch {job_id} was acknowledged as begun, and is not there")

    def _choose_runs(self, request: StartBatchOperationRequest) -> bool:
        """Name runs, or have them found; say whether there are any to name."""
        # Each reset ends a run and makes another, so a query would have the chains grow for ever.
        if request.WhichOneof("operation") != "reset_operation" and self._chance.random() < 0.5:
            request.visibility_query = f"WorkflowId = '{self._chance.choice(self._caller.workflow_ids)}'"
            return True
        mine = {(self._caller.namespace, workflow_id) for workflow_id in self._caller.workflow_ids}
        some = [key for workflow, key in self._watch.open_runs.items() if workflow in mine]
        some += [key for key in self._watch.runs if key.workflow in mine and key not in some][-_NAMED_MAX:]
        most = 1 if request.WhichOneof("operation") == "reset_operation" else _NAMED_MAX
        for key in self._chance.sample(some, min(len(some), self._chance.randint(1, most))):
            request.executions.append(_execution(key))
        return bool(some)

    def _offered(self) -> list[Callable[[StartBatchOperationRequest], None]]:
        features = self._swarm.features
        offered: list[Callable[[StartBatchOperationRequest], None]] = [_signal, _signal, _cancel, _terminate]
        if "activities" in features or self._chance.random() < 0.3:
            offered += [_unpause_activities, _reset_activities, _change_activities, _change_runs]
        if "deletions" in features or self._chance.random() < 0.2:
            offered.append(_delete)
        if "resets" in features:
            offered.append(_reset)
        return offered

    async def _stop(self) -> None:
        if not self._jobs:
            return
        job_id = self._jobs[-1 - int(self._chance.random() * min(2, len(self._jobs)))]
        name = (self._caller.namespace, job_id)
        self._book.to_stop.add(name)
        request = StopBatchOperationRequest(
            namespace=self._caller.namespace, job_id=job_id, reason="enough", identity=self._caller.name
        )
        done = await self._caller.done("StopBatchOperation", request, StopBatchOperationResponse)
        if done and name in self._book.working:
            self._broken(f"batch {job_id} was acknowledged as stopped, and goes on")

    async def _look(self) -> None:
        """D1: what is described is no older than what was committed before the question."""
        if not self._jobs:
            return
        job_id = self._chance.choice(self._jobs)
        known = self._book.batches.get((self._caller.namespace, job_id))
        before = known.batch if known is not None else None
        described = DescribeBatchOperationRequest(namespace=self._caller.namespace, job_id=job_id)
        listed = ListBatchOperationsRequest(namespace=self._caller.namespace, page_size=self._chance.choice((0, 2)))
        try:
            reply = await self._caller.network.call(
                self._caller.name, "DescribeBatchOperation", described, DescribeBatchOperationResponse
            )
            await self._caller.network.call(
                self._caller.name, "ListBatchOperations", listed, ListBatchOperationsResponse
            )
        except (Refused, Unknown):
            return
        if before is not None and (
            reply.total_operation_count != before.total
            or reply.complete_operation_count < before.completed
            or reply.failure_operation_count < before.failed
            or (not before.running and reply.state != before.state)
        ):
            self._broken(f"batch {job_id} is described as it was before {before}")

    def _broken(self, text: str) -> None:
        self._caller.ledger.violated(Violation("D1", text))


def _signal(request: StartBatchOperationRequest) -> None:
    request.signal_operation.signal = f"{request.namespace}.{request.job_id}"
    request.signal_operation.identity = request.job_id


def _cancel(request: StartBatchOperationRequest) -> None:
    request.cancellation_operation.identity = request.job_id


def _terminate(request: StartBatchOperationRequest) -> None:
    request.termination_operation.identity = request.job_id


def _delete(request: StartBatchOperationRequest) -> None:
    request.deletion_operation.identity = request.job_id


def _reset(request: StartBatchOperationRequest) -> None:
    request.reset_operation.identity = request.job_id
    request.reset_operation.options.first_workflow_task.SetInParent()


def _unpause_activities(request: StartBatchOperationRequest) -> None:
    request.unpause_activities_operation.identity = request.job_id
    request.unpause_activities_operation.match_all = True
    request.unpause_activities_operation.reset_attempts = True


def _reset_activities(request: StartBatchOperationRequest) -> None:
    request.reset_activities_operation.identity = request.job_id
    request.reset_activities_operation.type = ACTIVITY_TYPE
    request.reset_activities_operation.keep_paused = True


def _change_activities(request: StartBatchOperationRequest) -> None:
    change = request.update_activity_options_operation
    change.identity = request.job_id
    change.match_all = True
    change.activity_options.start_to_close_timeout.FromMilliseconds(4_000)
    change.update_mask.CopyFrom(FieldMask(paths=["start_to_close_timeout"]))


def _change_runs(request: StartBatchOperationRequest) -> None:
    change = request.update_workflow_options_operation
    change.identity = request.job_id
    change.workflow_execution_options.priority.priority_key = 2
    change.update_mask.CopyFrom(FieldMask(paths=["priority"]))


def _execution(key: RunKey) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id)
