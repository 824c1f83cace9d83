"""The line that new work stands in, with a clock and a number of turns that the test sets."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from stormsail.engine.api.front.line import Line, LineBounds
from stormsail.engine.core.errors import ResourceExhausted

PATIENCE_S = 30.0
BOUNDS = LineBounds(turns_max=10, waiting_max=50, waiting_min=5, patience_s=1.0, burst_s=4.0, waiting_bytes_max=1_000)


@dataclass(eq=False)
class Caller:
    """A call that takes note of when it began."""

    begun: list["Caller"]

    def begin(self, message: bytes) -> None:
        """See Waiting."""
        assert message == b"m"
        self.begun.append(self)


@dataclass
class Queueing:
    """A line, and what stands in it."""

    bounds: LineBounds = BOUNDS
    now_s: float = 100.0
    turns: int = 0
    begun: list[Caller] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.line = Line(
            lambda: ResourceExhausted("busy"), turns=lambda: self.turns, bounds=self.bounds, now_s=lambda: self.now_s
        )

    def come(self, count: int) -> list[Caller]:
        """Let calls enter."""
        callers = [Caller(self.begun) for _ in range(count)]
        for caller in callers:
            self.line.enter(caller, b"m")
        return callers

    async def until(self, begun: int) -> None:
        """Wait until so many have begun."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while len(self.begun) < begun:
            assert loop.time() < deadline, "waited in vain"
            await asyncio.sleep(0)
        assert len(self.begun) == begun


async def test_new_work_begins_at_once_while_nothing_waits() -> None:
    queueing = Queueing()
    assert queueing.begun == queueing.come(3)
    assert not queueing.line.turns_away()


async def test_new_work_waits_while_the_disk_is_behind_and_goes_on_in_order() -> None:
    queueing = Queueing(turns=10)
    callers = queueing.come(4)
    await asyncio.sleep(0)
    assert not queueing.begun
    queueing.turns = 9
    await queueing.until(4)
    assert queueing.begun == callers


async def test_past_the_most_that_may_wait_a_call_is_refused_at_once() -> None:
    queueing = Queueing(turns=10)
    queueing.come(50)
    assert queueing.line.turns_away()
    with pytest.raises(ResourceExhausted, match="busy"):
        queueing.come(1)
    assert queueing.line.refused == 2
    queueing.turns = 0
    await queueing.until(50)
    assert not queueing.line.turns_away()


async def test_the_bytes_that_wait_are_bounded_too() -> None:
    queueing = Queueing(replace(BOUNDS, waiting_bytes_max=3), turns=10)
    queueing.come(3)
    with pytest.raises(ResourceExhausted):
        queueing.come(1)


async def test_a_burst_is_taken_and_a_line_that_stands_is_not_made_longer() -> None:
    queueing = Queueing(turns=10)
    queueing.come(5)
    assert not queueing.line.turns_away()
    queueing.now_s += BOUNDS.burst_s - 0.1
    assert not queueing.line.turns_away()
    queueing.now_s += 0.2
    assert queueing.line.turns_away()


async def test_a_short_line_turns_nobody_away_however_slow_the_machine() -> None:
    queueing = Queueing(turns=10)
    queueing.come(4)
    queueing.now_s += 1_000
    assert not queueing.line.turns_away()


async def test_how_long_a_line_is_goes_by_how_fast_it_moves() -> None:
    """One a round: at ten milliseconds a round forty calls are less than a second, at a hundred they are more."""
    for round_s, too_long in ((0.01, False), (0.1, True)):
        queueing = Queueing(replace(BOUNDS, burst_s=0.0, round_s=0.0, shared_round_s=0.0, waiting_max=500), turns=10)
        queueing.come(400)
        queueing.turns = 0
        while queueing.line.waiting > 40:
            queueing.now_s += round_s
            await asyncio.sleep(0)
        assert queueing.line.turns_away() is too_long


async def test_long_rounds_let_in_less_and_short_ones_more() -> None:
    queueing = Queueing(replace(BOUNDS, waiting_max=5_000, waiting_bytes_max=5_000), turns=10)
    queueing.come(2_000)
    queueing.turns = 0
    begun = []
    for round_s in (*(1.0,) * 30, *(0.0,) * 10):
        before = len(queueing.begun)
        queueing.now_s += round_s
        await asyncio.sleep(0)
        begun.append(len(queueing.begun) - before)
    assert begun[29] == 1
    assert begun[-1] > 20


async def test_where_workers_keep_the_rounds_long_new_work_still_has_its_share() -> None:
    queueing = Queueing(replace(BOUNDS, waiting_max=9_000, waiting_bytes_max=9_000, share=8), turns=10)
    queueing.come(8_000)
    queueing.turns = 0
    for _ in range(120):
        before = len(queueing.begun)
        for _ in range(80):
            queueing.line.pass_by()
        queueing.now_s += 1.0
        await asyncio.sleep(0)
    assert len(queueing.begun) - before == 10


async def shared_rounds(queueing: Queueing, others: int, rounds: int) -> int:
    """Let short rounds pass with so many calls of workers in each; return how much new work began in the last."""
    before = 0
    for _ in range(rounds):
        before = len(queueing.begun)
        for _ in range(others):
            queueing.line.pass_by()
        await asyncio.sleep(0)
    return len(queueing.begun) - before


async def test_while_workers_are_served_no_more_begins_than_they_complete_however_short_the_rounds() -> None:
    queueing = Queueing(replace(BOUNDS, waiting_max=9_000, waiting_bytes_max=9_000, calls_each=2), turns=10)
    queueing.come(8_000)
    queueing.turns = 0
    assert await shared_rounds(queueing, others=20, rounds=60) == 10
    assert await shared_rounds(queueing, others=1, rounds=60) == 1
    assert await shared_rounds(queueing, others=0, rounds=60) > 20


async def test_who_goes_away_leaves_the_line() -> None:
    queueing = Queueing(turns=10)
    first, gone, last = queueing.come(3)
    queueing.line.leave(gone)
    queueing.line.leave(gone)
    queueing.turns = 0
    await queueing.until(2)
    assert queueing.begun == [first, last]
