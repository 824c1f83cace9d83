"""Task queues: which task goes to which poller. All of it is in memory, rebuilt from the store's task rows.

A task taken by a poller is *in hand* until its start is on disk or refused. Losing the process in between loses
nothing: the row is still there.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from temporalio.api.query.v1 import WorkflowQuery

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.work import Task, TaskKind
from stormsail.engine.shell.clock import Alarm, Clock
from stormsail.engine.shell.dispatch_limit import DispatchLimit
from stormsail.engine.shell.overload import overloaded
from stormsail.engine.shell.workers import PollerHistory, RateMeter

STICKY_GONE_AFTER_MS: Final = 10_000
"""A sticky queue that nobody has polled for so long is taken for dead, as the server we follow does."""

_IDLE_QUEUE_MS: Final = 300_000
_SWEEP_EVERY: Final = 1_000

TaskName = tuple[RunKey, TaskKind, int]


@dataclass(frozen=True, slots=True)
class QueueName:
    """One task queue of one kind in one namespace."""

    namespace: str
    kind: TaskKind
    name: str


@dataclass(slots=True, eq=False)
class WaitingTask:
    """A task that waits in a queue or is in a poller's hand."""

    key: RunKey
    task: Task
    queue: QueueName
    backlog: bool = False
    """Whether it had to wait for a poller."""

    @property
    def name(self) -> TaskName:
        """The task's name among all."""
        return (self.key, *self.task.ref)


@dataclass(slots=True, eq=False)
class QueryTask:
    """A query that waits for a worker of its own. It is nowhere on disk: its asker is waiting."""

    query_id: str
    key: RunKey
    query: WorkflowQuery
    queue: QueueName
    taken: "asyncio.Future[bool]"
    """True once a poller has it; False when this queue will not answer."""
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


@dataclass(slots=True, eq=False)
class TaskQueue:
    """What waits in one queue, and who waits for it."""

    waiting: OrderedDict[TaskName, WaitingTask] = field(default_factory=OrderedDict)
    queries: deque[QueryTask] = field(default_factory=deque)
    undelivered: deque[Undelivered] = field(default_factory=deque)
    polls: dict[Poll, None] = field(default_factory=dict)
    pollers: PollerHistory = field(default_factory=PollerHistory)
    added: RateMeter = field(default_factory=RateMeter)
    dispatched: RateMeter = field(default_factory=RateMeter)
    last_poll_ms: int = 0
    last_use_ms: int = 0
    suggested_at_ms: int = 0
    limit: DispatchLimit | None = None
    limited: Alarm | None = None
    """Rings when the limit lets the next task through."""
    shut_down: bool = False
    """Its worker is gone, or said that it goes (sticky queues only); a new poll takes that back."""

    def idle(self, before_ms: int) -> bool:
        """Whether it can be forgotten."""
        return not (self.waiting or self.queries or self.undelivered or self.polls) and self.last_use_ms < before_ms


class Matching:
    """All task queues."""

    def __init__(
        self, clock: Clock, limits: Limits, *, worker_left: Callable[[QueueName], None] = lambda _: None
    ) -> None:
        """`worker_left` is told when the last poll of a sticky queue was broken off: nobody is there any more."""
        self._clock = clock
        self._worker_left = worker_left
        self._limits = limits
        self._opened_at_ms = clock.now_ms()
        self._queues: dict[QueueName, TaskQueue] = {}
        self._tasks: dict[TaskName, WaitingTask] = {}
        """Every task, in a queue or in hand."""
        self._closed = False
        self._sweep_in = _SWEEP_EVERY

    def add(self, key: RunKey, task: Task) -> None:
        """Put a task into its queue, or hand it to who waits for it. One of the same name is replaced."""
        self.drop((key, *task.ref))
        queue_name = QueueName(key.namespace, task.kind, task.queue)
        waiting = WaitingTask(key, task, queue_name)
        queue = self._queue(queue_name)
        queue.added.count(self._clock.now_ms())
        self._tasks[waiting.name] = waiting
        queue.waiting[waiting.name] = waiting
        self._drain(queue)
        waiting.backlog = waiting.name in queue.waiting

    def drop(self, name: TaskName) -> None:
        """Forget a task that waits no longer."""
        waiting = self._tasks.pop(name, None)
        if waiting is not None and (queue := self._queues.get(waiting.queue)) is not None:
            queue.waiting.pop(name, None)

    def done(self, waiting: WaitingTask) -> None:
        """Forget a task that was in hand, unless another of its name has come."""
        if self._tasks.get(waiting.name) is waiting:
            self.drop(waiting.name)

    def put_back(self, found: Found) -> None:
        """Take back what a poller could not be given, to the front of its queue, unless it was overtaken meanwhile."""
        queue = self._queue(found.queue)
        match found:
            case WaitingTask():
                if self._tasks.get(found.name) is not found:
                    return
                found.backlog = True
                queue.waiting[found.name] = found
                queue.waiting.move_to_end(found.name, last=False)
                self._drain(queue)
            case QueryTask():
                if found.wanted and not self._hand_over(queue, found):
                    queue.queries.appendleft(found)
            case Undelivered():
                if found.current() and not self._hand_over(queue, found):
                    queue.undelivered.append(found)

    def offer_query(self, query: QueryTask) -> None:
        """Put a query before the pollers of its queue."""
        queue = self._queue(query.queue)
        if not self._hand_over(queue, query):
            queue.queries.append(query)

    def withdraw_query(self, query: QueryTask) -> None:
        """Forget a query: its asker waits no longer."""
        query.wanted = False
        queue = self._queues.get(query.queue)
        if queue is not None and query in queue.queries:
            queue.queries.remove(query)

    async def take(
        self, name: QueueName, timeout_ms: float, *, worker_instance_key: str = "", sticky: bool = False
    ) -> Found | None:
        """Return what this queue has next, waiting for it if need be; None when the time is over or the worker stops.

        What a cancelled call was given goes back to the queue.
        """
        queue = self._queue(name)
        queue.last_poll_ms = self._clock.now_ms()
        queue.shut_down = False
        if self._closed:
            return None
        found = self._next(queue)
        if found is not None or timeout_ms <= 0:
            return found
        if len(queue.polls) >= self._limits.pollers_per_queue_max:
            raise overloaded(
                f"Task queue {name.name} has {len(queue.polls)} pollers waiting, which is the limit. "
                "Lower the number of pollers of its workers."
            )
        poll = Poll(asyncio.get_running_loop().create_future(), worker_instance_key)
        queue.polls[poll] = None
        alarm = self._clock.call_later(timeout_ms, poll.end)
        try:
            return await poll.found
        except asyncio.CancelledError:
            if not poll.found.cancelled() and poll.found.done() and (missed := poll.found.result()) is not None:
                self.put_back(missed)
            queue.polls.pop(poll, None)
            if sticky:
                self.broken_off(name)
            raise
        finally:
            alarm.cancel()
            queue.polls.pop(poll, None)
            queue.last_poll_ms = queue.last_use_ms = self._clock.now_ms()

    def broken_off(self, name: QueueName) -> None:
        """Take note that a poll of a sticky queue was cancelled. Its worker always has one open: if this was the last,
        the connection is gone, and so is the worker for all we know. Nothing need wait for it."""
        queue = self._queues.get(name)
        if queue is not None and not queue.polls and not self._closed:
            self._worker_left(name)

    def limit(self, name: QueueName, per_second: float) -> None:
        """Set how many tasks a second a queue may hand out, as its last poller asked."""
        queue = self._queue(name)
        if queue.limit is None:
            queue.limit = DispatchLimit.full(per_second, self._clock.now_ms())
        elif queue.limit.per_second != per_second:
            queue.limit.per_second = per_second
            if queue.limited is not None:
                queue.limited.cancel()
            self._limit_over(queue)

    def has_poller(self, name: QueueName, within_ms: int) -> bool:
        """Whether somebody polls this queue, or did within that time."""
        queue = self._queues.get(name)
        if queue is None:
            return False
        return bool(queue.polls) or (queue.last_poll_ms > 0 and self._clock.now_ms() - queue.last_poll_ms < within_ms)

    def sticky_alive(self, name: QueueName) -> bool:
        """Whether a sticky queue's worker is to be reckoned with.

        Right after a restart nobody has polled yet: each worker has the same time to come back as to be missed.
        """
        queue = self._queues.get(name)
        if queue is not None and queue.shut_down:
            return False
        return self._clock.now_ms() - self._opened_at_ms < STICKY_GONE_AFTER_MS or self.has_poller(
            name, STICKY_GONE_AFTER_MS
        )

    def shut_down_sticky(self, name: QueueName) -> list[RunKey]:
        """Take a sticky queue's worker for gone: polls end, queries go elsewhere. Return the runs with tasks there."""
        queue = self._queue(name)
        queue.shut_down = True
        for poll in list(queue.polls):
            poll.end()
        for query in queue.queries:
            if not query.taken.done():
                query.taken.set_result(False)
        queue.queries.clear()
        return [waiting.key for waiting in queue.waiting.values()]

    def end_polls_of(self, worker_instance_key: str) -> int:
        """End every poll of one worker; return how many there were."""
        ended = [
            poll
            for queue in self._queues.values()
            for poll in queue.polls
            if poll.worker_instance_key == worker_instance_key and not poll.found.done()
        ]
        for poll in ended:
            poll.end()
        return len(ended)

    def close(self) -> None:
        """End every poll, now and from now on."""
        self._closed = True
        for queue in self._queues.values():
            for poll in list(queue.polls):
                poll.end()

    def queue(self, name: QueueName) -> TaskQueue | None:
        """Return a queue to look at, if it is known."""
        return self._queues.get(name)

    def seen_polling(self, name: QueueName) -> TaskQueue:
        """Return the queue a poll came for, made if need be."""
        return self._queue(name)

    def backlog(self, name: QueueName) -> tuple[int, int]:
        """Return how many tasks wait in a queue, and for how many milliseconds the oldest has."""
        queue = self._queues.get(name)
        if queue is None or not queue.waiting:
            return (0, 0)
        oldest_ms = next(iter(queue.waiting.values())).task.ready_at_ms
        return (len(queue.waiting), max(0, self._clock.now_ms() - oldest_ms) if oldest_ms else 0)

    def _next(self, queue: TaskQueue) -> Found | None:
        while queue.queries:
            query = queue.queries.popleft()
            if query.wanted:
                query.take()
                return query
        while queue.undelivered:
            undelivered = queue.undelivered.popleft()
            if undelivered.current():
                return undelivered
        if queue.waiting and self._let_through(queue):
            _, waiting = queue.waiting.popitem(last=False)
            queue.dispatched.count(self._clock.now_ms())
            return waiting
        return None

    def _drain(self, queue: TaskQueue) -> None:
        """Hand waiting tasks to waiting polls."""
        while queue.waiting and (poll := _first(queue)) is not None and self._let_through(queue):
            _, waiting = queue.waiting.popitem(last=False)
            queue.dispatched.count(self._clock.now_ms())
            del queue.polls[poll]
            poll.found.set_result(waiting)

    def _let_through(self, queue: TaskQueue) -> bool:
        """Whether the queue's limit lets a task through now; if not, the queue is looked at again when it does."""
        if queue.limit is None:
            return True
        wait_ms = queue.limit.take(self._clock.now_ms())
        if wait_ms and queue.limited is None:
            queue.limited = self._clock.call_later(wait_ms, lambda: self._limit_over(queue))
        return not wait_ms

    def _limit_over(self, queue: TaskQueue) -> None:
        queue.limited = None
        self._drain(queue)

    def _hand_over(self, queue: TaskQueue, found: QueryTask | Undelivered) -> bool:
        """Give it to the poll that has waited longest; return whether there was one."""
        poll = _first(queue)
        if poll is None:
            return False
        del queue.polls[poll]
        if isinstance(found, QueryTask):
            found.take()
        poll.found.set_result(found)
        return True

    def _queue(self, name: QueueName) -> TaskQueue:
        queue = self._queues.get(name)
        if queue is None:
            self._sweep()
            queue = self._queues[name] = TaskQueue()
        queue.last_use_ms = self._clock.now_ms()
        return queue

    def _sweep(self) -> None:
        """Forget idle queues now and then: each worker process has a sticky queue of its own."""
        self._sweep_in -= 1
        if self._sweep_in > 0:
            return
        self._sweep_in = _SWEEP_EVERY
        before_ms = self._clock.now_ms() - _IDLE_QUEUE_MS
        for queue in self._queues.values():
            queue.undelivered = deque(one for one in queue.undelivered if one.current())
        for name in [name for name, queue in self._queues.items() if queue.idle(before_ms)]:
            del self._queues[name]


def _first(queue: TaskQueue) -> Poll | None:
    """Return the poll that has waited longest, of those that still wait."""
    while queue.polls:
        poll = next(iter(queue.polls))
        if not poll.found.done():
            return poll
        del queue.polls[poll]
    return None
