"""The server's time. The only place of the shell that reads the machine's clocks."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

_STEADY_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_steady_s = partial(time.clock_gettime, _STEADY_CLOCK)
"""Counts through suspension where the system has such a clock, so a laptop that slept does not fire timers late."""


class Alarm(Protocol):
    """A call to come, which may be called off."""

    def cancel(self) -> None:
        """Call it off; no effect when it happened already."""
        ...


class Clock(Protocol):
    """Where the shell takes time from. Two kinds of time: what is written down, and how long to wait."""

    def now_ms(self) -> int:
        """Return milliseconds since the epoch; never less than returned before."""
        ...

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Alarm:
        """Call back after a delay. Who waits for an *instant* compares it with `now_ms` then, and may wait on."""
        ...


class RealClock:
    """The machine's clocks.

    `now_ms` follows the wall clock forwards. When the wall clock is set back, `now_ms` goes on at the pace of the
    steady clock from where it was, until the wall clock has caught up: nothing fires early, and nothing stands still.
    """

    def __init__(
        self,
        wall_s: Callable[[], float] = time.time,
        steady_s: Callable[[], float] = _steady_s,
    ) -> None:
        self._wall_s = wall_s
        self._steady_s = steady_s
        self._last_s = wall_s()
        self._last_steady_s = steady_s()

    def now_ms(self) -> int:
        """See Clock."""
        steady_s = self._steady_s()
        last_s, passed_s = self._last_s, steady_s - self._last_steady_s
        kept_pace_s = last_s + passed_s if passed_s > 0 else last_s
        wall_s = self._wall_s()
        # A wall clock slower than the steady one by less than this is only drift or slewing: follow it, but never back.
        now_s = (wall_s if wall_s > last_s else last_s) if wall_s > kept_pace_s - _DRIFT_S else kept_pace_s
        self._last_s, self._last_steady_s = now_s, steady_s
        return int(now_s * 1000)

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Alarm:
        """See Clock."""
        return asyncio.get_running_loop().call_later(max(0.0, delay_ms) / 1000, callback)


_DRIFT_S = 0.05


async def wait_until(clock: Clock, future: "asyncio.Future[Any]", timeout_ms: float) -> bool:
    """Wait until the future is done or the time is over; return whether the future was done. It is not cancelled."""
    if future.done():
        return True
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def ring(_: object = None) -> None:
        if not over.done():
            over.set_result(None)

    alarm = clock.call_later(timeout_ms, ring)
    future.add_done_callback(ring)
    try:
        await over
    finally:
        alarm.cancel()
        future.remove_done_callback(ring)
    return future.done()
