"""When a run must next be looked at. What is named here `decide/due.py` does, and nothing else."""

from collections.abc import Callable, Iterator
from enum import IntEnum
from operator import attrgetter
from typing import Final, NamedTuple

from temporalio.api.enums.v1 import TimeoutType

from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.state import Activity, RunState, Timer, WorkflowTask

STICKY_TIMEOUT_FALLBACK_MS: Final = 5_000
"""For a task that waits in a sticky queue which has been forgotten since: its worker may be gone too."""

_SCHEDULE_TO_CLOSE: Final = TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE
_SCHEDULE_TO_START: Final = TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START
_START_TO_CLOSE: Final = TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE
_HEARTBEAT: Final = TimeoutType.TIMEOUT_TYPE_HEARTBEAT
_NEVER_MS: Final = 1 << 62
_FIRES_AT_MS: Final[Callable[[Timer], int]] = attrgetter("fire_at_ms")
SPECULATIVE_TIMEOUT_MS: Final = 5_000
"""How long a speculative workflow task waits for a worker; then it is written down, for the time without one."""


class DueKind(IntEnum):
    """What becomes due, in the order in which things due at the same instant are done."""

    RUN_TIMEOUT = 0
    TIMER = 1
    ACTIVITY_READY = 2
    ACTIVITY_TIMEOUT = 3
    FIRST_TASK = 4
    WORKFLOW_TASK_READY = 5
    WORKFLOW_TASK_TIMEOUT = 6


class Due(NamedTuple):
    """One thing that becomes due. Sorted by instant, kind, event id, then Temporal's number of the timeout.

    A tuple, because several are made for each pending activity after every turn.
    """

    at_ms: int
    kind: DueKind
    event_id: int = 0
    """The scheduled or started event that it belongs to."""
    timeout_type: int = 0
    name: str = ""
    """A timer's id."""


def deadline_ms(state: RunState) -> int | None:
    """Return the earliest instant at which something is due, None where nothing will ever be."""
    if not state.open:
        return None
    first_ms = state.first_due_ms
    if first_ms < 0:
        first_ms = state.first_due_ms = _earliest_ms(state)
    return first_ms if first_ms < _NEVER_MS else None


def due_by(state: RunState, now_ms: int) -> list[Due]:
    """Return what is due at `now_ms`, in the order in which it is to be done."""
    if not state.open:
        return []
    found = [_timer_due(timer) for timer in state.timers.values() if timer.fire_at_ms <= now_ms]
    for activity in state.activities.values():
        if _first_due_ms(activity) <= now_ms:
            found += _activity_dues(activity)
    found += _run_dues(state)
    return sorted(due for due in found if due.at_ms <= now_ms)


def still_due(state: RunState, due: Due) -> bool:
    """Say whether a thing found due is so still, after others were done."""
    if not state.open:
        return False
    match due.kind:
        case DueKind.TIMER:
            timer = state.timers.get(due.name)
            return timer is not None and due == _timer_due(timer)
        case DueKind.ACTIVITY_READY | DueKind.ACTIVITY_TIMEOUT:
            activity = state.activities.get(due.event_id)
            return activity is not None and due in _activity_dues(activity)
        case _:
            return due in _run_dues(state)


def dues(state: RunState) -> Iterator[Due]:
    """Yield all that will become due, in no order."""
    if not state.open:
        return
    for timer in state.timers.values():
        yield _timer_due(timer)
    for activity in state.activities.values():
        yield from _activity_dues(activity)
    yield from _run_dues(state)


def run_expires_at_ms(state: RunState) -> int:
    """Return when the run times out, 0 for never: its own timeout, counted from when its first workflow task may run,
    or the whole chain's where that is earlier."""
    start, chain_ends_ms = state.start, chain_expires_at_ms(state)
    own_ms = duration_ms(start.workflow_run_timeout) if start.HasField("workflow_run_timeout") else 0
    if own_ms <= 0:
        return max(0, chain_ends_ms)
    run_ends_ms = state.execution_started_at_ms + own_ms
    return min(run_ends_ms, chain_ends_ms) if chain_ends_ms > 0 else run_ends_ms


def chain_expires_at_ms(state: RunState) -> int:
    """Return when the workflow's execution timeout ends all its runs, 0 for never."""
    if not state.start.HasField("workflow_execution_expiration_time"):
        return 0
    if state.reset_at_ms:
        return state.reset_at_ms + duration_ms(state.start.workflow_execution_timeout)
    expires = state.start.workflow_execution_expiration_time
    return max(0, expires.seconds * 1_000 + -(-expires.nanos // 1_000_000))


def _earliest_ms(state: RunState) -> int:
    first_ms = _NEVER_MS
    for due in _run_dues(state):
        if due.at_ms < first_ms:
            first_ms = due.at_ms
    for one in state.activities.values():
        due_ms = one.first_due_ms if one.first_due_ms >= 0 else _first_due_ms(one)
        if due_ms < first_ms:
            first_ms = due_ms
    return min(first_ms, *map(_FIRES_AT_MS, state.timers.values())) if state.timers else first_ms


def _timer_due(timer: Timer) -> Due:
    return Due(timer.fire_at_ms, DueKind.TIMER, timer.started_event_id, name=timer.timer_id)


def _first_due_ms(activity: Activity) -> int:
    """Return the earliest instant at which something of an activity is due, _NEVER_MS where nothing is."""
    known_ms = activity.first_due_ms
    if known_ms < 0:
        known_ms = min((max(0, due.at_ms) for due in _activity_dues(activity)), default=_NEVER_MS)
        object.__setattr__(activity, "first_due_ms", known_ms)  # of a frozen value, for nothing else can tell
    return known_ms


def _activity_dues(activity: Activity) -> Iterator[Due]:
    if activity.paused_at_ms:
        return
    scheduled = activity.scheduled
    closes_ms = duration_ms(scheduled.schedule_to_close_timeout)
    if closes_ms > 0:
        yield _timeout(activity, activity.scheduled_at_ms + closes_ms, _SCHEDULE_TO_CLOSE)
    if not activity.started_at_ms:
        waits_ms = duration_ms(scheduled.schedule_to_start_timeout)
        if waits_ms > 0:
            # Counted from when the attempt is put into its queue, so a backoff is not taken for a lack of workers.
            ready_at_ms = activity.ready_at_ms or activity.scheduled_at_ms
            yield _timeout(activity, ready_at_ms + waits_ms, _SCHEDULE_TO_START)
        if not activity.ready:
            yield Due(activity.ready_at_ms, DueKind.ACTIVITY_READY, activity.scheduled_event_id)
        return
    runs_ms = duration_ms(scheduled.start_to_close_timeout)
    if runs_ms > 0:
        yield _timeout(activity, activity.started_at_ms + runs_ms, _START_TO_CLOSE)
    beats_ms = duration_ms(scheduled.heartbeat_timeout)
    if beats_ms > 0:
        # The last heartbeat may be of an attempt before.
        last_ms = max(activity.started_at_ms, activity.heartbeat_at_ms)
        yield _timeout(activity, last_ms + beats_ms, _HEARTBEAT)


def _timeout(activity: Activity, at_ms: int, kind: TimeoutType.ValueType) -> Due:
    return Due(at_ms, DueKind.ACTIVITY_TIMEOUT, activity.scheduled_event_id, kind)


def _run_dues(state: RunState) -> list[Due]:
    found = []
    if state.expires_at_ms:
        found.append(Due(state.expires_at_ms, DueKind.RUN_TIMEOUT))
    if not state.first_task_ready:
        found.append(Due(state.first_task_at_ms, DueKind.FIRST_TASK))
    if state.workflow_task is not None and (due := _workflow_task_due(state, state.workflow_task)) is not None:
        found.append(due)
    return found


def _workflow_task_due(state: RunState, task: WorkflowTask) -> Due | None:
    event_id = task.scheduled_event_id
    if task.started_at_ms:
        return Due(task.started_at_ms + task.timeout_ms, DueKind.WORKFLOW_TASK_TIMEOUT, event_id, _START_TO_CLOSE)
    if not task.ready:
        return Due(task.ready_at_ms, DueKind.WORKFLOW_TASK_READY, event_id)
    if task.sticky:
        waits_ms = state.sticky_timeout_ms or STICKY_TIMEOUT_FALLBACK_MS
    elif task.speculative:
        waits_ms = SPECULATIVE_TIMEOUT_MS
    else:
        return None
    return Due(task.ready_at_ms + waits_ms, DueKind.WORKFLOW_TASK_TIMEOUT, event_id, _SCHEDULE_TO_START)
