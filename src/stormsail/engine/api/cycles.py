"""How seldom this process looks for cycles of objects, and what it leaves out: what waits in a long backlog.

Nearly nothing in the engine is cyclic. To look through a million waiting tasks, which are not, stops every call for
about a second. So as a backlog grows, what is there is put aside, and taken back once much of it is gone.
"""

import asyncio
import gc
from collections.abc import Callable
from typing import Final

_THRESHOLDS: Final = (5_000, 10, 400)
"""Each turn makes hundreds of objects: Python would look for cycles all the time. But to look through twenty thousand
new ones stops every call for ten or twenty milliseconds, so it is rather done four times as often."""
_STEP: Final = 25_000
"""Tasks by which a backlog has grown when it is put aside again."""
_EVERY_S: Final = 1.0


def collect_seldom() -> None:
    """Look for cycles seldom, and never among what is loaded by now: descriptors and modules. For who owns the process
    to call, before it serves."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


class Aside:
    """Which of the waiting tasks are out of the collector's way."""

    def __init__(
        self, *, freeze: Callable[[], None] = gc.freeze, unfreeze: Callable[[], None] = gc.unfreeze, step: int = _STEP
    ) -> None:
        self._freeze = freeze
        self._unfreeze = unfreeze
        self._step = step
        self._waiting = 0
        """How many waited when they were put aside last."""

    def look(self, waiting: int) -> None:
        """Take note of how many tasks wait now."""
        if waiting >= self._waiting + self._step:
            self._waiting = waiting
            self._freeze()
        elif self._waiting and waiting < self._waiting // 2:
            # What of it became garbage in cycles is found by the next collections.
            self._waiting = 0
            self._unfreeze()

    async def run(self, waiting: Callable[[], int]) -> None:
        """Look now and then, until cancelled."""
        while True:
            self.look(waiting())
            await asyncio.sleep(_EVERY_S)
