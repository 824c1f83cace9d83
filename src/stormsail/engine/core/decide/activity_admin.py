"""What people ask of pending activities: pause, unpause, reset, and other options."""

from typing import Final

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.command.v1 import ScheduleActivityTaskCommandAttributes
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)

from stormsail.engine.core import activity_notes, notes
from stormsail.engine.core.decide import command_rules
from stormsail.engine.core.decide.workflow_task import RUN_COMPLETED
from stormsail.engine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from stormsail.engine.core.ids import Ids
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.state import Activity, RunState
from stormsail.engine.core.turn import Turn

NO_SUCH_ACTIVITY: Final = "Can't find pending activity with such ID. Invalid activityID or activity already completed"
_Asked = PauseActivityRequest | UnpauseActivityRequest | ResetActivityRequest | UpdateActivityOptionsRequest
_TIMEOUTS: Final = (
    "schedule_to_close_timeout",
    "schedule_to_start_timeout",
    "start_to_close_timeout",
    "heartbeat_timeout",
)
_PARTS: Final = {
    "retry_policy": (
        "RetryPolicy",
        ("initial_interval", "backoff_coefficient", "maximum_interval", "maximum_attempts"),
    ),
    "priority": ("Priority", ("priority_key", "fairness_key", "fairness_weight")),
}


def pause(turn: Turn, request: PauseActivityRequest) -> None:
    """Pause the activities named. The same request asked again has no further effect."""
    for activity in _named(turn.state, request):
        _check_open(turn.state)
        if activity.paused_at_ms:
            if activity.pause_request_id == request.request_id:
                continue
            raise FailedPrecondition("activity is already paused")
        paused = activity_notes.ActivityPaused(
            activity.scheduled_event_id, turn.now_ms, request.identity, request.reason, request.request_id
        )
        turn.note(paused)


def unpause(turn: Turn, request: UnpauseActivityRequest, ids: Ids) -> None:
    """Let the paused ones of the activities named go on; those that wait for an attempt get it now."""
    _check_open(turn.state)
    for activity in _named(turn.state, request):
        if not activity.paused_at_ms:
            continue
        event_id = activity.scheduled_event_id
        turn.note(activity_notes.ActivityResumed(event_id))
        if request.reset_attempts:
            turn.note(activity_notes.ActivityAttemptsForgotten(event_id))
        if request.reset_heartbeat:
            turn.note(activity_notes.ActivityHeartbeatForgotten(event_id))
        if not activity.started_at_ms:
            _schedule(turn, event_id, turn.now_ms + int(duration_ms(request.jitter) * ids.fraction()))


def reset(turn: Turn, request: ResetActivityRequest, ids: Ids) -> None:
    """Let the activities named begin again: those that wait at once, those that run when their attempt ends."""
    for activity in _named(turn.state, request):
        _check_open(turn.state)
        event_id = activity.scheduled_event_id
        turn.note(activity_notes.ActivityReset(event_id, request.reset_heartbeat))
        if request.restore_original_options and activity.original is not None:
            turn.note(activity_notes.ActivityOptionsRestored(event_id))
        stays_paused = bool(activity.paused_at_ms) and request.keep_paused
        if activity.paused_at_ms and not stays_paused:
            turn.note(activity_notes.ActivityResumed(event_id))
        if not activity.started_at_ms and not stays_paused:
            _schedule(turn, event_id, turn.now_ms + int(duration_ms(request.jitter) * ids.fraction()))


def update_options(turn: Turn, request: UpdateActivityOptionsRequest, limits: Limits) -> None:
    """Change the options that the mask names, or restore what history says. Reply: the last activity's options."""
    if request.restore_original:
        if request.update_mask.paths:
            raise InvalidArgument("Both UpdateMask and RestoreOriginal are provided")
        for activity in _named(turn.state, request):
            if activity.original is not None:
                turn.note(activity_notes.ActivityOptionsRestored(activity.scheduled_event_id))
                _reschedule(turn, activity.scheduled_event_id)
            turn.reply = _full_options(turn.state.activities[activity.scheduled_event_id])
        return
    _check_open(turn.state)
    if not request.HasField("activity_options"):
        raise InvalidArgument("ActivityOptions are not provided")
    named = _named(turn.state, request)
    if not request.HasField("update_mask"):
        raise InvalidArgument("UpdateMask is not provided")
    for activity in named:
        options = activity_notes.options_of(activity.scheduled)
        merge_options(options, request.activity_options, request.update_mask)
        _adjust(options, activity, limits)
        turn.note(activity_notes.ActivityOptionsChanged(activity.scheduled_event_id, options))
        _reschedule(turn, activity.scheduled_event_id)
        shown = ActivityOptions()
        shown.CopyFrom(options)
        shown.task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
        turn.reply = shown


def merge_options(into: ActivityOptions, wanted: ActivityOptions, mask: FieldMask) -> None:
    """Set the fields that the mask names, in either of its spellings. Paths that name nothing are passed over."""
    paths = {_snake(path) for path in mask.paths}
    if "task_queue.name" in paths:
        if not wanted.HasField("task_queue"):
            raise InvalidArgument("TaskQueue is not provided")
        into.task_queue.name = wanted.task_queue.name
    for name in _TIMEOUTS:
        if name in paths:
            getattr(into, name).CopyFrom(getattr(wanted, name))
    for whole, (shown, parts) in _PARTS.items():
        if whole in paths:
            if whole == "retry_policy" and not wanted.HasField("retry_policy"):
                raise InvalidArgument("RetryPolicy is not provided")
            into.ClearField(whole)  # type: ignore[arg-type]
            if wanted.HasField(whole):  # type: ignore[arg-type]
                getattr(into, whole).CopyFrom(getattr(wanted, whole))
        for part in parts:
            if f"{whole}.{part}" in paths:
                if not wanted.HasField(whole):  # type: ignore[arg-type]
                    raise InvalidArgument(f"{shown} is not provided")
                given, target = getattr(wanted, whole), getattr(into, whole)
                if hasattr(getattr(given, part), "CopyFrom"):
                    getattr(target, part).CopyFrom(getattr(given, part))
                else:
                    setattr(target, part, getattr(given, part))


def _adjust(options: ActivityOptions, activity: Activity, limits: Limits) -> None:
    """Refuse options that no activity may be scheduled with; keep the timeouts within each other."""
    command_rules.complete_retry_policy(options.retry_policy, limits)
    attributes = ScheduleActivityTaskCommandAttributes(
        task_queue=options.task_queue,
        activity_id=activity.scheduled.activity_id,
        activity_type=activity.scheduled.activity_type,
        schedule_to_close_timeout=options.schedule_to_close_timeout,
        schedule_to_start_timeout=options.schedule_to_start_timeout,
        start_to_close_timeout=options.start_to_close_timeout,
        heartbeat_timeout=options.heartbeat_timeout,
        priority=options.priority,
    )
    command_rules.complete_activity(attributes, 0, limits)
    for name in _TIMEOUTS:
        getattr(options, name).CopyFrom(getattr(attributes, name))


def _reschedule(turn: Turn, scheduled_event_id: int) -> None:
    """Let a waiting attempt wait as its new options say."""
    activity = turn.state.activities[scheduled_event_id]
    if activity.started_at_ms:
        return
    ready_at_ms = activity.ready_at_ms
    if activity.attempt > 1:
        policy = activity.scheduled.retry_policy
        waits_ms = duration_ms(policy.initial_interval) * policy.backoff_coefficient ** (activity.attempt - 2)
        longest_ms = duration_ms(policy.maximum_interval)
        if longest_ms and (waits_ms <= 0 or waits_ms > longest_ms):
            waits_ms = longest_ms
        ready_at_ms = activity.last_attempt_completed_at_ms + int(min(waits_ms, 1 << 53))
    _schedule(turn, scheduled_event_id, ready_at_ms)


def _schedule(turn: Turn, scheduled_event_id: int, ready_at_ms: int) -> None:
    turn.note(activity_notes.ActivityRescheduled(scheduled_event_id, ready_at_ms))
    if ready_at_ms <= turn.now_ms:
        turn.note(notes.ActivityReady(scheduled_event_id))


def _full_options(activity: Activity) -> ActivityOptions:
    options = activity_notes.options_of(activity.scheduled)
    options.retry_policy.CopyFrom(activity.scheduled.retry_policy)
    return options


def _named(state: RunState, request: _Asked) -> list[Activity]:
    """Return the pending activities that a request names by id, by type, or all of them."""
    match request.WhichOneof("activity"):
        case "id":
            event_id = state.activity_by_id.get(request.id)
            if event_id is None and not state.open:
                raise NotFound(RUN_COMPLETED)
            found = [state.activities[event_id]] if event_id is not None else []
        case "type":
            found = [one for one in state.activities.values() if one.scheduled.activity_type.name == request.type]
        case _:
            found = list(state.activities.values())
    if not found:
        raise NotFound(NO_SUCH_ACTIVITY)
    return found


def _check_open(state: RunState) -> None:
    if not state.open:
        raise NotFound(RUN_COMPLETED)


def _snake(path: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in path)
