"""Task queues: who polls them, when they were last seen, and what waits."""

import asyncio
from dataclasses import dataclass
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeTaskQueueResponse

from stormsail.web.sources.held import Reading, Source
from stormsail.web.sources.sources import Sources

POLLED_AGO_MAX_MS: Final = 75_000
"""Engines go on listing a worker that was killed for minutes; a living one polls at least once a minute."""

RUNS_LOOKED_AT: Final = 200
QUEUES_MAX: Final = 20
FRESH_MS: Final = 2_000


@dataclass(frozen=True, slots=True)
class PollerView:
    """One worker on one side of a task queue."""

    identity: str
    last_seen_at_ms: int
    alive: bool
    """Whether it polled within the last 75 seconds."""


@dataclass(frozen=True, slots=True)
class QueueSide:
    """What waits for workers of one kind of task, and who takes it."""

    pollers: tuple[PollerView, ...]
    has_worker: bool
    backlog: int
    backlog_age_ms: int


@dataclass(frozen=True, slots=True)
class TaskQueueView:
    """One task queue, both sides."""

    sources: tuple[Source, ...]
    name: str
    workflows: QueueSide
    activities: QueueSide
    has_worker: bool
    """Whether somebody takes both kinds of task."""
    delivers: bool
    """Whether it is the queue that our operations wait in."""


@dataclass(frozen=True, slots=True)
class TaskQueuesView:
    """The task queues that are known of: delivery's own, and those of the newest runs."""

    sources: tuple[Source, ...]
    task_queues: tuple[TaskQueueView, ...]


async def read_task_queues(sources: Sources) -> TaskQueuesView:
    """Read the task queues of the newest runs and of delivery. An engine keeps no list of all its queues."""
    listed = await sources.held.read(
        "queues-of-runs", lambda: sources.engine.list_workflows("", RUNS_LOOKED_AT, b""), fresh_ms=FRESH_MS
    )
    of_runs = (info.task_queue for info in listed.value.executions) if listed.value is not None else ()
    own = sources.engine.at.task_queue
    names = list(dict.fromkeys([own, *(name for name in of_runs if name)]))[:QUEUES_MAX]
    queues = await asyncio.gather(*(read_task_queue(sources, name) for name in names))
    return TaskQueuesView((listed.source,), tuple(queue for queue in queues if queue is not None))


async def read_task_queue(sources: Sources, name: str) -> TaskQueueView | None:
    """Read one task queue; None when the engine is away and never answered for it."""
    workflows, activities = await asyncio.gather(_side(sources, name, False), _side(sources, name, True))
    if workflows.value is None or activities.value is None:
        return None
    sides = [_side_view(reading.value, sources.now_ms()) for reading in (workflows, activities) if reading.value]
    worst = max((workflows.source, activities.source), key=lambda source: (bool(source.error), source.age_ms or 0))
    return TaskQueueView(
        sources=(worst,),
        name=name,
        workflows=sides[0],
        activities=sides[1],
        has_worker=all(side.has_worker for side in sides),
        delivers=name == sources.engine.at.task_queue,
    )


async def _side(sources: Sources, name: str, activities: bool) -> Reading[DescribeTaskQueueResponse]:
    return await sources.held.read(
        ("queue", name, activities),
        lambda: sources.engine.describe_task_queue(name, activities=activities),
        fresh_ms=FRESH_MS,
    )


def _side_view(reply: DescribeTaskQueueResponse, now_ms: int) -> QueueSide:
    newest: dict[str, int] = {}
    for poller in reply.pollers:
        seen = poller.last_access_time.ToMilliseconds()
        newest[poller.identity] = max(seen, newest.get(poller.identity, 0))
    pollers = tuple(
        PollerView(identity, seen, now_ms - seen <= POLLED_AGO_MAX_MS) for identity, seen in sorted(newest.items())
    )
    return QueueSide(
        pollers=pollers,
        has_worker=any(poller.alive for poller in pollers),
        backlog=reply.stats.approximate_backlog_count,
        backlog_age_ms=reply.stats.approximate_backlog_age.ToMilliseconds(),
    )
