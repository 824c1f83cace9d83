"""The language of the scenario files: one request a step, then `----`, then what it changed.

    start id=wf queue=q            a step: its verb and key=value words; lines that follow are commands of `complete`
    ----
    1 WorkflowExecutionStarted     the expectation, up to an empty line

`wait 5s` moves the clock and fires what is due then. Tokens are kept by name: `task` of the last workflow task, an
activity's id of its last attempt; `as=x` keeps one under another name, `token=x` answers with it.
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads, RetryPolicy
from temporalio.api.enums.v1 import (
    CommandType,
    TaskQueueKind,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
    WorkflowTaskFailedCause,
)
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update import v1 as update
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)

from histories.world import World, tell_refusal
from stormsail.engine.core import requests
from stormsail.engine.core.errors import Refused
from stormsail.engine.core.requests import ActivityRef, ActivityToken, WorkflowTaskToken

SEPARATOR = "----"


@dataclass(frozen=True)
class Step:
    """One request and what is expected of it. `above` is the comments and empty lines before it."""

    above: str
    request: str
    expected: str


def steps(text: str) -> Iterator[Step]:
    """Split a scenario into its steps."""
    lines = iter(text.splitlines())
    above: list[str] = []
    for line in lines:
        if not line.strip() or line.startswith("#"):
            above.append(line)
            continue
        asked = [line]
        for more in lines:
            if more == SEPARATOR:
                break
            asked.append(more)
        expected = []
        for more in lines:
            if not more.strip():
                break
            expected.append(more)
        yield Step("\n".join(above), "\n".join(asked), "\n".join(expected))
        above = [""]


class Words:
    """A line taken apart: its verb, `key=value` words and bare flags."""

    def __init__(self, line: str) -> None:
        self.verb, *rest = shlex.split(line)
        self.flags = {word for word in rest if "=" not in word}
        self.values = dict(word.split("=", 1) for word in rest if "=" in word)

    def get(self, key: str, default: str = "") -> str:
        """Return a value."""
        return self.values.get(key, default)

    def span(self, key: str) -> Duration | None:
        """Return a value as a duration: 5s, 200ms, 2m."""
        return span(self.values[key]) if key in self.values else None

    def payloads(self, key: str) -> Payloads | None:
        """Return a value as a text payload."""
        return payload_list(self.values[key]) if key in self.values else None

    def retry_policy(self) -> RetryPolicy | None:
        """Return the policy that attempts=, initial=, coefficient=, max= and types= make."""
        if not {"attempts", "initial", "coefficient", "max", "types"} & set(self.values):
            return None
        return RetryPolicy(
            initial_interval=self.span("initial") or span("1s"),
            backoff_coefficient=float(self.get("coefficient", "2")),
            maximum_interval=self.span("max") or span("100s"),
            maximum_attempts=int(self.get("attempts", "0")),
            non_retryable_error_types=[one for one in self.get("types").split(",") if one],
        )

    def failure(self) -> Failure:
        """Return the application failure that message=, type=, delay= and final make."""
        info = ApplicationFailureInfo(type=self.get("type", "Boom"), non_retryable="final" in self.flags)
        if "delay" in self.values:
            info.next_retry_delay.CopyFrom(span(self.values["delay"]))
        return Failure(message=self.get("message", "boom"), application_failure_info=info)


def span(text: str) -> Duration:
    """Read a duration."""
    for unit, factor in (("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)):
        if text.endswith(unit) and (number := text.removesuffix(unit)).replace(".", "").isdigit():
            duration = Duration()
            duration.FromMilliseconds(int(float(number) * factor))
            return duration
    raise ValueError(f"{text} is no duration: write 5s, 200ms, 2m or 1h")


def payload(text: str) -> Payload:
    """Build a text payload."""
    return Payload(metadata={"encoding": b"json/plain"}, data=f'"{text}"'.encode())


def payload_list(text: str) -> Payloads:
    """Build the payloads that hold one text."""
    return Payloads(payloads=[payload(text)])


@dataclass
class Script:
    """A scenario under way."""

    world: World = field(default_factory=World)
    tokens: dict[str, Any] = field(default_factory=dict)

    def do(self, request: str) -> str:
        """Do one step and say what changed."""
        first, *more = request.splitlines()
        words = Words(first)
        try:
            return VERBS[words.verb](self, words, more)
        except Refused as refusal:
            return tell_refusal(refusal)

    def ask(self, request: Any) -> str:
        """Ask the run that the request's token is of, else the newest."""
        token = getattr(getattr(request, "ref", request), "token", None)
        return self.world.tell(self.world.ask(request, token.key.run_id if token is not None else ""))

    def keep(self, name: str, words: Words, token: Any) -> None:
        """Keep a token under its name, or the one that `as=` gives."""
        self.tokens[words.get("as", name)] = token

    def ref(self, words: Words) -> ActivityRef:
        """Name an activity by token, or by id with `by-id`."""
        if "by-id" in words.flags:
            return ActivityRef(activity_id=words.get("id"))
        token = self.tokens[words.get("token", words.get("id"))]
        assert isinstance(token, ActivityToken)
        return ActivityRef(token=token)

    def task(self, words: Words) -> WorkflowTaskToken:
        """Name the workflow task."""
        token = self.tokens[words.get("token", "task")]
        assert isinstance(token, WorkflowTaskToken)
        return token


def start_request(words: Words) -> StartWorkflowExecutionRequest:
    """Build the start that a line stands for."""
    request = StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=words.get("id", "wf"),
        input=words.payloads("input"),
        workflow_execution_timeout=words.span("execution-timeout"),
        workflow_run_timeout=words.span("run-timeout"),
        workflow_task_timeout=words.span("task-timeout"),
        identity="client",
        request_id=words.get("request", f"start-{words.get('run', '1')}"),
        retry_policy=words.retry_policy(),
        cron_schedule=words.get("cron"),
        workflow_start_delay=words.span("delay"),
        request_eager_execution="eager" in words.flags,
    )
    request.workflow_type.name = words.get("workflow", "Greeter")
    request.task_queue.name = words.get("queue", "q")
    reuse, conflict = words.get("reuse", "ALLOW_DUPLICATE"), words.get("conflict", "UNSPECIFIED")
    request.workflow_id_reuse_policy = WorkflowIdReusePolicy.Value(f"WORKFLOW_ID_REUSE_POLICY_{reuse}")
    request.workflow_id_conflict_policy = WorkflowIdConflictPolicy.Value(f"WORKFLOW_ID_CONFLICT_POLICY_{conflict}")
    return request


def _start(script: Script, words: Words, _: list[str]) -> str:
    turn = script.world.ask(requests.StartWorkflow(start_request(words)))
    if turn.reply.first_task is not None:
        script.keep("task", words, turn.reply.first_task.token)
    return script.world.tell(turn)


def _signal_with_start(script: Script, words: Words, _: list[str]) -> str:
    start = start_request(words)
    request = SignalWithStartWorkflowExecutionRequest(
        signal_name=words.get("name", "s"), signal_input=words.payloads("signal-input")
    )
    for descriptor, value in start.ListFields():
        if descriptor.name in request.DESCRIPTOR.fields_by_name:
            if isinstance(value, Message):
                getattr(request, descriptor.name).CopyFrom(value)
            else:
                setattr(request, descriptor.name, value)
    return script.ask(requests.SignalWithStart(request))


def _signal(script: Script, words: Words, _: list[str]) -> str:
    request = SignalWorkflowExecutionRequest(
        namespace="default",
        signal_name=words.get("name", "s"),
        input=words.payloads("input"),
        identity="client",
        request_id=words.get("request"),
    )
    return script.ask(requests.SignalWorkflow(request))


def _request_cancel(script: Script, words: Words, _: list[str]) -> str:
    request = RequestCancelWorkflowExecutionRequest(
        namespace="default", identity="client", request_id=words.get("request", "cancel-1"), reason=words.get("reason")
    )
    return script.ask(requests.RequestCancel(request))


def _terminate(script: Script, words: Words, _: list[str]) -> str:
    request = TerminateWorkflowExecutionRequest(
        namespace="default", reason=words.get("reason"), details=words.payloads("details"), identity="client"
    )
    return script.ask(requests.Terminate(request))


def _wait(script: Script, words: Words, _: list[str]) -> str:
    (length,) = words.flags
    script.world.now_ms += span(length).ToMilliseconds()
    return script.ask(requests.FireDue())


def _sleep(script: Script, words: Words, _: list[str]) -> str:
    """The clock moves, but nobody looks: a server that was down."""
    (length,) = words.flags
    script.world.now_ms += span(length).ToMilliseconds()
    return "nothing"


def _poll(script: Script, words: Words, _: list[str]) -> str:
    task = script.world.state.workflow_task
    request = requests.StartWorkflowTask(
        int(words.get("event", str(task.scheduled_event_id if task else 0))),
        int(words.get("attempt", str(task.attempt if task else 0))),
        words.get("identity", "worker"),
        words.get("request", script.world.ids.uuid()),
    )
    turn = script.world.ask(request)
    script.keep("task", words, turn.reply.token)
    return script.world.tell(turn)


def _update(script: Script, words: Words, _: list[str]) -> str:
    request = UpdateWorkflowExecutionRequest(namespace="default", first_execution_run_id=words.get("first-run"))
    request.request.CopyFrom(_update_request(words))
    return script.ask(requests.UpdateWorkflow(request))


def _update_request(words: Words) -> update.Request:
    request = update.Request(request_id=words.get("request"))
    request.meta.update_id = words.get("id")
    request.input.name = words.get("name", "change")
    return request


def _restart(script: Script, _words: Words, _: list[str]) -> str:
    """The server begins again with what is on disk."""
    world = script.world
    world.runs = {run_id: state.durable for run_id, state in world.runs.items()}
    return "nothing"


SAYS = ("accept", "reject", "respond")
"""What a worker says of updates, beside its commands; with `bare` no command names the message."""


def said(script: Script, words: Words) -> ProtocolMessage:
    """Build the message that a line stands for."""
    update_id = words.get("id")
    task = script.world.state.workflow_task
    body: update.Acceptance | update.Rejection | update.Response
    match words.verb:
        case "accept":
            body = update.Acceptance(
                accepted_request_message_id=f"{update_id}/request",
                accepted_request_sequencing_event_id=(task.started_event_id - 1) if task else 0,
                accepted_request=_update_request(words) if "resent" in words.flags else None,
            )
        case "reject":
            body = update.Rejection(failure=words.failure())
        case _:
            body = update.Response(outcome=update.Outcome(success=words.payloads("result")))
            body.meta.update_id = update_id
    packed = Packed()
    packed.Pack(body)
    return ProtocolMessage(id=f"{update_id}/{words.verb}", protocol_instance_id=update_id, body=packed)


def _named(words: Words) -> Command:
    made = Command(command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE)
    made.protocol_message_command_attributes.message_id = f"{words.get('id')}/{words.verb}"
    return made


def _complete(script: Script, words: Words, more: list[str]) -> str:
    lines = [Words(line) for line in more]
    commands = [
        _named(line) if line.verb in SAYS else command(script, line)
        for line in lines
        if line.verb != "reject" and "bare" not in line.flags
    ]
    request = RespondWorkflowTaskCompletedRequest(
        namespace="default",
        identity=words.get("identity", "worker"),
        commands=commands,
        messages=[said(script, line) for line in lines if line.verb in SAYS],
        return_new_workflow_task="new-task" in words.flags,
        force_create_new_workflow_task="force" in words.flags,
    )
    request.capabilities.discard_speculative_workflow_task_with_events = "discards" in words.flags
    if "sticky" in words.values:
        queue, timeout = words.get("sticky").split("/")
        request.sticky_attributes.worker_task_queue.name = queue
        request.sticky_attributes.worker_task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY
        request.sticky_attributes.worker_task_queue.normal_name = "q"
        request.sticky_attributes.schedule_to_start_timeout.CopyFrom(span(timeout))
    token = script.task(words)
    turn = script.world.ask(requests.CompleteWorkflowTask(token, request), token.key.run_id)
    if turn.reply is not None:
        if turn.reply.new_task is not None:
            script.keep("task", words, turn.reply.new_task.token)
        for started in turn.reply.activities:
            scheduled = script.world.state.activities[started.scheduled_event_id].scheduled
            script.tokens[scheduled.activity_id] = started.token
    return script.world.tell(turn)


def _fail_task(script: Script, words: Words, _: list[str]) -> str:
    cause = WorkflowTaskFailedCause.Value(
        "WORKFLOW_TASK_FAILED_CAUSE_" + words.get("cause", "WORKFLOW_WORKER_UNHANDLED_FAILURE")
    )
    return script.ask(requests.FailWorkflowTask(script.task(words), cause, words.failure(), "worker"))


def _poll_activity(script: Script, words: Words, _: list[str]) -> str:
    event_id = script.world.state.activity_by_id.get(words.get("id"), 0)
    activity = script.world.state.activities.get(event_id)
    request = requests.StartActivity(
        int(words.get("event", str(event_id))),
        int(words.get("attempt", str(activity.attempt if activity else 1))),
        words.get("identity", "worker"),
        words.get("request", script.world.ids.uuid()),
    )
    turn = script.world.ask(request)
    script.keep(words.get("id"), words, turn.reply.token)
    return script.world.tell(turn)


def _complete_activity(script: Script, words: Words, _: list[str]) -> str:
    result = words.payloads("result")
    return script.ask(requests.CompleteActivity(script.ref(words), result, words.get("identity", "worker")))


def _fail_activity(script: Script, words: Words, _: list[str]) -> str:
    details = words.payloads("details")
    return script.ask(requests.FailActivity(script.ref(words), words.failure(), "worker", details))


def _cancel_activity(script: Script, words: Words, _: list[str]) -> str:
    return script.ask(requests.CancelActivity(script.ref(words), words.payloads("details"), "worker"))


def _heartbeat(script: Script, words: Words, _: list[str]) -> str:
    return script.ask(requests.HeartbeatActivity(script.ref(words), words.payloads("details"), "worker"))


def _sticky_gone(script: Script, words: Words, _: list[str]) -> str:
    return script.ask(requests.StickyGone(words.get("queue")))


def _reset_sticky(script: Script, _words: Words, _: list[str]) -> str:
    return script.ask(requests.ResetSticky())


def command(script: Script, words: Words) -> Command:
    """Build the command that a line stands for."""
    made = Command()
    match words.verb:
        case "activity":
            made.command_type = CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK
            activity = made.schedule_activity_task_command_attributes
            activity.activity_id = words.get("id")
            activity.activity_type.name = words.get("activity", "Greet")
            activity.task_queue.name = words.get("queue", "q")
            activity.request_eager_execution = "eager" in words.flags
            for name in ("schedule_to_close", "schedule_to_start", "start_to_close", "heartbeat"):
                if (length := words.span(name.replace("_", "-"))) is not None:
                    getattr(activity, f"{name}_timeout").CopyFrom(length)
            if (policy := words.retry_policy()) is not None:
                activity.retry_policy.CopyFrom(policy)
        case "cancel-activity":
            made.command_type = CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK
            event_id = int(words.get("event", "0")) or script.world.state.activity_by_id[words.get("id")]
            made.request_cancel_activity_task_command_attributes.scheduled_event_id = event_id
        case "timer":
            made.command_type = CommandType.COMMAND_TYPE_START_TIMER
            made.start_timer_command_attributes.timer_id = words.get("id")
            made.start_timer_command_attributes.start_to_fire_timeout.CopyFrom(span(words.get("after")))
        case "cancel-timer":
            made.command_type = CommandType.COMMAND_TYPE_CANCEL_TIMER
            made.cancel_timer_command_attributes.timer_id = words.get("id")
        case "marker":
            made.command_type = CommandType.COMMAND_TYPE_RECORD_MARKER
            made.record_marker_command_attributes.marker_name = words.get("name")
        case "memo":
            made.command_type = CommandType.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES
            memo = made.modify_workflow_properties_command_attributes.upserted_memo
            for key, value in words.values.items():
                memo.fields[key].CopyFrom(payload(value))
        case _:
            _closing_command(made, words)
    return made


def _closing_command(command: Command, words: Words) -> None:
    match words.verb:
        case "done":
            command.command_type = CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION
            command.complete_workflow_execution_command_attributes.result.CopyFrom(
                words.payloads("result") or Payloads()
            )
        case "failed":
            command.command_type = CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION
            command.fail_workflow_execution_command_attributes.failure.CopyFrom(words.failure())
        case "cancelled":
            command.command_type = CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION
            command.cancel_workflow_execution_command_attributes.SetInParent()
        case "continue-as-new":
            command.command_type = CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION
            attributes = command.continue_as_new_workflow_execution_command_attributes
            attributes.workflow_type.name = words.get("workflow", "Greeter")
            attributes.task_queue.name = words.get("queue", "q")
            if (given := words.payloads("input")) is not None:
                attributes.input.CopyFrom(given)
        case unknown:
            raise ValueError(f"{unknown} is no command of a scenario")


VERBS: dict[str, Callable[[Script, Words, list[str]], str]] = {
    "start": _start,
    "signal-with-start": _signal_with_start,
    "signal": _signal,
    "cancel": _request_cancel,
    "terminate": _terminate,
    "wait": _wait,
    "sleep": _sleep,
    "update": _update,
    "restart": _restart,
    "poll": _poll,
    "complete": _complete,
    "fail-task": _fail_task,
    "poll-activity": _poll_activity,
    "complete-activity": _complete_activity,
    "fail-activity": _fail_activity,
    "cancel-activity": _cancel_activity,
    "heartbeat": _heartbeat,
    "sticky-gone": _sticky_gone,
    "reset-sticky": _reset_sticky,
}
