"""A whole engine on a real store, with a clock that the test moves, and the moves of a model worker."""

import asyncio
import heapq
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType, TaskQueueKind
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from stormsail.engine.core.limits import DEFAULT_LIMITS, Limits
from stormsail.engine.core.requests import SignalWorkflow, StartReply, StartWorkflow, Terminate
from stormsail.engine.shell import tokens
from stormsail.engine.shell.engine import Engine
from stormsail.engine.shell.runs import Core
from stormsail.engine.store.store import Store

NAMESPACE = "default"
STARTED_AT_MS = 1_700_000_000_000
PATIENCE_S = 30.0
T = TypeVar("T")


class ManualAlarm:
    """An alarm of the manual clock."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """See Alarm."""
        self.callback = None


class ManualClock:
    """A clock that stands still until the test moves it."""

    def __init__(self, now_ms: int = STARTED_AT_MS) -> None:
        self._now_ms = now_ms
        self._alarms: list[tuple[float, int, ManualAlarm]] = []
        self._drawn = 0

    def now_ms(self) -> int:
        """See Clock."""
        return self._now_ms

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> ManualAlarm:
        """See Clock."""
        self._drawn += 1
        alarm = ManualAlarm(callback)
        heapq.heappush(self._alarms, (self._now_ms + max(0, delay_ms), self._drawn, alarm))
        return alarm

    async def advance(self, by_ms: int) -> None:
        """Move on, ringing each alarm at its time and letting everybody run after each."""
        target_ms = self._now_ms + by_ms
        await settle()
        while self._alarms and self._alarms[0][0] <= target_ms:
            at_ms, _, alarm = heapq.heappop(self._alarms)
            self._now_ms = max(self._now_ms, int(at_ms))
            if alarm.callback is not None:
                alarm.callback()
                await settle()
        self._now_ms = target_ms
        await settle()


async def settle() -> None:
    """Let everything that can run without the disk or the clock run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition that depends on the disk, for a bounded time."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while not condition():
        assert loop.time() < deadline, "waited in vain"
        await asyncio.sleep(0.001)


async def soon(awaitable: Awaitable[T]) -> T:
    """Await something that must not take long."""
    return await asyncio.wait_for(awaitable, PATIENCE_S)


class CountedIds:
    """Ids that count up."""

    def __init__(self) -> None:
        self.drawn = 0

    def uuid(self) -> str:
        """See Ids."""
        self.drawn += 1
        return f"00000000-0000-4000-8000-{self.drawn:012d}"

    def fraction(self) -> float:
        """See Ids."""
        return 0.5


class GatedStore:
    """A store whose commits wait until the test lets them go, or fail as the test says."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.open = asyncio.Event()
        self.open.set()
        self.arrived = 0
        self.failure: Exception | None = None
        """Raised instead of committing."""
        self.failure_after: Exception | None = None
        """Raised after having committed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, turns: Any) -> None:
        """See Store."""
        self.arrived += 1
        await self.open.wait()
        if self.failure is not None:
            raise self.failure
        await self._store.commit(turns)
        if self.failure_after is not None:
            raise self.failure_after


@dataclass
class World:
    """An engine and all that it stands on."""

    directory: Path
    clock: ManualClock = field(default_factory=ManualClock)
    ids: CountedIds = field(default_factory=CountedIds)
    limits: Limits = DEFAULT_LIMITS
    core: Core | None = None
    store_of: Callable[[Store], Any] = lambda store: store
    """Lets a test put itself between the engine and the store."""
    store: Any = None
    engine: Engine = None  # type: ignore[assignment]

    settle = staticmethod(settle)
    until = staticmethod(until)
    soon = staticmethod(soon)

    async def open_gated(self) -> GatedStore:
        """Open with a store whose commits the test holds up."""
        self.store_of = GatedStore
        await self.open()
        store: GatedStore = self.store
        return store

    async def open(self) -> Engine:
        """Open the store and the engine."""
        self.store = self.store_of(Store.open(self.directory, now_ms=self.clock.now_ms, limits=self.limits))
        self.engine = await Engine.open(self.store, clock=self.clock, ids=self.ids, limits=self.limits, core=self.core)
        return self.engine

    async def close(self) -> None:
        """Close both."""
        if self.engine is not None:
            await soon(self.engine.close())
            self.store.close()
            self.engine = None  # type: ignore[assignment]

    async def restart(self) -> Engine:
        """Close, and open again what is on disk."""
        await self.close()
        return await self.open()

    async def start(self, workflow_id: str = "w", queue: str = "q", **fields: Any) -> str:
        """Start a workflow; return its run id."""
        request = StartWorkflowExecutionRequest(
            namespace=NAMESPACE,
            workflow_id=workflow_id,
            workflow_type=WorkflowType(name="T"),
            task_queue=TaskQueue(name=queue, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
            request_id=self.ids.uuid(),
            **fields,
        )
        reply: StartReply = await soon(self.engine.start(NAMESPACE, StartWorkflow(request)))
        return reply.run_id

    async def signal(self, workflow_id: str = "w", name: str = "s") -> None:
        """Signal the current run."""
        execution = WorkflowExecution(workflow_id=workflow_id)
        request = SignalWorkflowExecutionRequest(namespace=NAMESPACE, workflow_execution=execution, signal_name=name)
        await soon(self.engine.execute(NAMESPACE, workflow_id, "", SignalWorkflow(request)))

    async def terminate(self, workflow_id: str = "w") -> None:
        """Terminate the current run."""
        request = TerminateWorkflowExecutionRequest(
            namespace=NAMESPACE, workflow_execution=WorkflowExecution(workflow_id=workflow_id), reason="test"
        )
        await soon(self.engine.execute(NAMESPACE, workflow_id, "", Terminate(request)))

    def polling(
        self, queue: str = "q", *, sticky: bool = False, deadline_s: float | None = None, worker: str = ""
    ) -> "asyncio.Task[PollWorkflowTaskQueueResponse]":
        """Begin to poll for a workflow task."""
        kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY if sticky else TaskQueueKind.TASK_QUEUE_KIND_NORMAL
        request = PollWorkflowTaskQueueRequest(
            namespace=NAMESPACE,
            task_queue=TaskQueue(name=queue, kind=kind),
            identity="me",
            worker_instance_key=worker,
        )

        async def poll() -> PollWorkflowTaskQueueResponse:
            return PollWorkflowTaskQueueResponse.FromString(await self.engine.poll_workflow_task(request, deadline_s))

        return asyncio.create_task(poll())

    async def poll(self, queue: str = "q", *, sticky: bool = False) -> PollWorkflowTaskQueueResponse:
        """Poll for a workflow task that is there."""
        task = await soon(self.polling(queue, sticky=sticky))
        assert task.task_token
        return task

    def polling_activity(self, queue: str = "q", worker: str = "") -> "asyncio.Task[PollActivityTaskQueueResponse]":
        """Begin to poll for an activity."""
        request = PollActivityTaskQueueRequest(
            namespace=NAMESPACE, task_queue=TaskQueue(name=queue), identity="me", worker_instance_key=worker
        )

        async def poll() -> PollActivityTaskQueueResponse:
            return PollActivityTaskQueueResponse.FromString(await self.engine.poll_activity_task(request, None))

        return asyncio.create_task(poll())

    async def complete(
        self,
        task: PollWorkflowTaskQueueResponse,
        commands: Iterable[Command] = (),
        *,
        sticky: str = "",
        **fields: Any,
    ) -> RespondWorkflowTaskCompletedResponse:
        """Complete a workflow task."""
        request = RespondWorkflowTaskCompletedRequest(
            namespace=NAMESPACE, task_token=task.task_token, identity="me", commands=commands, **fields
        )
        if sticky:
            request.sticky_attributes.worker_task_queue.name = sticky
            request.sticky_attributes.worker_task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY
            request.sticky_attributes.schedule_to_start_timeout.FromSeconds(5)
        token = tokens.decode_workflow_task(task.task_token, NAMESPACE)
        encoded = await soon(self.engine.complete_workflow_task(token, request))
        return RespondWorkflowTaskCompletedResponse.FromString(encoded)

    async def history(self, workflow_id: str = "w", **fields: Any) -> GetWorkflowExecutionHistoryResponse:
        """Read a page of a history."""
        run_id = fields.pop("run_id", "")
        deadline_s = fields.pop("deadline_s", None)
        request = GetWorkflowExecutionHistoryRequest(
            namespace=NAMESPACE, execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id), **fields
        )
        return GetWorkflowExecutionHistoryResponse.FromString(await self.engine.history(request, deadline_s))

    async def event_types(self, workflow_id: str = "w") -> list[str]:
        """Return the names of a history's events."""
        from temporalio.api.enums.v1 import EventType

        page = await self.history(workflow_id)
        return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in page.history.events]

    def schedule_activity(self, activity_id: str = "a", queue: str = "q", **fields: Any) -> Command:
        """Build a command."""
        command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
        attributes = command.schedule_activity_task_command_attributes
        attributes.activity_id = activity_id
        attributes.activity_type.CopyFrom(ActivityType(name="A"))
        attributes.task_queue.name = queue
        attributes.start_to_close_timeout.FromSeconds(10)
        attributes.input.CopyFrom(self.payloads("in"))
        for name, value in fields.items():
            if isinstance(value, Message):
                getattr(attributes, name).CopyFrom(value)
            else:
                setattr(attributes, name, value)
        return command

    def start_timer(self, seconds: int, timer_id: str = "t") -> Command:
        """Build a command."""
        command = Command(command_type=CommandType.COMMAND_TYPE_START_TIMER)
        command.start_timer_command_attributes.timer_id = timer_id
        command.start_timer_command_attributes.start_to_fire_timeout.FromSeconds(seconds)
        return command

    def complete_workflow(self) -> Command:
        """Build a command."""
        command = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
        command.complete_workflow_execution_command_attributes.result.CopyFrom(self.payloads("out"))
        return command

    def payloads(self, text: str) -> Payloads:
        """Build payloads."""
        return Payloads(payloads=[Payload(data=text.encode())])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A world whose engine is open."""
    world = World(tmp_path / "data")
    await world.open()
    yield world
    await world.close()


@pytest.fixture
async def closed_world(tmp_path: Path) -> AsyncIterator[World]:
    """A world whose engine the test opens, after having set it up."""
    world = World(tmp_path / "data")
    yield world
    await world.close()


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the test moves."""
    return ManualClock()
