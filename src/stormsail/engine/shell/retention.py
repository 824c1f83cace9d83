"""Closed runs leave the store once their namespace's retention is over.

What is to go is told from the file alone, so a sweep that a crash cuts off is only a sweep that begins again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from stormsail.engine.core.errors import Refused
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.shell.clock import Clock, wait_until

_log: Final = structlog.get_logger(__name__)


class Retention:
    """The loop that deletes them."""

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        *,
        lasts_ms: Callable[[], Sequence[tuple[str, int]]],
        closed_by: Callable[[str, int, int], Sequence[RunKey]],
        looked_for: Callable[[RunKey], bool],
        delete: Callable[[RunKey], Awaitable[bool]],
        forget: Callable[[str, int], Awaitable[None]],
    ) -> None:
        """`lasts_ms` tells the namespaces with their retention, `closed_by` the runs that had closed by an instant,
        `looked_for` whether one is needed a little longer; `forget` deletes what else had ended by then."""
        self._clock = clock
        self._limits = limits
        self._lasts_ms = lasts_ms
        self._closed_by = closed_by
        self._looked_for = looked_for
        self._delete = delete
        self._forget = forget

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            try:
                await self.sweep()
            except Refused as refused:
                _log.warning("retention_put_off", refused=refused.message)
            except Exception:
                _log.exception("retention_failed")
            never = asyncio.get_running_loop().create_future()
            await wait_until(self._clock, never, self._limits.retention_sweep_ms)

    async def sweep(self) -> int:
        """Delete the runs whose retention is over, a batch at a time. Returns how many there were. A batch of which
        none can go, be it that all are looked for, ends it: the next sweep goes on."""
        deleted = 0
        for namespace, lasts_ms in self._lasts_ms():
            until_ms = self._clock.now_ms() - lasts_ms
            while batch := self._closed_by(namespace, until_ms, self._limits.retention_batch_max):
                gone = await self._delete_together([key for key in batch if not self._looked_for(key)])
                deleted += gone
                if not gone:
                    break
            await self._forget(namespace, until_ms)
        if deleted:
            _log.info("retention_over", runs=deleted)
        return deleted

    async def _delete_together(self, batch: Sequence[RunKey]) -> int:
        """Delete runs at once, for they then share one transaction and one fsync; return how many went.

        Where others fill the queue of commits, those go that find a place there. Raises what refused all of them.
        """
        ended = await asyncio.gather(*(self._delete(key) for key in batch), return_exceptions=True)
        gone = sum(each is True for each in ended)
        for each in ended:
            if isinstance(each, BaseException) and not (gone and isinstance(each, Refused)):
                raise each
        return gone
