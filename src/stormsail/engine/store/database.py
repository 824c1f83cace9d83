"""One SQLite file, and how commits of many callers share one transaction and one fsync.

It knows nothing of runs. A caller hands in a `Member`: rows for `Statement`s that go in together or not at all. One
writer (writer.py) commits and checkpoints; reads use connections of their own (reader.py).
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import apsw

from stormsail.engine.store.errors import (
    CommitQueueFull,
    StorageBusy,
    StorageFailed,
    StorageFull,
    WriteRejected,
)
from stormsail.engine.store.log_damage import refuse_damaged_log
from stormsail.engine.store.medium import Medium
from stormsail.engine.store.opening import close, connect, make_schema, unusable
from stormsail.engine.store.reader import Reader, Row

QUEUE_BYTES_MAX: Final = 512 * 1024 * 1024
"""Bytes that may wait for the disk, besides the number of commits: few large ones fill memory as well."""
TOLD_AT_ONCE: Final = 64
"""Commits of a group whose callers go on in the same round of the event loop. What they do then takes longer than the
commit took, and others wait meanwhile."""
CHUNKS: Final = (64, 32, *range(16, 0, -1))
"""Rows a statement takes at once. Few sizes, so that all of them stay prepared; but all small ones, for most groups are
small, and each step of SQLite's hands the interpreter to another thread and back."""

_MEMBERS_FAULT: Final = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    WriteRejected,
    TypeError,
    ValueError,
    OverflowError,
)


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """A statement over many rows: `head`, then one `row` per row, then `tail`. Lower ranks run first in a group.

    `one`, where given, is a cheaper form for a single row. `exact`: each row must change exactly one row of the table.
    """

    rank: int
    head: str
    row: str
    tail: str = ""
    one: str = ""
    exact: bool = False


@dataclass(slots=True, eq=False)
class Member:
    """The rows of one atomic commit. `touches` names what it changes: those that share one share no statement."""

    rows: list[tuple[Statement, Row]]
    touches: frozenset[Any] = frozenset()
    done: "asyncio.Future[None] | None" = field(default=None, repr=False)
    size: int = 0
    """Bytes of its values; set by `Database.commit`."""


@lru_cache(maxsize=512)
def _sql(statement: Statement, count: int) -> str:
    if count == 1 and statement.one:
        return statement.one
    return statement.head + ",".join([statement.row] * count) + statement.tail


class Database:
    """The open file. `commit` groups; the readers answer at once from the last commit."""

    def __init__(self, path: Path, *, queue_max: int, medium: Medium) -> None:
        self.path = path
        self.groups = 0
        """Transactions committed so far; with `members`, how well commits share an fsync."""
        self.members = 0
        self._queue_max = queue_max
        self._waiting = 0
        self._waiting_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failed = ""
        self._closed = False
        self._checkpoint_pages = medium.checkpoint_pages
        medium.prepare(path)
        self._write = connect(path, medium)
        try:
            refuse_damaged_log(self._write, path, medium.vfs)
            make_schema(self._write, path)
            self.reader = Reader(path, self._lost, medium, self._write)
            """For the event loop: short reads."""
            self.list_reader = Reader(path, self._lost, medium, self._write)
            """For lists, which may be long and run in another thread."""
        except BaseException:
            close(self._write)
            raise
        self._writer = medium.writer(self._write_group)

    async def commit(self, member: Member) -> None:
        """Write a member's rows, all or none. Returns once they are on disk. A cancelled wait cancels no write."""
        if self._failed:
            raise self._failure()
        if self._closed:
            raise StorageFailed(f"{self.path} is closed.")
        for _, row in member.rows:
            for value in row:
                if type(value) is bytes:
                    member.size += len(value)
        if self._waiting >= self._queue_max or self._waiting_bytes + member.size > QUEUE_BYTES_MAX:
            raise CommitQueueFull(self._waiting)
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            assert self._waiting == 0, "a store is written from one event loop at a time"
            self._loop = loop
        member.done = loop.create_future()
        self._waiting += 1
        self._waiting_bytes += member.size
        self._writer.put(member)
        await member.done

    def identify(self, fresh_id: str, now_ms: int) -> str:
        """Return the id drawn when the file was made; the first to open it draws it. Call before the first commit."""
        found = self.reader.read("SELECT value FROM meta WHERE name = 'cluster_id'")
        if found:
            return str(found[0][0])
        try:
            self._write.execute(
                "INSERT INTO meta (name, value) VALUES ('cluster_id', ?), ('created_ms', ?)", (fresh_id, now_ms)
            )
        except apsw.Error as error:
            raise unusable(self.path, error) from error
        return fresh_id

    def close(self) -> None:
        """Finish the commits that wait, then close. Blocks until the writer has ended."""
        if self._closed:
            return
        self._closed = True
        self._writer.stop()
        self.reader.close()
        self.list_reader.close()
        self._write.close()

    # The writer's side.

    def _write_group(self, group: Sequence[Member], last: bool) -> None:
        if group:
            self._tell(self._commit_guarded(group))
        self._checkpoint(force=last)

    def _commit_guarded(self, group: Sequence[Member]) -> list[tuple[Member, Exception | None]]:
        try:
            return self._commit_group(group)
        except Exception as error:  # the writer's outermost catch: nobody may wait for ever on a writer that is gone
            self._lose("writing", error)
            return [(member, self._failure()) for member in group]

    def _commit_group(self, group: Sequence[Member]) -> list[tuple[Member, Exception | None]]:
        """Commit a group and say how each member fared. A member at fault fails alone."""
        if self._failed:
            return [(member, self._failure()) for member in group]
        try:
            self._transact(group)
        except _MEMBERS_FAULT as error:
            self._roll_back()
            if len(group) == 1:
                return [(group[0], WriteRejected(str(error)))]
            return [self._commit_group([member])[0] for member in group]
        except apsw.FullError:
            self._roll_back()
            # Copying the log into the file may let the log start over in the space that it has.
            self._checkpoint(force=True)
            return [(member, self._failure() if self._failed else StorageFull(self.path)) for member in group]
        except apsw.BusyError:
            self._roll_back()
            return [(member, StorageBusy(self.path)) for member in group]
        except apsw.Error as error:
            self._lose("committing", error)
            return [(member, self._failure()) for member in group]
        self.groups += 1
        self.members += len(group)
        return [(member, None) for member in group]

    def _transact(self, group: Sequence[Member]) -> None:
        execute = self._write.execute
        execute("BEGIN IMMEDIATE")
        batch: list[tuple[Statement, Row]] = []
        touched: set[Any] = set()
        for member in group:
            if not touched.isdisjoint(member.touches):
                self._write_rows(batch)
                batch, touched = [], set()
            batch += member.rows
            touched |= member.touches
        self._write_rows(batch)
        execute("COMMIT")

    def _write_rows(self, batch: list[tuple[Statement, Row]]) -> None:
        by_statement: dict[Statement, list[Row]] = {}
        for statement, row in batch:
            by_statement.setdefault(statement, []).append(row)
        for statement in sorted(by_statement, key=lambda statement: statement.rank):
            rows = by_statement[statement]
            at = 0
            while at < len(rows):
                size = next(size for size in CHUNKS if size <= len(rows) - at)
                chunk = rows[at : at + size]
                at += size
                self._write.execute(_sql(statement, size), chunk[0] if size == 1 else [v for r in chunk for v in r])
                if statement.exact and self._write.changes() != size:
                    raise WriteRejected("a row to change is not there")

    def _roll_back(self) -> None:
        if self._write.in_transaction:
            self._write.execute("ROLLBACK")

    def _checkpoint(self, *, force: bool = False) -> None:
        """Copy the log into the file when it is long. Done here, and not by SQLite's automatic checkpoint, because that
        one ignores errors, and a failed fsync ignored is data lost."""
        if self._failed or (self._logged_pages() < self._checkpoint_pages and not force):
            return
        try:
            mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if self._closed else apsw.SQLITE_CHECKPOINT_PASSIVE
            self._write.wal_checkpoint(mode=mode)
        except (apsw.BusyError, apsw.LockedError, apsw.FullError):
            return  # The log keeps what the file has not got yet; the next round tries again.
        except apsw.Error as error:
            self._lose("checkpointing", error)
        else:
            self._logged_pages(reset=True)

    def _logged_pages(self, *, reset: bool = False) -> int:
        """Return how many pages this connection has put into the log since the last checkpoint. A count that is asked
        for, and no hook: SQLite would call that in the middle of a commit, which then waits for the interpreter."""
        return self._write.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, reset)[0]

    def _lose(self, doing: str, error: Exception) -> None:
        """Remember the first failure; nothing is written after it."""
        self._failed = self._failed or (
            f"The storage failed while {doing} {self.path}: {type(error).__name__}: {error}. "
            "What was acknowledged is on disk; stop the server, check the disk, and start it again."
        )

    def _lost(self, doing: str, error: Exception) -> StorageFailed:
        self._lose(doing, error)
        return self._failure()

    def _failure(self) -> StorageFailed:
        return StorageFailed(self._failed)

    def _tell(self, outcomes: list[tuple[Member, Exception | None]]) -> None:
        assert self._loop is not None
        # A closed loop has nobody left to hear it.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._resolve, outcomes)

    def _resolve(self, outcomes: list[tuple[Member, Exception | None]], begin: int = 0) -> None:
        """On the event loop: wake a group in its order, so many in a round."""
        told = outcomes[begin : begin + TOLD_AT_ONCE]
        if begin + len(told) < len(outcomes):
            assert self._loop is not None
            self._loop.call_soon(self._resolve, outcomes, begin + len(told))
        self._waiting -= len(told)
        for member, error in told:
            self._waiting_bytes -= member.size
            done = member.done
            assert done is not None
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)
