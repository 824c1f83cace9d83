"""Reading: at once, from the last commit."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import apsw
from google.protobuf.message import DecodeError, Message

from stormsail.engine.store.checksum import row_crc
from stormsail.engine.store.errors import RowDamaged, StorageBusy, StorageFailed
from stormsail.engine.store.medium import Medium
from stormsail.engine.store.opening import connect

M = TypeVar("M", bound=Message)
Row = tuple[Any, ...]

_LOST: Final = (
    apsw.IOError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.FullError,
    apsw.ReadOnlyError,
)
"""What a read may only meet where the disk or the file is not to be trusted."""

_NO_SUCH: Final = ("no such table", "no such column", "no such index")


class Reader:
    """A connection that only reads. Any thread may use it, one at a time; the others wait."""

    def __init__(
        self, path: Path, lost: Callable[[str, Exception], StorageFailed], medium: Medium, writing: apsw.Connection
    ) -> None:
        """`lost` is told that the disk or the file is not to be trusted, and answers what to raise. `writing` is the
        writer's connection, used where the medium takes no second one."""
        self._path = path
        self._lost = lost
        self._turn = threading.RLock()
        if medium.one_connection:
            self._read = writing
        else:
            self._read = connect(path, medium)
            self._read.pragma("query_only", True)

    @classmethod
    def over(cls, path: Path, connection: apsw.Connection) -> "Reader":
        """Read through an open connection, for those who do no more than read; failures are StorageFailed."""

        def lost(doing: str, error: Exception) -> StorageFailed:
            return StorageFailed(f"{path} failed while {doing}: {type(error).__name__}: {error}.")

        return cls(path, lost, Medium(one_connection=True), connection)

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run one query on the last committed state."""
        try:
            with self._turn:
                return self._read.execute(sql, values).fetchall()
        except (apsw.Error, UnicodeDecodeError) as error:
            raise self._read_error(error) from error

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        """Make the reads inside see one and the same commit; inside another snapshot, that one's."""
        with self._turn:
            outer = self._read.in_transaction
            if not outer:
                self.read("BEGIN")
            try:
                yield
            finally:
                if self._read.in_transaction and not outer:
                    self.read("ROLLBACK")

    def read_bounded(self, sql: str, values: Sequence[Any], steps_max: int) -> list[Row] | None:
        """Like `read`, but give up and return None after that many of SQLite's steps: the same on every machine."""
        # SQLite's counter goes on over the runs of a prepared statement, so the first call may come early: count ten.
        calls = iter(range(10))
        with self._turn:
            self._read.set_progress_handler(lambda: next(calls, None) is None, steps_max // 10)
            try:
                return self._read.execute(sql, values).fetchall()
            except apsw.InterruptError:
                return None
            except (apsw.Error, UnicodeDecodeError) as error:
                raise self._read_error(error) from error
            finally:
                self._read.set_progress_handler(None)

    def message(self, kind: type[M], packed: Any) -> M:
        """Parse what a row holds. Raises RowDamaged where it is no such message."""
        try:
            return kind.FromString(packed)
        except (DecodeError, TypeError) as error:
            raise RowDamaged(self._path) from error

    def checked(self, row: Row) -> Row:
        """Return a row without its last value, the checksum of the others. Raises RowDamaged where that is another."""
        if row_crc(*row[:-1]) != row[-1]:
            raise RowDamaged(self._path)
        return row[:-1]

    def _read_error(self, error: apsw.Error | UnicodeDecodeError) -> Exception:
        """Sort what went wrong in a read: the disk or the file; a lock; else the statement, which is our bug."""
        if isinstance(error, apsw.BusyError | apsw.LockedError):
            return StorageBusy(self._path)
        if isinstance(error, UnicodeDecodeError):
            return RowDamaged(self._path)
        # Our statements name what the schema has. Where it has not, the file's own account of itself is damaged.
        unnamed = isinstance(error, apsw.SQLError) and str(error).startswith(_NO_SUCH)
        if isinstance(error, _LOST) or unnamed:
            return self._lost("reading", error)
        return error

    def close(self) -> None:
        """Close the connection; waits for the read that goes on."""
        with self._turn:
            self._read.close()
