"""What requests, the passing of time and the fate of started workflows do to a schedule.

Each function gets the schedule as committed and returns a changed copy; effects are read off that copy by whoever
commits it: `starting` is to be started, `running` with an `ending` is to be ended, and `due_ms` is when to look again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import ScheduleOverlapPolicy, WorkflowExecutionStatus
from temporalio.api.failure.v1 import Failure
from temporalio.api.schedule.v1 import Schedule as ScheduleMessage
from temporalio.api.schedule.v1 import SchedulePatch, SchedulePolicies
from temporalio.api.workflowservice.v1 import CreateScheduleRequest, PatchScheduleRequest, UpdateScheduleRequest

from stormsail.engine.core.errors import FailedPrecondition
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.schedule_spec import CompiledSpec, NextTime, SpecError, TooManyExclusions, compile_spec
from stormsail.engine.core.schedules import bounds
from stormsail.engine.core.schedules.buffer import plan
from stormsail.engine.core.schedules.start import workflow_id_of
from stormsail.engine.core.schedules.state import (
    Backfill,
    Buffered,
    Ending,
    Recent,
    Running,
    Schedule,
    ScheduleKey,
    Starting,
)

_UNSPECIFIED: Final = ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_UNSPECIFIED
_SKIP: Final = ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_SKIP
_RUNNING: Final = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
_PAUSED_DUE_TO: Final[Mapping[int, str]] = {
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_FAILED: "failure",
    WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TIMED_OUT: "timeout",
}
TOKEN_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a workflow that the schedule started has ended. Status 0 where it is not known any more."""

    workflow_id: str
    run_id: str
    """The first of its runs."""
    status: int
    result: Payloads | None = None
    failure: Failure | None = None


def create(request: CreateScheduleRequest, namespace_id: str, incarnation: str, now_ms: int) -> Schedule:
    """Return a new schedule, its initial patch done. The request was checked and its spec is canonical."""
    schedule = Schedule(
        key=ScheduleKey(request.namespace, request.schedule_id),
        namespace_id=namespace_id,
        incarnation=incarnation,
        create_request_id=request.request_id,
        created_ms=now_ms,
        processed_ms=now_ms,
        memo=request.memo.SerializeToString(deterministic=True),
        search_attributes=request.search_attributes.SerializeToString(deterministic=True),
    )
    _take_definition(schedule, request.schedule)
    if request.HasField("initial_patch"):
        _patch(schedule, request.initial_patch, now_ms)
    return _settled(schedule, now_ms)


def update(before: Schedule, request: UpdateScheduleRequest, now_ms: int) -> Schedule:
    """Replace what the schedule is; what it has done stays. Raises FailedPrecondition on another conflict token."""
    if _repeated(before, request.request_id):
        return before
    schedule = _advanced(before, now_ms)
    token = request.conflict_token
    if len(token) >= TOKEN_BYTES and int.from_bytes(token[:TOKEN_BYTES]) not in (0, schedule.conflict_token):
        raise FailedPrecondition("mismatched conflict token: the schedule has changed; describe it and try again")
    _remember(schedule, request.request_id)
    _take_definition(schedule, request.schedule)
    if request.HasField("search_attributes"):
        schedule.search_attributes = request.search_attributes.SerializeToString(deterministic=True)
    if request.HasField("memo"):
        schedule.memo = request.memo.SerializeToString(deterministic=True)
    schedule.updated_ms = now_ms
    schedule.conflict_token += 1
    return _settled(schedule, now_ms)


def patch(before: Schedule, request: PatchScheduleRequest, now_ms: int) -> Schedule:
    """Trigger, backfill, pause or unpause."""
    if _repeated(before, request.request_id):
        return before
    schedule = _advanced(before, now_ms)
    _remember(schedule, request.request_id)
    _patch(schedule, request.patch, now_ms)
    return _settled(schedule, now_ms)


def wake(before: Schedule, now_ms: int) -> Schedule | None:
    """Do what is due; None where the schedule has nothing to do for so long that it is deleted."""
    schedule = _settled(_advanced(before, now_ms), now_ms)
    expires_ms = _expires_ms(schedule)
    return None if expires_ms is not None and expires_ms <= now_ms else schedule


def started(before: Schedule, number: int, run_id: str, now_ms: int) -> Schedule:
    """Take note that an action's workflow was started."""
    found = _starting(before, number)
    if found is None:
        return before
    schedule = before.copy()
    schedule.starting = tuple(each for each in before.starting if each is not found)
    schedule.actions += 1
    recent = Recent(found.action.at_ms, now_ms, found.workflow_id, run_id, int(_RUNNING))
    schedule.recent = (*before.recent, recent)[-bounds.RECENT_MAX :]
    if found.tracked:
        schedule.running = (*before.running, Running(found.workflow_id, run_id))
    return _settled(schedule, now_ms)


def not_started(before: Schedule, number: int, now_ms: int) -> Schedule:
    """Drop an action whose start was refused; the next takes its place."""
    found = _starting(before, number)
    if found is None:
        return before
    schedule = before.copy()
    schedule.starting = tuple(each for each in before.starting if each is not found)
    return _settled(schedule, now_ms)


def ending_asked(before: Schedule, running: Running) -> Schedule:
    """Take note that a workflow was asked to end."""
    schedule = before.copy()
    schedule.running = tuple(replace(each, asked=True) if each == running else each for each in before.running)
    return schedule


def ended(before: Schedule, outcome: Outcome, now_ms: int) -> Schedule:
    """Take note of a workflow's end: pause if that is the policy, keep its result, and go on with the buffer."""
    if not any((each.workflow_id, each.run_id) == _names(outcome) for each in before.running):
        return before
    schedule = over(_advanced(before, now_ms), outcome)
    cause = _PAUSED_DUE_TO.get(outcome.status)
    if cause and schedule.policies.pause_on_failure and not schedule.paused:
        schedule.paused = True
        schedule.notes = f"paused due to workflow {cause}: {outcome.workflow_id}"
        if cause == "failure":
            schedule.notes += f": {outcome.failure.message if outcome.failure else ''}"
        schedule.conflict_token += 1
    if outcome.result is not None:
        schedule.last_result, schedule.last_failure = outcome.result, None
    elif outcome.failure is not None:
        schedule.last_failure = outcome.failure  # the result before it stays
    return _settled(schedule, now_ms)


def over(before: Schedule, outcome: Outcome) -> Schedule:
    """Show a workflow as ended; nothing follows of it."""
    schedule = before.copy()
    schedule.running = tuple(each for each in before.running if (each.workflow_id, each.run_id) != _names(outcome))
    schedule.recent = tuple(
        replace(each, status=outcome.status) if (each.workflow_id, each.run_id) == _names(outcome) else each
        for each in before.recent
    )
    return schedule


def due_ms(schedule: Schedule, now_ms: int) -> int | None:
    """Return when the schedule must next be looked at."""
    if schedule.more:
        return now_ms
    if schedule.backfills and len(schedule.buffered) < bounds.BUFFERED_MAX // 2:
        return now_ms + bounds.BACKFILL_PAUSE_MS
    if schedule.may_act():
        following = _next(schedule, compiled_of(schedule), schedule.processed_ms)
        if following is not None:
            return following.at_ms
    return _expires_ms(schedule)


def future_times(schedule: Schedule, most: int, now_ms: int) -> list[int]:
    """Return when the schedule will act, without its pauses: a paused one as if it went on now."""
    if schedule.limited_actions:
        most = min(most, schedule.remaining_actions)
    compiled = compiled_of(schedule)
    at_ms = schedule.processed_ms if schedule.may_act() else max(now_ms, schedule.processed_ms)
    times: list[int] = []
    while compiled is not None and len(times) < most:
        following = _next(schedule, compiled, at_ms)
        if following is None:
            break
        at_ms = following.at_ms
        times.append(at_ms)
    return times


def compiled_of(schedule: Schedule) -> CompiledSpec | None:
    """Return the compiled spec; None where its time zone has gone since it was checked."""
    try:
        return compile_spec(schedule.spec)
    except SpecError:
        return None


def _advanced(before: Schedule, now_ms: int) -> Schedule:
    """Return a copy in which every action that is due by now has been buffered or passed over."""
    schedule = before.copy()
    schedule.more = False
    compiled = compiled_of(schedule)
    if compiled is None or not schedule.may_act():
        # What falls into a pause is not made up for afterwards, nor counted as missed.
        schedule.processed_ms = max(schedule.processed_ms, now_ms)
        return schedule
    window_ms = duration_ms(schedule.policies.catchup_window)
    for _ in range(bounds.STEPS_MAX):
        following = _next(schedule, compiled, schedule.processed_ms)
        if following is None or following.at_ms > now_ms:
            return schedule
        schedule.processed_ms = following.at_ms
        if now_ms - following.at_ms > window_ms:
            schedule.missed_catchup_window += 1
        else:
            _buffer(schedule, following.nominal_ms, following.at_ms, _UNSPECIFIED, manual=False)
    schedule.more = True
    return schedule


def _next(schedule: Schedule, compiled: CompiledSpec | None, after_ms: int) -> NextTime | None:
    """Return the next action after a time; those from before the last update do not count."""
    # Not a jump to the update: an action may match before it and, with its jitter, act after it.
    for _ in range(bounds.STEPS_MAX):
        try:
            found = None if compiled is None else compiled.next_time(schedule.jitter_seed, after_ms)
        except TooManyExclusions:
            return None
        if found is None or found.at_ms >= schedule.updated_ms:
            return found
        after_ms = found.at_ms
    # So many in between: the jitter cannot reach over all of them.
    return _next(schedule, compiled, max(after_ms, schedule.updated_ms - 1))


def _settled(schedule: Schedule, now_ms: int) -> Schedule:
    """Take the next part of the backfills into the buffer, and begin what of the buffer may begin."""
    _take_backfills(schedule)
    while _begin_buffered(schedule, now_ms):
        pass
    return schedule


def _take_backfills(schedule: Schedule) -> None:
    limit = bounds.BACKFILLED_AT_ONCE
    compiled = compiled_of(schedule)
    while schedule.backfills and limit > 0 and len(schedule.buffered) < bounds.BUFFERED_MAX // 2:
        backfill, *rest = schedule.backfills
        following = _next_of_backfill(schedule, compiled, backfill)
        if following is None:
            schedule.backfills = tuple(rest)
            continue
        _buffer(schedule, following.nominal_ms, following.at_ms, backfill.overlap, manual=True)
        schedule.backfills = (replace(backfill, after_ms=following.at_ms), *rest)
        limit -= 1


def _next_of_backfill(schedule: Schedule, compiled: CompiledSpec | None, backfill: Backfill) -> NextTime | None:
    try:
        found = None if compiled is None else compiled.next_time(schedule.jitter_seed, backfill.after_ms)
    except TooManyExclusions:
        return None
    return found if found is not None and found.at_ms <= backfill.until_ms else None


def _buffer(
    schedule: Schedule, nominal_ms: int, at_ms: int, overlap: ScheduleOverlapPolicy.ValueType, *, manual: bool
) -> None:
    if len(schedule.buffered) >= bounds.BUFFERED_MAX:
        schedule.buffer_dropped += 1
        return
    schedule.drawn += 1
    schedule.buffered = (*schedule.buffered, Buffered(schedule.drawn, nominal_ms, at_ms, overlap, manual))


def _begin_buffered(schedule: Schedule, now_ms: int) -> bool:
    """Apply the overlap policies to the buffer once; return whether there may be more to do."""
    if not schedule.buffered or schedule.action.WhichOneof("action") != "start_workflow":
        schedule.buffered = ()
        return False
    running = bool(schedule.running) or any(each.tracked for each in schedule.starting)
    planned = plan(schedule.buffered, running=running, resolve=lambda asked: asked or schedule.policies.overlap_policy)
    schedule.buffered = planned.kept
    schedule.overlap_skipped += planned.skipped
    again = False
    chosen = (planned.next,) if planned.next is not None else ()
    for action in (*planned.overlapping, *chosen):
        if not schedule.may_act(manual=action.manual):
            again = True  # paused or out of actions since it was buffered: drop it, and look at the rest
            continue
        if not action.manual and schedule.limited_actions:
            schedule.remaining_actions -= 1
            schedule.conflict_token += 1
        _begin(schedule, action, tracked=action is planned.next, now_ms=now_ms)
    if planned.cancel or planned.terminate:
        _ask_to_end(schedule, Ending.TERMINATE if planned.terminate else Ending.CANCEL)
    return again


def _begin(schedule: Schedule, action: Buffered, *, tracked: bool, now_ms: int) -> None:
    window_ms = bounds.MANUAL_START_TRIES_MS
    if not action.manual:
        left_ms = action.at_ms + duration_ms(schedule.policies.catchup_window) - now_ms
        window_ms = min(max(left_ms, bounds.START_TRIES_MIN_MS), bounds.START_TRIES_MS)
    workflow_id = workflow_id_of(schedule, action)
    schedule.starting = (*schedule.starting, Starting(action, workflow_id, tracked, now_ms + window_ms))


def _ask_to_end(schedule: Schedule, ending: Ending) -> None:
    schedule.running = tuple(
        each if each.ending in (ending, Ending.TERMINATE) else replace(each, ending=ending, asked=False)
        for each in schedule.running
    )


def _patch(schedule: Schedule, wanted: SchedulePatch, now_ms: int) -> None:
    if wanted.HasField("trigger_immediately"):
        trigger = wanted.trigger_immediately
        at_ms = trigger.scheduled_time.ToMilliseconds() if trigger.HasField("scheduled_time") else now_ms
        _buffer(schedule, at_ms, at_ms, trigger.overlap_policy, manual=True)
    for each in wanted.backfill_request:
        if len(schedule.backfills) >= bounds.BACKFILLS_MAX:
            schedule.buffer_dropped += 1
            continue
        # A backfill's start is one of its times.
        after_ms = each.start_time.ToMilliseconds() - 1
        backfill = Backfill(after_ms, each.end_time.ToMilliseconds(), each.overlap_policy)
        schedule.backfills = (*schedule.backfills, backfill)
    if wanted.pause:
        schedule.paused, schedule.notes = True, wanted.pause
        schedule.conflict_token += 1
    if wanted.unpause:
        schedule.paused, schedule.notes = False, wanted.unpause
        schedule.conflict_token += 1


def _take_definition(schedule: Schedule, given: ScheduleMessage) -> None:
    """Take over what a schedule is to be, with the defaults of what it leaves open."""
    policies = SchedulePolicies()
    policies.CopyFrom(given.policies)
    policies.overlap_policy = policies.overlap_policy or _SKIP
    if not policies.HasField("catchup_window"):
        policies.catchup_window.FromMilliseconds(bounds.CATCHUP_WINDOW_DEFAULT_MS)
    elif duration_ms(policies.catchup_window) < bounds.CATCHUP_WINDOW_MIN_MS:
        policies.catchup_window.FromMilliseconds(bounds.CATCHUP_WINDOW_MIN_MS)
    schedule.spec, schedule.action, schedule.policies = given.spec, given.action, policies
    schedule.paused, schedule.notes = given.state.paused, given.state.notes
    schedule.limited_actions = given.state.limited_actions
    schedule.remaining_actions = given.state.remaining_actions


def _expires_ms(schedule: Schedule) -> int | None:
    """Return when a schedule with no more to do is deleted; None while it has."""
    if schedule.paused or schedule.busy or schedule.buffered or schedule.backfills or schedule.more:
        return None
    if schedule.may_act() and _next(schedule, compiled_of(schedule), schedule.processed_ms) is not None:
        return None
    return schedule.last_event_ms + bounds.RETENTION_MS


def _repeated(schedule: Schedule, request_id: str) -> bool:
    return bool(request_id) and request_id in schedule.request_ids


def _remember(schedule: Schedule, request_id: str) -> None:
    if request_id:
        schedule.request_ids = (*schedule.request_ids, request_id)[-bounds.REQUEST_IDS_MAX :]


def _starting(schedule: Schedule, number: int) -> Starting | None:
    return next((each for each in schedule.starting if each.action.number == number), None)


def _names(outcome: Outcome) -> tuple[str, str]:
    return (outcome.workflow_id, outcome.run_id)
