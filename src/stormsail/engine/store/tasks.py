"""Tasks that wait for a poller: one small value in the run's row, written with every turn, read when a server starts.

Not a row a task: a turn then would write several, and each SQLite step costs more than these bytes.
"""

import json
import zlib
from typing import Final

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState
from stormsail.engine.core.work import Task, TaskKind, tasks

CRC_BYTES: Final = 4

_JSON: Final = json.JSONEncoder(separators=(",", ":"))


def pack(state: RunState) -> bytes | None:
    """Return the tasks that a run has waiting as bytes; None when there are none."""
    waiting = tasks(state)
    if not waiting:
        return None
    rows = [[t.kind, t.queue, t.scheduled_event_id, t.attempt, t.sticky, t.ready_at_ms] for t in waiting.values()]
    packed = _JSON.encode(rows).encode()
    return _crc(state.key, packed) + packed


def unpack(key: RunKey, stored: bytes) -> list[Task] | None:
    """Return what `pack` was given; None where the checksum does not match."""
    crc, packed = stored[:CRC_BYTES], stored[CRC_BYTES:]
    if _crc(key, packed) != crc:
        return None
    return [
        Task(TaskKind(kind), queue, scheduled_event_id, attempt, sticky, ready_at_ms)
        for kind, queue, scheduled_event_id, attempt, sticky, ready_at_ms in json.loads(packed)
    ]


def _crc(key: RunKey, packed: bytes) -> bytes:
    return zlib.crc32(packed, zlib.crc32(key.run_id.encode())).to_bytes(CRC_BYTES, "big")
