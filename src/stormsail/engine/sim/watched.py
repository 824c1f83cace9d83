"""The production store with somebody looking on at everything it is given to write."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.messages import RunMessage
from stormsail.engine.core.schedules.state import Schedule
from stormsail.engine.core.turn import Turn
from stormsail.engine.store.batches import Batch
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.store import Store

BatchChange = Literal["begins", "moves", "goes"]


class Watching(Protocol):
    """Who looks on at what the store is given and has. What goes to the disk gets a name, by which its fate is told:
    that it is there, or that it is not, as the store says. Of what is told neither nobody knows until the file is
    opened again."""

    def opened(self, store: Store) -> None:
        """A store was opened, after whatever went before."""
        ...

    def submitted(self, turns: Sequence[Turn]) -> Any:
        """Turns go to the disk."""
        ...

    def settling(self, taken: RunMessage, answers: Sequence[RunMessage]) -> Any:
        """A message that no run takes goes, and what answers it comes."""
        ...

    def scheduling(self, before: Schedule | None, after: Schedule | None, due_ms: int | None) -> Any:
        """A schedule goes to the disk."""
        ...

    def deleting(self, key: RunKey) -> Any:
        """A run is to go from the disk."""
        ...

    def batch(self, doing: BatchChange, batch: Batch, runs: Sequence[tuple[str, str]]) -> Any:
        """A batch goes to the disk, or is to go from it. `runs`: those that one which begins concerns."""
        ...

    def committed(self, named: Any) -> None:
        """It is done."""
        ...

    def dropped(self, named: Any) -> None:
        """It is not."""
        ...


class _Watched:
    """The store, or a part of it; what is not watched goes straight to it."""

    def __init__(self, inner: Any, watching: Watching) -> None:
        self.inner = inner
        self._watching = watching

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class WatchedStore(_Watched):
    """See the module."""

    def __init__(self, store: Any, watching: Watching) -> None:
        super().__init__(store, watching)
        self.outbox = _WatchedOutbox(store.outbox, watching)
        self.schedules = _WatchedSchedules(store.schedules, watching)
        self.batches = _WatchedBatches(store.batches, watching)

    async def commit(self, turns: Sequence[Turn]) -> None:
        """See Store."""
        await _told(self._watching, self._watching.submitted(turns), self.inner.commit(turns))

    async def delete(self, key: RunKey) -> bool:
        """See Store."""
        return bool(await _told(self._watching, self._watching.deleting(key), self.inner.delete(key)))


class _WatchedOutbox(_Watched):
    async def settle(self, taken: RunMessage, answers: Sequence[RunMessage]) -> None:
        await _told(self._watching, self._watching.settling(taken, answers), self.inner.settle(taken, answers))


class _WatchedSchedules(_Watched):
    async def commit(self, before: Schedule | None, after: Schedule | None, due_ms: int | None) -> None:
        named = self._watching.scheduling(before, after, due_ms)
        await _told(self._watching, named, self.inner.commit(before, after, due_ms))


class _WatchedBatches(_Watched):
    async def begin(self, batch: Batch, runs: Sequence[tuple[str, str]]) -> None:
        await _told(self._watching, self._watching.batch("begins", batch, runs), self.inner.begin(batch, runs))

    async def move(self, batch: Batch) -> None:
        await _told(self._watching, self._watching.batch("moves", batch, ()), self.inner.move(batch))

    async def delete(self, batch: Batch) -> None:
        await _told(self._watching, self._watching.batch("goes", batch, ()), self.inner.delete(batch))


async def _told(watching: Watching, named: Any, doing: Any) -> Any:
    """Do something, and say what became of it."""
    try:
        done = await doing
    except StorageFailed:
        raise  # nobody knows, and the next to open the file finds out
    except Exception:
        watching.dropped(named)
        raise
    if done is False:
        watching.dropped(named)
    else:
        watching.committed(named)
    return done
