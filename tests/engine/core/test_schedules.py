"""Schedules without disk, clock or network: what time, requests and the fate of workflows do to one."""

from dataclasses import replace

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import ScheduleOverlapPolicy as Policy
from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status
from temporalio.api.failure.v1 import Failure
from temporalio.api.schedule.v1 import BackfillRequest, SchedulePatch, TriggerImmediatelyRequest
from temporalio.api.workflowservice.v1 import CreateScheduleRequest, PatchScheduleRequest, UpdateScheduleRequest

from stormsail.engine.core.errors import FailedPrecondition
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.schedules import bounds, decide, pack, show
from stormsail.engine.core.schedules.buffer import plan
from stormsail.engine.core.schedules.decide import Outcome
from stormsail.engine.core.schedules.start import start_request
from stormsail.engine.core.schedules.state import Buffered, Ending, Running, Schedule

MINUTE = 60_000
T0 = 1_700_000_040_000
"""A full minute."""
SKIP, BUFFER_ONE, BUFFER_ALL = (
    Policy.SCHEDULE_OVERLAP_POLICY_SKIP,
    Policy.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE,
    Policy.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL,
)
CANCEL, TERMINATE, ALLOW_ALL = (
    Policy.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER,
    Policy.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER,
    Policy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL,
)
COMPLETED, FAILED = Status.WORKFLOW_EXECUTION_STATUS_COMPLETED, Status.WORKFLOW_EXECUTION_STATUS_FAILED


def creation(overlap: int = 0, **state: object) -> CreateScheduleRequest:
    """A schedule of every minute."""
    request = CreateScheduleRequest(namespace="n", schedule_id="s", request_id="r")
    request.schedule.spec.interval.add().interval.seconds = 60
    action = request.schedule.action.start_workflow
    action.workflow_id, action.workflow_type.name, action.task_queue.name = "w", "T", "q"
    request.schedule.policies.overlap_policy = overlap  # type: ignore[assignment]
    for name, value in state.items():
        setattr(request.schedule.state, name, value)
    return request


def created(request: CreateScheduleRequest | None = None) -> Schedule:
    return decide.create(request or creation(), "id-of-n", "life", T0 + 1)


def woken(schedule: Schedule, now_ms: int) -> Schedule:
    after = decide.wake(schedule, now_ms)
    assert after is not None
    return after


def patched(schedule: Schedule, patch: SchedulePatch, now_ms: int, request_id: str = "") -> Schedule:
    return decide.patch(schedule, PatchScheduleRequest(request_id=request_id, patch=patch), now_ms)


def all_started(schedule: Schedule, now_ms: int) -> Schedule:
    """Every start that is decided succeeds."""
    while schedule.starting:
        number = schedule.starting[0].action.number
        schedule = decide.started(schedule, number, f"run-{number}", now_ms)
    return schedule


def finished(schedule: Schedule, now_ms: int, status: int = COMPLETED, **left: object) -> Schedule:
    """The first of the running workflows ends."""
    running = schedule.running[0]
    return decide.ended(schedule, Outcome(running.workflow_id, running.run_id, status, **left), now_ms)  # type: ignore[arg-type]


def test_an_action_is_started_under_its_nominal_time_when_it_is_due() -> None:
    schedule = created()
    assert decide.due_ms(schedule, T0 + 1) == T0 + MINUTE
    schedule = woken(schedule, T0 + MINUTE + 5)
    assert [each.workflow_id for each in schedule.starting] == ["w-2023-11-14T22:15:00Z"]
    request = start_request(schedule, schedule.starting[0], DEFAULT_LIMITS)
    assert request.request_id == "life-1"
    assert request.identity == "temporal-scheduler-n-s"
    fields = request.search_attributes.indexed_fields
    assert fields["TemporalScheduledById"].data == b'"s"'
    assert fields["TemporalScheduledStartTime"].data == b'"2023-11-14T22:15:00Z"'
    schedule = all_started(schedule, T0 + MINUTE + 9)
    assert (schedule.actions, schedule.starting) == (1, ())
    assert schedule.running == (Running("w-2023-11-14T22:15:00Z", "run-1"),)
    assert decide.due_ms(schedule, T0 + MINUTE + 9) == T0 + 2 * MINUTE


def test_a_time_is_acted_on_once_however_often_the_schedule_wakes() -> None:
    schedule = created()
    for now_ms in (T0 + MINUTE, T0 + MINUTE, T0 + MINUTE + 1, T0 + MINUTE + 30_000):
        schedule = all_started(woken(schedule, now_ms), now_ms)
    assert (schedule.actions, schedule.overlap_skipped) == (1, 0)


def waiting(*overlaps: int) -> list[Buffered]:
    return [Buffered(number, 0, 0, overlap, False) for number, overlap in enumerate(overlaps, 1)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("overlaps", "running", "begun", "kept", "skipped", "ending"),
    [
        ((SKIP, SKIP, SKIP), False, [1], [], 2, ""),
        ((SKIP,), True, [], [], 1, ""),
        ((BUFFER_ONE, BUFFER_ONE, BUFFER_ONE), False, [1], [2], 1, ""),
        ((BUFFER_ONE, BUFFER_ONE), True, [], [1], 1, ""),
        ((BUFFER_ALL, BUFFER_ALL, BUFFER_ALL), False, [1], [2, 3], 0, ""),
        ((CANCEL, CANCEL), False, [2], [], 0, ""),
        ((CANCEL, CANCEL), True, [], [1, 2], 0, "cancel"),
        ((TERMINATE,), True, [], [1], 0, "terminate"),
        ((CANCEL, TERMINATE), True, [], [1, 2], 0, "cancel terminate"),
        ((ALLOW_ALL, ALLOW_ALL), True, [1, 2], [], 0, ""),
        ((ALLOW_ALL, SKIP, SKIP), False, [1, 2], [], 1, ""),
        ((ALLOW_ALL, TERMINATE), True, [], [2], 0, "terminate"),
        ((0, BUFFER_ALL), False, [1], [2], 0, ""),
        ((0,), True, [], [], 1, ""),
    ],
)
def test_overlap_policies_say_what_begins_what_waits_and_what_is_skipped(
    overlaps: tuple[int, ...], running: bool, begun: list[int], kept: list[int], skipped: int, ending: str
) -> None:
    planned = plan(waiting(*overlaps), running=running, resolve=lambda asked: asked or SKIP)
    chosen = [planned.next] if planned.next else []
    assert [each.number for each in (*planned.overlapping, *chosen)] == begun
    assert [each.number for each in planned.kept] == kept
    assert planned.skipped == skipped
    assert ending.split() == [name for name in ("cancel", "terminate") if getattr(planned, name)]


def test_what_waits_in_the_buffer_begins_when_what_runs_has_ended() -> None:
    schedule = all_started(woken(created(creation(BUFFER_ONE)), T0 + MINUTE), T0 + MINUTE)
    schedule = woken(woken(schedule, T0 + 2 * MINUTE), T0 + 3 * MINUTE)
    assert (len(schedule.buffered), schedule.overlap_skipped, schedule.starting) == (1, 1, ())
    schedule = finished(schedule, T0 + 3 * MINUTE + 5)
    assert [each.action.nominal_ms for each in schedule.starting] == [T0 + 2 * MINUTE]


@pytest.mark.parametrize(("policy", "ending"), [(CANCEL, Ending.CANCEL), (TERMINATE, Ending.TERMINATE)])
def test_what_runs_is_asked_to_end_once_where_the_policy_says_so(policy: int, ending: Ending) -> None:
    schedule = all_started(woken(created(creation(policy)), T0 + MINUTE), T0 + MINUTE)
    schedule = woken(schedule, T0 + 2 * MINUTE)
    [running] = schedule.running
    assert (running.ending, running.asked) == (ending, False)
    schedule = decide.ending_asked(schedule, running)
    assert schedule.running == (replace(running, asked=True),)
    assert woken(schedule, T0 + 3 * MINUTE).running == schedule.running
    # Of the actions that waited for it, the last one begins.
    schedule = finished(woken(schedule, T0 + 3 * MINUTE), T0 + 3 * MINUTE)
    assert [each.action.nominal_ms for each in schedule.starting] == [T0 + 3 * MINUTE]


def test_runs_that_may_overlap_are_not_followed() -> None:
    schedule = all_started(woken(created(creation(ALLOW_ALL)), T0 + 3 * MINUTE), T0 + 3 * MINUTE)
    assert (schedule.actions, schedule.running) == (3, ())


def test_actions_older_than_the_catchup_window_are_missed_and_counted_once() -> None:
    request = creation(BUFFER_ALL)
    request.schedule.policies.catchup_window.seconds = 90
    schedule = woken(created(request), T0 + 5 * MINUTE)
    assert schedule.missed_catchup_window == 3
    assert [each.action.nominal_ms for each in schedule.starting] == [T0 + 4 * MINUTE]
    assert woken(schedule, T0 + 5 * MINUTE + 1).missed_catchup_window == 3


@pytest.mark.parametrize(("asked_s", "kept_s"), [(None, 365 * 86_400), (1, 10), (10, 10), (11, 11)])
def test_the_catchup_window_is_a_year_unless_given_and_ten_seconds_at_least(asked_s: int | None, kept_s: int) -> None:
    request = creation()
    if asked_s is not None:
        request.schedule.policies.catchup_window.seconds = asked_s
    assert created(request).policies.catchup_window.seconds == kept_s


def test_after_a_long_absence_a_turn_takes_so_many_times_and_asks_for_another() -> None:
    now_ms = T0 + (bounds.STEPS_MAX + 7) * MINUTE
    schedule = woken(created(), now_ms)
    assert (schedule.more, decide.due_ms(schedule, now_ms)) == (True, now_ms)
    assert schedule.overlap_skipped == bounds.STEPS_MAX - 1
    schedule = woken(schedule, now_ms)
    assert (schedule.more, schedule.overlap_skipped) == (False, bounds.STEPS_MAX + 6)


def test_nothing_of_a_pause_is_made_up_for() -> None:
    schedule = created(creation(paused=True))
    assert decide.due_ms(schedule, T0) is None
    schedule = patched(schedule, SchedulePatch(unpause="go"), T0 + 10 * MINUTE + 1)
    assert (schedule.paused, schedule.notes, schedule.conflict_token) == (False, "go", 2)
    assert (schedule.starting, schedule.buffered, schedule.missed_catchup_window) == ((), (), 0)
    assert decide.due_ms(schedule, T0 + 10 * MINUTE + 1) == T0 + 11 * MINUTE


def test_a_trigger_and_backfills_act_even_in_a_pause() -> None:
    patch = SchedulePatch(trigger_immediately=TriggerImmediatelyRequest(overlap_policy=ALLOW_ALL))
    schedule = patched(created(creation(paused=True)), patch, T0 + 5)
    assert [each.workflow_id for each in schedule.starting] == ["w-2023-11-14T22:14:00Z"]
    backfill = BackfillRequest(overlap_policy=ALLOW_ALL)
    backfill.start_time.FromMilliseconds(T0 - 100 * MINUTE)
    backfill.end_time.FromMilliseconds(T0 - 85 * MINUTE)
    schedule = patched(all_started(schedule, T0 + 5), SchedulePatch(backfill_request=[backfill]), T0 + 6)
    assert len(schedule.starting) == bounds.BACKFILLED_AT_ONCE
    assert decide.due_ms(schedule, T0 + 6) == T0 + 6 + bounds.BACKFILL_PAUSE_MS
    schedule = woken(schedule, T0 + 1_006)
    times = [each.action.nominal_ms for each in schedule.starting]
    assert times == [T0 + minutes * MINUTE for minutes in range(-100, -84)], "both ends are in it"
    assert woken(schedule, T0 + 2_006).backfills == ()


def test_a_buffer_that_is_full_drops_and_counts() -> None:
    schedule = created(creation(BUFFER_ALL))
    for number in range(bounds.BUFFERED_MAX + 3):
        schedule = patched(schedule, SchedulePatch(trigger_immediately=TriggerImmediatelyRequest()), T0 + 2 + number)
    assert (len(schedule.buffered), schedule.buffer_dropped) == (bounds.BUFFERED_MAX, 2)


def test_limited_actions_run_out_and_the_schedule_is_deleted_a_week_later() -> None:
    schedule = created(creation(limited_actions=True, remaining_actions=1))
    assert len(decide.future_times(schedule, 10, T0)) == 1
    schedule = all_started(woken(schedule, T0 + MINUTE), T0 + MINUTE)
    assert (schedule.remaining_actions, schedule.conflict_token) == (0, 2)
    schedule = finished(schedule, T0 + MINUTE + 1)
    expires_ms = T0 + MINUTE + bounds.RETENTION_MS
    assert decide.due_ms(schedule, T0 + MINUTE + 1) == expires_ms
    assert decide.wake(schedule, expires_ms - 1) is not None
    assert decide.wake(schedule, expires_ms) is None


def test_results_and_failures_are_passed_on_to_the_next_run() -> None:
    result = Payloads(payloads=[Payload(data=b"7")])
    schedule = all_started(woken(created(), T0 + MINUTE), T0 + MINUTE)
    schedule = finished(schedule, T0 + MINUTE + 1, result=result)
    schedule = woken(schedule, T0 + 2 * MINUTE)
    request = start_request(schedule, schedule.starting[0], DEFAULT_LIMITS)
    assert (request.last_completion_result, request.HasField("continued_failure")) == (result, False)
    schedule = finished(
        all_started(schedule, T0 + 2 * MINUTE), T0 + 2 * MINUTE + 1, FAILED, failure=Failure(message="no")
    )
    schedule = woken(schedule, T0 + 3 * MINUTE)
    request = start_request(schedule, schedule.starting[0], DEFAULT_LIMITS)
    assert (request.last_completion_result, request.continued_failure.message) == (result, "no")
    assert [each.status for each in schedule.recent] == [COMPLETED, FAILED]


@pytest.mark.parametrize(
    ("status", "notes"),
    [
        (FAILED, "paused due to workflow failure: w-2023-11-14T22:15:00Z: no"),
        (Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, "paused due to workflow timeout: w-2023-11-14T22:15:00Z"),
        (Status.WORKFLOW_EXECUTION_STATUS_TERMINATED, ""),
    ],
)
def test_a_failure_pauses_where_the_policy_says_so(status: int, notes: str) -> None:
    request = creation()
    request.schedule.policies.pause_on_failure = True
    schedule = all_started(woken(created(request), T0 + MINUTE), T0 + MINUTE)
    schedule = finished(schedule, T0 + MINUTE + 1, status, failure=Failure(message="no"))
    assert (schedule.paused, schedule.notes) == (bool(notes), notes)


def test_a_refused_start_is_dropped_and_the_next_takes_its_place() -> None:
    schedule = woken(created(creation(BUFFER_ALL)), T0 + 2 * MINUTE)
    assert (len(schedule.starting), len(schedule.buffered)) == (1, 1)
    schedule = decide.not_started(schedule, schedule.starting[0].action.number, T0 + 2 * MINUTE)
    assert [each.action.nominal_ms for each in schedule.starting] == [T0 + 2 * MINUTE]
    assert schedule.actions == 0


def test_an_update_replaces_the_definition_and_nothing_is_done_for_the_time_before_it() -> None:
    schedule = created()
    wanted = creation(BUFFER_ALL, notes="new").schedule
    wanted.spec.interval[0].interval.seconds = 1
    token = show.conflict_token(schedule)
    schedule = decide.update(schedule, UpdateScheduleRequest(schedule=wanted, conflict_token=token), T0 + 30_500)
    assert (schedule.notes, schedule.conflict_token, schedule.updated_ms) == ("new", 2, T0 + 30_500)
    assert (schedule.starting, schedule.buffered) == ((), ())
    assert decide.due_ms(schedule, T0 + 30_500) == T0 + 31_000
    with pytest.raises(FailedPrecondition, match="mismatched conflict token"):
        decide.update(schedule, UpdateScheduleRequest(schedule=wanted, conflict_token=token), T0 + 40_000)


def test_a_patch_that_is_sent_twice_is_done_once() -> None:
    patch = SchedulePatch(trigger_immediately=TriggerImmediatelyRequest())
    once = patched(created(), patch, T0 + 5, "p")
    assert patched(once, patch, T0 + 6, "p") is once


def test_a_schedule_is_the_same_after_it_was_packed() -> None:
    schedule = all_started(woken(created(creation(CANCEL)), T0 + MINUTE), T0 + MINUTE)
    schedule = finished(schedule, T0 + MINUTE + 1, result=Payloads(payloads=[Payload(data=b"7")]))
    schedule = all_started(woken(schedule, T0 + 2 * MINUTE), T0 + 2 * MINUTE)
    schedule = woken(schedule, T0 + 3 * MINUTE)
    backfill = BackfillRequest(overlap_policy=ALLOW_ALL)
    backfill.start_time.FromMilliseconds(T0 - 100 * MINUTE)
    backfill.end_time.FromMilliseconds(T0)
    schedule = patched(schedule, SchedulePatch(backfill_request=[backfill]), T0 + 3 * MINUTE, "p")
    assert schedule.buffered
    assert schedule.backfills
    assert schedule.running
    found = pack.unpack(
        schedule.key, pack.definition(schedule), schedule.memo, schedule.search_attributes, pack.progress(schedule)
    )
    assert found == schedule


def test_what_is_shown_is_bounded() -> None:
    schedule = created()
    for minute in range(1, 30):
        schedule = all_started(woken(schedule, T0 + minute * MINUTE), T0 + minute * MINUTE)
        schedule = finished(schedule, T0 + minute * MINUTE + 1)
    shown = show.describe(schedule, T0 + 30 * MINUTE)
    assert (shown.info.action_count, len(shown.info.recent_actions)) == (29, 10)
    assert len(shown.info.future_action_times) == 10
    entry = show.list_entry(schedule, T0 + 30 * MINUTE)
    assert (len(entry.info.recent_actions), len(entry.info.future_action_times)) == (5, 5)
