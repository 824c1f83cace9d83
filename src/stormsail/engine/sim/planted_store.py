"""Bugs planted between the engine and its store, under the eyes of the watch: they lose what was committed."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import apsw

from stormsail.engine.core.errors import Refused
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.turn import Turn
from stormsail.engine.shell.engine import Engine
from stormsail.engine.sim.disk import SimDisk
from stormsail.engine.store.errors import StorageFull
from stormsail.engine.store.visibility import VisibilityPage


class Before:
    """Something that stands before a store and passes on what it does not change."""

    def __init__(self, inner: Any, engine: Callable[[], Engine]) -> None:
        self._inner = inner
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class RepliesFirst(Before):
    async def commit(self, turns: Sequence[Turn]) -> None:
        task = asyncio.get_running_loop().create_task(self._inner.commit(turns))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


class SaysYesWhenFull(Before):
    async def commit(self, turns: Sequence[Turn]) -> None:
        try:
            await self._inner.commit(turns)
        except StorageFull:
            return


class KeepsWhatFailed(Before):
    async def commit(self, turns: Sequence[Turn]) -> None:
        try:
            await self._inner.commit(turns)
        except Refused:
            for turn in turns:
                for each in turn.every:
                    self._engine().runs._keep(each)
            raise


class CommitsHalf(Before):
    async def commit(self, turns: Sequence[Turn]) -> None:
        await self._inner.commit([replace(turn, also=[]) for turn in turns])


class CommitsInTwo(Before):
    async def commit(self, turns: Sequence[Turn]) -> None:
        for turn in turns:
            for each in turn.every:
                await self._inner.commit([replace(each, also=[])])


class KeepsTakenMessages(Before):
    """A message between runs stays on disk when its run has taken it."""

    async def commit(self, turns: Sequence[Turn]) -> None:
        await self._inner.commit([_every(turn, lambda each: replace(each, takes=None)) for turn in turns])


class LosesMessages(Before):
    """Messages between runs are in memory only."""

    async def commit(self, turns: Sequence[Turn]) -> None:
        await self._inner.commit([_every(turn, lambda each: replace(each, messages=[])) for turn in turns])


def _every(turn: Turn, change: Callable[[Turn], Turn]) -> Turn:
    return replace(change(turn), also=[_every(each, change) for each in turn.also])


class ForgetsProgress(Before):
    """What the run's row says of activities is what it was when they were scheduled."""

    async def commit(self, turns: Sequence[Turn]) -> None:
        await self._inner.commit([self._forgotten(turn) for turn in turns])

    def _forgotten(self, turn: Turn) -> Turn:
        if not turn.state.activities:
            return turn
        state = turn.state.copy()
        for key, activity in state.activities.items():
            state.activities[key] = replace(activity, attempt=1, last_failure=None, heartbeat_details=None)
        return replace(turn, state=state)


class ForgetsPriority(Before):
    """What the run's row says of waiting tasks lacks how urgent they are."""

    async def commit(self, turns: Sequence[Turn]) -> None:
        changed = []
        for turn in turns:
            state = turn.state.copy()
            state.priority = None
            changed.append(replace(turn, state=state))
        await self._inner.commit(changed)


class LosesBufferOnDisk(Before):
    async def commit(self, turns: Sequence[Turn]) -> None:
        changed = []
        for turn in turns:
            state = turn.state.copy()
            state.buffered.clear()
            changed.append(replace(turn, state=state) if turn.state.buffered else turn)
        await self._inner.commit(changed)


class LosesLastDeadline(Before):
    def due(self, until_ms: int, limit: int) -> list[tuple[int, RunKey]]:
        return list(self._inner.due(until_ms, limit))[:-1]


class LosesOneTask(Before):
    def waiting_tasks(self, place: int = 0, runs_max: int = 1 << 30) -> Any:
        found = self._inner.waiting_tasks(place, runs_max)
        return replace(found, tasks=found.tasks[1:])


class ForgetsEndOfHistory(Before):
    """Pages of three rows or more lack the last: a cache of histories that is one turn behind."""

    def history(self, key: RunKey, first_event_id: int, *, max_events: int, max_bytes: int) -> Any:
        page = self._inner.history(key, first_event_id, max_events=max_events, max_bytes=max_bytes)
        if page.last_event_id - first_event_id < 6:
            return page
        cut = self._inner.history(key, first_event_id, max_events=5, max_bytes=max_bytes)
        return replace(cut, next_event_id=0)


class DropsPredicate(Before):
    @property
    def visibility(self) -> Any:
        return FirstPredicateOnly(self._inner.visibility)


class FirstPredicateOnly:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def list(self, namespace: str, query: str, page_size: int, token: bytes) -> VisibilityPage:
        found: VisibilityPage = self._inner.list(namespace, query.partition(" AND ")[0], page_size, token)
        return found

    def count(self, namespace: str, query: str) -> Any:
        return self._inner.count(namespace, query.partition(" AND ")[0])


class SkipsRowAtPageEnd(Before):
    @property
    def visibility(self) -> Any:
        return OneShort(self._inner.visibility)


class OneShort:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def list(self, namespace: str, query: str, page_size: int, token: bytes) -> VisibilityPage:
        page: VisibilityPage = self._inner.list(namespace, query, page_size, token)
        return replace(page, rows=page.rows[:-1]) if page.next_token else page

    def count(self, namespace: str, query: str) -> Any:
        return self._inner.count(namespace, query)


def synchronous(how: str) -> Callable[[apsw.Connection], None]:
    """Return what sets PRAGMA synchronous."""
    return lambda connection: connection.pragma("synchronous", how)


def lies(disk: SimDisk) -> None:
    disk.syncing = lambda _name: False


def lies_about_file(disk: SimDisk) -> None:
    disk.syncing = lambda name: name.endswith("-wal")


def lies_now_and_then(disk: SimDisk) -> None:
    disk.syncing = lambda _name: disk.counts.syncs % 4 != 0


def loses_names(disk: SimDisk) -> None:
    disk.naming = lambda _name: False
    disk.preparing = False
