"""What long histories cost grows with their length and no faster: told by counts, for times say little here."""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from engine.store.given import AT_MS, key, signaled, started
from stormsail.engine.store.store import Store

EVENTS = (1_000, 10_000)


@contextmanager
def counted(what: list[int]) -> Iterator[None]:
    """Count the calls of Python's functions and of those written in C."""

    def count(_frame: Any, event: str, _argument: Any) -> None:
        what[0] += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


async def costs(directory: Path, events: int) -> list[tuple[int, int, int]]:
    """Return what it takes to read a run of so many events in each way: calls, steps of SQLite's machine, and what was
    read."""
    steps = [0]

    def step(event: dict[str, Any]) -> None:
        steps[0] += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

    def watch(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, step)

    apsw.connection_hooks.append(watch)
    try:
        store = Store.open(directory, now_ms=lambda: AT_MS)
    finally:
        apsw.connection_hooks.remove(watch)
    turns = [started(key("w"))]
    await store.commit(turns)
    while (state := turns[-1].state).last_event_id < events:
        turns.append(signaled(state, b"x" * 50, times=min(20, events - state.last_event_id)))
    await asyncio.gather(*(store.commit([turn]) for turn in turns[1:]))
    found = []
    for read in (replayed, paged, paged_back):
        read(store)  # whatever is made once
        steps[0], calls = 0, [0]
        with counted(calls):
            done = read(store)
        found.append((calls[0], steps[0], done))
    store.close()
    return found


def replayed(store: Store) -> int:
    """Rebuild the run; return how many events it has."""
    state = store.load(key("w"))
    assert state is not None
    return state.last_event_id


def paged(store: Store) -> int:
    """Read the history page by page; return how many bytes it has."""
    size, place = 0, 1
    while place:
        page = store.history(key("w"), place, max_events=100, max_bytes=1 << 20)
        size, place = size + len(page.frames), page.next_event_id
    return size


def paged_back(store: Store) -> int:
    """Read the history from its end, page by page; return how many bytes it has."""
    size, place = 0, 0
    while True:
        page = store.history_reverse(key("w"), place, max_events=100, max_bytes=1 << 20)
        size, place = size + len(page.frames), page.next_event_id
        if not place:
            return size


@pytest.mark.slow
async def test_ten_times_the_history_takes_ten_times_the_calls_and_steps(tmp_path: Path) -> None:
    short, long = [await costs(tmp_path / str(events), events) for events in EVENTS]
    for one, other in zip(short, long, strict=True):
        for few, many in zip(one, other, strict=True):
            assert 9 * few < many < 11 * few, (short, long)


@pytest.mark.slow
async def test_the_next_turn_of_a_long_history_takes_no_more_than_that_of_a_short_one(tmp_path: Path) -> None:
    async def one_more(directory: Path, events: int) -> int:
        store = Store.open(directory, now_ms=lambda: AT_MS)
        turn = signaled(started(key("w")).state, b"x", times=events)
        calls = [0]
        with counted(calls):
            rows = store._runs._rows(signaled(turn.state, b"x"), 1)
        store.close()
        assert rows
        return calls[0]

    assert await one_more(tmp_path / "short", 100) == await one_more(tmp_path / "long", 10_000)
