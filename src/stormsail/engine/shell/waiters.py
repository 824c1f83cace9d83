"""Who waits for news of a run. A wake says only that something was committed; the woken look for themselves."""

import asyncio
from dataclasses import dataclass

from stormsail.engine.core.ids import RunKey
from stormsail.engine.shell.clock import Clock, wait_until


@dataclass(slots=True)
class _Watch:
    changed: "asyncio.Future[None]"
    count: int = 0


class Waiters:
    """One future a watched run, shared by all who wait for it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watches: dict[RunKey, _Watch] = {}
        self._closings: dict[RunKey, _Watch] = {}

    async def changed(self, key: RunKey, timeout_ms: float, *, closing: bool = False) -> bool:
        """Wait for the run's next commit, or for the one that closes it; return whether there was one in time.

        Look at the run, and call this without awaiting in between: then no commit is missed.
        """
        watches = self._closings if closing else self._watches
        watch = watches.get(key)
        if watch is None:
            watch = watches[key] = _Watch(asyncio.get_running_loop().create_future())
        watch.count += 1
        try:
            return await wait_until(self._clock, watch.changed, timeout_ms)
        finally:
            watch.count -= 1
            if not watch.count and watches.get(key) is watch:
                del watches[key]

    def wake(self, key: RunKey, *, closed: bool) -> None:
        """Tell everybody who waits for this run that it changed; with `closed`, also who waits for its end."""
        for watches in (self._watches, self._closings) if closed else (self._watches,):
            watch = watches.pop(key, None)
            if watch is not None:
                watch.changed.set_result(None)

    def wake_all(self) -> None:
        """Wake everybody: the server is stopping."""
        for key in [*self._watches, *self._closings]:
            self.wake(key, closed=True)

    def __len__(self) -> int:
        return len(self._watches) + len(self._closings)
