"""The durable arm: our engine on a simulated machine, and workers that run the real operations through the SDK.

Real are: the engine's api, shell, core and store on SQLite (over a disk that loses what was not synced), the workflow
and its operations, the activities, and the SDK's Python side of workflows. Simulated are: the network in place of gRPC,
the clock, the disk, the part of the SDK that is written in Rust (sdk_run.py, sim_worker.py), and the cloud.
"""

import asyncio
import contextvars
import itertools
import random
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from temporalio.api.enums.v1 import EventType, HistoryEventFilterType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)
from temporalio.contrib.pydantic import pydantic_data_converter

from stormsail.cli.campaign.kinds import ACCOUNT, Operation
from stormsail.cli.campaign.plan import Kill, Victim
from stormsail.cli.campaign.sim_worker import NAMESPACE, Habits, SimWorker
from stormsail.cli.campaign.world import Said, Stage
from stormsail.delivery.activities import CloudActivities
from stormsail.delivery.model.operation import RUNNER, TASK_QUEUE, OperationRequest, OperationResult, workflow_id_of
from stormsail.delivery.providers.provider import Provider
from stormsail.engine.core.errors import Refused
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.sim.coverage import Coverage
from stormsail.engine.sim.disk import SimDisk, SimVfs
from stormsail.engine.sim.loop import SimLoop
from stormsail.engine.sim.network import Network, Unknown, Violated
from stormsail.engine.sim.node import Node
from stormsail.engine.sim.tampering import Tampering
from stormsail.engine.sim.trace import Trace, Violation
from stormsail.engine.store.store import Store

DELAY_S: Final = 0.01
"""The longest that a message between our processes usually takes."""
WRITING_S: Final = 0.005
"""The longest that a commit waits for the disk."""
RETENTION_S: Final = 86_400.0
CHECKPOINT_PAGES: Final = 400
DISK_CALLS_AHEAD: Final = 30
"""The engine is killed at one of so many next calls to its disk, or, where nothing is written, a second later."""
CLIENT: Final = "client"
ASK_S: Final = 30.0
RETRY_S: Final = 0.2

_NAMES: Final = itertools.count()
_BROKEN_LOGS: Final = frozenset({"run_quarantined", "background_work_failed", "deadline_failed", "deadlines_not_read"})


@dataclass(frozen=True, slots=True)
class Plant:
    """Where a planted bug takes hold. See mutants.py."""

    habits: Habits = field(default_factory=Habits)
    provider: type[Any] | None = None
    """Wraps the provider that activities see."""
    tampering: Tampering = field(default_factory=Tampering)


SOUND: Final = Plant()


class DurableArm:
    """See the module."""

    def __init__(self, stage: Stage, plant: Plant = SOUND) -> None:
        plan, loop = stage.plan, stage.loop
        assert isinstance(loop, SimLoop)
        self._stage = stage
        self._plant = plant
        self._trace = Trace(loop.time)
        self._violated = Violated()
        disk = SimDisk(random.Random(f"{plan.seed}/disk"), self._trace.note)
        self._vfs = SimVfs(f"stormsail-campaign-{next(_NAMES)}", disk)
        self._node = Node(
            loop,
            seed=plan.seed,
            trace=self._trace,
            disk=disk,
            vfs=self._vfs.name,
            limits=Limits(),
            writing_s=WRITING_S,
            checkpoint_pages=CHECKPOINT_PAGES,
            namespaces={NAMESPACE: RETENTION_S},
            watching=_Unwatched(),
            tampering=plant.tampering,
            coverage=Coverage(),
        )
        self._network = Network(
            loop,
            self._node,
            self._trace,
            chance=random.Random(f"{plan.seed}/network"),
            delay_s=DELAY_S,
            lost=plan.lost,
            doubled=plan.lost,
            reset=plan.lost,
            violated=self._violated,
            coverage=Coverage(),
        )
        # A node that ends at a disk call is told of in its own context, in which nothing runs any more.
        told, outside = self._node.on_death, contextvars.copy_context()
        self._node.on_death = lambda life: outside.run(told, life)
        self._chance = random.Random(f"{plan.seed}/durable")
        self._workers: list[SimWorker] = []
        self._worker: SimWorker | None = None
        self._logs = _logs_heard(self._logged)

    async def open(self) -> None:
        """Start an engine and a worker."""
        self._logs.__enter__()
        await self._start_engine()
        self._start_worker()

    async def operate(self, operation: Operation) -> Said:
        """Start a workflow as a client does, and wait for its end, through whatever happens meanwhile."""
        request = OperationRequest(
            operation_type=operation.kind.operation_type,
            payload=operation.payload,
            application=operation.application,
            account=ACCOUNT,
        )
        workflow_id = workflow_id_of(request)
        run_id = await self._started(workflow_id, request)
        calling_off = self._stage.loop.create_task(self._called_off(operation, workflow_id, run_id))
        closing = await self._closing(workflow_id, run_id)
        calling_off.cancel()
        if operation.kind.cancelled and closing.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
            return Said(ok=True)
        if closing.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
            return Said(ok=False, detail=f"the workflow ended by event {closing.event_type}")
        payloads = closing.workflow_execution_completed_event_attributes.result.payloads
        [result] = pydantic_data_converter.payload_converter.from_payloads(payloads, [OperationResult])
        return Said(ok=result.ok, detail="; ".join(f"{one.kind}: {one.message}" for one in result.errors))

    async def kill(self, kill: Kill) -> None:
        """Kill the worker at once, or the engine at a call to its disk."""
        if kill.victim is Victim.WORKER:
            if self._worker is not None:
                self._worker.kill()
                self._worker = None
                await asyncio.sleep(kill.down_s)
                self._start_worker()
            return
        if not self._node.up:
            return
        life = self._node.life
        disk = self._node.disk
        disk.end_at, disk.end_cuts = disk.calls + self._chance.randint(1, DISK_CALLS_AHEAD), kill.cut
        await asyncio.sleep(1.0)
        disk.end_at = 0
        if self._node.life is life and life.alive:
            self._node.kill(cut=kill.cut)
        await asyncio.sleep(kill.down_s)
        await self._start_engine()

    def close(self) -> None:
        """Let go of runs and disk."""
        for worker in self._workers:
            worker.bury()
        self._logs.__exit__(None, None, None)
        self._node.bury()
        self._vfs.unregister()
        if self._violated.first is not None:
            self._stage.broken(str(self._violated.first))

    @property
    def digest(self) -> str:
        """The hash of everything that happened between the processes."""
        return self._trace.digest

    async def _start_engine(self) -> None:
        while True:
            try:
                if self._node.up or await self._node.start():
                    return
            except Violation as violation:
                self._stage.broken(str(violation))
                return
            await asyncio.sleep(RETRY_S)

    def _start_worker(self) -> None:
        provider: Provider = self._stage.provider
        if self._plant.provider is not None:
            provider = self._plant.provider(provider)
        name = f"worker{len(self._workers) + 1}"
        chance = random.Random(f"{self._stage.plan.seed}/{name}")
        activities = CloudActivities({ACCOUNT: provider}, clock_s=self._stage.wall_s, chance=chance)
        self._worker = SimWorker(name, self._network, activities, self._plant.habits, self._stage.broken)
        self._workers.append(self._worker)

    async def _started(self, workflow_id: str, request: OperationRequest) -> str:
        """Start the workflow once: the request id makes it so, however often that must be sent."""
        start = StartWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_id=workflow_id,
            task_queue=TaskQueue(name=TASK_QUEUE),
            identity=CLIENT,
            request_id=f"start-{workflow_id}",
        )
        start.workflow_type.name = RUNNER
        start.input.payloads.extend(pydantic_data_converter.payload_converter.to_payloads([request]))
        while True:
            try:
                reply = await self._network.call(
                    CLIENT, "StartWorkflowExecution", start, StartWorkflowExecutionResponse
                )
            except (Unknown, Refused):
                await asyncio.sleep(RETRY_S)
            else:
                return reply.run_id

    async def _called_off(self, operation: Operation, workflow_id: str, run_id: str) -> None:
        """Cancel the workflow when its time has come, if it is one that is to be cancelled."""
        if operation.cancel_after_s is None:
            return
        await asyncio.sleep(operation.cancel_after_s)
        cancel = RequestCancelWorkflowExecutionRequest(
            namespace=NAMESPACE, identity=CLIENT, request_id=f"cancel-{workflow_id}", reason="the campaign"
        )
        cancel.workflow_execution.workflow_id, cancel.workflow_execution.run_id = workflow_id, run_id
        while True:
            try:
                await self._network.call(
                    CLIENT, "RequestCancelWorkflowExecution", cancel, RequestCancelWorkflowExecutionResponse
                )
            except (Unknown, Refused):
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _closing(self, workflow_id: str, run_id: str) -> Any:
        """Wait for the run's last event."""
        ask = GetWorkflowExecutionHistoryRequest(
            namespace=NAMESPACE,
            wait_new_event=True,
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
        )
        ask.execution.workflow_id, ask.execution.run_id = workflow_id, run_id
        while True:
            try:
                reply = await self._network.call(
                    CLIENT, "GetWorkflowExecutionHistory", ask, GetWorkflowExecutionHistoryResponse, ASK_S
                )
            except (Unknown, Refused):
                await asyncio.sleep(RETRY_S)
                ask.next_page_token = b""
                continue
            if reply.history.events:
                return reply.history.events[-1]
            ask.next_page_token = reply.next_page_token

    def _logged(self, event: str, fields: MutableMapping[str, Any]) -> None:
        healthy = self._node.life.alive and self._node.engine is not None and not self._node.engine.failed.is_set()
        if event in _BROKEN_LOGS and healthy:
            self._stage.broken(f"the engine logs {event}: {fields.get('run')}")


class _Unwatched:
    """Nobody looks on at what the store is given: `stormsail sim` does that."""

    def opened(self, store: Store) -> None:
        """See Watching."""

    def submitted(self, turns: Sequence[Any]) -> Any:
        """See Watching."""

    def settling(self, taken: Any, answers: Sequence[Any]) -> Any:
        """See Watching."""

    def scheduling(self, before: Any, after: Any, due_ms: int | None) -> Any:
        """See Watching."""

    def batch(self, doing: Any, batch: Any, runs: Sequence[Any]) -> Any:
        """See Watching."""

    def deleting(self, key: RunKey) -> Any:
        """See Watching."""

    def committed(self, named: Any) -> None:
        """See Watching."""

    def dropped(self, named: Any) -> None:
        """See Watching."""


@contextmanager
def _logs_heard(heard: Any) -> Iterator[None]:
    """Hear the engine's log lines instead of printing them."""

    def take(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> Any:
        heard(str(fields.pop("event")), fields)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[take], wrapper_class=structlog.BoundLogger)
    try:
        yield
    finally:
        structlog.configure(**before)
