"""Notes of what people do to pending activities: pause, resume, reset, change options. See `notes`."""

from dataclasses import dataclass

from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes

from stormsail.engine.core.state import Activity
from stormsail.engine.core.values import quick, replace


@quick
@dataclass(frozen=True, slots=True)
class ActivityPaused:
    """No attempt is handed out from now on."""

    scheduled_event_id: int
    at_ms: int
    identity: str
    reason: str
    request_id: str


@quick
@dataclass(frozen=True, slots=True)
class ActivityResumed:
    """It is paused no more."""

    scheduled_event_id: int


@quick
@dataclass(frozen=True, slots=True)
class ActivityReset:
    """It begins again with its first attempt; one that runs is told by heartbeat."""

    scheduled_event_id: int
    forget_heartbeat: bool


@quick
@dataclass(frozen=True, slots=True)
class ActivityAttemptsForgotten:
    """Attempts are counted from one again."""

    scheduled_event_id: int


@quick
@dataclass(frozen=True, slots=True)
class ActivityHeartbeatForgotten:
    """What the last attempt reported is forgotten."""

    scheduled_event_id: int


@quick
@dataclass(frozen=True, slots=True)
class ActivityRescheduled:
    """The next attempt is put into its queue at another time; ActivityReady follows where that has come."""

    scheduled_event_id: int
    ready_at_ms: int


@quick
@dataclass(frozen=True, slots=True)
class ActivityOptionsChanged:
    """Other timeouts, another queue, retry policy or priority count from now on."""

    scheduled_event_id: int
    options: ActivityOptions


@quick
@dataclass(frozen=True, slots=True)
class ActivityOptionsRestored:
    """What history says counts again."""

    scheduled_event_id: int


Administered = (
    ActivityPaused
    | ActivityResumed
    | ActivityReset
    | ActivityAttemptsForgotten
    | ActivityHeartbeatForgotten
    | ActivityRescheduled
    | ActivityOptionsChanged
    | ActivityOptionsRestored
)


def administered(old: Activity, change: Administered) -> Activity:
    """Return the activity as it is after a change."""
    match change:
        case ActivityPaused(_, at_ms, identity, reason, request_id):
            return replace(
                old, paused_at_ms=at_ms, paused_by=identity, pause_reason=reason, pause_request_id=request_id
            )
        case ActivityResumed():
            return replace(old, paused_at_ms=0, paused_by="", pause_reason="", pause_request_id="")
        case ActivityReset(_, forget_heartbeat):
            return replace(old, attempt=1, reset=True, forget_heartbeat=old.forget_heartbeat or forget_heartbeat)
        case ActivityAttemptsForgotten():
            return replace(old, attempt=1)
        case ActivityHeartbeatForgotten():
            return replace(old, heartbeat_at_ms=0, heartbeat_details=None)
        case ActivityRescheduled(_, ready_at_ms):
            new = replace(old, ready_at_ms=ready_at_ms, ready=False, last_failure=None)
            return next_attempt_begins(new)
        case ActivityOptionsChanged(_, options):
            return with_options(old, options)
        case ActivityOptionsRestored():
            return old if old.original is None else replace(old, scheduled=old.original, original=None)


def next_attempt_begins(activity: Activity) -> Activity:
    """Return an activity that waits for an attempt, with what a reset wanted of it done."""
    if activity.forget_heartbeat:
        activity = replace(activity, heartbeat_at_ms=0, heartbeat_details=None)
    return replace(activity, reset=False, forget_heartbeat=False)


def options_of(scheduled: ActivityTaskScheduledEventAttributes) -> ActivityOptions:
    """Return the options that a scheduled activity has."""
    options = ActivityOptions(
        schedule_to_close_timeout=scheduled.schedule_to_close_timeout,
        schedule_to_start_timeout=scheduled.schedule_to_start_timeout,
        start_to_close_timeout=scheduled.start_to_close_timeout,
        heartbeat_timeout=scheduled.heartbeat_timeout,
        retry_policy=scheduled.retry_policy,
        priority=scheduled.priority if scheduled.HasField("priority") else None,
    )
    options.task_queue.name = scheduled.task_queue.name
    return options


def with_options(activity: Activity, options: ActivityOptions) -> Activity:
    """Return an activity for which these options count, beside what they do not say: its input, its error types."""
    scheduled = ActivityTaskScheduledEventAttributes()
    scheduled.CopyFrom(activity.scheduled)
    scheduled.task_queue.name = options.task_queue.name
    for name in ("schedule_to_close", "schedule_to_start", "start_to_close", "heartbeat"):
        getattr(scheduled, f"{name}_timeout").CopyFrom(getattr(options, f"{name}_timeout"))
    for name in ("initial_interval", "maximum_interval"):
        getattr(scheduled.retry_policy, name).CopyFrom(getattr(options.retry_policy, name))
    scheduled.retry_policy.backoff_coefficient = options.retry_policy.backoff_coefficient
    scheduled.retry_policy.maximum_attempts = options.retry_policy.maximum_attempts
    scheduled.ClearField("priority")
    if options.HasField("priority"):
        scheduled.priority.CopyFrom(options.priority)
    return replace(activity, scheduled=scheduled, original=activity.original or activity.scheduled)
