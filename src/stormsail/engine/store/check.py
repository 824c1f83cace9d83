"""Whether a file is sound: SQLite's own pages, and everything of ours that has a checksum or follows from something.

It reads only, in one snapshot, and changes nothing in the file: a running server's file can be checked as well.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import apsw
from google.protobuf.message import Message
from temporalio.api.taskqueue.v1 import TaskQueueConfig
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse, StartBatchOperationRequest

from stormsail.engine.core.ids import RunKey
from stormsail.engine.store import (
    activities,
    batches,
    namespaces,
    outbox,
    runs,
    schedules,
    search_attributes,
    task_queues,
)
from stormsail.engine.store.errors import (
    NotOurFile,
    RowDamaged,
    RunDamaged,
    ScheduleDamaged,
    SchemaTooNew,
    StorageFailed,
)
from stormsail.engine.store.history import EVENT_BITS
from stormsail.engine.store.opening import APPLICATION_ID, BUSY_TIMEOUT_MS, SCHEMA_VERSION, unusable
from stormsail.engine.store.reader import Reader, Row
from stormsail.engine.store.runs import Loaded

PROBLEMS_MAX: Final = 1_000
"""Problems named one by one; those beyond are counted."""
_ROWS_READ_AT_ONCE: Final = 500
_DERIVED: Final = tuple(enumerate(runs.COLUMNS.split(", ")))[1:-2]
"""Columns of a run that follow from its history. The last two are its progress, which has a checksum of its own."""

_ORPHANS: Final = {
    "events that belong to no run": (
        f"SELECT count(*) FROM history WHERE id >> {EVENT_BITS} NOT IN (SELECT rid FROM run)"  # noqa: S608
    ),
    "activities that belong to no run": (
        f"SELECT count(*) FROM activity WHERE id >> {EVENT_BITS} NOT IN (SELECT rid FROM run)"  # noqa: S608
    ),
    "memos and search attributes that belong to no run": (
        "SELECT count(*) FROM attributes WHERE rid NOT IN (SELECT rid FROM run)"
    ),
    "search attributes in lists that belong to no run and no schedule": (
        "SELECT count(*) FROM indexed WHERE rid NOT IN (SELECT rid FROM run UNION SELECT rid FROM schedule)"
    ),
}


@dataclass(frozen=True, slots=True)
class _Small:
    """A table of small rows, each with its checksum last: how one is named in words, and what reads them all. `kind`:
    what stands before the checksum, where that is a message. One that was damaged before it had a checksum has got one
    over the damage."""

    named: str
    rows: str
    kind: type[Message] | None = None


_SMALL: Final = (
    _Small("namespace {0}", namespaces.SELECT, DescribeNamespaceResponse),
    _Small("search attribute {0}/{1}", search_attributes.SELECT),
    _Small("the configuration of task queue {0}/{1}", task_queues.SELECT, TaskQueueConfig),
    _Small("batch {0}/{1}", batches.SELECT, StartBatchOperationRequest),
)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it must be: where, and what is wrong."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check has read, and what it found wrong."""

    version: int
    """The file's version; an older one is brought up to ours when a server opens it, and only its pages are checked."""
    runs: int
    events: int
    schedules: int
    messages: int
    problems: tuple[Problem, ...]
    problem_count: int


def check(path: Path, told: Callable[[int, int], None] = lambda _done, _all: None) -> Checked:
    """Check a file. `told` hears how many of how many runs are done.

    Raises NotOurFile, SchemaTooNew, and StorageFailed for a file that cannot be read at all.
    """
    connection = open_to_read(path)
    try:
        return _Check(path, connection, told).run()
    except apsw.Error as error:
        raise unusable(path, error) from error
    finally:
        connection.close()


def open_to_read(path: Path) -> apsw.Connection:
    """Open a file of ours for reading. SQLite may make the index of the log beside it anew, and changes no more."""
    if not path.is_file():
        raise StorageFailed(f"{path} is not there.")
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.set_busy_timeout(BUSY_TIMEOUT_MS)
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.pragma("query_only", True)
            owner, version = connection.pragma("application_id"), connection.pragma("user_version")
        except apsw.Error:
            connection.close()
            raise
    except apsw.Error as error:
        raise unusable(path, error) from error
    if owner != APPLICATION_ID or version > SCHEMA_VERSION:
        connection.close()
        if owner != APPLICATION_ID:
            raise NotOurFile(path, "it is a SQLite database of another program, or an empty one")
        raise SchemaTooNew(path, version, SCHEMA_VERSION)
    return connection


class _Check:
    """One check as it goes on."""

    def __init__(self, path: Path, connection: apsw.Connection, told: Callable[[int, int], None]) -> None:
        self._reader = Reader.over(path, connection)
        self._connection = connection
        self._told = told
        self._runs = self._events = self._schedules = self._messages = 0
        self._problems: list[Problem] = []
        self._problem_count = 0

    def run(self) -> Checked:
        version = self._connection.pragma("user_version")
        for (line,) in self._reader.read(f"PRAGMA integrity_check({PROBLEMS_MAX})"):
            if line != "ok":
                self._found("the file's pages", str(line))
        if version == SCHEMA_VERSION and not self._problems:
            try:
                self._check_rows()
            except RowDamaged as damaged:
                self._found("the file's rows", str(damaged))
        return Checked(
            version,
            self._runs,
            self._events,
            self._schedules,
            self._messages,
            tuple(self._problems),
            self._problem_count,
        )

    def _found(self, where: str, what: str) -> None:
        self._problem_count += 1
        if len(self._problems) < PROBLEMS_MAX:
            self._problems.append(Problem(where, what))

    def _check_rows(self) -> None:
        with self._reader.snapshot():
            self._check_runs()
            self._check_schedules()
            self._check_messages()
            self._check_small_rows()
            for what, question in _ORPHANS.items():
                count = self._reader.read(question)[0][0]
                if count:
                    self._found("the file's rows", f"{count} {what}")

    def _check_runs(self) -> None:
        whole = self._reader.read("SELECT count(*) FROM run")[0][0]
        for stored in self._pages(f"SELECT {runs.COLUMNS} FROM run WHERE rid > ? ORDER BY rid LIMIT ?"):  # noqa: S608
            key = RunKey(*stored[1:4])
            try:
                found = runs.load_run(self._reader, key)
            except RunDamaged as damaged:
                self._found(f"run {key}", damaged.found)
            else:
                assert found is not None, key
                self._compare(key, stored, found)
                self._events += found.state.last_event_id
            self._runs += 1
            if self._runs % _ROWS_READ_AT_ONCE == 0 or self._runs == whole:
                self._told(self._runs, whole)

    def _compare(self, key: RunKey, stored: Row, found: Loaded) -> None:
        derived = runs.row_of(found.state, found.rid, apart=found.apart)
        wrong = [name for at, name in _DERIVED if stored[at] != derived[at]]
        if wrong:
            self._found(f"run {key}", f"its row does not follow from its history: {', '.join(wrong)}")
        kept = activities.rows_of(found.rid, found.state) if found.apart else []
        if activities.read_rows(self._reader, found.rid) != kept:
            self._found(f"run {key}", "the rows of its activities do not follow from it")

    def _check_schedules(self) -> None:
        for _, *stored in self._pages(
            f"SELECT rid, {schedules.STORED} FROM schedule WHERE -rid > ? ORDER BY -rid LIMIT ?",  # noqa: S608
            of=lambda row: -int(row[0]),
        ):
            try:
                schedules.unpacked(tuple(stored))
            except ScheduleDamaged as damaged:
                self._found(f"schedule {stored[0]}/{stored[1]}", damaged.found)
            self._schedules += 1

    def _check_small_rows(self) -> None:
        """What a server holds in memory from the start, so that it does not start without any of it; and batches."""
        for table in _SMALL:
            for row in self._reader.read(table.rows):
                self._check_small_row(table.named.format(*row), row, table.kind)
        for part in self._reader.read("SELECT namespace, job_id, part FROM batch_part"):
            question = f"SELECT {batches.PART_COLUMNS} FROM batch_part WHERE (namespace, job_id, part) = (?, ?, ?)"  # noqa: S608
            for row in self._reader.read(question, part):
                self._check_small_row(f"the runs of batch {row[0]}/{row[1]}", row)

    def _check_small_row(self, where: str, row: Row, kind: type[Message] | None = None) -> None:
        try:
            values = self._reader.checked(row)
        except RowDamaged:
            self._found(where, "its checksum does not match")
            return
        try:
            if kind is not None:
                self._reader.message(kind, values[-1])
        except RowDamaged:
            self._found(where, "what is stored of it cannot be read")

    def _check_messages(self) -> None:
        question = "SELECT id, run_id, event_id, kind, crc, message FROM outbox WHERE id > ? ORDER BY id LIMIT ?"
        for _, run_id, event_id, kind, crc, packed in self._pages(question):
            try:
                outbox.unpack(run_id, event_id, kind, crc, packed)
            except ValueError as damage:
                self._found(f"message {kind} of event {event_id} of run {run_id}", str(damage))
            self._messages += 1

    def _pages(self, question: str, of: Callable[[Row], int] = lambda row: int(row[0])) -> Iterator[Row]:
        last = 0
        while rows := self._reader.read(question, (last, _ROWS_READ_AT_ONCE)):
            yield from rows
            last = of(rows[-1])
