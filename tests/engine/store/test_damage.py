"""A file damaged at any place is refused, or the runs concerned are. A wrong history is never served.

Each round spoils a copy of one file at one place and reads everything: what is read must be what was written, or the
failure must be of a kind that names the file or the run.
"""

import asyncio
import os
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.store.given import AT_MS, completed, continued, key, signaled, started, timer_started
from engine.store.test_activities import begin, schedule
from stormsail.engine.core import progress
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.turn import Turn
from stormsail.engine.store.check import check
from stormsail.engine.store.errors import RunDamaged, StorageFailed
from stormsail.engine.store.store import Store

PLACES = 60
PLACES_WHOLE = 2_000
FILES = ("engine.db", "engine.db-wal")
LOG_HEAD_BYTES = 32


@dataclass(frozen=True)
class Original:
    """A file with its log, as a killed process leaves them, and the histories in it."""

    directory: Path
    histories: dict[RunKey, bytes]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """One file for all places."""
    return asyncio.run(written(tmp_path_factory.mktemp("original")))


async def written(directory: Path) -> Original:
    """Half of it is in the file and half still in the log; the copy is made before the store is closed."""
    store = Store.open(directory / "used", now_ms=lambda: AT_MS)
    histories: dict[RunKey, bytes] = {}
    for half in range(2):
        for number in range(15):
            turn = started(key(f"w{half}-{number}"), memo={"m": b"m" * 50}, attributes={"CustomKeywordField": "x"})
            await store.commit([turn])
            turn = signaled(turn.state, bytes([number]) * (200 * number), times=2)
            await store.commit([turn])
            ends = (
                timer_started(turn.state, "t", 5_000),
                completed(turn.state),
                continued(turn.state, f"r{half}{number}"),
            )
            await store.commit([ends[number % 3]])
        turn = schedule(started(key(f"many{half}")), 40)
        await store.commit([turn])
        await store.commit([begin(Turn.on(turn.state, AT_MS), 9)])
        if not half:
            store.close()
            store = Store.open(directory / "used", now_ms=lambda: AT_MS)
    for named in keys():
        histories[named] = whole(store, named)
    (directory / "kept").mkdir()
    for name in FILES:
        shutil.copy(directory / "used" / name, directory / "kept" / name)
    store.close()
    assert (directory / "kept" / FILES[1]).stat().st_size > 20_000
    return Original(directory / "kept", histories)


def keys() -> list[RunKey]:
    named = [key(f"w{half}-{number}") for half in range(2) for number in range(15)]
    named += [key(f"many{half}") for half in range(2)]
    return named + [key(f"w{half}-{n}", f"r{half}{n}") for half in range(2) for n in range(2, 15, 3)]


def whole(store: Store, named: RunKey) -> bytes:
    """Return a run's history as it is served, after loading the run as a request does, and what else is kept of it."""
    state = store.load(named)
    if state is None:
        return b""
    page = store.history(named, 1, max_events=1_000, max_bytes=10_000_000)
    assert page.last_event_id == state.last_event_id
    return page.frames + progress.pack(state)


WAYS = ("flip a bit", "zero a sector", "random bytes", "cut off", "sector from elsewhere")


def spoil(path: Path, chance: random.Random, ways: Sequence[str]) -> str:
    """Damage one place of a file in one of the ways that disks do."""
    size = path.stat().st_size
    at = chance.randrange(size)
    how = chance.choice(ways)
    with path.open("r+b") as file:
        match how:
            case "flip a bit":
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 1 << chance.randrange(8)]))
            case "zero a sector":
                file.seek(at // 512 * 512)
                file.write(bytes(min(512, size - at // 512 * 512)))
            case "random bytes":
                file.seek(at)
                file.write(chance.randbytes(min(chance.randrange(1, 64), size - at)))
            case "cut off":
                file.truncate(at)
            case "sector from elsewhere":
                file.seek(chance.randrange(size) // 512 * 512)
                other = file.read(512)
                file.seek(at // 512 * 512)
                file.write(other[: size - at // 512 * 512])
    return f"{how} at {at} of {size} of {path.name}"


def look(directory: Path, original: Original) -> tuple[list[str], list[str], int]:
    """Read everything. Return what was served and is wrong, what was not found, and how many runs were refused.

    -1 is for a file that was refused as a whole.
    """
    try:
        store = Store.open(directory, now_ms=lambda: AT_MS)
    except StorageFailed:
        return [], [], -1
    wrong: list[str] = []
    missing: list[str] = []
    refused = 0
    try:
        for named, history in original.histories.items():
            try:
                found = whole(store, named)
            except RunDamaged:
                refused += 1
            else:
                if not found:
                    missing.append(str(named))
                elif found != history:
                    wrong.append(f"{named}: {len(found)} bytes of history where {len(history)} were written")
    except StorageFailed:
        return wrong, missing, -1
    finally:
        store.close()
    return wrong, missing, refused


def rounds(original: Original, work: Path, places: int, seed: int, ways: Sequence[str] = WAYS) -> dict[str, int]:
    """Spoil that many places, one by one, and count what came of it."""
    chance = random.Random(seed)
    counted = dict.fromkeys(
        ("sound", "some runs refused", "file refused", "last commit lost", "log cut off", "runs not found"), 0
    )
    for _ in range(places):
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(original.directory, work)
        name = chance.choice(FILES)
        how = spoil(work / name, chance, ways)
        wrong, missing, refused = look(work, original)
        if name == FILES[1] and (wrong or missing):
            # The last commit in a log cannot be told from one that a power cut tore before anybody heard of it.
            assert check(work / "engine.db").problem_count == 0, how
            if how.startswith("cut off"):
                counted["log cut off"] += 1
                continue
            assert len(wrong) + len(missing) <= 2, (how, wrong, missing)
            counted["last commit lost"] += 1
            continue
        assert wrong == [], (how, wrong)
        if missing:
            # An index that lost an entry finds no run; that it did so is for a check to tell.
            assert found_by_check(work / "engine.db"), (how, missing)
            counted["runs not found"] += 1
        else:
            counted["file refused" if refused < 0 else "some runs refused" if refused else "sound"] += 1
    return counted


def found_by_check(path: Path) -> bool:
    try:
        return check(path).problem_count > 0
    except StorageFailed:
        return True


def test_a_file_whose_own_account_of_its_columns_is_damaged_is_refused(original: Original, tmp_path: Path) -> None:
    work = tmp_path / "work"
    shutil.copytree(original.directory, work)
    Store.open(work, now_ms=lambda: AT_MS).close()  # what is in the log goes into the file
    path = work / "engine.db"
    data = path.read_bytes()
    named = re.search(rb"\n +progress +BLOB", data)
    assert named is not None
    path.write_bytes(data.replace(named[0], named[0].replace(b"progress", b"qrogress")))
    assert look(work, original) == ([], [], -1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_file_damaged_anywhere_is_refused_and_never_served_wrong(
    original: Original, tmp_path: Path, seed: int
) -> None:
    counted = rounds(original, tmp_path / "work", PLACES, seed)
    assert sum(counted.values()) == PLACES
    assert counted["some runs refused"] > 0
    assert counted["file refused"] > 0


@pytest.mark.slow
def test_a_single_bit_that_flips_anywhere_never_makes_a_wrong_history(original: Original, tmp_path: Path) -> None:
    counted = rounds(original, tmp_path / "work", PLACES, 3, ("flip a bit",))
    assert sum(counted.values()) == PLACES
    assert counted["some runs refused"] > 0


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_thousand_flipped_bits(original: Original, tmp_path: Path) -> None:
    counted = rounds(original, tmp_path / "work", PLACES_WHOLE, int(os.environ.get("SEED", "4")), ("flip a bit",))
    print(counted)
    assert sum(counted.values()) == PLACES_WHOLE


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_two_thousand_places(original: Original, tmp_path: Path) -> None:
    counted = rounds(original, tmp_path / "work", PLACES_WHOLE, int(os.environ.get("SEED", "2")))
    print(counted)
    assert sum(counted.values()) == PLACES_WHOLE
