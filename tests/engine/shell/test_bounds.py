"""Bounds of what is in memory alone, where no other test has them."""

from typing import Any

import pytest

from engine.store.given import key, signaled, started
from stormsail.engine.core.errors import ResourceExhausted
from stormsail.engine.core.limits import Limits
from stormsail.engine.shell.overload import Admission
from stormsail.engine.shell.pollers import POLLERS_KEPT_MAX, PollerHistory
from stormsail.engine.shell.recent import RecentEvents
from stormsail.engine.store.store import Store


def known(recent: RecentEvents, name: str) -> bool:
    return recent.page(key(name), 1, max_events=10, max_bytes=1_000_000) is not None


def test_of_the_newest_events_those_of_the_last_runs_are_kept_and_none_of_a_run_with_too_many() -> None:
    recent = RecentEvents(size_max=10_000, run_size_max=4_000)
    turns = {name: started(key(name)) for name in ("a", "b", "c")}
    for name in ("a", "b"):
        recent.add(turns[name])
        recent.add(signaled(turns[name].state, bytes(2_000)))
    recent.add(turns["c"])
    assert [known(recent, name) for name in "abc"] == [True, True, True]
    recent.add(signaled(turns["c"].state, bytes(6_000)))
    assert [known(recent, name) for name in "abc"] == [True, True, False], "c alone has too many"
    for name in ("d", "e", "f"):
        turn = started(key(name))
        recent.add(turn)
        recent.add(signaled(turn.state, bytes(2_000)))
    assert [known(recent, name) for name in "abdef"] == [False, False, True, True, True]


def test_a_queue_remembers_so_many_pollers_the_last_ones() -> None:
    history = PollerHistory()
    for number in range(POLLERS_KEPT_MAX + 5):
        history.saw(f"{number}", 1_000, rate=0.0)
    seen = [poller.identity for poller in history.recent(1_000)]
    assert (len(seen), seen[0], seen[-1]) == (POLLERS_KEPT_MAX, f"{POLLERS_KEPT_MAX + 4}", "5")


def test_what_is_refused_for_too_many_waiting_tasks_is_new_work_alone() -> None:
    waiting = 3
    admission = Admission(10, tasks=lambda: waiting, tasks_max=3)
    with pytest.raises(ResourceExhausted, match="3 tasks wait for workers"):
        admission.enter_turn(new_work=True)
    admission.enter_turn(new_work=False)
    waiting = 2
    admission.enter_turn(new_work=True)
    assert (admission.turns, admission.refused) == (2, 1)


async def test_so_many_task_queues_have_a_configuration(tmp_path: Any) -> None:
    store = Store.open(tmp_path, now_ms=lambda: 0, limits=Limits(task_queue_configs_max=2))

    def fair(config: Any) -> Any:
        changed = type(config)()
        changed.CopyFrom(config)
        changed.queue_rate_limit.rate_limit.requests_per_second += 1
        return changed

    for name in ("a", "b"):
        await store.task_queue_configs.change(("default", name, 1), fair)
    with pytest.raises(ResourceExhausted, match="2 task queues have a configuration, which is the limit: c"):
        await store.task_queue_configs.change(("default", "c", 1), fair)
    await store.task_queue_configs.change(("default", "a", 1), fair)
    store.close()
