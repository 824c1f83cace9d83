"""The model workflow: what it does next is a function of its history, and its whole past is derived again each time.

A history that lost, doubled or reordered an event leads to other commands than it records, and so gives itself away.
"""

import random
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads, Priority
from temporalio.api.enums.v1 import CommandType, EventType, ParentClosePolicy
from temporalio.api.history.v1 import HistoryEvent

from stormsail.engine.core import events
from stormsail.engine.core.events import NAME_OF_TYPE

CHAIN_MAX: Final = 3
ATTEMPTS_MAX: Final = 3
ACTIVITY_QUEUE: Final = "activities"
CHILD_MARK: Final = "/child"
"""In the seed of a child, which has no children."""
SHAPE_MARK: Final = ":"
"""In a seed, before the name of what steps it has."""
OTHERS: Final = 4
"""How many top-level workflow ids a workflow thinks there are, a little more than there ever are."""
_PLAIN: Final = ("activity", "activity", "fan", "timer", "signal", "race", "memo", "marker")
SHAPES: Final[Mapping[str, Sequence[str]]] = {
    "leaf": _PLAIN,
    "mixed": (*_PLAIN, "child", "child", "other"),
    "family": ("activity", "signal", "child", "child", "child", "other", "other"),
    "busy": ("activity", "fan", "race"),
    "short": ("activity", "timer", "marker"),
}
"""What steps a workflow is made of."""
FROM_PARENT: Final = "parent."
"""How the names of signals begin that a parent sends."""

_RECORDED_AS: Final = {
    CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK: "ActivityTaskScheduled",
    CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK: "ActivityTaskCancelRequested",
    CommandType.COMMAND_TYPE_START_TIMER: "TimerStarted",
    CommandType.COMMAND_TYPE_CANCEL_TIMER: "TimerCanceled",
    CommandType.COMMAND_TYPE_RECORD_MARKER: "MarkerRecorded",
    CommandType.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES: "WorkflowPropertiesModified",
    CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION: "StartChildWorkflowExecutionInitiated",
    CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION: "SignalExternalWorkflowExecutionInitiated",
    CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION: (
        "RequestCancelExternalWorkflowExecutionInitiated"
    ),
    CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION: "WorkflowExecutionCompleted",
    CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION: "WorkflowExecutionFailed",
    CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION: "WorkflowExecutionCanceled",
    CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION: "WorkflowExecutionContinuedAsNew",
}
_POLICIES: Final = (
    ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE,
    ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON,
    ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
)
_ACTIVITY_ENDS: Final = frozenset(
    {"ActivityTaskCompleted", "ActivityTaskFailed", "ActivityTaskTimedOut", "ActivityTaskCanceled"}
)
CHILD_ENDS: Final = {
    "ChildWorkflowExecutionCompleted": "WorkflowExecutionCompleted",
    "ChildWorkflowExecutionFailed": "WorkflowExecutionFailed",
    "ChildWorkflowExecutionCanceled": "WorkflowExecutionCanceled",
    "ChildWorkflowExecutionTimedOut": "WorkflowExecutionTimedOut",
    "ChildWorkflowExecutionTerminated": "WorkflowExecutionTerminated",
}
"""What a parent hears of a child's end, and how the child's last run says it."""
_UPDATES: Final = frozenset({"WorkflowExecutionUpdateAccepted", "WorkflowExecutionUpdateCompleted"})
"""Events that follow from messages, before those that follow from commands."""
_ANSWERS: Final = frozenset(
    {
        "StartChildWorkflowExecutionFailed",
        "SignalExternalWorkflowExecutionFailed",
        "RequestCancelExternalWorkflowExecutionFailed",
    }
)
"""Events that name the workflow task of the command that they answer, without being what it did."""


class NotDeterministic(Exception):
    """A history does not hold what the workflow would have done."""


def payloads(text: str) -> Payloads:
    """Return one payload."""
    return Payloads(payloads=[Payload(data=text.encode())])


def priority_of(name: str) -> Priority | None:
    """Return how urgent what is called so is; None for what nobody said it of."""
    drawn = zlib.crc32(name.encode())
    if drawn % 3 == 0:
        return None
    return Priority(priority_key=drawn % 7, fairness_key="abc"[drawn % 3], fairness_weight=drawn % 4)


def text_of(value: Payloads) -> str:
    """Return the first payload's text, empty where there is none."""
    return value.payloads[0].data.decode() if value.payloads else ""


def behaviour(run_seed: str, activity_id: str, attempt: int) -> str:
    """Say how an activity's attempt goes: what a worker does with it depends on nothing else."""
    drawn = zlib.crc32(f"{run_seed}/{activity_id}/{attempt}".encode()) % 100
    for share, name in ((55, "ok"), (70, "fail"), (76, "fatal"), (84, "hang"), (92, "beat"), (100, "late")):
        if drawn < share:
            return name
    raise AssertionError


@dataclass(slots=True)
class _Step:
    kind: str
    number: int
    entered: bool = False


class Program:
    """One run of the workflow. Feed it events in order; `decide` at the end of each workflow task."""

    def __init__(self) -> None:
        self.signals: list[str] = []
        self._seed = ""
        self._attempt = 1
        self._run = ""
        self._steps: list[_Step] = []
        self._at = 0
        self._taken = 0
        """Signals that a step has waited for already."""
        self._scheduled: dict[str, int] = {}
        self._ended: dict[str, str] = {}
        self._fired: set[str] = set()
        self._asked: set[str] = set()
        self._children: dict[str, str] = {}
        """How far each child is, by its workflow id: "started" or "ended"."""
        self._told: set[str] = set()
        """Names of signals to children that have an answer."""
        self._signalling: dict[int, str] = {}
        self._cancels: list[int] = []
        """The steps that cancel another workflow, in order."""
        self._cancelling: dict[int, int] = {}
        """The same by the event that asks."""
        self._stopped: set[int] = set()
        """Steps whose cancellation has an answer."""
        self.updates: dict[str, str] = {}
        """Updates that are accepted and have no outcome yet: their protocol instances, by update id."""
        self.admitted: dict[str, int] = {}
        """Updates that a reset carried over and that nobody has answered, with the events that tell of them."""
        self._cancelled = False
        self._over = False

    def feed(self, event: HistoryEvent) -> None:
        """Take in an event."""
        name = NAME_OF_TYPE[event.event_type]
        attributes: Any = events.attributes_of(event)
        match name:
            case "WorkflowExecutionStarted":
                self._begin(text_of(attributes.input), attributes.attempt)
                self._run = attributes.original_execution_run_id
            case "WorkflowExecutionSignaled":
                self.signals.append(attributes.signal_name)
            case "WorkflowExecutionCancelRequested":
                self._cancelled = True
            case "ActivityTaskScheduled":
                self._scheduled[attributes.activity_id] = event.event_id
            case "TimerFired":
                self._fired.add(attributes.timer_id)
            case "WorkflowExecutionUpdateAccepted":
                update_id = attributes.accepted_request.meta.update_id or attributes.protocol_instance_id
                self.updates[update_id] = attributes.protocol_instance_id
                self.admitted.pop(update_id, None)
            case "WorkflowExecutionUpdateAdmitted":
                self.admitted[attributes.request.meta.update_id] = event.event_id
            case "WorkflowExecutionUpdateCompleted":
                self.updates.pop(attributes.meta.update_id, None)
            case "StartChildWorkflowExecutionFailed":
                self._children[attributes.workflow_id] = "ended"
            case "ChildWorkflowExecutionStarted":
                self._children[attributes.workflow_execution.workflow_id] = "started"
            case "SignalExternalWorkflowExecutionInitiated":
                self._signalling[event.event_id] = attributes.signal_name
            case "RequestCancelExternalWorkflowExecutionInitiated":
                self._cancelling[event.event_id] = self._cancels[len(self._cancelling)]
            case "ExternalWorkflowExecutionCancelRequested" | "RequestCancelExternalWorkflowExecutionFailed":
                self._stopped.add(self._cancelling[attributes.initiated_event_id])
            case "ExternalWorkflowExecutionSignaled" | "SignalExternalWorkflowExecutionFailed":
                self._told.add(self._signalling[attributes.initiated_event_id])
            case _ if name in CHILD_ENDS:
                self._children[attributes.workflow_execution.workflow_id] = "ended"
            case _ if name in _ACTIVITY_ENDS:
                for activity_id, scheduled in self._scheduled.items():
                    if scheduled == attributes.scheduled_event_id:
                        self._ended[activity_id] = name

    def decide(self) -> list[Command]:
        """Return the commands that follow what was fed so far."""
        out: list[Command] = []
        if self._over:
            return out
        if self._cancelled:
            self._over = True
            command = Command(command_type=CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION)
            command.cancel_workflow_execution_command_attributes.SetInParent()
            return [command]
        while self._at < len(self._steps):
            if not self._moved(self._steps[self._at], out):
                return out
            self._at += 1
        self._over = True
        out.append(self._last())
        return out

    def _begin(self, seed: str, attempt: int) -> None:
        self._seed, self._attempt = seed, attempt
        chance = random.Random(f"{seed}/{attempt}")
        shape = "leaf" if CHILD_MARK in seed else seed.partition(SHAPE_MARK)[2].partition("+")[0]
        kinds = SHAPES.get(shape, _PLAIN)
        most = 2 if shape == "short" else 5
        self._steps = [_Step(chance.choice(kinds), number) for number in range(chance.randint(1, most))]

    def _moved(self, step: _Step, out: list[Command]) -> bool:
        """Do what a step does now; return whether it is over."""
        first, step.entered = not step.entered, True
        n = step.number
        match step.kind:
            case "activity":
                if first:
                    out.append(self._activity(f"a{n}"))
                return f"a{n}" in self._ended
            case "fan":
                ids = [f"f{n}.{one}" for one in range(3)]
                if first:
                    out += [self._activity(one) for one in ids]
                return all(one in self._ended for one in ids)
            case "timer":
                if first:
                    out.append(_timer(f"t{n}", 100 + 400 * n))
                return f"t{n}" in self._fired
            case "signal":
                return self._signal_step(n, first, out)
            case "race":
                return self._race_step(n, first, out)
            case "child":
                return self._child_step(n, first, out)
            case "other":
                return self._other_step(n, first, out)
            case "memo":
                command = Command(command_type=CommandType.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES)
                memo = command.modify_workflow_properties_command_attributes.upserted_memo
                memo.fields["step"].data = str(n).encode()
                out.append(command)
            case _:
                command = Command(command_type=CommandType.COMMAND_TYPE_RECORD_MARKER)
                command.record_marker_command_attributes.marker_name = f"m{n}"
                out.append(command)
        return True

    def _signal_step(self, n: int, first: bool, out: list[Command]) -> bool:
        """Wait for another signal, but not for ever."""
        timer = f"s{n}"
        if len(self.signals) > self._taken:
            self._taken += 1
            if not first and timer not in self._fired:
                out.append(_cancel_timer(timer))
            return True
        if first:
            out.append(_timer(timer, 3_000))
        return timer in self._fired

    def _race_step(self, n: int, first: bool, out: list[Command]) -> bool:
        """Run an activity against a timer; cancel the one that lost."""
        activity, timer = f"r{n}", f"r{n}"
        if first:
            out += [self._activity(activity), _timer(timer, 1_500)]
            return False
        if activity in self._ended:
            if timer not in self._fired and timer not in self._asked:
                self._asked.add(timer)
                out.append(_cancel_timer(timer))
            return True
        if timer in self._fired and timer not in self._asked:
            self._asked.add(timer)
            command = Command(command_type=CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK)
            attributes = command.request_cancel_activity_task_command_attributes
            attributes.scheduled_event_id = self._scheduled[activity]
            out.append(command)
        return False

    def _child_step(self, n: int, first: bool, out: list[Command]) -> bool:
        """Start a child; then go on at once, or signal it and wait for its end."""
        child_id = f"{self._seed}/{self._attempt}/{n}{CHILD_MARK}"
        drawn = zlib.crc32(child_id.encode())
        if drawn % 4 == 0:
            child_id = f"w{drawn // 8 % OTHERS}"  # may be taken
        stage = self._children.get(child_id, "")
        if first:
            out.append(_child(child_id, drawn))
            return False
        if not stage or drawn % 3 == 0 or stage == "ended":
            return bool(stage)
        signal = f"{FROM_PARENT}{self._run}/{n}"
        if signal not in self._asked:
            self._asked.add(signal)
            out.append(_signal(child_id, signal))
        return False

    def _other_step(self, n: int, first: bool, out: list[Command]) -> bool:
        """Signal or cancel another workflow, which may not be there, and wait for the answer."""
        name = f"{FROM_PARENT}{self._run}/{n}"  # a start that is repeated may begin two runs of one seed
        drawn = zlib.crc32(f"{self._seed}/{self._attempt}/{n}".encode())
        target = f"w{drawn // 3 % OTHERS}"
        if drawn % 3:
            if first:
                out.append(_signal(target, name, child=False))
            return name in self._told
        if first:
            self._cancels.append(n)
            out.append(_cancel_other(target))
        return n in self._stopped

    def _activity(self, activity_id: str) -> Command:
        drawn = zlib.crc32(f"{self._seed}/{activity_id}".encode())
        command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
        attributes = command.schedule_activity_task_command_attributes
        attributes.activity_id = activity_id
        attributes.activity_type.name = "A"
        attributes.task_queue.name = ACTIVITY_QUEUE
        attributes.input.CopyFrom(payloads(self._seed))
        attributes.start_to_close_timeout.FromMilliseconds(3_000)
        attributes.schedule_to_close_timeout.FromMilliseconds(20_000)
        if drawn % 3 == 0:
            attributes.heartbeat_timeout.FromMilliseconds(1_000)
        if drawn % 5 == 0:
            attributes.schedule_to_start_timeout.FromMilliseconds(4_000)
        if asked := priority_of(f"{self._seed}/{activity_id}"):
            attributes.priority.CopyFrom(asked)
        attributes.retry_policy.initial_interval.FromMilliseconds(500)
        attributes.retry_policy.backoff_coefficient = 2.0
        attributes.retry_policy.maximum_attempts = 1 + drawn % ATTEMPTS_MAX
        attributes.request_eager_execution = drawn % 4 == 0
        return command

    def _last(self) -> Command:
        link = int(self._seed.rpartition("+")[2]) if "+" in self._seed else 0
        drawn = zlib.crc32(f"{self._seed}/{self._attempt}/end".encode()) % 10
        if drawn < 3 and link < CHAIN_MAX:
            command = Command(command_type=CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION)
            following = command.continue_as_new_workflow_execution_command_attributes
            following.workflow_type.name = "W"
            following.input.CopyFrom(payloads(f"{self._seed.partition('+')[0]}+{link + 1}"))
        elif drawn < 5:
            command = Command(command_type=CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION)
            failure = command.fail_workflow_execution_command_attributes.failure
            failure.message = "as planned"
            failure.application_failure_info.type = "Planned"
        else:
            command = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
            result = ",".join(self.signals)
            command.complete_workflow_execution_command_attributes.result.CopyFrom(payloads(result))
        return command


def derive(history: Sequence[HistoryEvent]) -> Program:
    """Walk a history, holding its commands against what the workflow does; return where it stands then."""
    program = Program()
    expected: list[tuple[str, str]] = []
    for place, event in enumerate(history):
        name = NAME_OF_TYPE[event.event_type]
        if event.event_id != place + 1:
            raise NotDeterministic(f"event {place + 1} is missing, there is {event.event_id}")
        attributes: Any = events.attributes_of(event)
        by_task = getattr(attributes, "workflow_task_completed_event_id", 0)
        if by_task and name not in _ANSWERS:
            found = (name, _subject(attributes))
            if not expected or expected.pop(0) != found:
                raise NotDeterministic(f"event {event.event_id} is {found}, which the workflow did not do")
        elif expected and name not in _UPDATES:
            raise NotDeterministic(f"event {event.event_id} is {name}, where the workflow did {expected[0]}")
        program.feed(event)
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED:
            expected = [
                (_RECORDED_AS[command.command_type], _subject(_attributes_of(command))) for command in program.decide()
            ]
            program.admitted.clear()  # with the commands went the answers
    if expected:
        raise NotDeterministic(f"the workflow did {expected[0]}, which is not in its history")
    return program


def _attributes_of(command: Command) -> Any:
    return getattr(command, command.WhichOneof("attributes") or "")


def _subject(attributes: Any) -> str:
    """Name what a command, or its event, is about."""
    for name in ("activity_id", "timer_id", "marker_name", "signal_name", "workflow_id"):
        if hasattr(attributes, name):
            return str(getattr(attributes, name))
    if hasattr(attributes, "workflow_execution"):
        return str(attributes.workflow_execution.workflow_id)
    if "result" in attributes.DESCRIPTOR.fields_by_name:
        return text_of(attributes.result)
    return ""


def _child(child_id: str, drawn: int) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION)
    attributes = command.start_child_workflow_execution_command_attributes
    attributes.workflow_id = child_id
    attributes.workflow_type.name = "W"
    seed = child_id if child_id.endswith(CHILD_MARK) else f"{child_id}{CHILD_MARK}"
    attributes.input.CopyFrom(payloads(seed.replace("+", "-")))
    attributes.parent_close_policy = _POLICIES[drawn // 3 % len(_POLICIES)]
    if drawn % 7 == 0:
        attributes.workflow_run_timeout.FromMilliseconds(6_000)
    return command


def _signal(workflow_id: str, name: str, *, child: bool = True) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION)
    attributes = command.signal_external_workflow_execution_command_attributes
    attributes.execution.workflow_id = workflow_id
    attributes.signal_name = name
    attributes.child_workflow_only = child
    return command


def _cancel_other(workflow_id: str) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION)
    command.request_cancel_external_workflow_execution_command_attributes.workflow_id = workflow_id
    return command


def _timer(timer_id: str, after_ms: int) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_START_TIMER)
    command.start_timer_command_attributes.timer_id = timer_id
    command.start_timer_command_attributes.start_to_fire_timeout.FromMilliseconds(after_ms)
    return command


def _cancel_timer(timer_id: str) -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_CANCEL_TIMER)
    command.cancel_timer_command_attributes.timer_id = timer_id
    return command
