"""Tasks that wait for a poller: one small value in the run's row, written with every turn, read when a server starts.

Not a row a task: a turn then would write several, and each SQLite step costs more than these bytes.
"""

import json
from collections.abc import Iterator
from typing import Final

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState
from stormsail.engine.core.work import Task, TaskKind, tasks
from stormsail.engine.store.database import Database
from stormsail.engine.store.errors import RunDamaged

RUNS_READ_AT_ONCE: Final = 500
SELECT_WAITING: Final = (
    "SELECT rid, namespace, workflow_id, run_id, tasks FROM run "
    "WHERE tasks IS NOT NULL AND rid > ? ORDER BY rid LIMIT ?"
)


def pack(state: RunState) -> bytes | None:
    """Return the tasks that a run has waiting as bytes; None when there are none."""
    waiting = tasks(state)
    if not waiting:
        return None
    rows = [[t.kind, t.queue, t.scheduled_event_id, t.attempt, int(t.sticky), t.ready_at_ms] for t in waiting.values()]
    return json.dumps(rows, separators=(",", ":")).encode()


def unpack(key: RunKey, packed: bytes) -> list[Task]:
    """Return what `pack` was given."""
    try:
        return [
            Task(TaskKind(kind), queue, scheduled_event_id, attempt, bool(sticky), ready_at_ms)
            for kind, queue, scheduled_event_id, attempt, sticky, ready_at_ms in json.loads(packed)
        ]
    except (ValueError, TypeError) as error:
        raise RunDamaged(key, f"its waiting tasks cannot be read ({error})") from None


def waiting(database: Database) -> Iterator[tuple[RunKey, Task]]:
    """Yield every task that waits, run by run in order of creation. Reads in bounded batches."""
    rid = 0
    while rows := database.read(SELECT_WAITING, (rid, RUNS_READ_AT_ONCE)):
        for _, namespace, workflow_id, run_id, packed in rows:
            key = RunKey(namespace, workflow_id, run_id)
            for task in unpack(key, packed):
                yield key, task
        rid = rows[-1][0]
