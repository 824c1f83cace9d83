"""Tasks that wait for a poller: one small value in the run's row, written with every turn, read when a server starts.

Not a row a task: a turn then would write several, and each SQLite step costs more than these bytes.
"""

import json
import zlib
from dataclasses import dataclass
from typing import Any, Final

from stormsail.engine.core import compact_json
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.priority import ORDINARY, TaskPriority
from stormsail.engine.core.state import RunState
from stormsail.engine.core.work import Task, TaskKind, tasks, workflow_task

CRC_BYTES: Final = 4
_APART: Final = "apart"
"""Stands behind the others where activities have rows of their own (activities.py)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """The tasks of one run. `apart`: those of its activities are in rows of their own."""

    tasks: list[Task]
    apart: bool


def pack(state: RunState, *, apart: bool = False) -> bytes | None:
    """Return the tasks that a run has waiting as bytes; None when there are none. `apart`: without its activities'."""
    if apart:
        if state.paused:
            return None
        task = workflow_task(state)
        rows: list[Any] = [_APART] if task is None else [row_of(task), _APART]
    else:
        rows = [row_of(task) for task in tasks(state).values()]
    if not rows:
        return None
    packed = compact_json.pack(rows)
    return _crc(state.key, packed) + packed


def unpack(key: RunKey, stored: bytes) -> Waiting | None:
    """Return what `pack` was given; None where the checksum does not match."""
    crc, packed = stored[:CRC_BYTES], stored[CRC_BYTES:]
    if _crc(key, packed) != crc:
        return None
    rows = json.loads(packed)
    apart = rows[-1] == _APART
    return Waiting([restored(row) for row in (rows[:-1] if apart else rows)], apart)


def restored(row: list[Any]) -> Task:
    """Return the task that `row_of` was given."""
    kind, queue, scheduled_event_id, attempt, sticky, ready_at_ms, *priority = row
    return Task(TaskKind(kind), queue, scheduled_event_id, attempt, sticky, ready_at_ms, TaskPriority(*priority))


def row_of(task: Task) -> list[Any]:
    """Return a task as a row; its priority is there only where somebody gave it one."""
    row = [task.kind, task.queue, task.scheduled_event_id, task.attempt, task.sticky, task.ready_at_ms]
    given = task.priority
    return row if given == ORDINARY else [*row, given.key, given.fairness_key, given.fairness_weight]


def _crc(key: RunKey, packed: bytes) -> bytes:
    return zlib.crc32(packed, zlib.crc32(key.run_id.encode())).to_bytes(CRC_BYTES, "big")
