"""How fast one account is called: a token bucket that slows down when AWS throttles.

Each account has its own, so one that is throttled delays no other. The more urgent operation goes first; among equals
calls that change something go before calls that only look, so that those who poll hold up nobody who acts.
"""

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable
from enum import IntEnum
from typing import Final

from stormsail.delivery.model.priority import Priority
from stormsail.delivery.providers.errors import Transient

WAITING_MAX: Final = 2_000
"""Calls that may wait for their turn; one more is turned down and retried by its operation."""

SLOWEST: Final = 0.5
"""Calls a second that throttling never takes away."""

RECOVERY_PER_S: Final = 0.02
"""What share of the full rate comes back each second after a throttling."""

SLOWED_AT_MOST_EVERY_S: Final = 1.0
"""Throttlings of calls that were under way together count once."""


ALMOST_ONE: Final = 1 - 1e-6
"""Waiting for what rounding takes from a whole token could take for ever."""


class Lane(IntEnum):
    """Who goes first."""

    ACT = 0
    LOOK = 1


class Budget:
    """`rate` calls a second with bursts of `burst`. Halved by each throttling, it recovers within a minute."""

    def __init__(
        self,
        rate: float,
        burst: int,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._full_rate = rate
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._tokens = float(burst)
        self._at = clock()
        self._slowed_at = float("-inf")
        self._waiting: list[tuple[int, int, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._pacing: asyncio.Task[None] | None = None

    @property
    def rate(self) -> float:
        """Calls a second at present."""
        self._refill()
        return self._rate

    async def take(self, lane: Lane, priority: Priority = Priority.MANUAL) -> None:
        """Wait for one call's turn. Raises Transient when too many wait already."""
        self._refill()
        if not self._waiting and self._tokens >= 1:
            self._tokens -= 1
            return
        if len(self._waiting) >= WAITING_MAX:
            raise Transient(f"{WAITING_MAX} calls wait for this AWS account already: raise calls_per_second")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority.key, lane, next(self._order), turn))
        if self._pacing is None or self._pacing.done():
            self._pacing = asyncio.create_task(self._pace(), name="aws call budget")
        await turn

    def throttled(self) -> None:
        """Slow down: AWS said that it was called too often."""
        self._refill()
        if self._at - self._slowed_at < SLOWED_AT_MOST_EVERY_S:
            return
        self._slowed_at = self._at
        self._rate = max(min(SLOWEST, self._full_rate), self._rate / 2)
        self._tokens = min(self._tokens, 0.0)

    async def _pace(self) -> None:
        """Hand out turns until nobody waits."""
        while self._waiting:
            self._refill()
            if self._tokens < ALMOST_ONE:
                await self._sleep((1 - self._tokens) / self._rate)
                continue
            turn = heapq.heappop(self._waiting)[-1]
            # Who was cancelled while waiting takes no turn.
            if not turn.done():
                self._tokens -= 1
                turn.set_result(None)

    def _refill(self) -> None:
        now = self._clock()
        passed, self._at = now - self._at, now
        self._tokens = min(float(self._burst), self._tokens + passed * self._rate)
        self._rate = min(self._full_rate, self._rate + passed * RECOVERY_PER_S * self._full_rate)
