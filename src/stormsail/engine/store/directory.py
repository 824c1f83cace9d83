"""The data directory as the file system has it: who holds it, and files that only their owner can read."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from stormsail.engine.store.errors import DataDirInUse, StorageFailed


class DirectoryLock:
    """The exclusive lock on a data directory. The kernel drops it with the process, however it ends."""

    def __init__(self, directory: Path) -> None:
        with _told(directory):
            self._file = os.open(directory / "engine.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            raise DataDirInUse(directory, int(holder) if holder.isdigit() else None) from None
        # The lock holds without it; on a full disk the next server cannot say whose it is, and that is all.
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the directory go. The file stays: deleting it would let two servers lock two different files."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def hold_directory(directory: Path) -> DirectoryLock:
    """Make a data directory only its owner can read, and lock it. One that is there already keeps the mode its owner
    gave it. Raises DataDirInUse."""
    with _told(directory):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return DirectoryLock(directory)


def prepare_files(path: Path) -> None:
    """Make the database's file before SQLite does, so that it, and the log named after it, never have another mode than
    0600; and sync what a process that was killed had written to them but not synced.

    SQLite reads such a log as committed. We would acknowledge what is in it, and a power cut would then take it back.
    """
    with _told(path.parent):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(file, 0o600)
        _sync_and_close(file)
        with contextlib.suppress(FileNotFoundError):
            _sync_and_close(os.open(f"{path}-wal", os.O_RDWR | os.O_CLOEXEC))
        _sync_and_close(os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC))


def _sync_and_close(file: int) -> None:
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def _told(directory: Path) -> Iterator[None]:
    """Turn what the operating system refuses into words that name the directory."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(
            f"The data directory {directory} cannot be used: {error.strerror} ({error.filename}). "
            "Choose another one, or change who may write there."
        ) from None
