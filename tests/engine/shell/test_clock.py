"""The server's clock follows the wall clock forwards and never goes back."""

import asyncio

import pytest

from stormsail.engine.shell.clock import RealClock, wait_until


class Machine:
    """The two clocks of a machine."""

    def __init__(self) -> None:
        self.wall_s = 1_000.0
        self.steady_s = 5.0

    def clock(self) -> RealClock:
        """The clock under test, reading these."""
        return RealClock(lambda: self.wall_s, lambda: self.steady_s)

    def passes(self, seconds: float) -> None:
        """Let real time pass."""
        self.wall_s += seconds
        self.steady_s += seconds


def test_time_passes() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.passes(1.5)
    assert clock.now_ms() == 1_001_500


def test_a_wall_clock_set_back_does_not_turn_time_back_nor_stop_it() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.passes(10)
    clock.now_ms()
    machine.wall_s -= 3_600
    assert clock.now_ms() == 1_010_000
    machine.passes(10)
    assert clock.now_ms() == 1_020_000


def test_a_wall_clock_set_forward_is_followed() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_s += 3_600
    assert clock.now_ms() == 4_600_000


def test_a_wall_clock_set_back_for_a_while_is_followed_again_once_it_has_caught_up() -> None:
    machine = Machine()
    clock = machine.clock()
    machine.wall_s -= 5
    assert clock.now_ms() == 1_000_000
    machine.passes(1)
    assert clock.now_ms() == 1_001_000
    machine.wall_s += 5
    assert clock.now_ms() == 1_001_000


@pytest.mark.parametrize("drift", [-0.0001, 0.0001])
def test_a_drifting_wall_clock_is_followed_without_ever_going_back(drift: float) -> None:
    machine = Machine()
    clock = machine.clock()
    last = 0
    for _ in range(2_000):
        machine.passes(0.1)
        machine.wall_s += drift * 0.1
        now = clock.now_ms()
        assert now >= last
        last = now
    assert abs(last - machine.wall_s * 1000) <= 60


async def test_a_wait_ends_with_its_time() -> None:
    never = asyncio.get_running_loop().create_future()
    assert not await wait_until(RealClock(), never, 5)
    never.set_result(None)
    assert await wait_until(RealClock(), never, 5)
