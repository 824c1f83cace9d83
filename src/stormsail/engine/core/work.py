"""What a run's state asks of the world: the tasks it has waiting, and when it must next be looked at.

Derived from state, never recorded beside it, so the rows that the store keeps cannot disagree with the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from temporalio.api.common.v1 import Priority

from stormsail.engine.core.priority import ORDINARY, TaskPriority, carried, inherited
from stormsail.engine.core.state import RUNNING, Activity, RunState
from stormsail.engine.core.values import Word, quick


class TaskKind(Word):
    """Which of the two kinds of task queue."""

    WORKFLOW = "workflow"
    ACTIVITY = "activity"


_WORKFLOW, _ACTIVITY = TaskKind
"""To look a member up in its enumeration takes several times as long."""


@quick
@dataclass(frozen=True, slots=True)
class Task:
    """One task waiting for a poller. (kind, scheduled_event_id) names it within its run; one workflow task at most."""

    kind: TaskKind
    queue: str
    scheduled_event_id: int
    attempt: int
    sticky: bool = False
    ready_at_ms: int = 0
    """When it was put into the queue: what backlog age counts from."""
    priority: TaskPriority = ORDINARY

    @property
    def ref(self) -> tuple[TaskKind, int]:
        """The task's name within its run."""
        return (self.kind, self.scheduled_event_id)


def tasks(state: RunState) -> dict[tuple[TaskKind, int], Task]:
    """Return the tasks that wait for a poller."""
    return _tasks_beside(state, {})


def workflow_task(state: RunState) -> Task | None:
    """Return the workflow task that waits for a poller, where the run is open and not paused."""
    task = state.workflow_task
    if task is None or not task.ready or task.started_at_ms or state.status != RUNNING:
        return None
    return Task(
        _WORKFLOW,
        task.queue,
        task.scheduled_event_id,
        task.attempt,
        sticky=task.sticky,
        ready_at_ms=task.ready_at_ms,
        priority=carried(state.priority),
    )


def activity_task(state: RunState, activity: Activity) -> Task | None:
    """Return the task that an activity of a run has waiting, whether the run is paused or not."""
    if not activity.ready or activity.started_at_ms or activity.paused_at_ms:
        return None
    return Task(
        _ACTIVITY,
        activity.scheduled.task_queue.name,
        activity.scheduled_event_id,
        activity.attempt,
        ready_at_ms=activity.ready_at_ms,
        priority=carried(activity_priority(state, activity)),
    )


def activity_priority(state: RunState, activity: Activity) -> Priority | None:
    """Return an activity's priority, with what it leaves open taken from its run."""
    scheduled = activity.scheduled
    return inherited(state.priority, scheduled.priority if scheduled.HasField("priority") else None)


def task_changes(before: RunState | None, after: RunState) -> tuple[list[Task], list[tuple[TaskKind, int]]]:
    """Return the tasks to add or replace, and the names of those to drop.

    Looks at the activities that a turn changed alone: a run may have thousands.
    """
    if before is None or not _alike(before, after):
        old = tasks(before) if before is not None else {}
        new = tasks(after)
    else:
        old, new = _tasks_beside(before, after.activities), _tasks_beside(after, before.activities)
    if not old or not new:
        return list(new.values()), list(old)
    added = [task for ref, task in new.items() if old.get(ref) != task]
    dropped = [ref for ref in old if ref not in new]
    return added, dropped


def _alike(before: RunState, after: RunState) -> bool:
    """Whether what is no activity's own says the same of their tasks."""
    return before.status == after.status and before.priority == after.priority


def _tasks_beside(state: RunState, known: Mapping[int, Activity]) -> dict[tuple[TaskKind, int], Task]:
    """Return a state's waiting tasks, but for those of activities that are known."""
    waiting: dict[tuple[TaskKind, int], Task] = {}
    if state.status != RUNNING:
        return waiting
    for event_id, activity in state.activities.items():
        if known.get(event_id) is not activity and (task := activity_task(state, activity)) is not None:
            waiting[task.ref] = task
    if (task := workflow_task(state)) is not None:
        waiting[task.ref] = task
    return waiting
