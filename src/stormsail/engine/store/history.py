"""Histories as stored: a row a turn, its events framed end to end. Bytes stored are bytes served; pages only splice."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.values import quick
from stormsail.engine.store.database import Statement
from stormsail.engine.store.errors import RowDamaged, RunDamaged
from stormsail.engine.store.reader import Reader, Row

EVENT_BITS: Final = 24
"""A row's id is rid << 24 | first event id: room for 16 million events a run, where the limit is 51,200."""
ROWS_READ_AT_ONCE: Final = 16
"""Few, for one row may be megabytes."""

INSERT_HISTORY: Final = Statement(
    rank=30, head="INSERT INTO history (id, events, crc, data) VALUES ", row="(?, ?, ?, ?)"
)
DELETE_HISTORY: Final = Statement(
    rank=62,
    head="DELETE FROM history WHERE id IN (SELECT history.id FROM (VALUES ",
    row="(?, ?)",
    tail=") AS v JOIN history ON history.id >= v.column1 AND history.id < v.column2)",
)
SELECT_ROWS: Final = "SELECT id, events, crc, data FROM history WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
SELECT_ROWS_BACK: Final = "SELECT id, events, crc, data FROM history WHERE id >= ? AND id < ? ORDER BY id DESC LIMIT ?"


@quick
@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Part of a history. `frames` is a serialised History message; `next_event_id` is where to go on, 0 at the end;
    `last_event_id` is the id of the last event in it, 0 when it is empty."""

    frames: bytes
    next_event_id: int
    last_event_id: int


def row_of(rid: int, run_id: str, first_event_id: int, frames: list[bytes]) -> Row:
    """Return the row that keeps a turn's events."""
    data = b"".join(frames)
    return (rid << EVENT_BITS | first_event_id, len(frames), _crc(run_id, first_event_id, len(frames), data), data)


def ids_of(rid: int) -> Row:
    """Return the first id of a run's rows, and the first behind them."""
    return (rid << EVENT_BITS, (rid + 1) << EVENT_BITS)


def read_all(reader: Reader, key: RunKey, rid: int, next_event_id: int) -> Iterator[bytes]:
    """Yield a run's rows in order, checked, up to the event before `next_event_id`."""
    expected = 1
    while expected < next_event_id:
        rows = _rows(reader, key, rid, expected)
        if not rows:
            raise RunDamaged(key, f"its events from {expected} on are missing")
        for row in rows:
            first, events, data = _checked(key, row)
            if first != expected:
                raise RunDamaged(key, f"event {expected} is missing")
            expected += events
            yield data
    if expected != next_event_id:
        raise RunDamaged(key, f"it has {expected - 1} events where {next_event_id - 1} were committed")


def page(
    reader: Reader, key: RunKey, rid: int, next_event_id: int, first_event_id: int, *, max_events: int, max_bytes: int
) -> HistoryPage:
    """Return events from `first_event_id` on. At least one, however long, if there is one.

    An end that comes before the last event that was committed is no end: RunDamaged.
    """
    wanted = max(first_event_id, 1)
    taken = bytearray()
    at = wanted
    for first, events, data in _forward(reader, key, rid, wanted):
        whole = first == at and events <= max_events - (at - wanted) and len(taken) + len(data) <= max_bytes
        if whole:
            taken += data
            at += events
            continue
        for number, one in enumerate(split(key, data, events), first):
            if number < at:
                continue
            if at > wanted and (at - wanted >= max_events or len(taken) + len(one) > max_bytes):
                return HistoryPage(bytes(taken), at, at - 1)
            taken += one
            at += 1
    if at < next_event_id:
        raise RunDamaged(key, f"its events from {at} on are missing")
    return HistoryPage(bytes(taken), 0, at - 1 if at > wanted else 0)


def page_back(
    reader: Reader, key: RunKey, rid: int, next_event_id: int, last_event_id: int, *, max_events: int, max_bytes: int
) -> HistoryPage:
    """Return events from `last_event_id` (0: the newest) down, newest first. At least one, however long, if any."""
    wanted = min(last_event_id or next_event_id - 1, next_event_id - 1)
    taken: list[bytes] = []
    size = 0
    oldest = 0
    for first, events, data in _backward(reader, key, rid, wanted):
        frames = list(split(key, data, events))[: wanted - first + 1]
        for number in range(first + len(frames) - 1, first - 1, -1):
            one = frames[number - first]
            if taken and (len(taken) >= max_events or size + len(one) > max_bytes):
                return HistoryPage(b"".join(taken), number, oldest)
            taken.append(one)
            size += len(one)
            oldest = number
    return HistoryPage(b"".join(taken), 0, oldest)


def split(key: RunKey, data: bytes, events: int) -> Iterator[bytes]:
    """Yield the frames that lie end to end in `data`."""
    at = found = 0
    while at < len(data):
        length, body = _length(data, at + 1)
        yield data[at : body + length]
        at = body + length
        found += 1
    if at != len(data) or found != events:
        raise RunDamaged(key, f"a row holds {found} events where {events} were committed")


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Read the varint at `at`; return it and where it ends."""
    length = shift = 0
    while True:
        byte = data[at]
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return length, at
        shift += 7


def _forward(reader: Reader, key: RunKey, rid: int, event_id: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield rows from the one that holds `event_id` on. Reads them in bounded batches."""
    # The row that holds the event is the last that begins at or before it.
    holding = _read(reader, key, SELECT_ROWS_BACK, rid << EVENT_BITS, (rid << EVENT_BITS | event_id) + 1, 1)
    rows: Iterable[Row] = holding
    expected = 0
    while rows:
        for row in rows:
            first, events, data = _checked(key, row)
            if expected and first != expected:
                raise RunDamaged(key, f"event {expected} is missing")
            expected = first + events
            if expected > event_id:
                yield first, events, data
        rows = _rows(reader, key, rid, expected)


def _backward(reader: Reader, key: RunKey, rid: int, event_id: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield rows from the one that holds `event_id` down."""
    bound = (rid << EVENT_BITS | event_id) + 1
    expected_end = 0
    met = False
    while rows := _read(reader, key, SELECT_ROWS_BACK, rid << EVENT_BITS, bound, ROWS_READ_AT_ONCE):
        for row in rows:
            first, events, data = _checked(key, row)
            if first + events != expected_end if met else first + events <= event_id:
                raise RunDamaged(key, f"event {expected_end - 1 if met else event_id} is missing")
            met = True
            expected_end = first
            yield first, events, data
        bound = rid << EVENT_BITS | expected_end
    if expected_end > 1 or not met:
        raise RunDamaged(key, f"event {expected_end - 1} is missing")


def _rows(reader: Reader, key: RunKey, rid: int, event_id: int) -> list[Row]:
    return _read(reader, key, SELECT_ROWS, rid << EVENT_BITS | event_id, rid + 1 << EVENT_BITS, ROWS_READ_AT_ONCE)


def _read(reader: Reader, key: RunKey, statement: str, *values: int) -> list[Row]:
    try:
        return reader.read(statement, values)
    except RowDamaged as error:
        raise RunDamaged(key, "its events cannot be read") from error


def _checked(key: RunKey, row: Row) -> tuple[int, int, bytes]:
    row_id, events, crc, data = row
    first = row_id & (1 << EVENT_BITS) - 1
    # A damaged page may hold values of any type, whatever the table says.
    if type(events) is not int or type(data) is not bytes:
        raise RunDamaged(key, f"its events from {first} on cannot be read")
    if _crc(key.run_id, first, events, data) != crc:
        raise RunDamaged(key, f"the checksum of its events {first} to {first + events - 1} does not match")
    return first, events, data


def _crc(run_id: str, first_event_id: int, events: int, data: bytes) -> int:
    """The run and the place are in it, so that a row found under another run's id does not pass."""
    return zlib.crc32(data, zlib.crc32(f"{run_id}/{first_event_id}/{events}".encode()))
