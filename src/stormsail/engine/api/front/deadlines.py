"""When the calls of one connection are late.

One alarm stands for all of them: most calls end long before their deadline, and to set an alarm for each and call it
off again costs more than to let what is over fall out when its time comes.
"""

import asyncio
from collections.abc import Callable, Collection
from heapq import heapify, heappop, heappush
from typing import Final

_STALE_MAX: Final = 1_000


class Deadlines:
    """The deadlines of calls, by stream id."""

    def __init__(self, loop: asyncio.AbstractEventLoop, running: Collection[int], late: Callable[[int], None]) -> None:
        """`running` says which calls are not answered; `late` is told of those whose deadline is over."""
        self._loop = loop
        self._running = running
        self._late = late
        self._heap: list[tuple[float, int]] = []
        self._most = _STALE_MAX
        """So many deadlines are kept before those of calls that have ended are looked for."""
        self._alarm: asyncio.TimerHandle | None = None

    def add(self, stream_id: int, until_s: float) -> None:
        """Watch a call."""
        heap = self._heap
        heappush(heap, (until_s, stream_id))
        if heap[0][1] == stream_id:
            self._set_alarm()
        if len(heap) > self._most:
            heap[:] = [each for each in heap if each[1] in self._running]
            heapify(heap)
            self._most = 2 * len(heap) + _STALE_MAX

    def stop(self) -> None:
        """Watch nothing any more."""
        self._heap.clear()
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(self._heap[0][0], self._ring) if self._heap else None

    def _ring(self) -> None:
        now_s = self._loop.time()
        while self._heap and self._heap[0][0] <= now_s:
            stream_id = heappop(self._heap)[1]
            if stream_id in self._running:
                self._late(stream_id)
        self._set_alarm()
