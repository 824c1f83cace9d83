"""A check reads a whole file and names what is wrong; a backup is a whole copy of a file in use."""

import asyncio
import os
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from temporalio.api.enums.v1 import BatchOperationState, TaskQueueType
from temporalio.api.namespace.v1 import NamespaceInfo
from temporalio.api.taskqueue.v1 import TaskQueueConfig
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from engine.store.given import AT_MS, completed, continued, key, signaled, started, timer_started
from stormsail.engine.core.search_attributes import KEYWORD
from stormsail.engine.store import checksum
from stormsail.engine.store.backup import back_up
from stormsail.engine.store.batches import RUNNING, Batch, Batches
from stormsail.engine.store.check import check
from stormsail.engine.store.errors import NotOurFile, RowDamaged, SchemaTooNew, StorageFailed
from stormsail.engine.store.namespaces import StoredNamespace
from stormsail.engine.store.store import Store

ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
COMPLETED = BatchOperationState.BATCH_OPERATION_STATE_COMPLETED
JOB = Batch("default", "job", RUNNING, AT_MS, None, total=2, completed=0, failed=0, request=b"")


async def fill(directory: Path, *, workflows: int = 5) -> None:
    """Write some runs of every kind."""
    store = Store.open(directory, now_ms=lambda: AT_MS)
    for number in range(workflows):
        turn = started(key(f"w{number}"), memo={"m": b"x" * 100}, timeout_ms=60_000)
        await store.commit([turn])
        turn = signaled(turn.state, b"y" * 500, times=3)
        await store.commit([turn])
        turn = (timer_started(turn.state, "t", 5_000), completed(turn.state), continued(turn.state, f"r{number}"))[
            number % 3
        ]
        await store.commit([turn])
    described = DescribeNamespaceResponse(namespace_info=NamespaceInfo(name="default"))
    await store.namespaces.register(StoredNamespace("default", "id", described))
    weights = TaskQueueConfig(fairness_weight_overrides={"key": 2})
    await store.task_queue_configs.change(("default", "q", ACTIVITY), lambda _: weights)
    await store.search_attributes.add("default", {"Color": KEYWORD})
    await store.batches.begin(JOB, [("w0", ""), ("w1", "")])
    store.close()


def tamper(directory: Path, statement: str) -> None:
    """Change the file behind the store's back."""
    connection = apsw.Connection(str(directory / "engine.db"))
    checksum.teach(connection)
    connection.execute(statement)
    connection.close()


async def test_a_sound_file_has_no_problems_and_all_is_counted(tmp_path: Path) -> None:
    await fill(tmp_path)
    told: list[tuple[int, int]] = []
    checked = check(tmp_path / "engine.db", lambda done, whole: told.append((done, whole)))
    assert checked.problems == ()
    assert (checked.runs, checked.events) == (6, 32)
    assert told[-1] == (6, 6)


@pytest.mark.parametrize(
    ("statement", "where", "what"),
    [
        ("UPDATE history SET data = CAST(replace(data, 'yyyy', 'yyyz') AS BLOB)", "run default/w0/w0-1", "checksum"),
        ("DELETE FROM history WHERE id = (SELECT max(id) FROM history)", "run default/w4/w4-1", "missing"),
        ("DELETE FROM run WHERE workflow_id = 'w3'", "the file's rows", "events that belong to no run"),
        ("UPDATE run SET tasks = NULL WHERE workflow_id = 'w0'", "run default/w0/w0-1", "does not follow"),
        ("UPDATE run SET due_ms = 1 WHERE workflow_id = 'w0'", "run default/w0/w0-1", "history: due_ms"),
        (
            "UPDATE run SET progress = CAST(progress || 'x' AS BLOB) WHERE workflow_id = 'w0'",
            "run default/w0/w0-1",
            "progress",
        ),
        ("INSERT INTO outbox VALUES (1, 'r', 3, 'x', 7, x'00')", "message x of event 3 of run r", "checksum"),
        ("DELETE FROM run WHERE workflow_id = 'w0'", "the file's rows", "memos and search attributes"),
        ("UPDATE namespace SET described = x'ff'", "namespace default", "checksum"),
        ("UPDATE namespace SET id = 'other'", "namespace default", "checksum"),
        ("UPDATE search_attribute SET type = 3", "search attribute default/Color", "checksum"),
        ("UPDATE task_queue_config SET config = x'ff'", "the configuration of task queue default/q", "checksum"),
        ("UPDATE batch SET total = 1", "batch default/job", "checksum"),
        ("UPDATE batch_part SET runs = x'5b5b2277302c22225d5d'", "the runs of batch default/job", "checksum"),
    ],
)
async def test_what_was_changed_behind_our_back_is_named(tmp_path: Path, statement: str, where: str, what: str) -> None:
    await fill(tmp_path)
    tamper(tmp_path, statement)
    found = check(tmp_path / "engine.db").problems
    assert any(where == problem.where and what in problem.what for problem in found), found


@pytest.mark.parametrize(
    ("table", "message", "names", "where"),
    [
        ("namespace", "described", "name, id", "namespace default"),
        ("task_queue_config", "config", "namespace, name, type", "the configuration of task queue default/q"),
    ],
)
async def test_what_was_damaged_before_it_had_a_checksum_is_named_too(
    tmp_path: Path, table: str, message: str, names: str, where: str
) -> None:
    await fill(tmp_path)
    tamper(tmp_path, f"UPDATE {table} SET {message} = x'ff', crc = row_crc({names}, x'ff')")
    [problem] = check(tmp_path / "engine.db").problems
    assert (problem.where, problem.what) == (where, "what is stored of it cannot be read")
    with pytest.raises(StorageFailed, match=r"server fsck.*restore the file from a backup"):
        Store.open(tmp_path, now_ms=lambda: AT_MS)


@pytest.mark.parametrize(
    "change",
    [
        "namespace SET described = x'ff'",
        "namespace SET described = CAST(replace(described, 'default', 'defbult') AS BLOB)",
        "task_queue_config SET config = x'ff'",
        "search_attribute SET type = 3",
    ],
)
async def test_a_server_does_not_start_without_what_it_holds_in_memory_and_says_what_to_do(
    tmp_path: Path, change: str
) -> None:
    await fill(tmp_path)
    tamper(tmp_path, f"UPDATE {change}")
    with pytest.raises(StorageFailed, match=r"server fsck.*restore the file from a backup"):
        Store.open(tmp_path, now_ms=lambda: AT_MS)


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        ("batch SET completed = 1 WHERE job_id = 'job'", lambda batches: batches.get("default", "job")),
        ("batch_part SET runs = x'5b5b2277302c22225d5d'", lambda batches: batches.runs(JOB, 0, 10)),
    ],
)
async def test_a_batch_is_not_worked_on_with_another_number_or_other_runs_than_were_written(
    tmp_path: Path, change: str, asked: Callable[[Batches], object]
) -> None:
    await fill(tmp_path)
    tamper(tmp_path, f"UPDATE {change}")
    store = Store.open(tmp_path, now_ms=lambda: AT_MS)
    with pytest.raises(RowDamaged, match="server fsck"):
        asked(store.batches)
    store.close()


async def test_a_damaged_batch_is_left_alone_and_the_others_go_on_are_listed_and_are_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(tmp_path)
    store = Store.open(tmp_path, now_ms=lambda: AT_MS)
    running = [replace(JOB, job_id=name, started_ms=AT_MS + n) for n, name in enumerate(("b", "c"), 1)]
    ended = replace(JOB, job_id="d", state=COMPLETED, closed_ms=AT_MS)
    for batch in (*running, ended, replace(ended, job_id="e")):
        await store.batches.begin(batch, [])
    store.close()
    tamper(tmp_path, "UPDATE batch SET total = total + 1 WHERE job_id IN ('b', 'd')")
    store = Store.open(tmp_path, now_ms=lambda: AT_MS)
    assert [batch.job_id for batch in store.batches.running()] == ["c", "job"]
    assert [batch.job_id for batch in store.batches.closed_by("default", AT_MS, 10)] == ["e"]
    pages, token = [], b""
    while not pages or token:
        page = store.batches.page("default", 2, token)
        token = page.next_token
        pages.append([batch.job_id for batch in page.batches])
    assert pages == [["c"], ["e"], ["job"]]
    assert "batch default/b is passed over" in caplog.text
    store.close()


async def test_a_check_changes_nothing(tmp_path: Path) -> None:
    await fill(tmp_path)
    before = (tmp_path / "engine.db").read_bytes()
    check(tmp_path / "engine.db")
    assert (tmp_path / "engine.db").read_bytes() == before


def spoil_version(directory: Path) -> None:
    tamper(directory, "PRAGMA user_version = 9999")


def put_text(directory: Path) -> None:
    (directory / "engine.db").write_text("no database at all, but long enough to be looked at " * 20)


def put_other(directory: Path) -> None:
    (directory / "engine.db").unlink()
    tamper(directory, "CREATE TABLE t (x)")


@pytest.mark.parametrize(
    ("spoil", "raised"),
    [(spoil_version, SchemaTooNew), (put_text, NotOurFile), (put_other, NotOurFile)],
)
async def test_a_file_that_is_not_for_us_is_refused(
    tmp_path: Path, spoil: Callable[[Path], None], raised: type[Exception]
) -> None:
    await fill(tmp_path)
    spoil(tmp_path)
    with pytest.raises(raised):
        check(tmp_path / "engine.db")


def test_a_file_that_is_not_there_is_named_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed, match="is not there"):
        check(tmp_path / "engine.db")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
async def test_a_backup_of_a_file_in_use_is_whole_and_opens_as_a_store(tmp_path: Path) -> None:
    """Commits go on while it is made; what it has is all of some moment."""
    store = Store.open(tmp_path / "data", now_ms=lambda: AT_MS)
    done = threading.Event()
    made: list[Path] = []

    def backups() -> None:
        try:
            for number in range(3):
                copy = tmp_path / f"copy{number}.db"
                back_up(tmp_path / "data" / "engine.db", copy)
                made.append(copy)
        finally:
            done.set()

    thread = threading.Thread(target=backups)
    thread.start()
    number = 0
    while not done.is_set() or number < 20:
        turn = started(key(f"w{number}"))
        await store.commit([turn])
        await store.commit([signaled(turn.state, b"y" * 200)])
        number += 1
        await asyncio.sleep(0)
    thread.join()
    store.close()
    seen = []
    for copy in made:
        checked = check(copy)
        assert checked.problems == ()
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        seen.append(checked.runs)
    assert len(seen) == 3
    assert seen == sorted(seen)
    (tmp_path / "restored").mkdir()
    made[-1].rename(tmp_path / "restored" / "engine.db")
    restored = Store.open(tmp_path / "restored", now_ms=lambda: AT_MS)
    state = restored.load(key("w0"))
    restored.close()
    assert state is not None


async def test_a_backup_never_takes_the_place_of_another_file(tmp_path: Path) -> None:
    await fill(tmp_path)
    kept = tmp_path / "kept.db"
    kept.write_text("mine")
    with pytest.raises(StorageFailed, match="is there already"):
        back_up(tmp_path / "engine.db", kept)
    with pytest.raises(StorageFailed, match="cannot be written"):
        back_up(tmp_path / "engine.db", tmp_path / "nowhere" / "copy.db")
    assert kept.read_text() == "mine"
    assert [name for name in os.listdir(tmp_path) if name.endswith(".part")] == []  # noqa: PTH208
