"""One task queue: what waits in it, who waits for it, and how busy it is."""

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from temporalio.api.query.v1 import WorkflowQuery

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.priority import ORDINARY, TaskPriority
from stormsail.engine.shell.backlog import Backlog, QueueName, WaitingTask
from stormsail.engine.shell.clock import Alarm
from stormsail.engine.shell.dispatch_limit import DispatchLimit
from stormsail.engine.shell.pollers import PollerHistory, RateMeter


@dataclass(slots=True, eq=False)
class QueryTask:
    """A query that waits for a worker of its own. It is nowhere on disk: its asker is waiting."""

    query_id: str
    key: RunKey
    query: WorkflowQuery
    queue: QueueName
    taken: "asyncio.Future[bool]"
    """True once a poller has it; False when this queue will not answer."""
    priority: TaskPriority = ORDINARY
    wanted: bool = True
    """Whether somebody still waits for the answer."""

    def take(self) -> None:
        """Note that a poller has it. It may come back, when that poller vanishes, and be taken again."""
        if not self.taken.done():
            self.taken.set_result(True)


@dataclass(slots=True, eq=False)
class Undelivered:
    """A started task whose poller went away before it got the response: the next poller gets it."""

    response: bytes
    queue: QueueName
    current: Callable[[], bool]
    """Whether the start is still the one that counts."""


Found = WaitingTask | QueryTask | Undelivered


@dataclass(slots=True, eq=False)
class Poll:
    """One poll that waits."""

    found: "asyncio.Future[Found | None]"
    worker_instance_key: str

    def end(self) -> None:
        """Answer it with nothing."""
        if not self.found.done():
            self.found.set_result(None)


@dataclass(slots=True)
class Flow:
    """How fast tasks of one priority come and go."""

    added: RateMeter = field(default_factory=RateMeter)
    dispatched: RateMeter = field(default_factory=RateMeter)


@dataclass(slots=True, eq=False)
class TaskQueue:
    """What waits in one queue, and who waits for it."""

    backlog: Backlog
    levels: int
    queries: list[QueryTask] = field(default_factory=list)
    """By priority, then age."""
    undelivered: deque[Undelivered] = field(default_factory=deque)
    polls: dict[Poll, None] = field(default_factory=dict)
    pollers: PollerHistory = field(default_factory=PollerHistory)
    flows: dict[int, Flow] = field(default_factory=dict)
    """By priority, of those that there were tasks of."""
    last_poll_ms: int = 0
    last_use_ms: int = 0
    looked_at_ms: int = 0
    """When it was last looked at whether another poll would help: as seldom as Temporal looks, whatever comes of it."""
    limit: DispatchLimit = field(default_factory=DispatchLimit)
    limited: Alarm | None = None
    """Rings when the limit lets the next task through."""
    shut_down: bool = False
    """Its worker is gone, or said that it goes (sticky queues only); a new poll takes that back."""

    def idle(self, before_ms: int) -> bool:
        """Whether it can be forgotten."""
        return not (self.backlog or self.queries or self.undelivered or self.polls) and self.last_use_ms < before_ms

    def flow(self, priority: TaskPriority) -> Flow:
        """Return how fast tasks of this priority come and go."""
        level = priority.level(self.levels)
        flow = self.flows.get(level)
        if flow is None:
            flow = self.flows[level] = Flow()
        return flow

    def rates(self, now_ms: int) -> tuple[float, float]:
        """Return how many tasks a second come and go."""
        flows = self.flows.values()
        return (
            sum(flow.added.per_second(now_ms) for flow in flows),
            sum(flow.dispatched.per_second(now_ms) for flow in flows),
        )

    def ask(self, query: QueryTask) -> None:
        """Let a query wait behind those that are as urgent."""
        insort(self.queries, query, key=lambda each: each.priority.level(self.levels))

    def ask_first(self, query: QueryTask) -> None:
        """Let a query that came back wait before those that are as urgent."""
        levels = [each.priority.level(self.levels) for each in self.queries]
        own = query.priority.level(self.levels)
        self.queries.insert(sum(level < own for level in levels), query)

    def first_poll(self) -> Poll | None:
        """Return the poll that has waited longest, of those that still wait."""
        while self.polls:
            poll = next(iter(self.polls))
            if not poll.found.done():
                return poll
            del self.polls[poll]
        return None
