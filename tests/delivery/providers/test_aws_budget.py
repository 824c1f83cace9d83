"""The call budget of one account, on a clock of ours where time matters."""

import asyncio

import pytest

from stormsail.delivery.model.priority import Priority
from stormsail.delivery.providers.aws import budget
from stormsail.delivery.providers.aws.budget import Budget, Lane
from stormsail.delivery.providers.errors import Transient


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def test_throttling_halves_the_rate_and_a_minute_brings_it_back() -> None:
    clock = Clock()
    calls = Budget(8.0, 4, clock)
    clock.now = 10.0
    calls.throttled()
    assert calls.rate == 4.0
    calls.throttled()
    assert calls.rate == 4.0, "throttlings of one moment count once"
    clock.now = 11.0
    calls.throttled()
    assert 2.0 < calls.rate < 2.2
    clock.now = 71.0
    assert calls.rate == 8.0


def test_throttling_never_stops_an_account() -> None:
    clock = Clock()
    calls = Budget(8.0, 4, clock)
    for second in range(20):
        clock.now = second * 1.0
        calls.throttled()
    assert calls.rate >= budget.SLOWEST


async def test_a_burst_goes_at_once_and_what_follows_at_the_rate() -> None:
    loop = asyncio.get_running_loop()
    calls = Budget(200.0, 5, loop.time)
    began = loop.time()
    for _ in range(25):
        await calls.take(Lane.LOOK)
    assert loop.time() - began >= 20 / 200.0


async def test_those_who_act_go_before_those_who_look_and_each_in_the_order_they_came() -> None:
    clock = Clock()
    calls = Budget(500.0, 1, clock, clock.sleep)
    order = []

    async def call(name: str, lane: Lane) -> None:
        await calls.take(lane)
        order.append(name)

    await calls.take(Lane.LOOK)
    waiting = [asyncio.create_task(call(name, lane)) for name, lane in (("a", Lane.LOOK), ("b", Lane.LOOK))]
    await asyncio.sleep(0)
    waiting += [asyncio.create_task(call(name, lane)) for name, lane in (("c", Lane.ACT), ("d", Lane.ACT))]
    await asyncio.gather(*waiting)
    assert order == ["c", "d", "a", "b"]


async def test_a_rollback_passes_a_backfill_and_a_person_passes_a_trigger() -> None:
    clock = Clock()
    calls = Budget(10.0, 1, clock, clock.sleep)
    took: list[str] = []

    async def call(priority: Priority, lane: Lane) -> None:
        await calls.take(lane, priority)
        took.append(priority)

    await calls.take(Lane.LOOK)
    classes = [*([Priority.BACKFILL] * 50), *([Priority.TRIGGER] * 2), Priority.MANUAL, Priority.ROLLBACK]
    waiting = [asyncio.create_task(call(one, Lane.ACT)) for one in classes]
    await asyncio.sleep(0)
    waiting.append(asyncio.create_task(call(Priority.ROLLBACK, Lane.LOOK)))
    await asyncio.gather(*waiting)
    assert took == ["rollback", "rollback", "manual", "trigger", "trigger", *(["backfill"] * 50)]
    assert clock.now == pytest.approx(5.5, abs=0.01), "ten calls a second"


async def test_a_throttled_account_delays_no_other_account() -> None:
    clock = Clock()
    throttled, other = Budget(10.0, 1, clock), Budget(10.0, 1, clock)
    for _ in range(5):
        throttled.throttled()
        clock.now += 1.5
    assert throttled.rate < 1.0
    waiting = [asyncio.create_task(throttled.take(Lane.ACT)) for _ in range(20)]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await other.take(Lane.LOOK, Priority.BACKFILL)
    assert not all(task.done() for task in waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    if throttled._pacing is not None:
        throttled._pacing.cancel()


async def test_a_call_that_is_cancelled_while_it_waits_takes_no_turn() -> None:
    clock = Clock()
    calls = Budget(100.0, 1, clock, clock.sleep)
    await calls.take(Lane.LOOK)
    gone = [asyncio.create_task(calls.take(Lane.LOOK)) for _ in range(50)]
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await calls.take(Lane.LOOK)
    assert clock.now == pytest.approx(0.01, abs=0.001), "one turn at a hundred a second"


async def test_more_calls_than_may_wait_are_turned_down() -> None:
    calls = Budget(0.001, 1, asyncio.get_running_loop().time)
    await calls.take(Lane.LOOK)
    waiting = [asyncio.create_task(calls.take(Lane.LOOK)) for _ in range(budget.WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Transient, match="calls_per_second"):
        await calls.take(Lane.ACT)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert calls._pacing is not None
    calls._pacing.cancel()
