"""A file of any older version is brought up to ours when it is opened, and nothing in it is lost."""

import random
from pathlib import Path

import apsw
import pytest
from temporalio.api.namespace.v1 import NamespaceInfo
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from engine.sim.test_disk import disk_of, open_store
from engine.store.given import AT_MS, key, signaled, started
from stormsail.engine.sim.loop import SimLoop, run
from stormsail.engine.store import history, runs
from stormsail.engine.store.check import check
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.opening import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from stormsail.engine.store.store import Store

STEPS = (Path(runs.__file__).with_name("schema.sql"), *MIGRATIONS)


def make_old(connection: apsw.Connection, version: int) -> None:
    """Make the file that an engine of that version made, with one open run of five events in it."""
    connection.pragma("journal_mode", "wal")
    for step in STEPS[:version]:
        connection.execute(step.read_text())
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", version)
    turn = started(key("w"))
    more = signaled(turn.state, b"x" * 100, times=3)
    row = runs.row_of(more.state, 1)
    connection.execute(f"INSERT INTO run ({runs.COLUMNS}) VALUES ({', '.join('?' * len(row))})", row)
    for each in (turn, more):
        first = each.events[0].event_id
        connection.execute(
            "INSERT INTO history (id, events, crc, data) VALUES (?, ?, ?, ?)",
            history.row_of(1, "w-1", first, each.frames),
        )
    described = DescribeNamespaceResponse(namespace_info=NamespaceInfo(name="default", id="id"))
    connection.execute(
        "INSERT INTO namespace (name, id, described) VALUES ('default', 'id', ?)", (described.SerializeToString(),)
    )


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_file_of_an_older_version_opens_with_all_that_is_in_it(tmp_path: Path, version: int) -> None:
    connection = apsw.Connection(str(tmp_path / "engine.db"))
    make_old(connection, version)
    connection.close()
    store = Store.open(tmp_path, now_ms=lambda: AT_MS)
    state = store.load(key("w"))
    assert store.namespaces.get_by_id("id") is not None
    waiting = [named.workflow_id for named, _ in store.waiting_tasks().tasks]
    store.close()
    assert state is not None
    assert (state.last_event_id, state.signals, waiting) == (5, 3, ["w"])
    checked = check(tmp_path / "engine.db")
    assert (checked.version, checked.runs, checked.problems) == (SCHEMA_VERSION, 1, ())


def test_an_upgrade_cut_short_anywhere_is_finished_the_next_time() -> None:
    """Once for each call that opening makes on the disk: the power fails there, and comes back."""

    def play(at: int) -> bool:
        with disk_of(9_000 + at) as (disk, medium):

            async def once() -> bool:
                old = apsw.Connection("/disk/engine.db", vfs=medium.vfs)
                old.pragma("locking_mode", "EXCLUSIVE")
                make_old(old, 1)
                old.close()
                disk.end_at, disk.end_cuts = disk.calls + at, True
                cut = False
                try:
                    open_store(medium).close()
                except StorageFailed:
                    cut = True
                disk.end_at = 0
                disk.cut_power()
                disk.power_on()
                store = open_store(medium)
                state = store.load(key("w"))
                assert state is not None and state.signals == 3, f"call {at}"
                store.close()
                return cut

            return run(SimLoop(random.Random(at)), once())

    at = 1
    while play(at):
        at += 3
        assert at < 2_000, "opening makes more calls than were tried"
    assert at > 30
