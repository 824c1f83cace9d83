"""Tasks that wait for a poller: one small value in the run's row, written with every turn, read when a server starts.

Not a row a task: a turn then would write several, and each SQLite step costs more than these bytes.
"""

import json
import zlib
from typing import Any, Final

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.priority import ORDINARY, TaskPriority
from stormsail.engine.core.state import RunState
from stormsail.engine.core.work import Task, TaskKind, tasks

CRC_BYTES: Final = 4

_JSON: Final = json.JSONEncoder(separators=(",", ":"))


def pack(state: RunState) -> bytes | None:
    """Return the tasks that a run has waiting as bytes; None when there are none."""
    waiting = tasks(state)
    if not waiting:
        return None
    packed = _JSON.encode([_row(task) for task in waiting.values()]).encode()
    return _crc(state.key, packed) + packed


def unpack(key: RunKey, stored: bytes) -> list[Task] | None:
    """Return what `pack` was given; None where the checksum does not match."""
    crc, packed = stored[:CRC_BYTES], stored[CRC_BYTES:]
    if _crc(key, packed) != crc:
        return None
    return [
        Task(TaskKind(kind), queue, scheduled_event_id, attempt, sticky, ready_at_ms, TaskPriority(*priority))
        for kind, queue, scheduled_event_id, attempt, sticky, ready_at_ms, *priority in json.loads(packed)
    ]


def _row(task: Task) -> list[Any]:
    """Return a task as a row; its priority is there only where somebody gave it one."""
    row = [task.kind, task.queue, task.scheduled_event_id, task.attempt, task.sticky, task.ready_at_ms]
    given = task.priority
    return row if given == ORDINARY else [*row, given.key, given.fairness_key, given.fairness_weight]


def _crc(key: RunKey, packed: bytes) -> bytes:
    return zlib.crc32(packed, zlib.crc32(key.run_id.encode())).to_bytes(CRC_BYTES, "big")
