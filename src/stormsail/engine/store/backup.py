"""A copy of a file that may be in use, whole as of one commit.

SQLite writes it compactly in one read transaction: the server goes on meanwhile, and only its log grows until the end.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from stormsail.engine.store.check import open_to_read
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.opening import unusable


@dataclass(frozen=True, slots=True)
class BackedUp:
    """A copy that was made."""

    path: Path
    size_bytes: int


def back_up(source: Path, destination: Path) -> BackedUp:
    """Copy a database. The copy appears under its name only when it is whole and on disk, readable by its owner only.

    Raises StorageFailed, also where the destination is there already: a backup never takes another one's place.
    """
    if destination.exists():
        raise StorageFailed(f"{destination} is there already; a backup does not take its place.")
    draft = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    connection = open_to_read(source)
    try:
        with _told(destination):
            # Made first, so that nobody else can read it while SQLite fills it.
            os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        try:
            connection.pragma("query_only", False)  # which would forbid the copy too
            connection.execute("VACUUM INTO ?", (str(draft),))
        except apsw.FullError as error:
            raise StorageFailed(
                f"No space is left for {destination}. Free disk space or name another place."
            ) from error
        except apsw.Error as error:
            raise unusable(source, error) from error
        with _told(destination):
            _sync(draft)
            # Not a rename: that one would replace a file that came meanwhile.
            os.link(draft, destination)
            _sync(destination.parent)
    finally:
        connection.close()
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
    return BackedUp(destination, destination.stat().st_size)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def _told(destination: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"{destination} cannot be written: {error.strerror} ({error.filename}).") from error
