"""Writes a backlog into an engine's file at once: runs whose first workflow task waits, copied from one that is there."""

import json
import zlib
from pathlib import Path
from typing import Final

import apsw

_COLUMNS: Final = (
    "status, next_event, due_ms, workflow_type, start_ms, execution_ms, progress_crc, progress, root_workflow_id"
)


def write_backlog(file: Path, pattern: str, queue: str, count: int) -> None:
    """Copy the run of a workflow id so many times, with another queue. Nobody is to ask for the copies: they have no
    history. The engine must be stopped."""

    def tasks(run_id: str, packed: bytes) -> bytes:
        rows = json.loads(packed[4:])
        for row in rows:
            row[1] = queue
        told = json.dumps(rows, separators=(",", ":")).encode()
        return zlib.crc32(told, zlib.crc32(run_id.encode())).to_bytes(4, "big") + told

    connection = apsw.Connection(str(file))
    try:
        connection.create_scalar_function("tasks_of", tasks, 2)
        with connection:
            connection.execute(
                f"WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)"  # noqa: S608
                f" INSERT INTO run (namespace, workflow_id, run_id, tasks, task_queue, {_COLUMNS})"
                f" SELECT namespace, 'backlog-' || n, 'run-' || n, tasks_of('run-' || n, tasks), ?2, {_COLUMNS}"
                " FROM n, (SELECT * FROM run WHERE workflow_id = ?3)",
                (count, queue, pattern),
            )
    finally:
        connection.close()
