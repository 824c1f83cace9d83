"""Batches as stored: operations on many runs, which runs they concern, and how far they got."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from temporalio.api.enums.v1 import BatchOperationState

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.store.checksum import sealed
from stormsail.engine.store.database import Database, Member, Statement
from stormsail.engine.store.errors import RowDamaged
from stormsail.engine.store.reader import Row

_log: Final = logging.getLogger(__name__)
RUNS_IN_PART: Final = 1_000
RUNNING: Final = BatchOperationState.BATCH_OPERATION_STATE_RUNNING

_COLUMNS: Final = "namespace, job_id, state, started_ms, closed_ms, total, completed, failed, request, crc"
SELECT: Final = f"SELECT {_COLUMNS} FROM batch"  # noqa: S608 - constants of this file only
PART_COLUMNS: Final = "namespace, job_id, part, runs, crc"
PUT: Final = Statement(
    rank=70,
    head=f"INSERT INTO batch ({_COLUMNS}) VALUES ",  # noqa: S608 - constants of this file only
    row="(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    tail=" ON CONFLICT (namespace, job_id) DO UPDATE SET state = excluded.state, closed_ms = excluded.closed_ms, "
    "completed = excluded.completed, failed = excluded.failed, crc = excluded.crc",
)
PUT_PART: Final = Statement(
    rank=71, head="INSERT INTO batch_part (namespace, job_id, part, runs, crc) VALUES ", row="(?, ?, ?, ?, ?)"
)
DELETE_PARTS: Final = Statement(
    rank=72, head="DELETE FROM batch_part WHERE (namespace, job_id) IN (VALUES ", row="(?, ?)", tail=")"
)
DELETE: Final = Statement(
    rank=73, head="DELETE FROM batch WHERE (namespace, job_id) IN (VALUES ", row="(?, ?)", tail=")"
)


@dataclass(frozen=True, slots=True)
class Batch:
    """One operation on many runs."""

    namespace: str
    job_id: str
    state: BatchOperationState.ValueType
    started_ms: int
    closed_ms: int | None
    total: int
    completed: int
    failed: int
    request: bytes
    """A serialised StartBatchOperationRequest."""

    @property
    def name(self) -> tuple[str, str]:
        """What tells it from all others."""
        return (self.namespace, self.job_id)

    @property
    def running(self) -> bool:
        """Whether there is more to do."""
        return self.state == RUNNING


@dataclass(frozen=True, slots=True)
class BatchPage:
    """Part of a list, the newest first. `next_token` is empty at its end."""

    batches: list[Batch]
    next_token: bytes


class Batches:
    """The batches of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = database.reader

    def get(self, namespace: str, job_id: str) -> Batch | None:
        """Return a batch by its name. Raises RowDamaged."""
        found = self._reader.read(f"{SELECT} WHERE namespace = ? AND job_id = ?", (namespace, job_id))
        return Batch(*self._reader.checked(found[0])) if found else None

    def running(self) -> list[Batch]:
        """Return all batches that have not ended, but for damaged ones: nobody goes on with those."""
        rows = self._reader.read(f"{SELECT} WHERE state = ?", (int(RUNNING),))
        return self._sound(rows)

    def page(self, namespace: str, page_size: int, token: bytes) -> BatchPage:
        """Return batches of a namespace, the newest first, those after the one that the token names; without damaged
        ones."""
        after_ms, after_id = _place(token)
        rows = self._reader.read(
            f"{SELECT} WHERE namespace = ? AND (-started_ms, job_id) > (?, ?) ORDER BY -started_ms, job_id LIMIT ?",
            (namespace, after_ms, after_id, page_size + 1),
        )
        batches = self._sound(rows[:page_size])
        if len(rows) <= page_size:
            return BatchPage(batches, b"")
        _, job_id, _, started_ms, *_ = rows[page_size - 1]
        return BatchPage(batches, json.dumps([-started_ms, job_id]).encode())

    def runs(self, batch: Batch, first: int, most: int) -> list[tuple[str, str]]:
        """Return workflow and run ids of runs that a batch concerns, from the `first` on; only of one that runs."""
        found = self._reader.read(
            f"SELECT {PART_COLUMNS} FROM batch_part WHERE namespace = ? AND job_id = ? "  # noqa: S608 - as above
            "AND part BETWEEN ? AND ? ORDER BY part",
            (*batch.name, first // RUNS_IN_PART, (first + most - 1) // RUNS_IN_PART),
        )
        parts = [self._reader.checked(row)[-1] for row in found]
        runs = [(workflow_id, run_id) for packed in parts for workflow_id, run_id in json.loads(packed)]
        begin = first % RUNS_IN_PART
        return runs[begin : begin + most]

    async def begin(self, batch: Batch, runs: Sequence[tuple[str, str]]) -> None:
        """Add a batch with the runs that it concerns. Returns once it is on disk."""
        rows = [(PUT, _row(batch))]
        for part, begin in enumerate(range(0, len(runs), RUNS_IN_PART)):
            packed = json.dumps(runs[begin : begin + RUNS_IN_PART], separators=(",", ":")).encode()
            rows.append((PUT_PART, sealed(*batch.name, part, packed)))
        await self._commit(batch, rows)

    async def move(self, batch: Batch) -> None:
        """Keep how far a batch got; one that has ended is done with its runs. Returns once it is on disk."""
        rows = [(PUT, _row(batch))]
        if not batch.running:
            rows.append((DELETE_PARTS, batch.name))
        await self._commit(batch, rows)

    def closed_by(self, namespace: str, until_ms: int, limit: int) -> list[Batch]:
        """Return batches of a namespace that had ended by then."""
        rows = self._reader.read(
            f"{SELECT} WHERE namespace = ? AND closed_ms <= ? LIMIT ?",
            (namespace, until_ms, limit),
        )
        return self._sound(rows)

    async def delete(self, batch: Batch) -> None:
        """Forget a batch that has ended. Returns once that is on disk."""
        await self._commit(batch, [(DELETE, batch.name)])

    def _sound(self, rows: Sequence[Row]) -> list[Batch]:
        """Return the batches of rows, but for those that are damaged: they are left alone, and the others are not."""
        found: list[Batch] = []
        for row in rows:
            try:
                found.append(Batch(*self._reader.checked(row)))
            except RowDamaged as damaged:
                _log.error("batch %s/%s is passed over: %s", row[0], row[1], damaged)
        return found

    async def _commit(self, batch: Batch, rows: list[tuple[Statement, Row]]) -> None:
        await self._database.commit(Member(rows, frozenset([("batch", *batch.name)])))


def _row(batch: Batch) -> Row:
    return sealed(
        *batch.name,
        int(batch.state),
        batch.started_ms,
        batch.closed_ms,
        batch.total,
        batch.completed,
        batch.failed,
        batch.request,
    )


def _place(token: bytes) -> tuple[int, str]:
    if not token:
        return -(1 << 62), ""
    try:
        after_ms, after_id = json.loads(token)
    except (ValueError, TypeError):
        after_ms = after_id = None
    if type(after_ms) is not int or not isinstance(after_id, str) or abs(after_ms) >= 1 << 62:
        raise InvalidArgument("invalid next page token: it is of no list of batches; list again without one")
    return after_ms, after_id
