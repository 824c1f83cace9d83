"""How the file is opened, what it refuses, and what happens when the disk does not do as asked."""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from engine.store.given import AT_MS, key, signaled, started
from stormsail.engine.core.limits import Limits
from stormsail.engine.store.database import TOLD_AT_ONCE
from stormsail.engine.store.errors import (
    CommitQueueFull,
    DataDirInUse,
    NotOurFile,
    RunDamaged,
    SchemaTooNew,
    StorageBusy,
    StorageFailed,
    StorageFull,
)
from stormsail.engine.store.store import Store


def open_store(directory: Path, limits: Limits | None = None) -> Store:
    """Open a store with a fixed clock."""
    return Store.open(directory, now_ms=lambda: AT_MS, limits=limits or Limits())


def edit(directory: Path, statement: str) -> None:
    """Change the file of a closed store as no server would."""
    connection = apsw.Connection(str(directory / "engine.db"))
    connection.execute(statement)
    connection.close()


def test_only_its_owner_can_read_what_is_made(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        store = open_store(tmp_path / "data")
    finally:
        os.umask(old)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "data").iterdir()}
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert set(modes) >= {"engine.db", "engine.db-wal", "engine.lock"}
    assert set(modes.values()) == {0o600}
    store.close()


def test_a_file_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    (tmp_path / "engine.db").chmod(0o644)
    open_store(tmp_path).close()
    assert (tmp_path / "engine.db").stat().st_mode & 0o777 == 0o600


def test_a_directory_in_use_is_refused_with_the_holder(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(DataDirInUse, match=f"in use by process {os.getpid()}") as refused:
        open_store(tmp_path)
    assert refused.value.pid == os.getpid()
    store.close()


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    open_store(tmp_path).close()
    edit(tmp_path, "PRAGMA user_version = 99")
    before = (tmp_path / "engine.db").read_bytes()
    with pytest.raises(SchemaTooNew, match="schema version 99"):
        open_store(tmp_path)
    assert (tmp_path / "engine.db").read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "engine.db").write_bytes(b"my shopping list\n" * 1_000)
    with pytest.raises(NotOurFile, match=r"engine\.db is not a Stormsail engine database"):
        open_store(tmp_path)
    assert (tmp_path / "engine.db").read_bytes() == b"my shopping list\n" * 1_000


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    edit(tmp_path, "CREATE TABLE songs (name)")
    before = (tmp_path / "engine.db").read_bytes()
    with pytest.raises(NotOurFile, match="another program"):
        open_store(tmp_path)
    assert (tmp_path / "engine.db").read_bytes() == before


def test_a_refused_directory_can_be_opened_once_it_is_right(tmp_path: Path) -> None:
    (tmp_path / "engine.db").write_bytes(b"no database" * 500)
    with pytest.raises(NotOurFile):
        open_store(tmp_path)
    (tmp_path / "engine.db").unlink()
    open_store(tmp_path).close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageFailed, match=str(tmp_path)):
        open_store(tmp_path)


def test_a_data_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StorageFailed, match="cannot be used: File exists"):
        open_store(tmp_path / "data")


def check(directory: Path) -> str:
    """Have SQLite check the whole file of a closed store."""
    connection = apsw.Connection(str(directory / "engine.db"))
    found = str(connection.pragma("integrity_check"))
    connection.close()
    return found


async def test_a_changed_byte_in_a_history_is_told_with_the_run(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.commit([started(key("good")), started(key("bad"))])
    store.close()
    edit(tmp_path, "UPDATE history SET data = CAST(x'00' || substr(data, 2) AS BLOB) WHERE id >> 24 = 2")
    store = open_store(tmp_path)
    assert store.load(key("good")) is not None
    for read in (
        lambda: store.load(key("bad")),
        lambda: store.history(key("bad"), 1, max_events=10, max_bytes=10_000),
        lambda: store.history_reverse(key("bad"), 0, max_events=10, max_bytes=10_000),
    ):
        with pytest.raises(RunDamaged, match="default/bad/bad-1") as damaged:
            read()
        assert damaged.value.key == key("bad")
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE run SET progress = x'7b7d' WHERE rid = 1",
        "UPDATE run SET next_event = next_event + 1 WHERE rid = 1",
        "UPDATE run SET status = 2 WHERE rid = 1",
        "DELETE FROM history WHERE id = (1 << 24) + 3",
        "DELETE FROM history WHERE id = (1 << 24) + 1",
        "UPDATE history SET id = id + 1 WHERE id = (1 << 24) + 3",
        "UPDATE history SET events = 2 WHERE id = (1 << 24) + 3",
        "INSERT INTO history SELECT (1 << 24) + 4, events, crc, data FROM history WHERE id = (1 << 24) + 3",
    ],
)
async def test_a_run_that_lost_or_gained_rows_is_not_loaded(tmp_path: Path, damage: str) -> None:
    store = open_store(tmp_path)
    first = started(key("w"))
    await store.commit([first])
    await store.commit([signaled(first.state)])
    assert store.load(key("w")) is not None
    store.close()
    edit(tmp_path, damage)
    store = open_store(tmp_path)
    with pytest.raises(RunDamaged):
        store.load(key("w"))
    store.close()


async def test_a_gap_in_a_history_is_not_served_over(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    turns = [started(key("w"))]
    for _ in range(3):
        turns.append(signaled(turns[-1].state))
    for turn in turns:
        await store.commit([turn])
    store.close()
    edit(tmp_path, "DELETE FROM history WHERE id = (1 << 24) + 4")
    store = open_store(tmp_path)
    for read, at in ((store.history, 1), (store.history_reverse, 0)):
        with pytest.raises(RunDamaged, match="event 4 is missing"):
            read(key("w"), at, max_events=100, max_bytes=10_000)
    store.close()


async def test_tasks_whose_row_is_damaged_are_told_from_the_history(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    await store.commit([started(key("w")), started(key("x"))])
    expected = store.waiting_tasks().tasks
    store.close()
    edit(tmp_path, "UPDATE run SET tasks = CAST(replace(CAST(tasks AS TEXT), '\"q\"', '\"z\"') AS BLOB) WHERE rid = 1")
    store = open_store(tmp_path)
    assert store.waiting_tasks().tasks == expected
    store.close()
    edit(tmp_path, "UPDATE run SET tasks = x'00', next_event = 9 WHERE rid = 1")
    store = open_store(tmp_path)
    assert store.waiting_tasks().tasks == expected[1:], "the others go on"
    store.close()


async def test_a_row_that_cannot_be_read_hides_neither_the_tasks_nor_the_deadlines_of_others(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    turns = [started(key(f"w{number}"), timeout_ms=5_000) for number in range(5)]
    for turn in turns:
        await store.commit([turn])
    store.close()
    edit(tmp_path, "UPDATE run SET workflow_id = CAST(x'77ff31' AS TEXT) WHERE rid = 3")
    store = open_store(tmp_path)
    with pytest.raises(RunDamaged, match="its row cannot be read"):
        store.load(key("w2"))
    waiting, place = [], 0
    while place is not None:
        page = store.waiting_tasks(place, 4)
        waiting += [named.workflow_id for named, _ in page.tasks]
        place = page.next_place
    assert waiting == ["w0", "w1", "w3", "w4"]
    due = store.due(AT_MS + 60_000, 10)
    assert [named.workflow_id for _, named in due] == ["w0", "w1", "w3", "w4"]
    store.close()


async def test_every_way_a_run_is_looked_for_has_its_index(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for where, index in (
        ("namespace = ? AND run_id = ?", "run_key"),
        ("namespace = ? AND workflow_id = ? AND close_ms IS NULL", "run_open"),
        ("namespace = ? AND workflow_id = ? ORDER BY rid DESC LIMIT 1", "run_chain"),
        ("due_ms <= ? ORDER BY due_ms LIMIT ?", "run_due"),
        ("tasks IS NOT NULL AND rid > ? ORDER BY rid LIMIT ?", "run_tasks"),
    ):
        plan = store._database.reader.read(
            f"EXPLAIN QUERY PLAN SELECT run_id FROM run WHERE {where}", (1,) * where.count("?")
        )
        told = " ".join(str(row[-1]) for row in plan)
        assert f"INDEX {index}" in told, told
        assert "TEMP B-TREE" not in told
    store.close()


async def test_more_commits_than_may_wait_are_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path, Limits(commit_queue_max=5))
    turns = [started(key(f"w{n}")) for n in range(8)]
    outcomes = await asyncio.gather(*(store.commit([turn]) for turn in turns), return_exceptions=True)
    assert [type(one) for one in outcomes] == [type(None)] * 5 + [CommitQueueFull] * 3
    assert outcomes[-1].status == "RESOURCE_EXHAUSTED"
    await store.commit([turns[-1]])
    assert store.load(key("w7")) == turns[-1].state
    store.close()


async def test_of_a_large_group_so_many_callers_go_on_in_one_round_of_the_event_loop(tmp_path: Path) -> None:
    store, loop = open_store(tmp_path), asyncio.get_running_loop()
    rounds, went_on = 0, list[tuple[int, int]]()

    def count() -> None:
        nonlocal rounds
        rounds += 1
        if len(went_on) < 200:
            loop.call_soon(count)

    async def commit(number: int) -> None:
        await store.commit([started(key(f"w{number}"))])
        went_on.append((rounds, number))

    commits = [asyncio.ensure_future(commit(number)) for number in range(200)]
    count()
    await asyncio.gather(*commits)
    assert list(Counter(at for at, _ in went_on).values()) == [TOLD_AT_ONCE] * 3 + [200 - 3 * TOLD_AT_ONCE]
    assert [number for _, number in went_on] == list(range(200))
    store.close()


@pytest.mark.slow
async def test_a_lock_by_another_program_is_told_and_passes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    other = apsw.Connection(str(tmp_path / "engine.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageBusy) as busy:
        await store.commit([started(key("w"))])
    assert busy.value.status == "UNAVAILABLE"
    other.execute("ROLLBACK")
    other.close()
    await store.commit([started(key("w"))])
    store.close()


async def fill(store: Store) -> tuple[int, StorageFull]:
    """Commit until the disk is full; return how many runs were acknowledged, and the refusal."""
    for n in range(10_000):
        first = started(key(f"fill{n}"), memo={"m": b"x" * 20_000})
        try:
            await store.commit([first])
        except StorageFull as full:
            return n, full
    raise AssertionError("the disk never filled")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


async def test_a_full_disk_refuses_writes_keeps_reading_and_recovers(small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 1_000_000)
    store = open_store(small_disk)
    acknowledged, full = await fill(store)
    assert full.status == "RESOURCE_EXHAUSTED"
    assert "engine.db" in full.message
    assert acknowledged > 10
    outcomes = await asyncio.gather(
        *(store.commit([started(key(f"no{n}"), memo={"m": b"x" * 200_000})]) for n in range(20)),
        return_exceptions=True,
    )
    assert {type(one) for one in outcomes} == {StorageFull}
    assert all(store.load(key(f"fill{n}")) is not None for n in range(acknowledged))
    assert store.load(key(f"fill{acknowledged}")) is None
    ballast.unlink()
    after = started(key("after"), memo={"m": b"x" * 20_000})
    await store.commit([after])
    store.close()
    store = open_store(small_disk)
    assert store.load(key("after")) == after.state
    assert all(store.load(key(f"fill{n}")) is not None for n in range(acknowledged))
    store.close()
    assert check(small_disk) == "ok"


IO_ERROR = """
import asyncio, json, resource, sys
from pathlib import Path
from engine.store.given import key, started, AT_MS
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.store import Store

async def main() -> None:
    store = Store.open(Path(sys.argv[1]), now_ms=lambda: AT_MS)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
    acknowledged = 0
    while True:
        try:
            await store.commit([started(key(f"w{acknowledged}"), memo={"m": b"x" * 10_000})])
        except StorageFailed as failed:
            first = str(failed)
            break
        acknowledged += 1
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    later = await asyncio.gather(*(store.commit([started(key(f"l{n}"))]) for n in range(5)), return_exceptions=True)
    store.close()
    print(json.dumps([acknowledged, first, [type(one).__name__ for one in later]]))

asyncio.run(main())
"""


@pytest.mark.slow
def test_after_a_failed_write_nothing_is_written_and_what_was_acknowledged_is_there(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-c", IO_ERROR, str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    acknowledged, first, later = json.loads(found.stdout)
    assert acknowledged > 5
    assert "The storage failed while committing" in first
    assert later == ["StorageFailed"] * 5, "it is not tried again, though the disk would take it now"
    store = open_store(tmp_path / "data")
    assert all(store.load(key(f"w{n}")) is not None for n in range(acknowledged))
    assert all(store.load(key(f"l{n}")) is None for n in range(5))
    store.close()


@pytest.mark.slow
async def test_the_log_is_copied_into_the_file_and_starts_over(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for n in range(300):
        await store.commit([started(key(f"w{n}"), memo={"m": b"x" * 100_000})])
    assert (tmp_path / "engine.db").stat().st_size > 15_000_000
    assert (tmp_path / "engine.db-wal").stat().st_size < 25_000_000
    store.close()
