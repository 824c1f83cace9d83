"""Who waits for news of a run. A wake says only that something was committed; the woken look for themselves."""

import asyncio
from functools import partial

from stormsail.engine.core.ids import RunKey
from stormsail.engine.shell.clock import Clock

_Watch = dict["asyncio.Future[bool]", None]
"""In the order in which they came."""


class Waiters:
    """A future for each who waits, by run."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watches: dict[RunKey, _Watch] = {}
        self._closings: dict[RunKey, _Watch] = {}

    async def changed(self, key: RunKey, timeout_ms: float, *, closing: bool = False) -> bool:
        """Wait for the run's next commit, or for the one that closes it; return whether there was one in time.

        Look at the run, and call this without awaiting in between: then no commit is missed.
        """
        watches = self._closings if closing else self._watches
        told: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        watch = watches.setdefault(key, {})
        watch[told] = None
        alarm = self._clock.call_later(timeout_ms, partial(_tell, told, False))
        try:
            return await told
        finally:
            alarm.cancel()
            watch.pop(told, None)
            if not watch and watches.get(key) is watch:
                del watches[key]

    def wake(self, key: RunKey, *, closed: bool) -> None:
        """Tell everybody who waits for this run that it changed; with `closed`, also who waits for its end."""
        for watches in (self._watches, self._closings) if closed else (self._watches,):
            for told in watches.pop(key, ()):
                _tell(told, True)

    def wake_all(self) -> None:
        """Wake everybody: the server is stopping."""
        for key in [*self._watches, *self._closings]:
            self.wake(key, closed=True)

    def __len__(self) -> int:
        return len(self._watches) + len(self._closings)


def _tell(told: "asyncio.Future[bool]", changed: bool) -> None:
    if not told.done():
        told.set_result(changed)
