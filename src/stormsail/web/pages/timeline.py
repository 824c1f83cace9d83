"""A history as a timeline: what each event does to a row, so that the newest events are enough to go on.

An event is read alone, without the ones before it: rows are put together in the browser. That lets a page that is
already open ask for nothing but the events since the last one that it has.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from stormsail.web.sources.payloads import failure_text

Op = list[Any]
"""`["o", id, kind, name, at, key]`, `["s", id, at, attempt, failure]`, `["c", id, at, state, note]` or
`["m", id, kind, name, at, state]`; `static/timeline.js` reads them."""

NAME_MAX: Final = 120
NOTE_MAX: Final = 300

_Reader = Callable[[HistoryEvent, int], Op]


def operations_of(events: Iterable[HistoryEvent]) -> list[Op]:
    """Return what the events do to a timeline, in their order. Events that take no time of anybody's do nothing."""
    done: list[Op] = []
    for event in events:
        reader = _READERS.get(event.event_type)
        if reader is not None:
            done.append(reader(event, event.event_time.ToMilliseconds()))
    return done


def is_the_last(event: HistoryEvent) -> bool:
    """Whether no event comes after this one: it ended its run."""
    return event.event_type in _ENDINGS


def _opened(kind: str, attributes: str, name: Callable[[Any], str], key: Callable[[Any], str]) -> _Reader:
    def read(event: HistoryEvent, at_ms: int) -> Op:
        said = getattr(event, attributes)
        return ["o", event.event_id, kind, _cut(name(said), NAME_MAX), at_ms, key(said)]

    return read


def _closed(attributes: str, state: str, of: str) -> _Reader:
    def read(event: HistoryEvent, at_ms: int) -> Op:
        said = getattr(event, attributes)
        return ["c", getattr(said, of), at_ms, state, _note(said)]

    return read


def _marked(kind: str, name: Callable[[HistoryEvent], str], state: str) -> _Reader:
    def read(event: HistoryEvent, at_ms: int) -> Op:
        return ["m", event.event_id, kind, _cut(name(event), NAME_MAX), at_ms, state]

    return read


def _taken(attributes: str, of: str) -> _Reader:
    def read(event: HistoryEvent, at_ms: int) -> Op:
        said = getattr(event, attributes)
        attempt = getattr(said, "attempt", 1)
        failure = said.last_failure if hasattr(said, "last_failure") and said.HasField("last_failure") else None
        return ["s", getattr(said, of), at_ms, attempt, _cut(failure_text(failure), NOTE_MAX) if failure else ""]

    return read


def _ended(state: str) -> _Reader:
    def read(event: HistoryEvent, at_ms: int) -> Op:
        which = event.WhichOneof("attributes") or ""
        return ["c", 1, at_ms, state, _note(getattr(event, which))]

    return read


def _note(said: Any) -> str:
    failure: Failure | None = said.failure if hasattr(said, "failure") and said.HasField("failure") else None
    return _cut(failure_text(failure), NOTE_MAX) if failure is not None else ""


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _marker(event: HistoryEvent) -> str:
    return f"marker {event.marker_recorded_event_attributes.marker_name}"


_ACTIVITY: Final = "activity_task_{}_event_attributes"
_CHILD: Final = "child_workflow_execution_{}_event_attributes"
_INITIATED: Final = "start_child_workflow_execution_initiated_event_attributes"
_UPDATE: Final = "workflow_execution_update_{}_event_attributes"

_ENDINGS: Final[Mapping[int, _Reader]] = {
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED: _ended("ok"),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED: _ended("bad"),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT: _ended("warn"),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED: _ended("off"),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED: _ended("bad"),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW: _ended("ok"),
}

_READERS: Final[Mapping[int, _Reader]] = {
    **_ENDINGS,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED: _opened(
        "workflow", "workflow_execution_started_event_attributes", lambda said: said.workflow_type.name, lambda _: ""
    ),
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: _opened(
        "activity",
        _ACTIVITY.format("scheduled"),
        lambda said: (
            said.activity_type.name if said.activity_id.isdigit() else f"{said.activity_id} {said.activity_type.name}"
        ),
        lambda said: said.activity_id,
    ),
    EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED: _taken(_ACTIVITY.format("started"), "scheduled_event_id"),
    EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED: _closed(_ACTIVITY.format("completed"), "ok", "scheduled_event_id"),
    EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED: _closed(_ACTIVITY.format("failed"), "bad", "scheduled_event_id"),
    EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT: _closed(_ACTIVITY.format("timed_out"), "warn", "scheduled_event_id"),
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED: _closed(_ACTIVITY.format("canceled"), "off", "scheduled_event_id"),
    EventType.EVENT_TYPE_TIMER_STARTED: _opened(
        "timer", "timer_started_event_attributes", lambda said: f"timer {said.timer_id}", lambda _: ""
    ),
    EventType.EVENT_TYPE_TIMER_FIRED: _closed("timer_fired_event_attributes", "ok", "started_event_id"),
    EventType.EVENT_TYPE_TIMER_CANCELED: _closed("timer_canceled_event_attributes", "off", "started_event_id"),
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_INITIATED: _opened(
        "child", _INITIATED, lambda said: f"{said.workflow_type.name} {said.workflow_id}", lambda _: ""
    ),
    EventType.EVENT_TYPE_START_CHILD_WORKFLOW_EXECUTION_FAILED: _closed(
        "start_child_workflow_execution_failed_event_attributes", "bad", "initiated_event_id"
    ),
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED: _taken(_CHILD.format("started"), "initiated_event_id"),
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_COMPLETED: _closed(
        _CHILD.format("completed"), "ok", "initiated_event_id"
    ),
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_FAILED: _closed(_CHILD.format("failed"), "bad", "initiated_event_id"),
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TIMED_OUT: _closed(
        _CHILD.format("timed_out"), "warn", "initiated_event_id"
    ),
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_CANCELED: _closed(
        _CHILD.format("canceled"), "off", "initiated_event_id"
    ),
    EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_TERMINATED: _closed(
        _CHILD.format("terminated"), "bad", "initiated_event_id"
    ),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED: _marked(
        "signal", lambda event: f"signal {event.workflow_execution_signaled_event_attributes.signal_name}", "ok"
    ),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED: _marked("cancel", lambda _: "cancel requested", "off"),
    EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED: _marked("workflow task", lambda _: "workflow task failed", "bad"),
    EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT: _marked("workflow task", lambda _: "workflow task timed out", "warn"),
    EventType.EVENT_TYPE_MARKER_RECORDED: _marked("marker", _marker, "ok"),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED: _opened(
        "update",
        _UPDATE.format("accepted"),
        lambda said: f"update {said.accepted_request.input.name}",
        lambda _: "",
    ),
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_COMPLETED: _closed(
        _UPDATE.format("completed"), "ok", "accepted_event_id"
    ),
}
