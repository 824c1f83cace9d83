"""Small durable files: each is whole or not there, and changes happen under a lock that dies with its holder."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stormsail.delivery.providers.errors import Transient

LOCK_PATIENCE_S: Final = 30.0
_REMOVE_ATTEMPTS_MAX: Final = 20
_HIDDEN: Final = ":"
"""Begins the names of directories being removed; no application and no server group has it in its name."""


def make_directory(path: Path) -> None:
    """Create a directory that only this user can read, with its parents, and put its name on disk."""
    if path.is_dir():
        return
    make_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Put a directory's names on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_file(path: Path, content: str) -> None:
    """Replace a file; whole, and on disk when this returns. On failure the old one is untouched."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{time.monotonic_ns()}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except (OSError, ValueError):
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(path.parent)


def read_file(path: Path) -> str | None:
    """Return a file's text, or None where there is no such file."""
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None


def remove_file(path: Path) -> None:
    """Remove a file, if there, and put that on disk."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_directory(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a directory with all in it. It takes another name first, so that a crash leaves no half of it behind.

    A process that just ended may still be noting its exit code inside, hence the attempts.
    """
    doomed = path.with_name(f"{_HIDDEN}removed:{path.name}:{time.monotonic_ns()}")
    try:
        path.rename(doomed)
    except FileNotFoundError:
        return
    sync_directory(path.parent)
    for _ in range(_REMOVE_ATTEMPTS_MAX):
        shutil.rmtree(doomed, ignore_errors=True)
        if not doomed.exists():
            return
        time.sleep(0.01)


def sweep(directory: Path, older_than_ms: int) -> None:
    """Remove what writers and removers that were killed left lying about in a directory and those below."""
    for place, directories, found in os.walk(directory):
        for name in [name for name in directories if name.startswith(_HIDDEN)]:
            shutil.rmtree(Path(place, name), ignore_errors=True)
            directories.remove(name)
        for name in found:
            path = Path(place, name)
            with contextlib.suppress(FileNotFoundError):
                if name.endswith(".tmp") and path.stat().st_mtime_ns // 1_000_000 < older_than_ms:
                    path.unlink()


def names(directory: Path) -> list[str]:
    """Return the sorted names in a directory, without half removed ones; of a missing directory none."""
    try:
        return sorted(entry.name for entry in directory.iterdir() if not entry.name.startswith(_HIDDEN))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file's lock against other threads and processes. Raises Transient when it is not had in time."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        give_up_at = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up_at:
                    raise Transient(f"another process held {path} for over {LOCK_PATIENCE_S:.0f} s") from None
                time.sleep(0.005)
        yield
    finally:
        os.close(descriptor)
