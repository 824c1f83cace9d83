"""Task queues: which task goes to which poller. All of it is in memory, rebuilt from the store's task rows.

A task taken by a poller is *in hand* until its start is on disk or refused. Losing the process in between loses
nothing: the row is still there.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from temporalio.api.taskqueue.v1 import TaskQueueConfig

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.work import Task
from stormsail.engine.shell.backlog import Backlog, QueueName, TaskName, WaitingTask
from stormsail.engine.shell.clock import Clock
from stormsail.engine.shell.folded import Folded
from stormsail.engine.shell.overload import overloaded
from stormsail.engine.shell.task_queue import Found, Poll, QueryTask, TaskQueue, Undelivered

STICKY_GONE_AFTER_MS: Final = 10_000
"""A sticky queue that nobody has polled for so long is taken for dead, as the server we follow does."""

_IDLE_QUEUE_MS: Final = 300_000
_LOOK_AGAIN_MS: Final = 60_000
"""How long a limit that lets nothing through is believed without looking again."""
_SWEEP_EVERY: Final = 1_000
_LOOK_FOR_ROOM_MS: Final = 1_000


class Matching:
    """All task queues."""

    def __init__(
        self,
        clock: Clock,
        limits: Limits,
        *,
        worker_left: Callable[[QueueName], None] = lambda _: None,
        configured: Callable[[QueueName], TaskQueueConfig | None] = lambda _: None,
    ) -> None:
        """`worker_left` is told when the last poll of a sticky queue was broken off: nobody is there any more.
        `configured` tells what UpdateTaskQueueConfig has made of a queue."""
        self._clock = clock
        self._worker_left = worker_left
        self._configured = configured
        self._limits = limits
        self.levels = limits.priority_levels
        self._opened_at_ms = clock.now_ms()
        self._queues: dict[QueueName, TaskQueue] = {}
        self._tasks: dict[TaskName, WaitingTask] = {}
        """Every task in hand, and those in a queue that are not far back in it."""
        self._folded = Folded()
        """The others."""
        self._undelivered_bytes = 0
        self._looked_at_ms = 0
        self._closed = False
        self._sweep_in = _SWEEP_EVERY

    def add(self, key: RunKey, task: Task) -> None:
        """Put a task into its queue, or hand it to who waits for it. One of the same name is replaced."""
        waiting = WaitingTask(key, task, QueueName(key.namespace, task.kind, task.queue))
        self.drop(waiting.name)
        queue = self._queue(waiting.queue)
        flow, limit = queue.flow(task.priority), queue.limit
        flow.added.count(queue.last_use_ms)
        if not queue.backlog and limit.absent and (poll := queue.first_poll()) is not None:
            queue.backlog.let_by(waiting, limit.weight(task.priority))
            flow.dispatched.count(queue.last_use_ms)
            self._tasks[waiting.name] = waiting
            del queue.polls[poll]
            poll.found.set_result(waiting)
            return
        if queue.backlog.add(waiting, limit.weight(task.priority)):
            self._drain(queue, queue.last_use_ms)
            return
        self._tasks[waiting.name] = waiting
        self._drain(queue, queue.last_use_ms)
        waiting.backlog = waiting in queue.backlog

    def knows(self, name: TaskName) -> bool:
        """Whether a task is in a queue or in hand."""
        return name in self._tasks or self._folded.knows(*name)

    def names(self) -> set[TaskName]:
        """Return the names of all tasks, for a look from outside: it takes long."""
        return {*self._tasks, *self._folded.names()}

    def drop(self, name: TaskName) -> None:
        """Forget a task that waits no longer."""
        waiting = self._tasks.pop(name, None)
        if waiting is None:
            self._folded.drop(*name)
        elif (queue := self._queues.get(waiting.queue)) is not None:
            queue.backlog.remove(waiting)

    def done(self, waiting: WaitingTask) -> None:
        """Forget a task that was in hand, unless another of its name has come."""
        if self._tasks.get(waiting.name) is waiting:
            self.drop(waiting.name)

    def in_vain(self, waiting: WaitingTask) -> None:
        """Forget a task that turned out to be none any more. Its turn goes to the next one."""
        self.done(waiting)
        queue = self._queue(waiting.queue)
        queue.limit.took(waiting.task.priority, self._clock.now_ms(), -1)
        self._look_again(queue)

    def put_back(self, found: Found) -> None:
        """Take back what a poller could not be given, to the front of its queue, unless it was overtaken meanwhile."""
        queue = self._queue(found.queue)
        match found:
            case WaitingTask():
                if self._tasks.get(found.name) is not found:
                    return
                found.backlog = True
                queue.backlog.put_back(found)
                queue.limit.took(found.task.priority, self._clock.now_ms(), -1)
                self._look_again(queue)
            case QueryTask():
                if found.wanted and not self._hand_over(queue, found):
                    queue.ask_first(found)
            case Undelivered():
                if found.current() and not self._hand_over(queue, found):
                    self._keep(queue, found)

    def offer_query(self, query: QueryTask) -> None:
        """Put a query before the pollers of its queue."""
        queue = self._queue(query.queue)
        if not self._hand_over(queue, query):
            queue.ask(query)

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
        queue.last_poll_ms = queue.last_use_ms
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

    def limit(self, name: QueueName, per_second: float | None) -> None:
        """Take note of how many tasks a second a queue may hand out, as its last poller asked."""
        queue = self._polled(name)
        if queue.limit.ask(per_second, self._clock.now_ms()):
            self._look_again(queue)

    def configure(self, name: QueueName) -> None:
        """Take note that a queue's configuration has changed. Weights count for tasks that come from now on."""
        queue = self._queues.get(name)
        if queue is not None:
            queue.limit.configure(self._configured(name), self._clock.now_ms())
            queue.backlog.let_go()
            self._look_again(queue)

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
        if self.has_poller(name, STICKY_GONE_AFTER_MS):
            return True
        return self._clock.now_ms() - self._opened_at_ms < STICKY_GONE_AFTER_MS

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
        return [waiting.key for waiting in queue.backlog]

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

    @property
    def waiting(self) -> int:
        """How many tasks are in queues or in hand."""
        return len(self._tasks) + len(self._folded)

    def queue(self, name: QueueName) -> TaskQueue | None:
        """Return a queue to look at, if it is known."""
        return self._queues.get(name)

    def seen_polling(self, name: QueueName) -> TaskQueue:
        """Return the queue a poll came for, made if need be. Raises ResourceExhausted when there are too many."""
        return self._polled(name)

    def count(self, name: QueueName) -> int:
        """Return how many tasks wait in a queue."""
        queue = self._queues.get(name)
        return len(queue.backlog) if queue is not None else 0

    def backlog(self, name: QueueName, level: int | None = None) -> tuple[int, int]:
        """Return how many tasks wait in a queue, or those of one priority, and the oldest one's age in milliseconds."""
        queue = self._queues.get(name)
        if queue is None or not queue.backlog:
            return (0, 0)
        levels = range(1, queue.levels + 1) if level is None else (level,)
        ready_ms = [at_ms for each in levels if (at_ms := queue.backlog.oldest_ms(each))]
        count = len(queue.backlog) if level is None else queue.backlog.count(level)
        return (count, max(0, self._clock.now_ms() - min(ready_ms)) if ready_ms else 0)

    def _next(self, queue: TaskQueue) -> Found | None:
        while queue.undelivered:
            undelivered = queue.undelivered.popleft()
            self._undelivered_bytes -= len(undelivered.response)
            if undelivered.current():
                return undelivered
        while queue.queries:
            urgent = queue.backlog.first_level(self._clock.now_ms())
            if urgent is not None and urgent < queue.queries[0].priority.level(queue.levels):
                break
            query = queue.queries.pop(0)
            if query.wanted:
                query.take()
                return query
        return self._pop(queue, queue.last_use_ms)

    def _drain(self, queue: TaskQueue, now_ms: int) -> None:
        """Hand waiting tasks to waiting polls."""
        while queue.backlog and (poll := queue.first_poll()) is not None:
            waiting = self._pop(queue, now_ms)
            if waiting is None:
                return
            del queue.polls[poll]
            poll.found.set_result(waiting)

    def _pop(self, queue: TaskQueue, now_ms: int) -> WaitingTask | None:
        """Take the task that goes next; None when none waits or a limit lets none through. The queue is then looked at
        again when it does."""
        if not queue.backlog:
            return None
        limit = queue.limit
        wait_ms = limit.wait_ms(now_ms)
        if not wait_ms:
            waiting = queue.backlog.pop(now_ms, limit.key_ready_ms if limit.by_key is not None else None)
            if waiting is not None:
                limit.took(waiting.task.priority, now_ms)
                queue.flow(waiting.task.priority).dispatched.count(now_ms)
                return waiting
            until_ms = queue.backlog.held_until_ms()
            assert until_ms is not None
            wait_ms = until_ms - now_ms
        if queue.limited is None:
            queue.limited = self._clock.call_later(min(wait_ms, _LOOK_AGAIN_MS), lambda: self._limit_over(queue))
        return None

    def _limit_over(self, queue: TaskQueue) -> None:
        queue.limited = None
        self._drain(queue, self._clock.now_ms())

    def _look_again(self, queue: TaskQueue) -> None:
        """Look at a queue whose limit may let through something sooner than was thought."""
        if queue.limited is not None:
            queue.limited.cancel()
        self._limit_over(queue)

    def _hand_over(self, queue: TaskQueue, found: QueryTask | Undelivered) -> bool:
        """Give it to the poll that has waited longest; return whether there was one."""
        poll = queue.first_poll()
        if poll is None:
            return False
        del queue.polls[poll]
        if isinstance(found, QueryTask):
            found.take()
        poll.found.set_result(found)
        return True

    def _queue(self, name: QueueName) -> TaskQueue:
        """Return a queue that is used now, made if need be."""
        queue = self._queues.get(name)
        if queue is None:
            self._sweep()
            backlog = Backlog(self.levels, fair=self._limits.fairness, folded=self._folded, unfolded=self._unfolded)
            queue = self._queues[name] = TaskQueue(backlog, self.levels)
            if (config := self._configured(name)) is not None:
                queue.limit.configure(config, self._clock.now_ms())
        queue.last_use_ms = self._clock.now_ms()
        return queue

    def _unfolded(self, waiting: WaitingTask) -> None:
        self._tasks[waiting.name] = waiting

    def _keep(self, queue: TaskQueue, undelivered: Undelivered) -> None:
        """Keep a response for the next poller while there is room. What is dropped times out and comes again."""
        size_max = self._limits.undelivered_bytes_max
        if self._undelivered_bytes + len(undelivered.response) > size_max and self._may_look():
            self._drop_stale()
        if self._undelivered_bytes + len(undelivered.response) <= size_max:
            queue.undelivered.append(undelivered)
            self._undelivered_bytes += len(undelivered.response)

    def _may_look(self) -> bool:
        """Whether to look through all queues for room now: not for each call that finds none."""
        now_ms = self._clock.now_ms()
        if now_ms - self._looked_at_ms < _LOOK_FOR_ROOM_MS:
            return False
        self._looked_at_ms = now_ms
        return True

    def _drop_stale(self) -> None:
        """Drop the responses that do not count any more."""
        self._undelivered_bytes = 0
        for queue in self._queues.values():
            queue.undelivered = deque(one for one in queue.undelivered if one.current())
            self._undelivered_bytes += sum(len(one.response) for one in queue.undelivered)

    def _polled(self, name: QueueName) -> TaskQueue:
        """Return the queue that somebody polls or sets up. Raises ResourceExhausted when there are too many others:
        what polls ask for is in memory alone, while a queue with tasks has a run on disk for each."""
        if name not in self._queues and len(self._queues) >= self._limits.task_queues_max:
            if self._may_look():
                self._sweep_in = 0
                self._sweep()
            if len(self._queues) >= self._limits.task_queues_max:
                raise overloaded(
                    f"The server knows {len(self._queues)} task queues, which is the limit: task queue {name.name} is "
                    "not taken up. Use fewer task queues, or retry once some have been idle for five minutes."
                )
        return self._queue(name)

    def _sweep(self) -> None:
        """Forget idle queues now and then: each worker process has a sticky queue of its own."""
        self._sweep_in -= 1
        if self._sweep_in > 0:
            return
        self._sweep_in = _SWEEP_EVERY
        before_ms = self._clock.now_ms() - _IDLE_QUEUE_MS
        self._drop_stale()
        for name in [name for name, queue in self._queues.items() if queue.idle(before_ms)]:
            del self._queues[name]
