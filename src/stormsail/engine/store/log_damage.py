"""A write-ahead log damaged in its middle, told apart from one whose end a power cut tore.

SQLite reads a log up to its first frame that is not whole, and takes the rest for a write that never ended. That is
right for the last transaction, for every one before it was synced before the next began. So frames that end a second
transaction behind that point mean that something acknowledged is there and cannot be read: the file is refused. A log
that was cut off cannot be told from a shorter one.

A power cut keeps or loses sectors, and what it loses is as it was in an older log. Where a sector begins within a
frame's header, that may have the old page counts and the new salts: it ends a transaction only if it is whole.
"""

import contextlib
import struct
from collections import Counter
from pathlib import Path
from typing import Final

import apsw

from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.opening import unusable

_SECTOR: Final = 512
"""Bytes that a disk writes whole or not at all."""

_HEADER: Final = struct.Struct(">IIIIIIII")
"""Magic number, version, page size, checkpoint number, two salts, two checksums."""
_FRAME: Final = struct.Struct(">IIII")
"""Page number, pages of the database after this commit or 0 for no commit, two salts; checksums follow."""
_FRAME_HEADER_BYTES: Final = 24
_COUNTS_BYTES: Final = 8
"""Of a frame's header: what its checksums cover besides the page."""
_SUMS: Final = slice(16, 24)
"""Of a frame's header: its checksums, which go on from those of the frame before."""
_PAIR: Final = struct.Struct(">II")
_MAGIC: Final = (0x377F0682, 0x377F0683)
_FLAGS: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_READWRITE


class LogDamaged(StorageFailed):
    """The log has commits that cannot be read."""

    def __init__(self, path: Path, commits: int) -> None:
        super().__init__(
            f"{path}-wal is damaged: at least {commits} commits in it cannot be read, and they were acknowledged. "
            f"Restore a backup. To go on without them instead, move {path.name}-wal away and start again: "
            "what stands before the damage has been copied into the file."
        )


def refuse_damaged_log(connection: apsw.Connection, path: Path, vfs: str | None) -> None:
    """Raise LogDamaged where the log has more unreadable commits than a power cut can leave."""
    try:
        readable, _ = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)
        commits = _unreadable_commits(f"{path}-wal", vfs, max(readable, 0), connection.pragma("page_size"))
        if commits == 1:
            _start_over(connection)
    except apsw.Error as error:
        raise unusable(path, error) from error
    if commits > 1:
        # What is readable is copied into the file, for whoever goes on without the rest.
        with contextlib.suppress(apsw.Error):
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        raise LogDamaged(path, commits - 1)


def _start_over(connection: apsw.Connection) -> None:
    """Empty the log of what a power cut left of a write. That would stay behind the next ones, which are shorter, and
    pass for damage together with what the next power cut leaves."""
    with contextlib.suppress(apsw.BusyError, apsw.LockedError, apsw.FullError):
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def _unreadable_commits(log: str, vfs: str | None, readable: int, page_bytes: int) -> int:
    """Count the commits behind the readable frames that belong to the same log: their salts are the header's.

    A log that starts over writes new salts into its header first, so that the frames of the one before do not count.
    """
    try:
        file = apsw.VFSFile(vfs or "", log, [_FLAGS, 0])
    except apsw.Error:
        return 0  # No log is the usual case after a clean stop.
    try:
        size = file.xFileSize()
        if size < _HEADER.size + _FRAME_HEADER_BYTES:
            return 0
        fields = _HEADER.unpack(file.xRead(_HEADER.size, 0))
        frame_bytes = _FRAME_HEADER_BYTES + page_bytes
        commits: Counter[tuple[int, ...]] = Counter()
        for at in range(_HEADER.size + readable * frame_bytes, size - frame_bytes + 1, frame_bytes):
            _, pages, *salts = _FRAME.unpack(file.xRead(_FRAME.size, at))
            torn = (at + _COUNTS_BYTES) % _SECTOR == 0 and not _is_whole(file, at, frame_bytes, fields[0])
            commits[tuple(salts)] += bool(pages) and not torn
        if not readable and not _is_header(fields):
            # Nothing can be read because the header is not whole: which frames belong together, they know themselves.
            return max(commits.values(), default=0)
        return commits[fields[4:6]]
    finally:
        file.xClose()


def _is_whole(file: apsw.VFSFile, at: int, frame_bytes: int, magic: int) -> bool:
    """Whether a frame's checksums go on from those that the frame before it tells; not the first frame."""
    before = file.xRead(_FRAME_HEADER_BYTES, at - frame_bytes)[_SUMS]
    frame = file.xRead(frame_bytes, at)
    covered = frame[:_COUNTS_BYTES] + frame[_FRAME_HEADER_BYTES:]
    return _sums(covered, magic, _PAIR.unpack(before)) == _PAIR.unpack(frame[_SUMS])


def _is_header(fields: tuple[int, ...]) -> bool:
    """Whether a header's checksums are right."""
    magic = fields[0]
    return magic in _MAGIC and _sums(_HEADER.pack(*fields)[:24], magic) == fields[6:8]


def _sums(covered: bytes, magic: int, begin: tuple[int, ...] = (0, 0)) -> tuple[int, int]:
    """Return the checksums of a log: a Fletcher sum of words, in the byte order that its magic number names."""
    words = struct.unpack(f"{'>' if magic & 1 else '<'}{len(covered) // 4}I", covered)
    first, second = begin
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second
