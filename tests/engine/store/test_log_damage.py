"""What power cuts leave of writes in the log is no damage, however many there were."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from engine.store.given import AT_MS, key, started
from stormsail.engine.store.log_damage import LogDamaged, refuse_damaged_log
from stormsail.engine.store.store import Store

_HEAD_BYTES = 32
_FRAME_BYTES = 24 + 4096
_SECTOR = 512


def opened(directory: Path) -> Store:
    return Store.open(directory, now_ms=lambda: AT_MS)


def log_of(directory: Path) -> bytes:
    return (directory / "engine.db-wal").read_bytes()


def torn(before: bytes, after: bytes) -> bytes:
    """Return a log as a power cut may leave it: of the frames written last, the one that ends the commit is there, and
    those before it are not."""
    *lost, _last = written(before, after)
    assert lost
    left = bytearray(after)
    for at in lost:
        left[at : at + _FRAME_BYTES] = bytes(_FRAME_BYTES)
    return bytes(left)


def torn_within_a_header(before: bytes, after: bytes) -> bytes:
    """Return the same with one frame more, at which a sector begins within the header: what is before that is of an
    older log, where this frame ended a commit."""
    at = next(each for each in written(before, after)[:-1] if (each + 8) % _SECTOR == 0)
    left = bytearray(torn(before, after))
    left[at : at + _FRAME_BYTES] = struct.pack(">II", 3, 30) + after[at + 8 : at + _FRAME_BYTES]
    return bytes(left)


def written(before: bytes, after: bytes) -> list[int]:
    """Return where the frames are that differ."""
    places = range(_HEAD_BYTES, len(after), _FRAME_BYTES)
    return [at for at in places if after[at : at + _FRAME_BYTES] != before[at : at + _FRAME_BYTES]]


def keep(directory: Path, to: Path, log: bytes) -> None:
    to.mkdir()
    shutil.copy(directory / "engine.db", to)
    (to / "engine.db-wal").write_bytes(log)


async def cut_off(
    directory: Path, to: Path, kept: str, lost: str, memo_bytes: int, tear: Callable[[bytes, bytes], bytes] = torn
) -> None:
    """Commit one run and begin to commit another; `to` is the directory as it is after the power cut in between."""
    store = opened(directory)
    await store.commit([started(key(kept))])
    before = log_of(directory)
    await store.commit([started(key(lost), memo={"m": b"m" * memo_bytes})])
    keep(directory, to, tear(before, log_of(directory)))
    store.close()


async def test_what_two_power_cuts_left_of_two_writes_is_not_taken_for_damage(tmp_path: Path) -> None:
    await cut_off(tmp_path / "first", tmp_path / "second", "one", "long", 60_000)
    await cut_off(tmp_path / "second", tmp_path / "third", "two", "short", 6_000)
    store = opened(tmp_path / "third")
    assert [store.load(key(name)) is not None for name in ("one", "long", "two", "short")] == [True, False, True, False]
    store.close()


async def test_a_header_that_a_power_cut_tore_ends_no_commit(tmp_path: Path) -> None:
    """Seed 130029 of the simulator: its old page count and its new salts passed for a second commit."""
    size = 70 * _FRAME_BYTES  # a sector begins at the same place of each sixty-fourth frame
    await cut_off(tmp_path / "first", tmp_path / "second", "one", "long", size, torn_within_a_header)
    store = opened(tmp_path / "second")
    assert [store.load(key(name)) is not None for name in ("one", "long")] == [True, False]
    store.close()


@pytest.mark.parametrize("spoilt", [1, 20, 39, 40])
def test_a_commit_counts_wherever_sectors_begin_in_its_header(tmp_path: Path, spoilt: int) -> None:
    """In the last frame of this log, a commit as each of them is, a sector begins within the header. What is spoilt is
    one before it, so that two commits or more cannot be read."""
    path = tmp_path / "sound.db"
    sound = apsw.Connection(str(path))
    sound.pragma("journal_mode", "wal")
    sound.execute("CREATE TABLE t (v)")
    while len(log := path.with_name("sound.db-wal").read_bytes()) < _HEAD_BYTES + 42 * _FRAME_BYTES:
        sound.execute("INSERT OR REPLACE INTO t (rowid, v) VALUES (1, ?)", (len(log),))
    at = _HEAD_BYTES + 41 * _FRAME_BYTES
    assert (len(log), (at + 8) % _SECTOR) == (at + _FRAME_BYTES, 0)
    damaged = bytearray(log)
    damaged[_HEAD_BYTES + spoilt * _FRAME_BYTES + 2_000] ^= 1
    shutil.copy(path, tmp_path / "damaged.db")
    (tmp_path / "damaged.db-wal").write_bytes(damaged)
    sound.close()
    connection = apsw.Connection(str(tmp_path / "damaged.db"))
    connection.pragma("schema_version")  # opens the log
    with pytest.raises(LogDamaged, match=f"at least {41 - spoilt} commits"):
        refuse_damaged_log(connection, tmp_path / "damaged.db", None)
    connection.close()
