"""What waited for a poller when the server ended is there again, and how much a start reads does not grow with it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from engine.shell.conftest import World
from engine.store.given import key, started
from stormsail.engine.core.errors import ResourceExhausted
from stormsail.engine.core.limits import DEFAULT_LIMITS

LIMITS = replace(DEFAULT_LIMITS, recovered_first_runs=4, recovered_runs_at_once=3)


@contextmanager
def counted_steps() -> Iterator[list[int]]:
    """Count what SQLite does on the connections that are opened inside: statements, and steps of its machine."""
    counts = [0, 0]

    def count(event: dict[str, Any]) -> None:
        counts[0] += 1
        counts[1] += event["stmt_status"]["SQLITE_STMTSTATUS_VM_STEP"]

    def watch(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, count)

    apsw.connection_hooks.append(watch)
    try:
        yield counts
    finally:
        apsw.connection_hooks.remove(watch)


async def with_runs(directory: Path, count: int, **fields: Any) -> World:
    """Return a world that is closed, with so many runs whose first workflow task waits."""
    world = World(directory, limits=LIMITS)
    await world.open()
    await world.store.commit([started(key(f"w{number:04}"), **fields) for number in range(count)])
    await world.close()
    return world


@pytest.mark.slow
@pytest.mark.parametrize("timeout_ms", [0, 86_400_000], ids=["tasks", "tasks and deadlines"])
async def test_what_a_start_reads_does_not_grow_with_the_runs_that_are_open(tmp_path: Path, timeout_ms: int) -> None:
    counts = []
    for runs in (20, 600):
        world = await with_runs(tmp_path / str(runs), runs, timeout_ms=timeout_ms)
        with counted_steps() as counted:
            await world.open()
            counts.append(tuple(counted))
        assert await world.poll()
        await world.close()
    assert counts[0] == counts[1]
    assert counts[0][0] > 10


@pytest.mark.slow
async def test_every_task_is_handed_out_once_however_many_pages_they_are_read_in(tmp_path: Path) -> None:
    world = await with_runs(tmp_path, 20)
    await world.open()
    assert not world.engine.recovery.done
    handed_out = [(await world.poll()).workflow_execution.workflow_id for _ in range(20)]
    assert sorted(handed_out) == [f"w{number:04}" for number in range(20)]
    assert world.engine.recovery.done
    waiting = world.polling()
    await world.settle()
    assert not waiting.done()
    await world.close()


@pytest.mark.slow
async def test_a_run_that_moved_on_before_it_was_read_has_its_new_task_alone(tmp_path: Path) -> None:
    world = await with_runs(tmp_path, 20)
    await world.open()
    await world.terminate("w0019")
    await world.start("w0019")
    await world.until(lambda: world.engine.recovery.done)
    assert world.engine.matching.waiting == 20
    for _ in range(20):
        task = await world.poll()
        await world.complete(task, [world.complete_workflow()])
    assert world.engine.matching.waiting == 0
    await world.close()


class BusyOnce:
    """A store that once cannot be read."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.busy = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def waiting_tasks(self, place: int, runs_max: int) -> Any:
        """See Store."""
        if self.busy:
            self.busy = False
            raise ResourceExhausted("busy")
        return self._store.waiting_tasks(place, runs_max)


async def test_a_page_that_cannot_be_read_is_read_a_little_later(tmp_path: Path) -> None:
    world = await with_runs(tmp_path, 20)
    world.store_of = BusyOnce
    await world.open()
    world.store.busy = True
    await world.settle()
    assert not world.engine.recovery.done
    await world.clock.advance(1_000)
    await world.until(lambda: world.engine.recovery.done)
    assert world.engine.matching.waiting == 20
    await world.close()
