"""When runs must next be looked at. A window of the near future is in memory; the store knows the rest.

Each run has one next deadline. At that time `FireDue` is executed on it, and the commit of that says what comes next.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from stormsail.engine.core.errors import NotFound, Refused
from stormsail.engine.core.ids import RunKey
from stormsail.engine.shell.clock import Clock, wait_until

_log: Final = structlog.get_logger(__name__)

DUE_LIMIT: Final = 10_000
"""Deadlines taken from the store at once."""

_LOOK_AGAIN_MS: Final = 1_000
"""The longest nap: the wall clock may be set forward meanwhile, or the machine have slept."""

_RETRY_MS: Final = 1_000
_FIRING_MAX: Final = 200


class Timers:
    """The heap of upcoming deadlines, and the loop that fires them."""

    def __init__(
        self,
        clock: Clock,
        *,
        window_ms: int,
        due: Callable[[int, int], list[tuple[int, RunKey]]],
        fire: Callable[[RunKey], Awaitable[None]],
        deadline_ms: Callable[[RunKey], int | None],
        due_max: int = DUE_LIMIT,
        held_ms: int = 0,
    ) -> None:
        """`due` asks the store, `fire` executes FireDue, `deadline_ms` tells a run's deadline as committed."""
        self._clock = clock
        self._window_ms = window_ms
        self._due = due
        self._fire = fire
        self._deadline_ms = deadline_ms
        self._due_max = due_max
        self._held_ms = held_ms
        self._heap: list[tuple[int, RunKey]] = []
        self._at_ms: dict[RunKey, int] = {}
        """What of the heap still counts."""
        self._firing: set[asyncio.Task[None]] = set()
        self._fired: set[RunKey] = set()
        self._known_until_ms = 0
        """Every deadline up to here is in the heap."""
        self._changed: asyncio.Future[None] | None = None

    def set(self, key: RunKey, at_ms: int | None) -> None:
        """Say when a run must next be looked at; None if never. What is nearer than `held_ms` is kept here whatever the
        window, for the store need not know of it."""
        if at_ms is None or (at_ms > self._known_until_ms and at_ms > self._clock.now_ms() + self._held_ms):
            self._at_ms.pop(key, None)
        elif self._at_ms.get(key) != at_ms:
            self._push(key, at_ms)

    async def run(self) -> None:
        """Fire deadlines until cancelled."""
        while True:
            try:
                self._refill()
            except Exception:
                _log.exception("deadlines_not_read")
            self._fire_due()
            self._changed = asyncio.get_running_loop().create_future()
            if nap_ms := self._nap_ms():
                await wait_until(self._clock, self._changed, nap_ms)
            else:
                await asyncio.sleep(0)

    async def stop(self) -> None:
        """Wait for the firings that are under way."""
        while self._firing:
            await asyncio.wait(self._firing)

    @property
    def pending(self) -> int:
        """How many deadlines are in memory."""
        return len(self._at_ms)

    def _push(self, key: RunKey, at_ms: int) -> None:
        self._at_ms[key] = at_ms
        first = not self._heap or at_ms < self._heap[0][0]
        heapq.heappush(self._heap, (at_ms, key))
        if first:
            self._wake()
        if len(self._heap) > 4 * len(self._at_ms) + 1_000:
            self._compact()

    def _nap_ms(self) -> int:
        if not self._heap:
            return _LOOK_AGAIN_MS
        if len(self._firing) >= _FIRING_MAX:
            return _LOOK_AGAIN_MS  # the end of a firing wakes the loop
        return max(0, min(_LOOK_AGAIN_MS, self._heap[0][0] - self._clock.now_ms()))

    def _refill(self) -> None:
        """Read the window's next part from the store once half of it has passed."""
        now_ms = self._clock.now_ms()
        if self._known_until_ms - now_ms > self._window_ms // 2:
            return
        # Those known for sure go first. Others that many runs hold here, of a later time, may not keep out what comes
        # before them and stands in the store alone.
        if len(self._at_ms) > self._due_max // 2 and self._heap[0][0] <= self._known_until_ms:
            return
        until_ms = now_ms + self._window_ms
        rows = self._due(until_ms, self._due_max)
        # Cut off in the middle of an instant, the rest of that instant is not known yet.
        self._known_until_ms = rows[-1][0] - 1 if len(rows) >= self._due_max else until_ms
        for at_ms, key in rows:
            # What is here may be earlier than what the store needs to know, and was committed no earlier.
            if key not in self._fired and at_ms < self._at_ms.get(key, at_ms + 1):
                self._push(key, at_ms)

    def _fire_due(self) -> None:
        now_ms = self._clock.now_ms()
        while self._heap and self._heap[0][0] <= now_ms and len(self._firing) < _FIRING_MAX:
            at_ms, key = heapq.heappop(self._heap)
            if self._at_ms.get(key) != at_ms:
                continue
            del self._at_ms[key]
            self._fired.add(key)
            task = asyncio.get_running_loop().create_task(self._fire_one(key))
            self._firing.add(task)
            task.add_done_callback(self._firing_ended)

    def _firing_ended(self, task: "asyncio.Task[None]") -> None:
        self._firing.discard(task)
        self._wake()

    async def _fire_one(self, key: RunKey) -> None:
        """Fire one run's deadline. A failure that may pass is tried again; a gone or broken run is left alone."""
        try:
            await self._fire(key)
            # What was committed set the next deadline already, unless nothing was due any more.
            self._again(key, self._deadline_ms(key))
        except NotFound:
            pass
        except Refused as refused:
            _log.warning("deadline_not_fired", run=str(key), refused=refused.message)
            if refused.status in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"):
                self._again(key, self._clock.now_ms() + _RETRY_MS)
        except Exception:
            _log.exception("deadline_failed", run=str(key))
            self._again(key, self._clock.now_ms() + _RETRY_MS)
        finally:
            self._fired.discard(key)

    def _again(self, key: RunKey, at_ms: int | None) -> None:
        """Set a deadline after a firing. One that is due at once, although it was just fired, waits a little: it would
        otherwise spin if the core and the deadline disagreed."""
        now_ms = self._clock.now_ms()
        if at_ms is not None and at_ms <= now_ms and key not in self._at_ms:
            at_ms = now_ms + _RETRY_MS
        self.set(key, at_ms)

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _compact(self) -> None:
        self._heap = [(at_ms, key) for key, at_ms in self._at_ms.items()]
        heapq.heapify(self._heap)
