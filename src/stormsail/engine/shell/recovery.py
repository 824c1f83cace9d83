"""What waited for a poller when the last process ended goes back into its queues, a page of runs after the other.

A server that starts reads the first page and serves; the others follow while it does. So how long it takes to hand out
the first task does not depend on how many runs are open. Until all is read, a queue gives out what it has by then: the
order among tasks of runs that are far apart may be another than it was.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from stormsail.engine.core.errors import Refused
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.work import Task, tasks
from stormsail.engine.shell.clock import Clock, wait_until
from stormsail.engine.shell.matching import Matching
from stormsail.engine.shell.runs import Runs

_log: Final = structlog.get_logger(__name__)

_RETRY_MS: Final = 1_000


class Recovery:
    """Reads the tasks that the store has waiting."""

    def __init__(
        self, runs: Runs, matching: Matching, *, place: Callable[[RunKey, Task], None], clock: Clock, limits: Limits
    ) -> None:
        """`place` puts a task into its queue, as after a commit."""
        self._place_task = place
        self._runs = runs
        self._matching = matching
        self._clock = clock
        self._limits = limits
        self._place: int | None = 0

    def open(self) -> None:
        """Read the first page."""
        self._take(self._limits.recovered_first_runs)

    @property
    def done(self) -> bool:
        """Whether all is read."""
        return self._place is None

    async def run(self) -> None:
        """Read the others, and end."""
        while not self.done:
            try:
                self._take(self._limits.recovered_runs_at_once)
            except Refused as refused:
                if self._runs.failed.is_set():
                    return
                _log.error("waiting_tasks_not_read", refused=refused.message)
                await wait_until(self._clock, asyncio.get_running_loop().create_future(), _RETRY_MS)
            await asyncio.sleep(0)

    def _take(self, runs_max: int) -> None:
        assert self._place is not None
        page = self._runs.waiting_tasks(self._place, runs_max)
        for key, task in sorted(page.tasks, key=lambda row: row[1].ready_at_ms):
            if self._still_waits(key, task):
                self._place_task(key, task)
        self._place = page.next_place

    def _still_waits(self, key: RunKey, task: Task) -> bool:
        """Whether it is one that nobody has brought since the start: what a run did meanwhile, its commits told."""
        if self._matching.knows((key, *task.ref)):
            return False
        state = self._runs.in_memory(key)
        return state is None or tasks(state).get(task.ref) == task
