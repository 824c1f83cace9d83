"""Runs brought to where a test begins, and what a request then did to them, as text that can be compared whole."""

from dataclasses import dataclass, field
from typing import Any

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import (
    CancelTimerCommandAttributes,
    CancelWorkflowExecutionCommandAttributes,
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    ContinueAsNewWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
    ModifyWorkflowPropertiesCommandAttributes,
    RecordMarkerCommandAttributes,
    RequestCancelActivityTaskCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
    UpsertWorkflowSearchAttributesCommandAttributes,
)
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType, TaskQueueKind, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.api.taskqueue.v1 import StickyExecutionAttributes, TaskQueue
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from histories.world import World, brief
from stormsail.engine.core import events
from stormsail.engine.core.requests import (
    CompletedWorkflowTask,
    CompleteWorkflowTask,
    FailWorkflowTask,
    FireDue,
    RequestCancel,
    SignalWithStart,
    SignalWorkflow,
    StartedWorkflowTask,
    StartWorkflow,
    StartWorkflowTask,
    Terminate,
    WorkflowTaskToken,
)
from stormsail.engine.core.search_attributes import INT, SETTABLE, TEXT
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn

_FIELDS = {one.message_type.name: one.name for one in Command.DESCRIPTOR.fields if one.message_type}


def seconds(length: float) -> Duration:
    """A duration."""
    duration = Duration()
    duration.FromMilliseconds(round(length * 1_000))
    return duration


ATTRIBUTES = {**SETTABLE, "K": INT, "T": TEXT}
"""The search attributes of the namespace."""


def value(text: str, value_type: str = "Int") -> Payload:
    """The value of a search attribute."""
    return Payload(metadata={"encoding": b"json/plain", "type": value_type.encode()}, data=text.encode())


def payloads(text: str) -> Payloads:
    """One payload."""
    return Payloads(payloads=[Payload(data=text.encode())])


def failure(type_name: str = "Broken", **info: Any) -> Failure:
    """An application's failure."""
    return Failure(message="no", application_failure_info=ApplicationFailureInfo(type=type_name, **info))


def command(attributes: Any, **more: Any) -> Command:
    """The command that these attributes belong to."""
    field_name = _FIELDS[type(attributes).__name__]
    number = CommandType.Value("COMMAND_TYPE_" + field_name.removesuffix("_command_attributes").upper())
    return Command(command_type=number, **{field_name: attributes}, **more)


def activity(activity_id: str = "a", **more: Any) -> Command:
    """Schedule an activity."""
    fields = {"start_to_close_timeout": seconds(10), "task_queue": TaskQueue(name="activities")} | more
    return command(
        ScheduleActivityTaskCommandAttributes(activity_id=activity_id, activity_type=ActivityType(name="A"), **fields)
    )


def cancel_activity(scheduled_event_id: int) -> Command:
    """Cancel an activity."""
    return command(RequestCancelActivityTaskCommandAttributes(scheduled_event_id=scheduled_event_id))


def timer(timer_id: str = "t", length: float = 100) -> Command:
    """Start a timer."""
    return command(StartTimerCommandAttributes(timer_id=timer_id, start_to_fire_timeout=seconds(length)))


def cancel_timer(timer_id: str = "t") -> Command:
    """Cancel a timer."""
    return command(CancelTimerCommandAttributes(timer_id=timer_id))


def marker(name: str = "m") -> Command:
    """Record a marker."""
    return command(RecordMarkerCommandAttributes(marker_name=name, details={"x": payloads("1")}))


def done(result: str = "1") -> Command:
    """Complete the workflow."""
    return command(CompleteWorkflowExecutionCommandAttributes(result=payloads(result)))


def failed(**info: Any) -> Command:
    """Fail the workflow."""
    return command(FailWorkflowExecutionCommandAttributes(failure=failure(**info)))


def cancelled() -> Command:
    """Close the workflow as cancelled."""
    return command(CancelWorkflowExecutionCommandAttributes(details=payloads("ok")))


def again(**fields: Any) -> Command:
    """Continue as new."""
    return command(ContinueAsNewWorkflowExecutionCommandAttributes(**fields))


def upsert(**fields: Payload) -> Command:
    """Upsert search attributes."""
    attributes = UpsertWorkflowSearchAttributesCommandAttributes()
    for key, value in fields.items():
        attributes.search_attributes.indexed_fields[key].CopyFrom(value)
    return command(attributes)


def remember(**fields: Payload) -> Command:
    """Upsert memo fields."""
    attributes = ModifyWorkflowPropertiesCommandAttributes()
    for key, value in fields.items():
        attributes.upserted_memo.fields[key].CopyFrom(value)
    return command(attributes)


def sticky(queue: str = "sticky", timeout: float = 5) -> StickyExecutionAttributes:
    """What a worker with a cache sends with its completions."""
    return StickyExecutionAttributes(
        worker_task_queue=TaskQueue(name=queue, kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY),
        schedule_to_start_timeout=seconds(timeout),
    )


def told(turn: Turn | list[HistoryEvent]) -> list[str]:
    """What a turn wrote into history: id, name, attributes."""
    written = turn.events if isinstance(turn, Turn) else turn
    return [
        f"{event.event_id} {events.NAME_OF_TYPE[event.event_type]} {brief(events.attributes_of(event))}".rstrip()
        for event in written
    ]


def names(turn: Turn | list[HistoryEvent]) -> list[str]:
    """The names of the events that a turn wrote."""
    written = turn.events if isinstance(turn, Turn) else turn
    return [events.NAME_OF_TYPE[event.event_type] for event in written]


@dataclass
class Given:
    """One workflow id, driven by short words. Each word returns the Turn that it made."""

    world: World = field(default_factory=World)
    token: WorkflowTaskToken | None = None

    @property
    def state(self) -> RunState:
        """The newest run."""
        return self.world.state

    @property
    def history(self) -> list[HistoryEvent]:
        """The newest run's events."""
        return self.history_of(self.world.newest)

    def history_of(self, run_id: str) -> list[HistoryEvent]:
        """A run's events."""
        return list(History.FromString(self.world.frames[run_id]).events)

    def start(self, request_id: str = "start", **more: Any) -> Turn:
        """Start a workflow."""
        request = StartWorkflowExecutionRequest(request_id=request_id, **_WHAT, **more)
        turn = self.world.ask(StartWorkflow(request))
        if turn.reply.first_task is not None:
            self.token = turn.reply.first_task.token
        return turn

    def signal_with_start(self, request_id: str = "sws", **more: Any) -> Turn:
        """Signal, or start and signal."""
        request = SignalWithStartWorkflowExecutionRequest(request_id=request_id, signal_name="s", **_WHAT, **more)
        return self.world.ask(SignalWithStart(request))

    def signal(self, name: str = "s", run_id: str = "", **more: Any) -> Turn:
        """Signal."""
        request = SignalWorkflowExecutionRequest(
            workflow_execution=_EXECUTION, signal_name=name, identity="client", **more
        )
        return self.world.ask(SignalWorkflow(request), run_id)

    def cancel(self, **more: Any) -> Turn:
        """Request cancellation."""
        request = RequestCancelWorkflowExecutionRequest(
            workflow_execution=_EXECUTION, identity="client", reason="why", **more
        )
        return self.world.ask(RequestCancel(request))

    def terminate(self, **more: Any) -> Turn:
        """Terminate."""
        request = TerminateWorkflowExecutionRequest(
            workflow_execution=_EXECUTION, identity="client", reason="why", **more
        )
        return self.world.ask(Terminate(request))

    def poll(self, request_id: str = "poll") -> StartedWorkflowTask:
        """Take the workflow task."""
        task = self.state.workflow_task
        assert task is not None
        turn = self.world.ask(StartWorkflowTask(task.scheduled_event_id, task.attempt, "worker", request_id))
        started: StartedWorkflowTask = turn.reply
        self.token = started.token
        return started

    def complete(self, *commands: Command, **more: Any) -> Turn:
        """Complete the workflow task taken last."""
        assert self.token is not None
        request = RespondWorkflowTaskCompletedRequest(commands=commands, identity="worker", **more)
        turn = self.world.ask(CompleteWorkflowTask(self.token, request, ATTRIBUTES), self.token.key.run_id)
        reply: CompletedWorkflowTask = turn.reply
        if reply.new_task is not None:
            self.token = reply.new_task.token
        return turn

    def fail(self, cause: WorkflowTaskFailedCause.ValueType | None = None) -> Turn:
        """Fail the workflow task taken last."""
        assert self.token is not None
        why = cause or WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE
        return self.world.ask(FailWorkflowTask(self.token, why, failure(), "worker"))

    def step(self, *commands: Command, **more: Any) -> Turn:
        """Take the workflow task and complete it."""
        self.poll()
        return self.complete(*commands, **more)

    def after(self, length: float) -> Turn:
        """Let time pass and do what is due then."""
        self.world.now_ms += round(length * 1_000)
        return self.world.ask(FireDue())


_EXECUTION = WorkflowExecution(workflow_id="w")
_WHAT: dict[str, Any] = {
    "namespace": "n",
    "workflow_id": "w",
    "workflow_type": WorkflowType(name="W"),
    "task_queue": TaskQueue(name="q"),
    "identity": "client",
}
