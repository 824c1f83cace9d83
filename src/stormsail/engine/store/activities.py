"""Pending activities of runs that have many, as stored: a row each, written when it changes.

Without that every turn of such a run would write all of them, for progress and waiting tasks are each one value of the
run's row. Runs with few keep them there: a row each would cost more than those bytes. The run's progress says which.
"""

import json
import zlib
from typing import Any, Final

from stormsail.engine.core import compact_json, progress
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState
from stormsail.engine.core.work import Task, activity_task
from stormsail.engine.store import tasks
from stormsail.engine.store.database import Statement
from stormsail.engine.store.errors import RowDamaged, RunDamaged
from stormsail.engine.store.history import EVENT_BITS, ids_of
from stormsail.engine.store.reader import Reader, Row

PUT: Final = Statement(
    rank=45,
    head="INSERT INTO activity (id, crc, data) VALUES ",
    row="(?, ?, ?)",
    tail=" ON CONFLICT (id) DO UPDATE SET crc = excluded.crc, data = excluded.data",
)
DELETE: Final = Statement(rank=46, head="DELETE FROM activity WHERE id IN (", row="?", tail=")")
DELETE_ALL: Final = Statement(
    rank=47,
    head="DELETE FROM activity WHERE id IN (SELECT activity.id FROM (VALUES ",
    row="(?, ?)",
    tail=") AS v JOIN activity ON activity.id >= v.column1 AND activity.id < v.column2)",
)
_SELECT: Final = "SELECT id, crc, data FROM activity WHERE id >= ? AND id < ? ORDER BY id"
_EVENT_MASK: Final = (1 << EVENT_BITS) - 1


def changes(
    rid: int, before: RunState | None, after: RunState, *, was_apart: bool, apart: bool
) -> list[tuple[Statement, Row]]:
    """Return what a turn changes here. `was_apart`, `apart`: whether the run had rows here, and is to have them."""
    if not apart:
        return [(DELETE_ALL, ids_of(rid))] if was_apart else []
    known = before.activities if before is not None and was_apart else {}
    # What an activity does not say of its priority is the run's.
    anew = before is None or before.priority != after.priority
    rows = [
        (PUT, row_of(rid, after, event_id))
        for event_id, activity in after.activities.items()
        if anew or known.get(event_id) is not activity
    ]
    gone = [event_id for event_id in known if event_id not in after.activities]
    return rows + [(DELETE, (rid << EVENT_BITS | event_id,)) for event_id in gone]


def row_of(rid: int, state: RunState, event_id: int) -> Row:
    """Return the row of a pending activity."""
    activity = state.activities[event_id]
    task = activity_task(state, activity)
    told = [progress.pack_activity(activity), tasks.row_of(task) if task is not None else None]
    data = compact_json.pack(told)
    return (rid << EVENT_BITS | event_id, _crc(state.key, event_id, data), data)


def rows_of(rid: int, state: RunState) -> list[Row]:
    """Return the rows of all pending activities of a run that has them here."""
    return [row_of(rid, state, event_id) for event_id in sorted(state.activities)]


def read(reader: Reader, key: RunKey, rid: int) -> dict[int, dict[str, Any]]:
    """Return what is stored of each pending activity's progress, by its scheduled event. Raises RunDamaged."""
    return {event_id: told for event_id, (told, _) in _stored(reader, key, rid).items()}


def read_tasks(reader: Reader, key: RunKey, rid: int) -> list[Task]:
    """Return the tasks that wait among a run's activities. Raises RunDamaged."""
    return [tasks.restored(task) for _, task in _stored(reader, key, rid).values() if task is not None]


def read_rows(reader: Reader, rid: int) -> list[Row]:
    """Return a run's rows as they are."""
    return reader.read(_SELECT, ids_of(rid))


def _stored(reader: Reader, key: RunKey, rid: int) -> dict[int, tuple[dict[str, Any], list[Any] | None]]:
    try:
        rows = read_rows(reader, rid)
    except RowDamaged as error:
        raise RunDamaged(key, "its activities cannot be read") from error
    found: dict[int, tuple[dict[str, Any], list[Any] | None]] = {}
    for row_id, crc, data in rows:
        event_id = row_id & _EVENT_MASK
        # A damaged page may hold values of any type, whatever the table says.
        if type(data) is not bytes or _crc(key, event_id, data) != crc:
            raise RunDamaged(key, f"the checksum of its activity {event_id} does not match")
        told, task = json.loads(data)
        found[event_id] = (told, task)
    return found


def _crc(key: RunKey, event_id: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(f"{key.run_id}/activity/{event_id}".encode()))
