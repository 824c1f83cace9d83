"""The overview: what needs a person first, then what is on its way, then what was done."""

import asyncio
from dataclasses import dataclass
from typing import Final

from stormsail.delivery.model.operation import RUNNER
from stormsail.web.sources.held import Source
from stormsail.web.sources.sources import Sources
from stormsail.web.views.access import Sees, sees_all
from stormsail.web.views.applications import ApplicationRow, read_applications
from stormsail.web.views.operations import OperationRow, read_operations
from stormsail.web.views.task_queues import TaskQueueView, read_task_queue

ROWS_MAX: Final = 500
ENDED_READ: Final = 100
RECENT_SHOWN: Final = 20
RECENT_FAILED_MS: Final = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class OverviewView:
    """Everything an operator looks at first. A list that is empty because its source failed is told by `sources`."""

    sources: tuple[Source, ...]
    waiting: tuple[OperationRow, ...]
    """Failed for good and waiting for a person."""
    stuck: tuple[OperationRow, ...]
    """Running without any worker that could carry them on."""
    running: tuple[OperationRow, ...]
    failed: tuple[OperationRow, ...]
    """Failed within the last day, newest first."""
    recent: tuple[OperationRow, ...]
    """Ended well or were cancelled, newest first."""
    degraded: tuple[ApplicationRow, ...]
    applications: tuple[ApplicationRow, ...]
    task_queue: TaskQueueView | None
    counts: dict[str, int]
    """All operations by the engine's status, as far as it keeps them."""


async def read_overview(sources: Sources, *, sees: Sees = sees_all) -> OverviewView:
    """Read the overview: a fixed number of questions, however many operations there are."""
    query = f"WorkflowType = '{RUNNER}'"
    open_ones, ended, applications, queue, counts = await asyncio.gather(
        read_operations(sources, state="open", limit=ROWS_MAX, sees=sees),
        read_operations(sources, state="ended", limit=ENDED_READ, sees=sees),
        read_applications(sources, sees=sees),
        read_task_queue(sources, sources.engine.at.task_queue),
        sources.held.read(("count", query), lambda: sources.engine.count_workflows(query)),
    )
    stuck = queue is not None and not queue.has_worker
    since = sources.now_ms() - RECENT_FAILED_MS
    return OverviewView(
        sources=_told_once(
            [*open_ones.sources, *ended.sources, *applications.sources, *(queue.sources if queue is not None else ())]
        ),
        waiting=tuple(row for row in open_ones.operations if row.state == "waiting"),
        stuck=tuple(row for row in open_ones.operations if row.state == "running") if stuck else (),
        running=() if stuck else tuple(row for row in open_ones.operations if row.state == "running"),
        failed=tuple(row for row in ended.operations if row.state == "failed" and (row.closed_at_ms or 0) >= since),
        recent=tuple(row for row in ended.operations if row.state in ("succeeded", "cancelled"))[:RECENT_SHOWN],
        degraded=tuple(row for row in applications.applications if row.degraded),
        applications=applications.applications,
        task_queue=queue,
        counts=counts.value or {},
    )


def _told_once(asked: list[Source]) -> tuple[Source, ...]:
    """Return one source a name: one that fails before one that does not, then the oldest."""
    found: dict[str, Source] = {}
    for source in sorted(asked, key=lambda one: (bool(one.error), one.age_ms or 0), reverse=True):
        found.setdefault(source.name, source)
    return tuple(found.values())
