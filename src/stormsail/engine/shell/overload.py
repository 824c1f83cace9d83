"""How much may be in flight. What comes above that is refused at once, so that what was accepted stays fast."""

from collections.abc import Callable
from typing import Final

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure

from stormsail.engine.core.errors import ResourceExhausted

_NEW_WORK_SHARE: Final = 0.75
"""The last quarter is kept for completions, heartbeats and timers: those free resources, starts use them."""

WAITING_CALLS_MAX: Final = 100_000
"""Long polls of all kinds, in all queues and of all runs."""


class Admission:
    """Counts what is in flight and refuses what is too much."""

    def __init__(
        self,
        turns_max: int,
        waiting_max: int = WAITING_CALLS_MAX,
        *,
        tasks: Callable[[], int] = lambda: 0,
        tasks_max: int = 1,
    ) -> None:
        """`tasks` says how many tasks wait for workers."""
        self._turns_max = turns_max
        self._waiting_max = waiting_max
        self._tasks = tasks
        self._tasks_max = tasks_max
        self.turns = 0
        self.waiting = 0
        self.refused = 0

    def enter_turn(self, *, new_work: bool) -> None:
        """Count a turn in, until `leave_turn`; raises ResourceExhausted when there are too many."""
        most = int(self._turns_max * _NEW_WORK_SHARE) if new_work else self._turns_max
        if self.turns >= most:
            self.refused += 1
            raise overloaded(f"The server is overloaded: {self.turns} requests wait to be written. Retry later.")
        if new_work and self._tasks() >= self._tasks_max:
            self.refused += 1
            raise overloaded(
                f"The server is overloaded: {self._tasks()} tasks wait for workers, which is the limit. "
                "Start more workers, and retry later."
            )
        self.turns += 1

    def leave_turn(self) -> None:
        """Count a turn out."""
        self.turns -= 1

    def enter_wait(self) -> None:
        """Count a long poll in, until `leave_wait`; raises ResourceExhausted when there are too many."""
        if self.waiting >= self._waiting_max:
            self.refused += 1
            raise overloaded(
                f"The server is overloaded: {self.waiting} calls are waiting, which is the limit. Retry later."
            )
        self.waiting += 1

    def leave_wait(self) -> None:
        """Count a long poll out."""
        self.waiting -= 1


def overloaded(message: str) -> ResourceExhausted:
    """Build the refusal for an overloaded server; clients back off and retry."""
    detail = ResourceExhaustedFailure(
        cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED,
        scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM,
    )
    return ResourceExhausted(message, detail)


def busy_workflow(message: str) -> ResourceExhausted:
    """Build the refusal for one run that has too much waiting on it."""
    detail = ResourceExhaustedFailure(
        cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
        scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
    )
    return ResourceExhausted(message, detail)
