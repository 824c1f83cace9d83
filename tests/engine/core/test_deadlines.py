"""When a run must be looked at."""

from dataclasses import replace
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes, WorkflowExecutionStartedEventAttributes

from stormsail.engine.core import deadlines
from stormsail.engine.core.deadlines import Due, DueKind
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RUNNING, Activity, RunState, Timer, WorkflowTask

KEY = RunKey("default", "wf", "run")


def ms(number: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(number)
    return duration


def run(**fields: Any) -> RunState:
    state = RunState(KEY, status=RUNNING, started_at_ms=1_000, execution_started_at_ms=1_000, **fields)
    state.expires_at_ms = deadlines.run_expires_at_ms(state)
    return state


def activity(event_id: int = 5, **fields: Any) -> Activity:
    scheduled = ActivityTaskScheduledEventAttributes(
        schedule_to_close_timeout=ms(1_000),
        schedule_to_start_timeout=ms(300),
        start_to_close_timeout=ms(200),
        heartbeat_timeout=ms(50),
    )
    return Activity(event_id, scheduled_at_ms=1_000, scheduled=scheduled, ready_at_ms=1_000, **fields)


def kinds(state: RunState) -> dict[str, int]:
    return {
        (TimeoutType.Name(due.timeout_type).removeprefix("TIMEOUT_TYPE_") if due.timeout_type else due.kind.name): (
            due.at_ms
        )
        for due in deadlines.dues(state)
    }


def test_a_run_that_waits_for_nothing_has_no_deadline() -> None:
    assert deadlines.deadline_ms(run()) is None


def test_after_a_turn_only_the_activities_that_it_changed_are_looked_into_again() -> None:
    many = run(activities={number: activity(number) for number in range(5, 2_005)})
    assert deadlines.deadline_ms(many) == 1_300
    after = many.copy()
    after.activities[7] = replace(after.activities[7], started_at_ms=1_100)
    assert [key for key, one in after.activities.items() if one.first_due_ms < 0] == [7]
    after.activities[8] = replace(after.activities[8], ready_at_ms=900)
    assert deadlines.deadline_ms(after) == 1_150
    assert deadlines.deadline_ms(many) == 1_300
    without = after.copy()
    del without.activities[7]
    assert deadlines.deadline_ms(without) == 1_200


def test_a_closed_run_has_no_deadline() -> None:
    closed = run(timers={"t": Timer("t", 5, 2_000)})
    assert deadlines.deadline_ms(closed) == 2_000
    closed.status = 2
    assert deadlines.deadline_ms(closed) is None
    assert deadlines.due_by(closed, 10**15) == []
    assert not deadlines.still_due(closed, Due(2_000, DueKind.TIMER, 5, name="t"))


def test_an_activity_in_its_queue_waits_for_a_worker() -> None:
    assert kinds(run(activities={5: activity()})) == {"SCHEDULE_TO_CLOSE": 2_000, "SCHEDULE_TO_START": 1_300}


def test_a_started_activity_must_finish_and_beat() -> None:
    started = activity(started_at_ms=1_100, ready=False)
    assert kinds(run(activities={5: started})) == {
        "SCHEDULE_TO_CLOSE": 2_000,
        "START_TO_CLOSE": 1_300,
        "HEARTBEAT": 1_150,
    }
    beating = replace(started, heartbeat_at_ms=1_140)
    assert kinds(run(activities={5: beating}))["HEARTBEAT"] == 1_190


def test_the_heartbeat_of_an_earlier_attempt_does_not_shorten_this_one() -> None:
    started = activity(started_at_ms=1_100, ready=False, heartbeat_at_ms=1_050, attempt=2)
    assert kinds(run(activities={5: started}))["HEARTBEAT"] == 1_150


def test_an_activity_backing_off_waits_for_its_queue_and_then_for_a_worker() -> None:
    backing_off = replace(activity(ready=False, attempt=2), ready_at_ms=1_500)
    assert kinds(run(activities={5: backing_off})) == {
        "SCHEDULE_TO_CLOSE": 2_000,
        "SCHEDULE_TO_START": 1_800,
        "ACTIVITY_READY": 1_500,
    }


def test_timeouts_that_are_not_set_are_never_due() -> None:
    bare = replace(activity(started_at_ms=1_100), scheduled=ActivityTaskScheduledEventAttributes())
    assert kinds(run(activities={5: bare})) == {}


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({}, {}),
        ({"sticky": True}, {"SCHEDULE_TO_START": 7_000}),
        ({"started_at_ms": 2_500, "ready": False}, {"START_TO_CLOSE": 12_500}),
        ({"ready": False, "ready_at_ms": 9_000}, {"WORKFLOW_TASK_READY": 9_000}),
    ],
)
def test_a_workflow_task_is_due_by_where_it_stands(task: dict[str, Any], expected: dict[str, int]) -> None:
    given_ = WorkflowTask(2, 2_000, 2_000, 1, 10_000, "q", **{"ready_at_ms": 2_000, **task})
    assert kinds(run(workflow_task=given_, sticky_timeout_ms=5_000)) == expected


def test_a_delayed_first_task_is_due_when_its_delay_is_over() -> None:
    assert kinds(run(first_task_ready=False, first_task_at_ms=4_000)) == {"FIRST_TASK": 4_000}


@pytest.mark.parametrize(
    ("run_ms", "expires_ms", "expected"),
    [
        (0, 0, {}),
        (500, 0, {"RUN_TIMEOUT": 1_500}),
        (0, 1_400, {"RUN_TIMEOUT": 1_400}),
        (500, 1_400, {"RUN_TIMEOUT": 1_400}),
    ],
)
def test_a_run_ends_by_its_own_timeout_or_its_chains(run_ms: int, expires_ms: int, expected: dict[str, int]) -> None:
    start = WorkflowExecutionStartedEventAttributes(workflow_run_timeout=ms(run_ms))
    if expires_ms:
        start.workflow_execution_expiration_time.FromMilliseconds(expires_ms)
    assert kinds(run(start=start)) == expected


def test_what_is_due_comes_in_order_of_instant_kind_and_event() -> None:
    state = run(
        timers={"b": Timer("b", 8, 1_300), "a": Timer("a", 7, 1_300), "first": Timer("first", 9, 1_200)},
        activities={5: activity(), 6: activity(6)},
    )
    assert [(due.at_ms, due.kind, due.event_id) for due in deadlines.due_by(state, 1_300)] == [
        (1_200, DueKind.TIMER, 9),
        (1_300, DueKind.TIMER, 7),
        (1_300, DueKind.TIMER, 8),
        (1_300, DueKind.ACTIVITY_TIMEOUT, 5),
        (1_300, DueKind.ACTIVITY_TIMEOUT, 6),
    ]


instants = st.integers(1, 10**6)
activities = st.builds(
    activity,
    event_id=st.integers(1, 50),
    started_at_ms=st.just(0) | instants,
    ready=st.booleans(),
    heartbeat_at_ms=st.just(0) | instants,
    attempt=st.integers(1, 5),
)
states = st.builds(
    lambda timers, pending, task, delayed, at_ms: run(
        timers={str(number): Timer(str(number), number, fire) for number, fire in timers.items()},
        activities={one.scheduled_event_id: one for one in pending},
        workflow_task=task,
        first_task_ready=not delayed,
        first_task_at_ms=at_ms,
    ),
    st.dictionaries(st.integers(51, 99), instants, max_size=5),
    st.lists(activities, max_size=5),
    st.none()
    | st.builds(
        WorkflowTask,
        scheduled_event_id=st.just(2),
        scheduled_at_ms=instants,
        original_scheduled_at_ms=instants,
        attempt=st.integers(1, 9),
        timeout_ms=st.integers(1, 10_000),
        queue=st.just("q"),
        sticky=st.booleans(),
        ready=st.booleans(),
        ready_at_ms=instants,
        started_at_ms=st.just(0) | instants,
    ),
    st.booleans(),
    instants,
)


@given(states, instants)
def test_the_deadline_is_the_first_thing_due(state: RunState, now_ms: int) -> None:
    deadline = deadlines.deadline_ms(state)
    due = deadlines.due_by(state, now_ms)
    assert bool(due) == (deadline is not None and deadline <= now_ms)
    assert due == sorted(due)
    assert all(deadlines.still_due(state, one) for one in due)
    if due:
        assert due[0].at_ms == deadline
