"""An activity's life, over all its attempts. What is absent is impossible."""

from collections.abc import Mapping
from typing import Final

from stormsail.engine.core import state
from stormsail.engine.core.values import Word


class Activity(Word):
    """Where an activity stands."""

    ABSENT = "absent"
    SCHEDULED = "scheduled"
    """In a task queue."""
    BACKING_OFF = "backing off"
    """An attempt ended; the next one is not in the queue yet."""
    STARTED = "started"
    """A worker holds an attempt."""
    CLOSED = "closed"


ACTIVITY: Final[Mapping[tuple[Activity, str], Activity]] = {
    (Activity.ABSENT, "ActivityTaskScheduled"): Activity.SCHEDULED,
    # Progress: attempts leave no event until the last one ends.
    (Activity.SCHEDULED, "ActivityStarted"): Activity.STARTED,
    (Activity.BACKING_OFF, "ActivityStarted"): Activity.STARTED,
    (Activity.STARTED, "ActivityHeartbeat"): Activity.STARTED,
    (Activity.STARTED, "ActivityRetry"): Activity.BACKING_OFF,
    (Activity.BACKING_OFF, "ActivityReady"): Activity.SCHEDULED,
    # People's doing. A paused one stands where it stood: it is only handed to nobody.
    **{
        (stands, name): stands
        for stands in (Activity.SCHEDULED, Activity.BACKING_OFF, Activity.STARTED)
        for name in ("ActivityPaused", "ActivityResumed", "ActivityReset", "ActivityOptionsChanged")
    },
    (Activity.SCHEDULED, "ActivityRescheduled"): Activity.BACKING_OFF,
    (Activity.BACKING_OFF, "ActivityRescheduled"): Activity.BACKING_OFF,
    # History.
    (Activity.SCHEDULED, "ActivityTaskCancelRequested"): Activity.SCHEDULED,
    (Activity.BACKING_OFF, "ActivityTaskCancelRequested"): Activity.BACKING_OFF,
    (Activity.STARTED, "ActivityTaskCancelRequested"): Activity.STARTED,
    (Activity.STARTED, "ActivityTaskStarted"): Activity.STARTED,
    (Activity.SCHEDULED, "ActivityTaskStarted"): Activity.STARTED,  # in a replay, which knows no progress yet
    (Activity.STARTED, "ActivityTaskCompleted"): Activity.CLOSED,
    (Activity.STARTED, "ActivityTaskFailed"): Activity.CLOSED,
    (Activity.STARTED, "ActivityTaskTimedOut"): Activity.CLOSED,
    (Activity.STARTED, "ActivityTaskCanceled"): Activity.CLOSED,
    # Nobody had started it: a cancel command, or schedule-to-start and schedule-to-close timeouts.
    (Activity.SCHEDULED, "ActivityTaskCanceled"): Activity.CLOSED,
    (Activity.SCHEDULED, "ActivityTaskTimedOut"): Activity.CLOSED,
    (Activity.BACKING_OFF, "ActivityTaskCanceled"): Activity.CLOSED,
    (Activity.BACKING_OFF, "ActivityTaskTimedOut"): Activity.CLOSED,
}
"""By event or note. RespondActivityTaskCompletedById may complete what nobody started: the same turn starts it."""


def stands(activity: state.Activity | None) -> Activity:
    """Say where a pending activity stands; None is one that is not pending any more."""
    if activity is None:
        return Activity.CLOSED
    if activity.started_at_ms:
        return Activity.STARTED
    return Activity.SCHEDULED if activity.ready else Activity.BACKING_OFF
