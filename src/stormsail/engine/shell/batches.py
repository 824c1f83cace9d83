"""Operations on many runs: one after the other, no faster than told, over restarts.

Which runs it concerns is told once, when a batch begins, and is on disk with it; how far it got follows after each few
runs. Those few may be done again after a crash: signals and resets carry request ids made of the batch and the run, and
to cancel, terminate or delete twice is to do it once.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

import structlog
from temporalio.api.common.v1 import ResetOptions, WorkflowExecution
from temporalio.api.enums.v1 import (
    BatchOperationState,
    EventType,
    ResetType,
    ResourceExhaustedCause,
    ResourceExhaustedScope,
)
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure
from temporalio.api.history.v1 import History
from temporalio.api.workflowservice.v1 import (
    ResetWorkflowExecutionRequest,
    StartBatchOperationRequest,
)

from stormsail.engine.core.errors import AlreadyStarted, InvalidArgument, NotFound, Refused, ResourceExhausted
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.state import RunState
from stormsail.engine.shell.batch_requests import asked_of_run
from stormsail.engine.shell.clock import Clock, wait_until
from stormsail.engine.shell.driven import Undertakings
from stormsail.engine.shell.runs import Runs
from stormsail.engine.store.batches import RUNNING, Batch
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.store import Store

_log: Final = structlog.get_logger(__name__)

COMPLETED: Final = BatchOperationState.BATCH_OPERATION_STATE_COMPLETED
FAILED: Final = BatchOperationState.BATCH_OPERATION_STATE_FAILED
RUNS_AT_ONCE: Final = 10
"""Runs between two notes of how far it got, done together."""
_TRIES: Final = 20
_RETRY_MS: Final = 1_000
_PASSES: Final = ("RESOURCE_EXHAUSTED", "UNAVAILABLE")


@dataclass(frozen=True, slots=True)
class _Work:
    """A batch that is under way, and how it is told to end."""

    task: "asyncio.Task[None]"
    ending: "asyncio.Future[None]"

    def end(self) -> None:
        """Have it end itself, with what is being done done and noted."""
        if not self.ending.done():
            self.ending.set_result(None)


class Batches:
    """The batches that are under way."""

    def __init__(
        self,
        store: Store,
        runs: Runs,
        *,
        clock: Clock,
        limits: Limits,
        delete: Callable[[str, str, str, str], Awaitable[None]],
    ) -> None:
        """`delete` takes a namespace, a workflow id, a run id and who asks."""
        self._store = store
        self._runs = runs
        self._clock = clock
        self._limits = limits
        self._delete = delete
        self._working: dict[tuple[str, str], _Work] = {}
        self._beginning: set[tuple[str, str]] = set()
        self._begins = Undertakings()
        self._stopped = False

    def open(self) -> None:
        """Go on with those that a server before this one had not ended."""
        for batch in self._store.batches.running():
            self._work_on(batch)

    async def begin(self, request: StartBatchOperationRequest) -> None:
        """Begin a batch. Returns once it, and which runs it concerns, is on disk."""
        self._runs.check_serving()
        name = (request.namespace, request.job_id)
        known = self._store.batches.get(*name)
        if known is not None or name in self._beginning:
            what = "already running" if known is None or known.running else "already finished"
            message = f"Workflow execution is {what}. WorkflowId: {request.job_id}. Give another job id."
            raise AlreadyStarted(message, "", "")
        under_way = {*self._working, *self._beginning}
        if sum(namespace == request.namespace for namespace, _ in under_way) >= self._limits.batches_running_max:
            raise ResourceExhausted(
                "Max concurrent batch operations is reached",
                ResourceExhaustedFailure(
                    cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT,
                    scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
                ),
            )
        self._beginning.add(name)
        await self._begins.carried_out(self._begin(request))

    async def end(self, namespace: str, job_id: str) -> None:
        """Stop a batch; what it has done stays done. Returns once that is on disk."""
        self._runs.check_serving()
        batch = self._store.batches.get(namespace, job_id)
        if batch is None:
            raise NotFound(f"workflow not found for ID: {job_id}")
        working = self._working.get(batch.name)
        if working is not None:
            # It ends itself, whether or not we go on waiting: else it might be noted as running, and nobody at work.
            working.end()
            await asyncio.wait((working.task,))
            self._runs.check_serving()
            batch = self._store.batches.get(namespace, job_id)
            if batch is not None and batch.state == FAILED:
                return
        if batch is None or not batch.running:
            raise NotFound("workflow execution already completed")
        try:
            await self._store.batches.move(replace(batch, state=FAILED, closed_ms=self._clock.now_ms()))
        except StorageFailed as error:
            raise self._runs.storage_failed(error) from error

    async def forget(self, namespace: str, until_ms: int) -> None:
        """Forget batches of a namespace that had ended by then."""
        while ended := self._store.batches.closed_by(namespace, until_ms, self._limits.retention_batch_max):
            await asyncio.gather(*(self._store.batches.delete(batch) for batch in ended))

    async def stop(self) -> None:
        """Stop working, with what is being written written; the next server goes on."""
        self._stopped = True
        await self._begins.over()
        working = [each.task for each in self._working.values()]
        for each in working:
            each.cancel()
        await asyncio.gather(*working, return_exceptions=True)

    async def _begin(self, request: StartBatchOperationRequest) -> None:
        """No caller can cancel it: a batch that is on disk is worked on."""
        name = (request.namespace, request.job_id)
        try:
            concerned = self._concerned(request)
            packed = request.SerializeToString(deterministic=True)
            batch = Batch(*name, RUNNING, self._clock.now_ms(), None, len(concerned), 0, 0, packed)
            await self._store.batches.begin(batch, concerned)
        except StorageFailed as error:
            raise self._runs.storage_failed(error) from error
        finally:
            self._beginning.discard(name)
        if not self._stopped:
            self._work_on(batch)

    def _concerned(self, request: StartBatchOperationRequest) -> list[tuple[str, str]]:
        if not request.visibility_query:
            named = request.executions or [
                WorkflowExecution(workflow_id=one.business_id, run_id=one.run_id) for one in request.target_executions
            ]
            return [(one.workflow_id, one.run_id) for one in named]
        found: list[tuple[str, str]] = []
        token = b""
        also_closed = request.WhichOneof("operation") in _ALSO_CLOSED
        while True:
            page = self._store.visibility.list(request.namespace, request.visibility_query, 0, token)
            found += [(row.workflow_id, row.run_id) for row in page.rows if also_closed or row.close_ms is None]
            token = page.next_token
            if len(found) > self._limits.batch_runs_max:
                raise ResourceExhausted(
                    f"The query finds more than {self._limits.batch_runs_max} runs, which is the most that one batch "
                    "takes; narrow it down."
                )
            if not token:
                return found

    def _work_on(self, batch: Batch) -> None:
        loop = asyncio.get_running_loop()
        ending: asyncio.Future[None] = loop.create_future()
        task = loop.create_task(self._work(batch, ending))
        self._working[batch.name] = _Work(task, ending)
        task.add_done_callback(lambda _: self._working.pop(batch.name, None))

    async def _work(self, batch: Batch, ending: "asyncio.Future[None]") -> None:
        try:
            request = StartBatchOperationRequest.FromString(batch.request)
            wanted = request.max_operations_per_second
            most = float(self._limits.batch_operations_per_s_max)
            per_s = wanted if 0 < wanted <= most else most
            while (done := batch.completed + batch.failed) < batch.total and not ending.done():
                began_ms = self._clock.now_ms()
                few = self._store.batches.runs(batch, done, min(RUNS_AT_ONCE, max(1, int(per_s))))
                assert few, f"batch {batch.job_id}: {done} of {batch.total} runs are done, and the others are not kept"
                went = await asyncio.gather(*(self._try(request, *run, ending) for run in few))
                batch = replace(
                    batch, completed=batch.completed + went.count(True), failed=batch.failed + went.count(False)
                )
                if batch.completed + batch.failed >= batch.total or ending.done():
                    break
                await self._keep(batch)
                await self._sleep(len(few) / per_s * 1_000 - (self._clock.now_ms() - began_ms), ending)
            state = COMPLETED if batch.completed + batch.failed >= batch.total else FAILED
            await self._keep(replace(batch, state=state, closed_ms=self._clock.now_ms()))
        except StorageFailed as error:
            self._runs.storage_failed(error)
        except Exception:
            _log.exception("batch_interrupted", namespace=batch.namespace, job=batch.job_id)

    async def _keep(self, batch: Batch) -> None:
        """Write down how far it got, as often as it takes; also where the server stops just now."""
        while True:
            try:
                return await asyncio.shield(self._store.batches.move(batch))
            except Refused as refused:
                _log.warning("batch_not_noted", job=batch.job_id, refused=refused.message)
                await self._sleep(_RETRY_MS, asyncio.get_running_loop().create_future())

    async def _try(
        self, request: StartBatchOperationRequest, workflow_id: str, run_id: str, ending: "asyncio.Future[None]"
    ) -> bool | None:
        """Do it to one run. Returns whether it is done, as it also is where there is nothing left to do it to; None
        where the batch ends before."""
        for _ in range(_TRIES):
            if ending.done():
                return None
            try:
                await self._do(request, workflow_id, run_id)
            except NotFound:
                return True
            except Refused as refused:
                if refused.status not in _PASSES:
                    _log.info("batch_run_refused", job=request.job_id, workflow=workflow_id, refused=refused.message)
                    return False
                await self._sleep(_RETRY_MS, ending)
            else:
                return True
        return False

    async def _do(self, request: StartBatchOperationRequest, workflow_id: str, run_id: str) -> None:
        execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
        once = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{request.namespace}/{request.job_id}/{workflow_id}/{run_id}"))
        match request.WhichOneof("operation"):
            case "deletion_operation":
                await self._delete(request.namespace, workflow_id, run_id, request.deletion_operation.identity)
            case "reset_operation":
                await self._reset(request, execution, once)
            case _:
                asked = asked_of_run(request, execution, once)
                await self._runs.execute(request.namespace, workflow_id, run_id, asked)

    async def _reset(self, request: StartBatchOperationRequest, execution: WorkflowExecution, once: str) -> None:
        operation = request.reset_operation
        options = reset_options(request)
        state = self._runs.read(request.namespace, execution.workflow_id, execution.run_id)
        if options.WhichOneof("target") == "build_id":
            key, point_event_id = _built_by(state, options)
        else:
            key, point_event_id = state.key, self._point(state.key, options)
        reset = ResetWorkflowExecutionRequest(
            namespace=request.namespace,
            workflow_execution=WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id),
            reason=request.reason,
            request_id=once,
            workflow_task_finish_event_id=point_event_id,
            reset_reapply_type=options.reset_reapply_type or operation.reset_reapply_type,
            reset_reapply_exclude_types=options.reset_reapply_exclude_types,
            post_reset_operations=operation.post_reset_operations,
            identity=operation.identity,
        )
        await self._runs.reset(reset)

    def _point(self, key: RunKey, options: ResetOptions) -> int:
        """Return the event to reset a run to: the end of its first or last workflow task, or behind its scheduling."""
        target = options.WhichOneof("target")
        if target == "workflow_task_id":
            return options.workflow_task_id
        first = target == "first_workflow_task"
        scheduled = 0
        for event_type, event_id in self._task_events(key, newest_first=not first):
            if event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                return event_id
            if not scheduled or not first:
                scheduled = event_id + 1
        if not scheduled:
            raise InvalidArgument("unable to find any scheduled or completed task")
        return scheduled

    def _task_events(self, key: RunKey, *, newest_first: bool) -> list[tuple[int, int]]:
        """Return the workflow tasks' scheduled and completed events, up to where `_point` surely knows."""
        found: list[tuple[int, int]] = []
        read = self._runs.page_reverse if newest_first else self._runs.page
        at = 0 if newest_first else 1
        while True:
            page = read(key, at, max_events=self._limits.history_page_events_max, max_bytes=4 * 1024 * 1024)
            for event in History.FromString(page.frames).events:
                if event.event_type in _TASK_EVENTS:
                    found.append((event.event_type, event.event_id))
                    if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
                        return found
            at = page.next_event_id
            if not at:
                return found

    async def _sleep(self, length_ms: float, ending: "asyncio.Future[None]") -> None:
        if length_ms > 0:
            await wait_until(self._clock, ending, length_ms)


_ALSO_CLOSED: Final = ("deletion_operation", "reset_operation")
"""The operations that concern closed runs too, where a query finds them."""
_TASK_EVENTS: Final = (
    EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
    EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
)


def reset_options(request: StartBatchOperationRequest) -> ResetOptions:
    """Return where a batch resets runs to, also where it is said the older way."""
    operation = request.reset_operation
    if operation.HasField("options"):
        return operation.options
    options = ResetOptions()
    if operation.reset_type == ResetType.RESET_TYPE_FIRST_WORKFLOW_TASK:
        options.first_workflow_task.SetInParent()
    elif operation.reset_type == ResetType.RESET_TYPE_LAST_WORKFLOW_TASK:
        options.last_workflow_task.SetInParent()
    return options


def _built_by(state: RunState, options: ResetOptions) -> tuple[RunKey, int]:
    """Return the run and the event where a build first did a workflow task."""
    for point in state.reset_points:
        if point.build_id == options.build_id:
            if not point.resettable:
                raise InvalidArgument(f"Reset point for {options.build_id} is not resettable")
            if point.run_id != state.key.run_id and options.current_run_only:
                raise InvalidArgument(
                    f"Reset point for {options.build_id} points to previous run and CurrentRunOnly is set"
                )
            return state.key._replace(run_id=point.run_id), point.first_workflow_task_completed_id
    raise InvalidArgument(f"Can't find reset point for {options.build_id}")
