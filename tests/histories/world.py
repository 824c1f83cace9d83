"""One workflow id, its runs and its clock: asks the core, commits what it decides, and tells what changed as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import ActivityType, Payload, Payloads, WorkflowType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue

from stormsail.engine.core import deadlines, events, progress, replay, work
from stormsail.engine.core.decide import decide, decide_start
from stormsail.engine.core.errors import Refused
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import DEFAULT_LIMITS, Limits
from stormsail.engine.core.machines.activity import Activity, stands
from stormsail.engine.core.requests import FireDue, RunRequest, StartRequest
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn

BEGIN_MS = 1_700_000_000_000
_PLAIN = (Duration, Timestamp, Payload, Payloads, TaskQueue, ActivityType, WorkflowType)
RUN_PREFIX = "00000000-0000-4000-8000-"
HIDDEN = frozenset({"history_size_bytes", "workflow_id", "workflow_type", "original_execution_run_id", "link", "token"})
"""Fields that are the same in every scenario, or say what another says."""


class CountingIds:
    """Ids that can be told apart and are the same in every run of a test."""

    def __init__(self) -> None:
        self.given = 0

    def uuid(self) -> str:
        """Return the next id; texts show it as #1, #2 ..."""
        self.given += 1
        return f"{RUN_PREFIX}{self.given:012d}"

    def fraction(self) -> float:
        """Return the middle."""
        return 0.5


def plain_task_changes(before: RunState | None, after: RunState) -> tuple[list[work.Task], list[Any]]:
    """What `work.task_changes` says, told from all tasks of both."""
    old, new = (work.tasks(state) if state is not None else {} for state in (before, after))
    return [task for ref, task in new.items() if old.get(ref) != task], [ref for ref in old if ref not in new]


@dataclass
class World:
    """See the module."""

    limits: Limits = DEFAULT_LIMITS
    now_ms: int = BEGIN_MS
    ids: CountingIds = field(default_factory=CountingIds)
    runs: dict[str, RunState] = field(default_factory=dict)
    frames: dict[str, bytes] = field(default_factory=dict)
    newest: str = ""

    @property
    def state(self) -> RunState:
        """The newest run."""
        return self.runs[self.newest]

    def ask(self, request: RunRequest | StartRequest, run_id: str = "") -> Turn:
        """Have the core decide, and commit it. Refused leaves all as it was."""
        if isinstance(request, StartRequest):
            current = self.runs[self.newest] if self.newest else None
            turn = decide_start(current, request, self.now_ms, self.ids, self.limits)
        else:
            before = self.runs[run_id or self.newest]
            due_ms = deadlines.deadline_ms(before)
            turn = decide(before, request, self.now_ms, self.ids, self.limits)
            if isinstance(request, FireDue):
                assert turn.empty == (due_ms is None or due_ms > self.now_ms), (due_ms, self.now_ms)
                left_ms = deadlines.deadline_ms(turn.state)
                assert left_ms is None or left_ms > self.now_ms
        for one in turn.every:
            self.commit(one)
        return turn

    def tell(self, turn: Turn) -> str:
        """Say what a turn changed: events, buffered events, tasks, the deadline; then its reply."""
        told = [part for one in turn.every for part in self._tell_run(one, many=bool(turn.also))]
        told += [f"update {key} ended: {_ending(how)}" for one in turn.every for key, how in one.ended.items()]
        if turn.held and turn.empty:
            told.append("all of it in memory alone")
        if turn.refusal is not None:
            told.append(tell_refusal(turn.refusal))
        if turn.reply and brief(turn.reply) != "{}":
            told.append("reply " + brief(turn.reply))
        return "\n".join(told) or "nothing"

    def commit(self, turn: Turn) -> None:
        """Take a turn for done, and see that replay finds the same state, and that what is told of a turn from what it
        changed is what is told from all there is."""
        state = turn.state
        assert work.task_changes(turn.before, state) == plain_task_changes(turn.before, state)
        assert deadlines.deadline_ms(state) == min((due.at_ms for due in deadlines.dues(state)), default=None)
        run_id = state.key.run_id
        self.runs[run_id] = state
        self.frames[run_id] = self.frames.get(run_id, b"") + b"".join(turn.frames)
        if state.open or not self.newest:
            self.newest = run_id
        again = replay.replay(state.key, [self.frames[run_id]], progress.pack(state))
        assert again == state.durable, difference(again, state.durable)

    def _tell_run(self, turn: Turn, *, many: bool) -> list[str]:
        told = [f"run {short(turn.state.key.run_id)}"] if many or turn.before is None else []
        told += [self._event(event) for event in turn.events]
        old = turn.before.buffered if turn.before is not None else []
        told += ["buffered " + self._event(event) for event in turn.state.buffered if event not in old]
        known = turn.before.activities if turn.before is not None else {}
        told += [
            f"activity {key} backs off until {after(one.ready_at_ms)} attempt {one.attempt}"
            for key, one in turn.state.activities.items()
            if stands(one) == Activity.BACKING_OFF and key in known and known[key].attempt != one.attempt
        ]
        added, dropped = work.task_changes(turn.before, turn.state)
        told += [f"task - {kind} {event_id}" for kind, event_id in dropped]
        told += [
            f"task + {task.kind} {task.scheduled_event_id} on {task.queue} attempt {task.attempt}"
            + (" sticky" if task.sticky else "")
            for task in added
        ]
        before_ms = deadlines.deadline_ms(turn.before) if turn.before is not None else None
        after_ms = deadlines.deadline_ms(turn.state)
        if after_ms != before_ms:
            told.append("deadline " + (after(after_ms) if after_ms is not None else "none"))
        return told

    def _event(self, event: HistoryEvent) -> str:
        at_ms = event.event_time.ToMilliseconds()
        name = events.NAME_OF_TYPE[event.event_type]
        late = "" if at_ms == self.now_ms else f" @{after(at_ms)}"
        return f"{event.event_id or '?'} {name}{late} {brief(events.attributes_of(event))}".rstrip()


def _ending(how: Message | Refused) -> str:
    return tell_refusal(how) if isinstance(how, Refused) else brief(how)


def tell_refusal(refusal: Refused) -> str:
    """Say how a request was turned down."""
    detail = f" ({type(refusal.detail).__name__})" if refusal.detail is not None else ""
    return f"refused {refusal.status}: {short(refusal.message)}{detail}"


def after(at_ms: int) -> str:
    """Return an instant as the time since the world began."""
    return f"+{span(at_ms - BEGIN_MS)}"


def span(length_ms: float) -> str:
    """Return a length of time in seconds."""
    return f"{length_ms / 1_000:g}s"


def short(text: str) -> str:
    """Show the ids of this world as #1, #2 ..."""
    while (at := text.find(RUN_PREFIX)) >= 0:
        end = at + len(RUN_PREFIX) + 12
        text = f"{text[:at]}#{int(text[end - 12 : end])}{text[end:]}"
    return text


def brief(value: Any) -> str:
    """Show a value in one line: only what is set, in the protocol's own names."""
    match value:
        case Duration():
            return span(value.ToMilliseconds())
        case Timestamp():
            return after(value.ToMilliseconds())
        case Payload():
            return short(value.data.decode(errors="backslashreplace"))
        case Payloads():
            return brief(list(value.payloads))
        case HistoryEvent():
            return f"{value.event_id} {events.NAME_OF_TYPE[value.event_type]}"
        case TaskQueue():
            return value.name + (f"(sticky of {value.normal_name})" if value.normal_name else "")
        case ActivityType() | WorkflowType():
            return value.name
        case Message():
            return _message(value)
        case Enum():
            return str(value.value)
        case str():
            return short(value) if value and " " not in value else repr(short(value))
        case RunKey():
            return "{" + " ".join(_told(value._asdict())) + "}"
        case _ if is_dataclass(value):
            return "{" + " ".join(_told({one.name: getattr(value, one.name) for one in fields(value)})) + "}"
        case Sequence() if not isinstance(value, bytes):
            return "[" + ", ".join(brief(one) for one in value) + "]"
        case _:
            return str(value)


def difference(left: RunState, right: RunState) -> str:
    """Name the fields in which two states differ."""
    wrong = [one.name for one in fields(RunState) if getattr(left, one.name) != getattr(right, one.name)]
    return "\n".join(f"{name}: {getattr(left, name)!r}\n   != {getattr(right, name)!r}" for name in wrong)


def _message(message: Message) -> str:
    told = []
    for descriptor, value in message.ListFields():
        if descriptor.name in HIDDEN or (isinstance(value, Duration) and not value.ToNanoseconds()):
            continue
        if descriptor.type == FieldDescriptor.TYPE_ENUM:
            told.append(f"{descriptor.name}={_enum(descriptor, value)}")
        elif descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry:
            inner = " ".join(f"{key}={brief(value[key])}" for key in sorted(value))
            told.append(f"{descriptor.name}={{{inner}}}")
        elif isinstance(value, Message) and not isinstance(value, _PLAIN):
            told.append(f"{descriptor.name}={{{brief(value)}}}")
        else:
            told.append(f"{descriptor.name}={brief(value)}")
    return " ".join(told)


def _enum(descriptor: FieldDescriptor, value: Any) -> str:
    assert descriptor.enum_type is not None
    names = descriptor.enum_type.values_by_number
    prefix = "".join("_" + c if c.isupper() else c.upper() for c in descriptor.enum_type.name).lstrip("_") + "_"
    if isinstance(value, int):
        return names[value].name.removeprefix(prefix)
    return "[" + ", ".join(names[one].name.removeprefix(prefix) for one in value) + "]"


def _told(named: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}={brief(inner)}" if not name.endswith("_at_ms") else f"{name[:-3]}={after(inner)}"
        for name, inner in named.items()
        if name not in HIDDEN and (inner or inner is False)
    ]
