"""What power cuts leave of writes in the log is no damage, however many there were."""

import shutil
from pathlib import Path

from engine.store.given import AT_MS, key, started
from stormsail.engine.store.store import Store

_HEAD_BYTES = 32
_FRAME_BYTES = 24 + 4096


def opened(directory: Path) -> Store:
    return Store.open(directory, now_ms=lambda: AT_MS)


def log_of(directory: Path) -> bytes:
    return (directory / "engine.db-wal").read_bytes()


def torn(before: bytes, after: bytes) -> bytes:
    """Return a log as a power cut may leave it: of the frames written last, the one that ends the commit is there, and
    those before it are not."""
    places = range(_HEAD_BYTES, len(after), _FRAME_BYTES)
    written = [at for at in places if after[at : at + _FRAME_BYTES] != before[at : at + _FRAME_BYTES]]
    assert len(written) > 1
    left = bytearray(after)
    for at in written[:-1]:
        left[at : at + _FRAME_BYTES] = bytes(_FRAME_BYTES)
    return bytes(left)


def keep(directory: Path, to: Path, log: bytes) -> None:
    to.mkdir()
    shutil.copy(directory / "engine.db", to)
    (to / "engine.db-wal").write_bytes(log)


async def cut_off(directory: Path, to: Path, kept: str, lost: str, memo_bytes: int) -> None:
    """Commit one run and begin to commit another; `to` is the directory as it is after the power cut in between."""
    store = opened(directory)
    await store.commit([started(key(kept))])
    before = log_of(directory)
    await store.commit([started(key(lost), memo={"m": b"m" * memo_bytes})])
    keep(directory, to, torn(before, log_of(directory)))
    store.close()


async def test_what_two_power_cuts_left_of_two_writes_is_not_taken_for_damage(tmp_path: Path) -> None:
    await cut_off(tmp_path / "first", tmp_path / "second", "one", "long", 60_000)
    await cut_off(tmp_path / "second", tmp_path / "third", "two", "short", 6_000)
    store = opened(tmp_path / "third")
    assert [store.load(key(name)) is not None for name in ("one", "long", "two", "short")] == [True, False, True, False]
    store.close()
