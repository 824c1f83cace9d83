"""Nothing fires early, nothing is forgotten, over restarts too."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from stormsail.engine.core.errors import NotFound, ResourceExhausted
from stormsail.engine.core.ids import RunKey
from stormsail.engine.shell.timers import Timers


class Due:
    """What a store, and the firing of deadlines, look like to the timers."""

    def __init__(self, clock: Any, due_max: int = 10_000, held_ms: int = 0) -> None:
        self.clock = clock
        self.at_ms: dict[RunKey, int] = {}
        self.fired: list[tuple[int, str]] = []
        self.failures: list[Exception] = []
        self.asked = 0
        self.was_ms: list[int] = []
        self.timers = Timers(
            clock,
            window_ms=60_000,
            due=self.due,
            fire=self.fire,
            deadline_ms=self.at_ms.get,
            due_max=due_max,
            held_ms=held_ms,
        )

    def due(self, until_ms: int, limit: int) -> list[tuple[int, RunKey]]:
        """What Store.due does."""
        self.asked += 1
        return sorted(((at, key) for key, at in self.at_ms.items() if at <= until_ms), key=lambda row: row[0])[:limit]

    def set(self, workflow_id: str, in_ms: int) -> None:
        """What a commit does."""
        key = RunKey("default", workflow_id, "r")
        self.at_ms[key] = self.clock.now_ms() + in_ms
        self.timers.set(key, self.at_ms[key])

    async def fire(self, key: RunKey) -> None:
        """What executing FireDue does."""
        if self.failures:
            raise self.failures.pop(0)
        self.fired.append((self.clock.now_ms(), key.workflow_id))
        self.was_ms.append(self.at_ms.pop(key))
        self.timers.set(key, None)


@pytest.fixture
async def due(clock: Any) -> AsyncIterator[Due]:
    due = Due(clock)
    loop = asyncio.create_task(due.timers.run())
    yield due
    loop.cancel()


async def test_a_deadline_fires_at_its_time_and_once(due: Due, clock: Any) -> None:
    await clock.advance(0)
    due.set("a", 1_500)
    await clock.advance(1_499)
    assert due.fired == []
    at_ms = clock.now_ms() + 1
    await clock.advance(60_000)
    assert due.fired == [(at_ms, "a")]


async def test_deadlines_fire_in_order(due: Due, clock: Any) -> None:
    await clock.advance(0)
    for workflow_id, in_ms in (("c", 300), ("a", 100), ("b", 200)):
        due.set(workflow_id, in_ms)
    await clock.advance(1_000)
    assert [workflow_id for _, workflow_id in due.fired] == ["a", "b", "c"]


async def test_a_deadline_put_off_does_not_fire_at_the_old_time(due: Due, clock: Any) -> None:
    await clock.advance(0)
    due.set("a", 1_000)
    due.set("a", 5_000)
    await clock.advance(4_999)
    assert due.fired == []
    await clock.advance(1)
    assert len(due.fired) == 1


async def test_a_deadline_beyond_the_window_is_left_to_the_store(due: Due, clock: Any) -> None:
    await clock.advance(0)
    due.set("far", 3_600_000)
    assert due.timers.pending == 0
    await clock.advance(3_599_999)
    assert due.fired == []
    await clock.advance(1)
    assert len(due.fired) == 1


async def test_a_deadline_that_cannot_be_fired_now_is_fired_later(due: Due, clock: Any) -> None:
    await clock.advance(0)
    due.failures = [ResourceExhausted("full"), RuntimeError("a bug")]
    due.set("a", 100)
    await clock.advance(1_000)
    assert due.fired == []
    await clock.advance(2_000)
    assert len(due.fired) == 1


async def test_the_deadline_of_a_run_that_is_gone_is_dropped(due: Due, clock: Any) -> None:
    await clock.advance(0)
    due.failures = [NotFound("gone")]
    due.set("a", 100)
    await clock.advance(10_000)
    assert due.fired == [] and due.timers.pending == 0


async def test_no_deadline_is_missed_where_more_fall_due_than_are_read_at_once(clock: Any) -> None:
    due = Due(clock, due_max=4)
    for number in range(20):
        due.at_ms[RunKey("default", f"w{number:02}", "r")] = clock.now_ms() + 5_000 + number // 7 * 10_000
    loop = asyncio.create_task(due.timers.run())
    await clock.advance(40_000)
    assert sorted(workflow_id for _, workflow_id in due.fired) == [f"w{number:02}" for number in range(20)]
    assert all(0 <= fired_at_ms - at_ms <= 1_000 for at_ms, (fired_at_ms, _) in zip(due.was_ms, due.fired, strict=True))
    loop.cancel()


async def test_many_deadlines_that_are_held_in_memory_keep_out_no_earlier_one_of_the_store(clock: Any) -> None:
    due = Due(clock, due_max=10, held_ms=120_000)
    loop = asyncio.create_task(due.timers.run())
    await clock.advance(1_000)
    for number in range(8):
        due.set(f"held{number}", 100_000)
    stored_at_ms = clock.now_ms() + 70_000
    due.at_ms[RunKey("default", "stored", "r")] = stored_at_ms
    await clock.advance(80_000)
    assert [workflow_id for _, workflow_id in due.fired] == ["stored"]
    assert due.fired[0][0] - stored_at_ms <= 1_000
    loop.cancel()


async def test_what_the_store_need_not_know_is_not_put_off_to_what_it_knows(due: Due, clock: Any) -> None:
    await clock.advance(25_000)
    key, now_ms = RunKey("default", "w", "r"), clock.now_ms()
    due.timers.set(key, now_ms + 10_000)
    due.at_ms[key] = now_ms + 20_000
    await clock.advance(15_000)
    assert [at_ms - now_ms for at_ms, _ in due.fired] == [10_000]


async def test_an_idle_server_asks_the_store_only_now_and_then(due: Due, clock: Any) -> None:
    await clock.advance(300_000)
    assert due.asked <= 12


async def test_a_workflow_timer_fires_once_although_the_server_was_down_at_its_time(world: Any) -> None:
    await world.start()
    await world.complete(await world.poll(), [world.start_timer(30)])
    await world.close()
    world.clock._now_ms += 31_000
    await world.open()
    task = await world.soon(world.polling())
    assert [event.event_id for event in task.history.events if event.HasField("timer_fired_event_attributes")] == [6]
    await world.restart()
    await world.clock.advance(60_000)
    assert (await world.event_types()).count("TIMER_FIRED") == 1


async def test_a_workflow_timer_does_not_fire_early(world: Any) -> None:
    await world.start()
    await world.complete(await world.poll(), [world.start_timer(3_600)])
    fires_at_ms = world.clock.now_ms() + 3_600_000
    await world.clock.advance(3_599_000)
    assert "TIMER_FIRED" not in await world.event_types()
    await world.clock.advance(2_000)
    task = await world.poll()
    fired = next(event for event in task.history.events if event.HasField("timer_fired_event_attributes"))
    assert fired.event_time.ToMilliseconds() == fires_at_ms
