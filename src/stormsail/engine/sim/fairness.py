"""F1: the more urgent of the tasks that wait goes first, then the older of one fairness key; none is passed over for
ever. Held against every commit that starts an activity: the start of a workflow task is written when it ends."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from stormsail.engine.core import work
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.work import Task, TaskKind
from stormsail.engine.sim.coverage import Coverage
from stormsail.engine.sim.network import Violated
from stormsail.engine.sim.trace import Violation

SLACK_S: Final = 1.5
"""How much longer one must have waited than another to go before it."""
PASSED_OVER_MAX: Final = 60
Name = tuple[RunKey, TaskKind, int]
Queue = tuple[str, TaskKind, str]


@dataclass(slots=True)
class _Waiting:
    task: Task
    since_s: float
    passed_over: int = 0
    """By others that were to go after it."""
    passed_over_by_right: int = 0
    """By later ones of other fairness keys, whose turn it may have been."""


class Fairness:
    """The tasks that wait, as the commits have it."""

    def __init__(self, violated: Violated, coverage: Coverage, levels: int) -> None:
        self._violated = violated
        self._coverage = coverage
        self._levels = levels
        self._queues: dict[Queue, dict[Name, _Waiting]] = {}
        self.pollers = 1
        """How many there are: what one of them has in hand others do not see."""
        self.time_s: Callable[[], float] = lambda: 0.0
        self.well_since_s: Callable[[], float] = lambda: 0.0

    def committed(self, turn: Turn) -> None:
        """Take note of the tasks that come and go."""
        before, state = turn.before, turn.state
        old = work.tasks(before) if before is not None else {}
        added, dropped = work.task_changes(before, state)
        gone = {ref: self._remove(state.key, old[ref]) for ref in old if ref in dropped or ref in _refs(added)}
        for ref in dropped:
            waited = gone[ref]
            if waited is not None and _started(turn, ref):
                self._check(state.key, waited)
        for task in added:
            if task.kind is TaskKind.ACTIVITY:
                queue = self._queues.setdefault(_queue(state.key, task), {})
                queue[state.key, *task.ref] = _Waiting(task, self.time_s())

    def _remove(self, key: RunKey, task: Task) -> _Waiting | None:
        """Take a task out; None where it was none of an activity."""
        return self._queues.get(_queue(key, task), {}).pop((key, *task.ref), None)

    def _check(self, key: RunKey, started: _Waiting) -> None:
        task = started.task
        well_s = self.well_since_s()
        since_s = max(started.since_s, well_s)
        level = task.priority.level(self._levels)
        for (other_key, *_), other in self._queues[_queue(key, task)].items():
            other_level = other.task.priority.level(self._levels)
            earlier_s = since_s - max(other.since_s, well_s)
            if other_level > level or (other_level == level and earlier_s <= SLACK_S):
                continue
            if other_level < level and self.time_s() - max(other.since_s, well_s) <= SLACK_S:
                continue
            self._coverage.saw("queue", "passed over")
            alike = other_level == level and other.task.priority.fairness_key != task.priority.fairness_key
            other.passed_over_by_right += alike
            other.passed_over += not alike
            if other.passed_over > self.pollers:
                self._broken(key, task, f"one of {other_key} that goes first was passed over {other.passed_over} times")
            if other.passed_over_by_right > PASSED_OVER_MAX:
                self._broken(key, task, f"one of {other_key} is passed over for ever")
        self._coverage.saw("queue", "backlog" if len(self._queues[_queue(key, task)]) > 1 else "alone")

    def _broken(self, key: RunKey, task: Task, text: str) -> None:
        self._violated(Violation("F1", f"{key}: the {task.kind} task {task.scheduled_event_id} is started, and {text}"))


def _refs(tasks: Iterable[Task]) -> set[tuple[TaskKind, int]]:
    return {task.ref for task in tasks}


def _queue(key: RunKey, task: Task) -> Queue:
    return (key.namespace, task.kind, task.queue)


def _started(turn: Turn, ref: tuple[TaskKind, int]) -> bool:
    activity = turn.state.activities.get(ref[1])
    return activity is not None and bool(activity.started_at_ms)
