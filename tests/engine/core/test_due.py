"""Whatever happens to a run: FireDue acts exactly when the deadline has come, and a replay finds the same run.

The replay, and FireDue's own part, are checked by `World` after every turn.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histories.script import Script
from histories.world import World
from stormsail.engine.core import deadlines
from stormsail.engine.core.decide import decide
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.machines.activity import Activity, stands
from stormsail.engine.core.requests import FireDue
from stormsail.engine.core.state import RunState

NAMES = ("a", "b", "c")
STARTS = (
    "start",
    "start eager",
    "start delay=5s",
    "start run-timeout=60s initial=3s",
    "start execution-timeout=90s initial=3s attempts=3",
    "start task-timeout=3s",
)
AFTER_START = {
    "complete-activity id={}": 2,
    "complete-activity id={} by-id": 1,
    "fail-activity id={}": 3,
    "fail-activity id={} final": 1,
    "fail-activity id={} delay=3s details=x": 1,
    "heartbeat id={} details=x": 2,
    "cancel-activity id={}": 1,
}
"""What may be said of a started activity, and how often."""


@st.composite
def scheduling(draw: st.DrawFn, name: str) -> str:
    """Draw a command that schedules an activity."""
    spans = [draw(st.integers(1, 12)) for _ in range(4)]
    return (
        f"activity id={name} start-to-close={spans[0]}s heartbeat={spans[1]}s schedule-to-start={spans[2]}s "
        f"initial={spans[3]}s attempts={draw(st.integers(0, 3))} "
        + draw(st.sampled_from(["", "eager", "schedule-to-close=20s"]))
    )


@st.composite
def completions(draw: st.DrawFn, state: RunState) -> str:
    """Draw a completion whose commands a correct worker might send."""
    options = draw(st.sampled_from(["", "", "sticky=mine/5s", "sticky=mine/3s new-task", "force", "force new-task"]))
    commands = []
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        pending = state.activity_by_id.get(name)
        if pending is None:
            commands.append(draw(scheduling(name)))
        elif not state.activities[pending].cancel_requested_event_id and draw(st.booleans()):
            commands.append(f"cancel-activity event={pending}")
            if not state.activities[pending].started_at_ms and draw(st.booleans()):
                commands.append(draw(scheduling(name)))  # the id is free again at once
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True)):
        again = [f"timer id={name} after={draw(st.integers(1, 20))}s"]
        commands += [f"cancel-timer id={name}", *again[draw(st.integers(0, 1)) :]] if name in state.timers else again
    if not draw(st.integers(0, 15)):
        commands.append(draw(st.sampled_from(["done", "failed", "continue-as-new"])))
    return "\n".join([f"complete {options}", *commands])


@st.composite
def steps(draw: st.DrawFn, state: RunState) -> str:
    """Draw what may happen next to a run that stands like this."""
    enabled = [f"wait {draw(st.integers(0, 9))}s", f"sleep {draw(st.integers(0, 9))}s", "signal"]
    task = state.workflow_task
    if task is not None and task.ready:
        enabled += ["poll"] * 4
    elif task is not None and task.started_at_ms:
        enabled += [draw(completions(state))] * 6 + ["fail-task"]
    for name, event_id in state.activity_by_id.items():
        activity = state.activities[event_id]
        match stands(activity):
            case Activity.SCHEDULED:
                enabled += [f"poll-activity id={name}"] * 4 + [f"complete-activity id={name} by-id"]
            case Activity.STARTED:
                enabled += [line.format(name) for line, weight in AFTER_START.items() for _ in range(weight)]
    rare = ["cancel", "sticky-gone queue=mine", "reset-sticky", f"poll-activity id={NAMES[0]}", "poll", "wait 60s"]
    return draw(st.sampled_from(enabled * 4 + rare))


def fired(state: RunState, world: World, at_ms: int) -> bool:
    """Say whether FireDue would do something then; nothing is committed."""
    return not decide(state, FireDue(), at_ms, world.ids, DEFAULT_LIMITS).empty


def check(world: World) -> None:
    """Hold the newest run to the invariant, now and at its deadline."""
    state = world.state
    deadline_ms = deadlines.deadline_ms(state)
    if deadline_ms is None:
        assert not fired(state, world, world.now_ms + 10**12)
        return
    assert fired(state, world, max(deadline_ms, world.now_ms))
    if deadline_ms > world.now_ms:
        assert not fired(state, world, deadline_ms - 1)


@pytest.mark.slow
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.sampled_from(STARTS), st.integers(5, 40), st.data())
def test_fire_due_does_something_exactly_when_the_deadline_has_come(
    begin: str, length: int, data: st.DataObject
) -> None:
    script = Script()
    script.do(begin)
    check(script.world)
    for _ in range(length):
        script.do(data.draw(steps(script.world.state)))
        check(script.world)
