"""The simulated disk keeps what was synced and tears what was not; and the store on it loses nothing it has shown."""

import asyncio
import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from engine.store.given import key, signaled, started
from stormsail.engine.sim.disk import SECTOR, SimDisk, SimVfs
from stormsail.engine.sim.loop import SimLoop, run
from stormsail.engine.sim.node import LoopWriter
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.medium import Medium
from stormsail.engine.store.store import Store


class _Held:
    def release(self) -> None:
        """Nobody else is there."""


@contextlib.contextmanager
def disk_of(seed: int) -> Iterator[tuple[SimDisk, Medium]]:
    """A disk, and what a store needs to stand on it."""
    chance = random.Random(seed)
    disk = SimDisk(chance)
    vfs = SimVfs(f"test-disk-{seed}", disk)
    yield (
        disk,
        Medium(
            vfs=vfs.name,
            one_connection=True,
            checkpoint_pages=20,
            hold=lambda _: _Held(),
            prepare=lambda path: disk.prepare(str(path)),
            writer=lambda write: LoopWriter(write, chance, 0.001),
        ),
    )
    vfs.unregister()


def open_store(medium: Medium) -> Store:
    return Store.open(Path("/disk"), now_ms=lambda: 0, medium=medium)


def test_a_power_cut_keeps_what_was_synced_and_tears_what_was_not_by_sectors() -> None:
    disk = SimDisk(random.Random(3))
    file = disk.open("f")
    disk.write("f", file, b"a" * SECTOR * 40, 0)
    disk.sync("f", file)
    disk.write("f", file, b"b" * SECTOR * 40, 0)
    disk.cut_power()
    disk.power_on()
    left = disk.open("f").data
    sectors = {bytes(left[at : at + SECTOR]) for at in range(0, len(left), SECTOR)}
    assert sectors == {b"a" * SECTOR, b"b" * SECTOR}


def test_a_file_whose_name_was_not_synced_may_be_gone_after_a_power_cut() -> None:
    there = 0
    for seed in range(40):
        disk = SimDisk(random.Random(seed))
        disk.write("f", disk.open("f"), b"x", 0)
        disk.cut_power()
        there += disk.exists("f")
    assert 0 < there < 40


def test_files_of_a_dead_process_cannot_be_written_any_more() -> None:
    with disk_of(1) as (disk, medium):
        connection = apsw.Connection("/disk/f", vfs=medium.vfs)
        connection.execute("CREATE TABLE t (a)")
        disk.end_process()
        with pytest.raises(apsw.IOError):
            connection.execute("INSERT INTO t VALUES (1)")
        with contextlib.suppress(apsw.Error):
            connection.close()


@pytest.mark.parametrize("call", range(1, 60))
def test_what_a_store_shows_after_its_process_was_killed_survives_a_power_cut(call: int) -> None:
    """A killed process leaves a commit written and not synced; the next one reads it, and so must keep it."""
    with disk_of(1000 + call) as (disk, medium):
        loop = SimLoop(random.Random(call))

        async def play() -> None:
            first = started(key("w"))
            store = open_store(medium)
            await store.commit([first])
            disk.end_at = disk.calls + call
            with contextlib.suppress(StorageFailed):
                await store.commit([signaled(first.state)])
            disk.end_process()
            disk.power_on()
            shown = open_store(medium).load(key("w"))
            disk.cut_power()
            disk.power_on()
            kept = open_store(medium)
            assert kept.load(key("w")) == shown
            kept.close()

        run(loop, play())


def test_a_store_on_it_keeps_every_commit_through_a_hundred_power_cuts() -> None:
    with disk_of(7) as (disk, medium):
        chance = random.Random(7)

        async def play() -> None:
            state = None
            for _ in range(100):
                store = open_store(medium)
                if state is None:
                    turn = started(key("w"))
                    await store.commit([turn])
                    state = turn.state
                found = store.load(key("w"))
                assert found is not None and found.signals >= state.signals
                state = found
                disk.end_at, disk.end_cuts = disk.calls + chance.randint(1, 60), True
                with contextlib.suppress(StorageFailed):
                    for _ in range(10):
                        turn = signaled(state)
                        await asyncio.wait_for(store.commit([turn]), 1)
                        state = turn.state
                disk.cut_power()
                disk.power_on()
            assert state is not None and state.signals > 50

        run(SimLoop(chance), play())


@pytest.mark.slow
def test_no_failing_disk_call_takes_back_an_acknowledged_commit() -> None:
    """Each call of a script fails once, in a run of its own."""
    for call in range(1, 500):
        with disk_of(5000 + call) as (disk, medium):

            async def play(disk: SimDisk = disk, medium: Medium = medium, call: int = call) -> bool:
                turn = started(key("w"))
                acknowledged = -1
                disk.fail_at = call
                with contextlib.suppress(StorageFailed):
                    store = open_store(medium)
                    for _ in range(12):
                        await store.commit([turn])
                        acknowledged += 1
                        turn = signaled(turn.state)
                    store.close()
                failed = disk.counts.faults > 0
                disk.end_process()
                disk.cut_power()
                disk.power_on()
                found = open_store(medium).load(key("w"))
                kept = found.signals if found is not None else -1
                assert acknowledged <= kept <= acknowledged + 1, f"call {call}: {kept} kept of {acknowledged}"
                return failed

            if not run(SimLoop(random.Random(call)), play()):
                return
    raise AssertionError("the script makes more calls than were tried")
