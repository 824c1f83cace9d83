"""The model of schedules: what it takes for a promise broken, and what not."""

from dataclasses import replace

import pytest
from temporalio.api.workflowservice.v1 import CreateScheduleRequest, UpdateScheduleRequest

from engine.store.given import key, started
from stormsail.engine.core.schedules import decide
from stormsail.engine.core.schedules.state import Schedule
from stormsail.engine.core.state import RunState
from stormsail.engine.sim.coverage import Coverage
from stormsail.engine.sim.network import Violated
from stormsail.engine.sim.timetable import WORKFLOWS, Timetable

MINUTE = 60_000
T0 = 1_700_000_040_000


def begun_by(schedule: Schedule) -> RunState:
    """Return the run of the first start that a schedule has decided."""
    [starting] = schedule.starting
    state = started(key(starting.workflow_id)).state
    return replace(state, start_request_id=schedule.request_id(starting.action.number))


def creation(window_s: int = 0) -> CreateScheduleRequest:
    """A schedule of every minute."""
    request = CreateScheduleRequest(namespace="n", schedule_id="s", request_id="r")
    request.schedule.spec.interval.add().interval.seconds = 60
    action = request.schedule.action.start_workflow
    action.workflow_id, action.workflow_type.name, action.task_queue.name = WORKFLOWS, "T", "q"
    if window_s:
        request.schedule.policies.catchup_window.seconds = window_s
    return request


def due(window_s: int = 0) -> tuple[Timetable, list[str], Schedule, int]:
    """Return a model, what it complains of, a schedule that has decided to act, and the number of that change, of which
    the store has said nothing yet."""
    complaints: list[str] = []
    violated: Violated = lambda violation: complaints.append(str(violation))  # noqa: E731
    timetable = Timetable(violated, Coverage(), lambda _: 0.0)
    schedule = decide.create(creation(window_s), "id-of-n", "life", T0)
    timetable.changed(timetable.changing(None, schedule, None, T0))
    after = decide.wake(schedule, T0 + MINUTE)
    assert after is not None
    return timetable, complaints, after, timetable.changing(schedule, after, None, T0 + MINUTE)


def test_a_start_whose_decision_is_on_disk_and_not_yet_told_breaks_nothing() -> None:
    timetable, complaints, schedule, number = due()
    timetable.run_begun(begun_by(schedule), lambda _: "")
    timetable.changed(number)
    assert complaints == []


def test_a_start_whose_decision_the_store_then_says_it_does_not_have_breaks_a_promise() -> None:
    timetable, complaints, schedule, number = due()
    timetable.run_begun(begun_by(schedule), lambda _: "")
    timetable.unchanged(number)
    assert len(complaints) == 1 and "had not made" in complaints[0]


@pytest.mark.parametrize("told", [True, False])
def test_a_start_that_nothing_decided_breaks_a_promise(told: bool) -> None:
    timetable, complaints, schedule, number = due()
    if told:
        timetable.changed(number)
    timetable.run_begun(replace(begun_by(schedule), start_request_id="another"), lambda _: "")
    assert len(complaints) == 1 and "had not decided it on disk" in complaints[0]


@pytest.mark.parametrize(("window_s", "complains"), [(10, False), (0, True)])
def test_a_start_is_tried_for_as_long_as_its_window_was_when_it_was_decided(window_s: int, complains: bool) -> None:
    timetable, complaints, decided, number = due(window_s)
    timetable.changed(number)
    update = UpdateScheduleRequest(namespace="n", schedule_id="s", request_id="u", schedule=creation().schedule)
    wider = decide.update(decided, update, T0 + MINUTE)
    timetable.changed(timetable.changing(decided, wider, None, T0 + MINUTE))
    given_up = decide.not_started(wider, decided.starting[0].action.number, T0 + 2 * MINUTE)
    assert given_up is not None
    timetable.changed(timetable.changing(wider, given_up, None, T0 + 2 * MINUTE))
    timetable.at_rest(set())
    assert [text for text in complaints if "was never begun" in text] == complaints[:complains]
