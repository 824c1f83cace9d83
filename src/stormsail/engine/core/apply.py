"""What each history event does to a run's state: the only change of it, live and in replay alike, beside `notes`.

An event that comes while a workflow task is started is *buffered*: it takes effect at once (`take_effect`) and gets its
id and its place in history when the task has ended (`numbered_buffer`, then `apply` with `seen`). A replay applies it
where history has it. Both end in the same state: a buffered event changes nothing that the events before it look at.
"""

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType, TaskQueueKind
from temporalio.api.history.v1 import HistoryEvent, WorkflowTaskCompletedEventAttributes
from temporalio.api.workflow.v1 import ResetPointInfo

from stormsail.engine.core import apply_others, apply_updates, events
from stormsail.engine.core.deadlines import run_expires_at_ms
from stormsail.engine.core.machines import activity as activity_machine
from stormsail.engine.core.machines import run as run_machine
from stormsail.engine.core.machines import timer as timer_machine
from stormsail.engine.core.machines import workflow_task as task_machine
from stormsail.engine.core.machines.walk import walk
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.state import Activity, Pause, RunState, Timer, WorkflowTask
from stormsail.engine.core.values import members, replace

_STICKY: Final = TaskQueueKind.TASK_QUEUE_KIND_STICKY
_RUN_FAILED: Final = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED
WAITING_TYPES: Final = frozenset(
    {
        "WorkflowExecutionSignaled",
        "WorkflowExecutionCancelRequested",
        "WorkflowExecutionOptionsUpdated",
        "WorkflowExecutionPaused",
        "WorkflowExecutionUnpaused",
        "TimerFired",
        "ActivityTaskStarted",
        "ActivityTaskCompleted",
        "ActivityTaskFailed",
        "ActivityTaskTimedOut",
        "ActivityTaskCanceled",
        *apply_others.ANSWERS,
    }
)
"""The events that wait for the end of a started workflow task: those that neither a command nor the task causes."""

ACTIVITY_ENDS: Final = frozenset(
    {"ActivityTaskCompleted", "ActivityTaskFailed", "ActivityTaskTimedOut", "ActivityTaskCanceled"}
)
LAST_OF_BUFFER: Final = ACTIVITY_ENDS | apply_others.CHILD_ENDS
"""Temporal puts these behind the other buffered events, so that a started event always precedes its end."""

RESET_POINTS_MAX: Final = 20
"""As in Temporal: of more builds the last ones are kept."""

NIL_DATA: Final = frozenset({b"", b"null", b"[]"})
"""What a payload's data is when it stands for "no value": upserting it removes the key."""


def apply(state: RunState, event: HistoryEvent, *, size_bytes: int, seen: bool = False) -> RunState:
    """Apply one event of history to the given state and return it. `size_bytes` is its frame's length.

    `seen`: it took effect when it was buffered; only what counts events and bytes advances.
    """
    if not seen:
        take_effect(state, event)
    elif event.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
        apply_others.number(state, event)
    elif event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED:
        _number_attached(state, event)
    state.next_event_id = event.event_id + 1
    state.history_size_bytes += size_bytes
    return state


def take_effect(state: RunState, event: HistoryEvent) -> None:
    """Do what an event does when it is buffered: all but what needs its id."""
    event_type = event.event_type
    _check(state, event, events.NAME_OF_TYPE[event_type])
    _EFFECTS[event_type](state, event)


def waits_for_task_end(state: RunState, attributes: Message) -> bool:
    """Say whether an event of these attributes would be buffered now."""
    task = state.workflow_task
    if task is None or not task.started_at_ms:
        return False
    event_type, _ = events.KINDS[type(attributes)]
    return events.NAME_OF_TYPE[event_type] in WAITING_TYPES


def numbered_buffer(state: RunState) -> list[HistoryEvent]:
    """Return the buffered events as they enter history now: in their order there, with ids, and with the ids of started
    events that get theirs only now."""
    early = [e for e in state.buffered if events.NAME_OF_TYPE[e.event_type] not in LAST_OF_BUFFER]
    late = [e for e in state.buffered if events.NAME_OF_TYPE[e.event_type] in LAST_OF_BUFFER]
    started: dict[int, int] = {}
    """By the scheduled or initiated event, which no two of them share."""
    numbered = []
    for place, waiting in enumerate([*early, *late]):
        event = HistoryEvent()
        event.CopyFrom(waiting)
        event.event_id = state.next_event_id + place
        attributes: Any = events.attributes_of(event)
        if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED:
            started[attributes.scheduled_event_id] = event.event_id
        elif event.event_type == EventType.EVENT_TYPE_CHILD_WORKFLOW_EXECUTION_STARTED:
            started[attributes.initiated_event_id] = event.event_id
        elif place >= len(early):
            begun = attributes.DESCRIPTOR.fields_by_name
            asked = attributes.scheduled_event_id if "scheduled_event_id" in begun else attributes.initiated_event_id
            attributes.started_event_id = started.get(asked, attributes.started_event_id)
        numbered.append(event)
    return numbered


def is_nil(payload: Payload) -> bool:
    """Say whether a payload stands for "no value"."""
    return payload.data in NIL_DATA


def merge_payloads(into: dict[str, bytes], fields: Any) -> None:
    """Set the given payloads, removing the keys whose payloads are nil."""
    for key, payload in fields.items():
        if is_nil(payload):
            into.pop(key, None)
        else:
            into[key] = payload.SerializeToString(deterministic=True)


def _check(state: RunState, event: HistoryEvent, name: str) -> None:
    """Walk the machines' tables; an event that cannot be is a bug of ours or a damaged file."""
    walk(run_machine.RUN, run_machine.stands(state), name, "run {}", state.key)
    check = _CHECKS.get(name)
    if check is not None:
        check(state, event, name)


def _check_task(state: RunState, _event: HistoryEvent, name: str) -> None:
    walk(task_machine.WORKFLOW_TASK, task_machine.stands(state.workflow_task), name, "workflow task of {}", state.key)


def _check_activity(state: RunState, event: HistoryEvent, name: str) -> None:
    attributes: Any = events.attributes_of(event)
    activity = state.activities.get(attributes.scheduled_event_id)
    if activity is None and name == "ActivityTaskCancelRequested":
        return  # its end was still buffered when the worker asked
    stands = activity_machine.stands(activity)
    walk(activity_machine.ACTIVITY, stands, name, "activity {} of {}", attributes.scheduled_event_id, state.key)


def _at_ms(event: HistoryEvent) -> int:
    at = event.event_time
    return at.seconds * 1_000 + at.nanos // 1_000_000


def _run_started(state: RunState, event: HistoryEvent) -> None:
    start = event.workflow_execution_started_event_attributes
    state.start, state.workflow_type, state.task_queue = start, start.workflow_type.name, start.task_queue.name
    state.status = run_machine.STATUS[run_machine.Run.RUNNING]
    state.started_at_ms = _at_ms(event)
    backoff_ms = duration_ms(start.first_workflow_task_backoff)
    state.execution_started_at_ms = state.started_at_ms + backoff_ms
    state.first_task_ready = backoff_ms <= 0
    state.first_task_at_ms = state.execution_started_at_ms
    state.expires_at_ms = run_expires_at_ms(state)
    if start.HasField("memo"):
        merge_payloads(state.memo, start.memo.fields)
    if start.HasField("search_attributes"):
        merge_payloads(state.search_attributes, start.search_attributes.indexed_fields)
    state.start_links = tuple(members(event.links))
    state.user_metadata = event.user_metadata if event.HasField("user_metadata") else None
    state.priority = start.priority if start.HasField("priority") else None
    state.versioning_override = start.versioning_override if start.HasField("versioning_override") else None
    state.reset_points = tuple(members(start.prev_auto_reset_points.points))


def _run_closed(state: RunState, event: HistoryEvent) -> None:
    attributes: Any = events.attributes_of(event)
    state.status = run_machine.STATUS[run_machine.CLOSING[events.NAME_OF_TYPE[event.event_type]]]
    state.closed_at_ms = _at_ms(event)
    state.close_event_id = event.event_id
    state.new_run_id = getattr(attributes, "new_execution_run_id", "")
    if event.event_type == _RUN_FAILED:
        state.result_failure = attributes.failure
    state.activities.clear()
    state.activity_by_id.clear()
    state.timers.clear()
    apply_others.clear(state)
    state.buffered.clear()
    state.updates_admitted.clear()
    state.updates_turned_down.clear()
    state.first_task_ready = True  # of a closed run progress does not say whether it was
    state.workflow_task = None
    state.sticky_queue, state.sticky_timeout_ms, state.sticky_touched_at_ms = "", 0, 0
    state.close_attempted = False


def _task_scheduled(state: RunState, event: HistoryEvent) -> None:
    attributes = event.workflow_task_scheduled_event_attributes
    at_ms = _at_ms(event)
    state.first_task_ready = True
    state.workflow_task = WorkflowTask(
        scheduled_event_id=event.event_id,
        scheduled_at_ms=at_ms,
        original_scheduled_at_ms=at_ms,
        attempt=attributes.attempt,
        timeout_ms=duration_ms(attributes.start_to_close_timeout),
        queue=attributes.task_queue.name,
        sticky=attributes.task_queue.kind == _STICKY,
        ready_at_ms=at_ms,
    )


def _task_started(state: RunState, event: HistoryEvent) -> None:
    task = state.workflow_task
    assert task is not None
    if task.held_start is not None:
        state.workflow_task = replace(task, held_start=None)  # all else of it is as the event says
        return
    attributes = event.workflow_task_started_event_attributes
    state.workflow_task = replace(
        task,
        ready=False,
        started_event_id=event.event_id,
        started_at_ms=_at_ms(event),
        identity=attributes.identity,
        request_id=attributes.request_id,
        history_size_bytes=attributes.history_size_bytes,
        suggest_continue_as_new_reasons=tuple(members(attributes.suggest_continue_as_new_reasons)),
    )


def _task_completed(state: RunState, event: HistoryEvent) -> None:
    attributes = event.workflow_task_completed_event_attributes
    state.workflow_task = None
    state.workflow_tasks_completed += 1
    state.last_completed_task_started_event_id = attributes.started_event_id
    state.last_completed_task_event_id = event.event_id
    state.last_completed_task = attributes
    _add_reset_point(state, event, attributes)


def _add_reset_point(state: RunState, event: HistoryEvent, completed: WorkflowTaskCompletedEventAttributes) -> None:
    """Note where a build did its first workflow task: it can be undone from there."""
    versioned = completed.HasField("deployment_version")
    build_id = completed.deployment_version.build_id if versioned else completed.worker_version.build_id
    checksum = completed.binary_checksum
    for known in state.reset_points:
        if known.build_id == build_id and known.binary_checksum == checksum:
            return
    # What a buffered event answers is pending still where history has this event.
    pending = state.children or state.signals_sent or state.cancels_sent
    answered = any(events.NAME_OF_TYPE[one.event_type] in apply_others.ANSWERS for one in state.buffered)
    point = ResetPointInfo(
        build_id=build_id,
        binary_checksum=checksum,
        run_id=state.key.run_id,
        first_workflow_task_completed_id=event.event_id,
        create_time=event.event_time,
        resettable=not pending and not answered,
    )
    state.reset_points = (*state.reset_points, point)[-RESET_POINTS_MAX:]


def _task_ended(state: RunState, _event: HistoryEvent) -> None:
    state.workflow_task = None


def _activity_scheduled(state: RunState, event: HistoryEvent) -> None:
    scheduled = event.activity_task_scheduled_event_attributes
    at_ms = _at_ms(event)
    state.activities[event.event_id] = Activity(
        scheduled_event_id=event.event_id, scheduled_at_ms=at_ms, scheduled=scheduled, ready_at_ms=at_ms
    )
    state.activity_by_id[scheduled.activity_id] = event.event_id


def _activity_started(state: RunState, event: HistoryEvent) -> None:
    started = event.activity_task_started_event_attributes
    old = state.activities[started.scheduled_event_id]
    state.activities[started.scheduled_event_id] = replace(
        old, ready=False, started_at_ms=_at_ms(event), attempt=started.attempt, identity=started.identity
    )


def _activity_cancel_requested(state: RunState, event: HistoryEvent) -> None:
    scheduled_event_id = event.activity_task_cancel_requested_event_attributes.scheduled_event_id
    if scheduled_event_id in state.activities:
        old = state.activities[scheduled_event_id]
        state.activities[scheduled_event_id] = replace(old, cancel_requested_event_id=event.event_id)


def _activity_closed(state: RunState, event: HistoryEvent) -> None:
    attributes: Any = events.attributes_of(event)
    closed = state.activities.pop(attributes.scheduled_event_id)
    activity_id = closed.scheduled.activity_id
    # Another activity may have taken the id while this one's end was buffered.
    if state.activity_by_id.get(activity_id) == closed.scheduled_event_id:
        del state.activity_by_id[activity_id]


def _timer_started(state: RunState, event: HistoryEvent) -> None:
    started = event.timer_started_event_attributes
    # A timer of this id may be here in a replay: its firing was buffered, and so stands behind this event in history.
    fire_at_ms = _at_ms(event) + duration_ms(started.start_to_fire_timeout)
    state.timers[started.timer_id] = Timer(started.timer_id, event.event_id, fire_at_ms)


def _timer_closed(state: RunState, event: HistoryEvent) -> None:
    attributes: Any = events.attributes_of(event)
    timer = state.timers.get(attributes.timer_id)
    if timer is not None and timer.started_event_id == attributes.started_event_id:
        name = events.NAME_OF_TYPE[event.event_type]
        walk(timer_machine.TIMER, timer_machine.Timer.PENDING, name, f"timer {attributes.timer_id}")
        del state.timers[attributes.timer_id]


def _signaled(state: RunState, event: HistoryEvent) -> None:
    state.signals += 1
    request_id = event.workflow_execution_signaled_event_attributes.request_id
    if request_id:
        state.signal_request_ids[request_id] = None


def _cancel_requested(state: RunState, _event: HistoryEvent) -> None:
    state.cancel_requested = True


def _options_updated(state: RunState, event: HistoryEvent) -> None:
    updated = event.workflow_execution_options_updated_event_attributes
    if updated.attached_request_id:
        state.attached_request_ids[updated.attached_request_id] = event.event_id
    if updated.unset_versioning_override:
        state.versioning_override = None
    elif updated.HasField("versioning_override"):
        state.versioning_override = updated.versioning_override
    if updated.HasField("priority"):
        state.priority = updated.priority


def _number_attached(state: RunState, event: HistoryEvent) -> None:
    request_id = event.workflow_execution_options_updated_event_attributes.attached_request_id
    if request_id:
        state.attached_request_ids[request_id] = event.event_id


def _paused(state: RunState, event: HistoryEvent) -> None:
    paused = event.workflow_execution_paused_event_attributes
    state.status = run_machine.STATUS[run_machine.Run.PAUSED]
    state.pause = Pause(_at_ms(event), paused.identity, paused.reason, paused.request_id)


def _unpaused(state: RunState, _event: HistoryEvent) -> None:
    state.status = run_machine.STATUS[run_machine.Run.RUNNING]
    state.pause = None


def _search_attributes_upserted(state: RunState, event: HistoryEvent) -> None:
    upserted = event.upsert_workflow_search_attributes_event_attributes.search_attributes
    merge_payloads(state.search_attributes, upserted.indexed_fields)


def _properties_modified(state: RunState, event: HistoryEvent) -> None:
    modified = event.workflow_properties_modified_event_attributes
    merge_payloads(state.memo, modified.upserted_memo.fields)


def _nothing(_state: RunState, _event: HistoryEvent) -> None:
    """A marker is the worker's own."""


_OF_NAME: Final[dict[str, Callable[[RunState, HistoryEvent], None]]] = {
    "WorkflowExecutionStarted": _run_started,
    **dict.fromkeys(run_machine.CLOSING, _run_closed),
    "WorkflowTaskScheduled": _task_scheduled,
    "WorkflowTaskStarted": _task_started,
    "WorkflowTaskCompleted": _task_completed,
    "WorkflowTaskFailed": _task_ended,
    "WorkflowTaskTimedOut": _task_ended,
    "ActivityTaskScheduled": _activity_scheduled,
    "ActivityTaskStarted": _activity_started,
    "ActivityTaskCancelRequested": _activity_cancel_requested,
    **dict.fromkeys(ACTIVITY_ENDS, _activity_closed),
    "TimerStarted": _timer_started,
    "TimerFired": _timer_closed,
    "TimerCanceled": _timer_closed,
    "MarkerRecorded": _nothing,
    "WorkflowExecutionSignaled": _signaled,
    "WorkflowExecutionCancelRequested": _cancel_requested,
    "WorkflowExecutionOptionsUpdated": _options_updated,
    "WorkflowExecutionPaused": _paused,
    "WorkflowExecutionUnpaused": _unpaused,
    "UpsertWorkflowSearchAttributes": _search_attributes_upserted,
    "WorkflowPropertiesModified": _properties_modified,
    **apply_others.EFFECTS,
    **apply_updates.EFFECTS,
}

SERVED: Final = frozenset(_OF_NAME)
"""The events that this server writes, and so can apply."""

_CHECKS: Final[dict[str, Callable[[RunState, HistoryEvent, str], None]]] = {
    **{name: _check_task for name in SERVED if name.startswith("WorkflowTask")},
    **{name: _check_activity for name in SERVED if name.startswith("ActivityTask") and name != "ActivityTaskScheduled"},
    **dict.fromkeys(apply_others.ANSWERS, apply_others.check),
    **dict.fromkeys(apply_updates.EFFECTS, apply_updates.check),
}
"""By event, what walks the table of the thing that it is about; the run's own is walked by all."""

_EFFECTS: Final = {number: _OF_NAME[name] for number, name in events.NAME_OF_TYPE.items() if name in SERVED}
