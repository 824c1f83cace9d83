"""Whatever happens to a run: FireDue acts exactly when the deadline has come, and a replay finds the same run."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histories.script import Script
from histories.world import World
from stormsail.engine.core import deadlines
from stormsail.engine.core.decide import decide
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.requests import FireDue
from stormsail.engine.core.state import RunState

NAMES = st.sampled_from(["a", "b", "c"])
FEW = st.integers(1, 12)


def line(template: str, **parts: Any) -> st.SearchStrategy[str]:
    """Draw a step of a scenario from its parts."""
    return st.builds(template.format, **parts)


commands = st.one_of(
    line(
        "activity id={name} start-to-close={a}s heartbeat={b}s schedule-to-close={c}s schedule-to-start={d}s "
        "attempts={e} initial={f}s {eager}",
        name=NAMES, a=FEW, b=FEW, c=st.integers(1, 40), d=FEW, e=st.integers(0, 3), f=FEW,
        eager=st.sampled_from(["", "eager"]),
    ),
    line("activity id={name} start-to-close={a}s", name=NAMES, a=FEW),
    line("timer id={name} after={a}s", name=NAMES, a=FEW),
    line("cancel-timer id={name}", name=NAMES),
    line("cancel-activity event={a}", a=st.integers(5, 20)),
    st.sampled_from(["marker name=m", "done", "failed", "continue-as-new"]),
)  # fmt: skip
completions = st.builds(
    lambda options, asked: "\n".join([f"complete {options}", *asked]),
    st.sampled_from(["", "sticky=mine/5s", "new-task", "force", "sticky=mine/3s new-task"]),
    st.lists(commands, max_size=4),
)
requests = st.one_of(
    completions,
    st.sampled_from(
        ["poll", "poll", "poll", "signal", "fail-task", "cancel", "sticky-gone queue=mine", "reset-sticky"]
    ),
    line("poll-activity id={name}", name=NAMES),
    line("poll-activity id={name}", name=NAMES),
    line("complete-activity id={name} {how}", name=NAMES, how=st.sampled_from(["", "by-id"])),
    line("fail-activity id={name} {how}", name=NAMES, how=st.sampled_from(["", "final", "delay=3s", "by-id"])),
    line("heartbeat id={name} details=x", name=NAMES),
    line("cancel-activity id={name}", name=NAMES),
    line("wait {a}s", a=st.integers(0, 15)),
    line("sleep {a}s", a=st.integers(0, 15)),
)
starts = st.sampled_from(
    [
        "start",
        "start eager",
        "start delay=5s",
        "start run-timeout=40s initial=3s",
        "start execution-timeout=60s initial=3s attempts=3",
        "start task-timeout=3s",
    ]
)


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


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(starts, st.lists(requests, min_size=1, max_size=40))
def test_fire_due_does_something_exactly_when_the_deadline_has_come(begin: str, asked: list[str]) -> None:
    script = Script()
    script.do(begin)
    check(script.world)
    for request in asked:
        try:
            script.do(request)
        except (KeyError, AssertionError) as unknown:
            # The step names a token or an activity that this scenario never had; anything else is a failure.
            if not isinstance(unknown, KeyError) or unknown.args[0] not in ("a", "b", "c", "task"):
                raise
        check(script.world)
