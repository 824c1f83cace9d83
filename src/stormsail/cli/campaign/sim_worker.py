"""A delivery worker on the simulated machine: it polls the engine and runs the real workflows and activities.

It stands where the SDK's worker stands: sticky cache, eager activities, throttled heartbeats. It dies as by SIGKILL:
none of its callbacks runs any more.
"""

import asyncio
import contextvars
import dataclasses
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import CommandType, TaskQueueKind, WorkflowTaskFailedCause
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import ActivityEnvironment

from stormsail.cli.campaign.sdk_run import CachedRun, Events, NotDeterministic
from stormsail.delivery.activities import CloudActivities
from stormsail.delivery.model.operation import TASK_QUEUE
from stormsail.delivery.operations.orders import ChangeOrder, DownOrder, ObserveOrder, UpOrder
from stormsail.delivery.worker import HEARTBEAT_THROTTLE, STICKY_TIMEOUT
from stormsail.engine.core.errors import Refused
from stormsail.engine.sim.loop import LIFE, Life
from stormsail.engine.sim.network import Network, Unknown

NAMESPACE: Final = "default"
POLL_S: Final = 45.0
"""How long a poll waits; the SDK's keepalive finds a connection that is dead after so long, too."""
ACTIVITY_POLLERS: Final = 5
"""As many as the SDK has, and for workflow tasks, too."""
TRIES_MAX: Final = 4
"""How often an answer is sent when no reply comes; the SDK does so too."""
RETRY_S: Final = 0.1
CACHED_MAX: Final = 200
ENDINGS: Final = frozenset(
    {
        CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION,
    }
)
"""The commands after which a run has no more tasks."""

T = TypeVar("T", bound=Message)
_FAULTY: Final = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR
_PAYLOADS: Final = pydantic_data_converter.payload_converter
_FAILURES: Final = pydantic_data_converter.failure_converter

Act = Callable[[Any], Awaitable[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Habits:
    """Where a planted bug can change what a worker does. See mutants.py."""

    command: Callable[[Command], Command] = lambda command: command
    """Changes what workflow code asks for."""


class SimWorker:
    """See the module."""

    def __init__(
        self,
        name: str,
        network: Network,
        activities: CloudActivities,
        habits: Habits,
        broken: Callable[[str], None],
    ) -> None:
        self.name = name
        self.life = Life(name)
        self._network = network
        self._habits = habits
        self._broken = broken
        self._sticky = f"{name}-sticky"
        self._cache: dict[str, CachedRun] = {}
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._context.run(LIFE.set, self.life)
        self._acts: dict[str, tuple[Act, type[Any]]] = {
            "apply_change": (activities.apply_change, ChangeOrder),
            "cancel_change": (activities.cancel_change, ChangeOrder),
            "observe": (activities.observe, ObserveOrder),
            "wait_for_up_instances": (activities.wait_for_up_instances, UpOrder),
            "wait_for_down_instances": (activities.wait_for_down_instances, DownOrder),
        }
        normal = TaskQueue(name=TASK_QUEUE, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL)
        sticky = TaskQueue(name=self._sticky, kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name=TASK_QUEUE)
        for queue in (normal, normal, sticky, sticky, sticky):
            self._spawn(self._for_ever(self._poll_workflow, queue))
        for _ in range(ACTIVITY_POLLERS):
            self._spawn(self._for_ever(self._poll_activity, TaskQueue(name=TASK_QUEUE)))

    def kill(self) -> None:
        """End at once; the engine notices that the connections are gone, or does not."""
        self.life.alive = False
        self._network.gone(self.name)

    def bury(self) -> None:
        """After the world has ended: let go of all runs."""
        for run in self._cache.values():
            run.evict()
        self._cache.clear()

    def _forget(self, run_id: str) -> None:
        """Drop a run from the cache."""
        run = self._cache.pop(run_id, None)
        if run is not None:
            self._loop.call_soon(run.evict)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work, context=self._context)
        task.add_done_callback(self._ended, context=self._context)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._broken(f"{self.name}: {type(error).__name__}: {error}")

    async def _for_ever(self, poll: Callable[[TaskQueue], Awaitable[None]], queue: TaskQueue) -> None:
        while True:
            try:
                await poll(queue)
            except (Refused, Unknown):
                await asyncio.sleep(RETRY_S)

    async def _call(self, method: str, request: Message, reply: type[T]) -> T:
        """Call, and again while no reply comes."""
        for _ in range(TRIES_MAX - 1):
            try:
                return await self._network.call(self.name, method, request, reply)
            except Unknown:
                await asyncio.sleep(RETRY_S)
        return await self._network.call(self.name, method, request, reply)

    # Workflow tasks.

    async def _poll_workflow(self, queue: TaskQueue) -> None:
        request = PollWorkflowTaskQueueRequest(namespace=NAMESPACE, task_queue=queue, identity=self.name)
        task = await self._network.call(
            self.name, "PollWorkflowTaskQueue", request, PollWorkflowTaskQueueResponse, POLL_S
        )
        if task.task_token:
            self._spawn(self._do_workflow(task))

    async def _do_workflow(self, task: PollWorkflowTaskQueueResponse) -> None:
        run_id = task.workflow_execution.run_id
        following: PollWorkflowTaskQueueResponse | None = task
        try:
            while following is not None and following.task_token:
                following = await self._done(following)
        except (Refused, Unknown):
            self._forget(run_id)  # whatever became of the answer, the next task shows the whole history

    async def _done(self, task: PollWorkflowTaskQueueResponse) -> PollWorkflowTaskQueueResponse | None:
        """Do a workflow task; return the one that came with the reply."""
        try:
            commands, flags = await self._commands(task)
        except NotDeterministic as wrong:
            self._forget(task.workflow_execution.run_id)
            self._broken(str(wrong))
            failed = RespondWorkflowTaskFailedRequest(
                namespace=NAMESPACE, task_token=task.task_token, identity=self.name, cause=_FAULTY
            )
            await self._call("RespondWorkflowTaskFailed", failed, RespondWorkflowTaskFailedResponse)
            return None
        request = RespondWorkflowTaskCompletedRequest(
            namespace=NAMESPACE,
            task_token=task.task_token,
            identity=self.name,
            commands=[self._habits.command(command) for command in commands],
            return_new_workflow_task=True,
        )
        request.sdk_metadata.lang_used_flags.extend(flags)
        sticky = request.sticky_attributes
        sticky.worker_task_queue.name = self._sticky
        sticky.worker_task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY
        sticky.worker_task_queue.normal_name = TASK_QUEUE
        sticky.schedule_to_start_timeout.FromTimedelta(STICKY_TIMEOUT)
        reply = await self._call("RespondWorkflowTaskCompleted", request, RespondWorkflowTaskCompletedResponse)
        for activity in reply.activity_tasks:
            self._spawn(self._do_activity(activity))
        if commands and commands[-1].command_type in ENDINGS:
            self._forget(task.workflow_execution.run_id)
        return reply.workflow_task if reply.HasField("workflow_task") else None

    async def _commands(self, task: PollWorkflowTaskQueueResponse) -> tuple[list[Command], tuple[int, ...]]:
        shown: Events = list(task.history.events)
        token = task.next_page_token
        while token:
            page = await self._page(task, token)
            shown += page.history.events
            token = page.next_page_token
        run_id = task.workflow_execution.run_id
        run = self._cache.get(run_id)
        if run is None or shown[0].event_id != run.next_event_id:
            if shown[0].event_id != 1:
                shown = await self._before(task, shown[0].event_id) + shown
            self._forget(run_id)
            run = CachedRun(NAMESPACE, task.workflow_execution.workflow_id, run_id, TASK_QUEUE)
            self._cache[run_id] = run
            if len(self._cache) > CACHED_MAX:
                self._forget(next(iter(self._cache)))
        commands = await self._fed(run, shown)
        return commands, run.new_flags

    async def _fed(self, run: CachedRun, events: Events) -> list[Command]:
        """Run workflow code in a callback of its own: an event loop may not run inside another one's task."""
        commands: asyncio.Future[list[Command]] = self._loop.create_future()

        def feed() -> None:
            try:
                commands.set_result(run.feed(events))
            except NotDeterministic as wrong:
                commands.set_exception(wrong)

        self._loop.call_soon(feed)
        return await commands

    async def _before(self, task: PollWorkflowTaskQueueResponse, event_id: int) -> Events:
        """Fetch the part of a history that this worker does not know, or does not know any more."""
        events: Events = []
        token = b""
        while True:
            page = await self._page(task, token)
            events += page.history.events
            token = page.next_page_token
            if not token or events[-1].event_id >= event_id:
                return [event for event in events if event.event_id < event_id]

    async def _page(self, task: PollWorkflowTaskQueueResponse, token: bytes) -> GetWorkflowExecutionHistoryResponse:
        request = GetWorkflowExecutionHistoryRequest(
            namespace=NAMESPACE, execution=task.workflow_execution, next_page_token=token, maximum_page_size=1_000
        )
        return await self._call("GetWorkflowExecutionHistory", request, GetWorkflowExecutionHistoryResponse)

    # Activity tasks.

    async def _poll_activity(self, queue: TaskQueue) -> None:
        request = PollActivityTaskQueueRequest(namespace=NAMESPACE, task_queue=queue, identity=self.name)
        task = await self._network.call(
            self.name, "PollActivityTaskQueue", request, PollActivityTaskQueueResponse, POLL_S
        )
        if task.task_token:
            self._spawn(self._do_activity(task))

    async def _do_activity(self, task: PollActivityTaskQueueResponse) -> None:
        act, input_type = self._acts[task.activity_type.name]
        environment = ActivityEnvironment()
        environment.payload_converter = _PAYLOADS
        environment.info = dataclasses.replace(
            environment.info,
            activity_id=task.activity_id,
            activity_type=task.activity_type.name,
            attempt=task.attempt,
            scheduled_time=_instant(task.scheduled_time),
            current_attempt_scheduled_time=_instant(task.current_attempt_scheduled_time),
            started_time=_instant(task.started_time),
            heartbeat_timeout=_span(task, "heartbeat_timeout"),
            start_to_close_timeout=_span(task, "start_to_close_timeout"),
            task_token=task.task_token,
            workflow_id=task.workflow_execution.workflow_id,
            workflow_run_id=task.workflow_execution.run_id,
        )
        pulse = _Pulse(self._loop, lambda details: self._spawn(self._beat(task.task_token, details, environment)))
        environment.on_heartbeat = pulse.beat
        [order] = _PAYLOADS.from_payloads(task.input.payloads, [input_type])
        try:
            result = await environment.run(act, order)
        except Exception as error:  # the outermost loop of an activity: whatever it raises is its outcome
            pulse.stop()
            await self._failed(task, error)
            return
        except asyncio.CancelledError:
            pulse.stop()
            cancelled = RespondActivityTaskCanceledRequest(
                namespace=NAMESPACE, task_token=task.task_token, identity=self.name
            )
            await self._answered("RespondActivityTaskCanceled", cancelled, RespondActivityTaskCanceledResponse)
            return
        pulse.stop()
        request = RespondActivityTaskCompletedRequest(
            namespace=NAMESPACE,
            task_token=task.task_token,
            identity=self.name,
            result=Payloads(payloads=_PAYLOADS.to_payloads([result])),
        )
        await self._answered("RespondActivityTaskCompleted", request, RespondActivityTaskCompletedResponse)

    async def _failed(self, task: PollActivityTaskQueueResponse, error: Exception) -> None:
        request = RespondActivityTaskFailedRequest(namespace=NAMESPACE, task_token=task.task_token, identity=self.name)
        _FAILURES.to_failure(error, _PAYLOADS, request.failure)
        await self._answered("RespondActivityTaskFailed", request, RespondActivityTaskFailedResponse)

    async def _answered(self, method: str, request: Message, reply: type[T]) -> T | None:
        """Answer an activity task. Where that is refused, or nobody hears it, the engine has the attempt made again."""
        try:
            return await self._call(method, request, reply)
        except (Refused, Unknown):
            return None

    async def _beat(self, token: bytes, details: tuple[Any, ...], environment: ActivityEnvironment) -> None:
        request = RecordActivityTaskHeartbeatRequest(
            namespace=NAMESPACE,
            task_token=token,
            identity=self.name,
            details=Payloads(payloads=_PAYLOADS.to_payloads(details)),
        )
        heard = await self._answered("RecordActivityTaskHeartbeat", request, RecordActivityTaskHeartbeatResponse)
        if heard is not None and heard.cancel_requested:
            environment.cancel()


class _Pulse:
    """An activity's heartbeats: the first at once, later ones no more often than the SDK lets them through."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[tuple[Any, ...]], None]) -> None:
        self._loop = loop
        self._send = send
        self._next_s = 0.0
        self._newest: tuple[Any, ...] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    def beat(self, *details: Any) -> None:
        """Report."""
        self._newest = details
        if self._alarm is None:
            self._alarm = self._loop.call_at(max(self._next_s, self._loop.time()), self._due)

    def stop(self) -> None:
        """Report no more."""
        if self._alarm is not None:
            self._alarm.cancel()

    def _due(self) -> None:
        self._alarm = None
        self._next_s = self._loop.time() + HEARTBEAT_THROTTLE.total_seconds()
        assert self._newest is not None
        self._send(self._newest)


def _instant(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(UTC)


def _span(task: PollActivityTaskQueueResponse, field: str) -> Any:
    value: Duration = getattr(task, field)
    return value.ToTimedelta() if task.HasField(field) else None  # type: ignore[arg-type]
