"""What workers and clients ask about activities: start, complete, fail, cancel and heartbeat an attempt."""

from typing import Final

from temporalio.api.common.v1 import RetryPolicy, WorkerVersionStamp
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskCanceledEventAttributes,
    ActivityTaskCancelRequestedEventAttributes,
    ActivityTaskCompletedEventAttributes,
    ActivityTaskFailedEventAttributes,
    ActivityTaskStartedEventAttributes,
    ActivityTaskTimedOutEventAttributes,
)

from stormsail.engine.core import events, failures, notes
from stormsail.engine.core.decide.workflow_task import ensure_workflow_task
from stormsail.engine.core.errors import InvalidArgument, NotFound
from stormsail.engine.core.events import NO_EXTRAS, Extras
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import (
    ActivityRef,
    ActivityToken,
    CancelActivity,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    HeartbeatReply,
    StartActivity,
    StartedActivity,
)
from stormsail.engine.core.retry import duration_ms, next_retry
from stormsail.engine.core.state import Activity, RunState
from stormsail.engine.core.turn import Turn

RUN_COMPLETED: Final = "workflow execution already completed"
GONE: Final = "invalid activityID or activity already timed out or invoking workflow is completed"
NO_CANCEL_REQUESTED: Final = "unable to mark activity as canceled without activity being request canceled first"

_CLOSING: Final = (
    "activity_task_completed_event_attributes",
    "activity_task_failed_event_attributes",
    "activity_task_timed_out_event_attributes",
    "activity_task_canceled_event_attributes",
)


def start(turn: Turn, request: StartActivity) -> None:
    """Hand an attempt to a poller. The same request asked again gets the same answer."""
    _check_open(turn.state)
    activity = turn.state.activities.get(request.scheduled_event_id)
    if activity is None or activity.attempt != request.attempt:
        raise NotFound(GONE)
    if activity.started_at_ms:
        if activity.nonce != request.request_id:
            raise NotFound("Activity task already started.")
        turn.reply = _started(turn.state, activity)
        return
    if not activity.ready or activity.paused_at_ms or turn.state.paused:
        raise NotFound(GONE)
    turn.reply = start_attempt(
        turn, activity.scheduled_event_id, request.identity, request.request_id, request.build_id
    )


def start_attempt(
    turn: Turn, scheduled_event_id: int, identity: str, nonce: str, build_id: str = ""
) -> StartedActivity:
    """Start an attempt, for a poll or eagerly. History hears of it when the activity closes: an attempt that is retried
    leaves no event."""
    turn.note(notes.ActivityStarted(scheduled_event_id, turn.now_ms, nonce, identity, build_id))
    return _started(turn.state, turn.state.activities[scheduled_event_id])


def complete(turn: Turn, request: CompleteActivity, limits: Limits) -> None:
    """Close an activity with a result. By id, one that nobody has started is started and completed at once."""
    if request.result is not None and request.result.ByteSize() > limits.blob_size_max:
        _fail_for_size(turn, request.ref, request.identity, failures.RESULT_TOO_LARGE, limits)
        return
    activity = _pending(turn.state, request.ref)
    if not activity.started_at_ms:
        if request.ref.token is not None:
            raise NotFound(GONE)
        start_attempt(turn, activity.scheduled_event_id, request.identity, nonce="")
        activity = turn.state.activities[activity.scheduled_event_id]
    started_event_id = _tell_start(turn, activity, request.worker_version)
    turn.emit(
        ActivityTaskCompletedEventAttributes(
            result=request.result,
            scheduled_event_id=activity.scheduled_event_id,
            started_event_id=started_event_id,
            identity=request.identity,
        )
    )
    ensure_workflow_task(turn, limits)


def fail(turn: Turn, request: FailActivity, limits: Limits) -> None:
    """Record an attempt's failure: the next attempt follows, or the activity closes.

    Reply: the failures that RespondActivityTaskFailed tells the worker of, for what was too large to keep.
    """
    activity = _held(turn.state, request.ref)
    told: list[Failure] = []
    details = request.last_heartbeat_details
    if details is not None:
        if details.ByteSize() > limits.blob_size_max:
            told.append(failures.server_failure(failures.HEARTBEAT_TOO_LARGE, non_retryable=True))
        else:
            turn.note(
                notes.ActivityHeartbeat(activity.scheduled_event_id, turn.now_ms, details, identity=request.identity)
            )
            activity = turn.state.activities[activity.scheduled_event_id]
    failure = failures.kept_small(request.failure, limits.blob_size_max, keep=limits.blob_size_warn, non_retryable=True)
    if failure is not None and failure is not request.failure:
        told.append(failure)
    turn.reply = tuple(told)
    retry_state = _retry(turn, activity, failure, limits)
    if retry_state == RetryState.RETRY_STATE_IN_PROGRESS:
        return
    started_event_id = _tell_start(turn, activity, request.worker_version)
    turn.emit(
        ActivityTaskFailedEventAttributes(
            failure=failure,
            scheduled_event_id=activity.scheduled_event_id,
            started_event_id=started_event_id,
            identity=request.identity,
            retry_state=retry_state,
        )
    )
    ensure_workflow_task(turn, limits)


def cancel(turn: Turn, request: CancelActivity, limits: Limits) -> None:
    """Close an activity as cancelled; refused unless the workflow asked for it."""
    if request.details is not None and request.details.ByteSize() > limits.blob_size_max:
        _fail_for_size(turn, request.ref, request.identity, failures.CANCEL_DETAILS_TOO_LARGE, limits)
        return
    activity = _held(turn.state, request.ref)
    if not activity.cancel_requested_event_id:
        raise InvalidArgument(NO_CANCEL_REQUESTED)
    started_event_id = _tell_start(turn, activity, None)
    turn.emit(
        ActivityTaskCanceledEventAttributes(
            details=request.details,
            latest_cancel_requested_event_id=activity.cancel_requested_event_id,
            scheduled_event_id=activity.scheduled_event_id,
            started_event_id=started_event_id,
            identity=request.identity,
        )
    )
    ensure_workflow_task(turn, limits)


def heartbeat(turn: Turn, request: HeartbeatActivity, limits: Limits) -> None:
    """Note that an attempt is alive and what it got done; tell it whether it shall stop."""
    if request.details is not None and request.details.ByteSize() > limits.blob_size_max:
        _fail_for_size(turn, request.ref, request.identity, failures.HEARTBEAT_TOO_LARGE, limits)
        turn.reply = HeartbeatReply(cancel_requested=True)
        return
    activity = _held(turn.state, request.ref)
    turn.note(
        notes.ActivityHeartbeat(activity.scheduled_event_id, turn.now_ms, request.details, identity=request.identity)
    )
    turn.reply = HeartbeatReply(
        cancel_requested=activity.cancel_requested_event_id != 0,
        paused=activity.paused_at_ms != 0,
        reset=activity.reset,
    )


def request_cancel(
    turn: Turn,
    scheduled_event_id: int,
    *,
    task_completed_event_id: int,
    identity: str,
    extras: Extras = NO_EXTRAS,
) -> None:
    """Carry out a RequestCancelActivityTask command: started activities learn of it by heartbeat, others end now.

    The end of one that nobody started is postponed to the next `flush`, after the events of the task's other commands.
    Raises InvalidArgument where no such activity is pending, or its cancellation was requested before.
    """
    activity = turn.state.activities.get(scheduled_event_id)
    if activity is None:
        known = _closed_out_of_sight(turn, scheduled_event_id)
    else:
        known = not activity.cancel_requested_event_id
    if not known:
        raise InvalidArgument(
            "invalid history builder state for action: add-activitytask-cancel-requested-event, "
            f"ScheduledEventID: {scheduled_event_id}"
        )
    requested = turn.emit(
        ActivityTaskCancelRequestedEventAttributes(
            scheduled_event_id=scheduled_event_id, workflow_task_completed_event_id=task_completed_event_id
        ),
        extras=extras,
    )
    if activity is None or activity.started_at_ms:
        return
    turn.postpone(
        ActivityTaskCanceledEventAttributes(
            details=failures.text_payloads(failures.ACTIVITY_NOT_STARTED),
            latest_cancel_requested_event_id=requested.event_id,
            scheduled_event_id=scheduled_event_id,
            identity=identity,
        )
    )


def time_out(turn: Turn, activity: Activity, timeout_type: TimeoutType.ValueType, limits: Limits) -> bool:
    """Record that one of the activity's timeouts is over. Returns whether the activity closed; its events are then
    postponed, for the caller to flush with those of all that is due at once, and to ensure one workflow task."""
    message = failures.activity_timeout_message(timeout_type)
    retry_state = _retry(turn, activity, failures.timeout_failure(message, timeout_type), limits)
    if retry_state == RetryState.RETRY_STATE_IN_PROGRESS:
        return False
    if retry_state == RetryState.RETRY_STATE_TIMEOUT and timeout_type != TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START:
        # Whatever ran out first, it is told as schedule-to-close: that is what leaves no time for another attempt.
        message, timeout_type = failures.NO_TIME_TO_RETRY, TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE
    failure = failures.timeout_failure(
        message, timeout_type, heartbeat_details=activity.heartbeat_details, cause=activity.last_failure
    )
    if activity.started_at_ms:
        turn.postpone(_start_of(activity, None), at_ms=activity.started_at_ms)
    turn.postpone(
        ActivityTaskTimedOutEventAttributes(
            failure=failure, scheduled_event_id=activity.scheduled_event_id, retry_state=retry_state
        )
    )
    return True


def _retry(turn: Turn, activity: Activity, failure: Failure | None, limits: Limits) -> RetryState.ValueType:
    """Begin the wait for the next attempt and return IN_PROGRESS, or return why there is none."""
    scheduled = activity.scheduled
    if not scheduled.HasField("retry_policy"):
        return RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET
    if activity.cancel_requested_event_id:
        return RetryState.RETRY_STATE_CANCEL_REQUESTED
    if failure is not None and failure.timeout_failure_info.timeout_type in (
        TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START,
        TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE,
    ):
        return RetryState.RETRY_STATE_TIMEOUT
    lasts_ms = duration_ms(scheduled.schedule_to_close_timeout)
    if activity.paused_at_ms:
        return _retry_once_resumed(turn, activity, failure, limits)
    decision = next_retry(
        scheduled.retry_policy,
        activity.attempt,
        turn.now_ms,
        activity.scheduled_at_ms + lasts_ms if lasts_ms > 0 else 0,
        failure,
        delay_beats_maximum=True,
    )
    if decision.delay_ms is not None:
        turn.note(
            notes.ActivityRetry(
                activity.scheduled_event_id,
                activity.attempt + 1,
                turn.now_ms,
                turn.now_ms + decision.delay_ms,
                failures.kept_small(failure, limits.activity_failure_size_max, non_retryable=False),
            )
        )
    return decision.state


def _retry_once_resumed(
    turn: Turn, activity: Activity, failure: Failure | None, limits: Limits
) -> RetryState.ValueType:
    """Let a paused activity wait for its next attempt. Only whether the failure may be retried counts, not how often
    it was: whoever paused it wants to try again."""
    policy = RetryPolicy()
    policy.CopyFrom(activity.scheduled.retry_policy)
    policy.maximum_attempts = 0
    decision = next_retry(policy, activity.attempt, turn.now_ms, 0, failure, delay_beats_maximum=True)
    if decision.delay_ms is not None:
        kept = failures.kept_small(failure, limits.activity_failure_size_max, non_retryable=False)
        waits = notes.ActivityRetry(
            activity.scheduled_event_id, activity.attempt + 1, turn.now_ms, activity.ready_at_ms, kept
        )
        turn.note(waits)
    return decision.state


def _tell_start(turn: Turn, activity: Activity, worker_version: WorkerVersionStamp | None) -> int:
    """Write the start of the last attempt into history, as of when it was. Returns the event's id: 0 where nobody had
    started it, or where the event is buffered (`apply.numbered` fills it in when they get their ids)."""
    if not activity.started_at_ms:
        return 0
    return turn.emit(_start_of(activity, worker_version), at_ms=activity.started_at_ms).event_id


def _start_of(activity: Activity, worker_version: WorkerVersionStamp | None) -> ActivityTaskStartedEventAttributes:
    return ActivityTaskStartedEventAttributes(
        scheduled_event_id=activity.scheduled_event_id,
        identity=activity.identity,
        request_id=activity.nonce,
        attempt=activity.attempt,
        last_failure=activity.last_failure,
        worker_version=worker_version,
    )


def _fail_for_size(turn: Turn, ref: ActivityRef, identity: str, message: str, limits: Limits) -> None:
    """Close an activity whose worker sent more than may be kept; such a report is never retried."""
    fail(turn, FailActivity(ref, failures.server_failure(message, non_retryable=True), identity), limits)
    turn.reply = None


def _held(state: RunState, ref: ActivityRef) -> Activity:
    """Find the activity of which a worker holds the attempt referred to."""
    activity = _pending(state, ref)
    if not activity.started_at_ms:
        raise NotFound(GONE)
    return activity


def _pending(state: RunState, ref: ActivityRef) -> Activity:
    """Find the activity referred to. A token of another start, or of an attempt that ended, refers to nothing."""
    _check_open(state)
    if ref.token is not None:
        activity = state.activities.get(ref.token.scheduled_event_id)
        if activity is None or (activity.attempt, activity.nonce) != (ref.token.attempt, ref.token.nonce):
            raise NotFound(GONE)
        return activity
    if not ref.activity_id:
        raise InvalidArgument("activityID cannot be empty")
    scheduled_event_id = state.activity_by_id.get(ref.activity_id)
    if scheduled_event_id is None:
        raise NotFound(
            f"cannot find pending activity with ActivityID {ref.activity_id}, "
            "check workflow execution history for more details"
        )
    return state.activities[scheduled_event_id]


def _check_open(state: RunState) -> None:
    if not state.open:
        raise NotFound(RUN_COMPLETED)


def _closed_out_of_sight(turn: Turn, scheduled_event_id: int) -> bool:
    """Say whether the activity closed while the worker that asks could not see it: its closing event is still buffered,
    or got its id in this turn."""
    for event in (*turn.state.buffered, *turn.events):
        name = events.FIELD_OF_TYPE[event.event_type]
        if name in _CLOSING and getattr(event, name).scheduled_event_id == scheduled_event_id:
            return True
    return False


def _started(state: RunState, activity: Activity) -> StartedActivity:
    return StartedActivity(
        token=ActivityToken(state.key, activity.scheduled_event_id, activity.attempt, activity.nonce),
        scheduled_event_id=activity.scheduled_event_id,
        attempt=activity.attempt,
        scheduled_at_ms=activity.scheduled_at_ms,
        attempt_scheduled_at_ms=activity.ready_at_ms or activity.scheduled_at_ms,
        started_at_ms=activity.started_at_ms,
        workflow_type=state.workflow_type,
        heartbeat_details=activity.heartbeat_details,
    )
