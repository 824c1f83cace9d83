"""The life of the one pending workflow task. What is absent is impossible.

A transient task (a second or later attempt) leaves no event until it completes; its scheduled and started events are
then written just before, so histories follow this table whatever was retried.
"""

from collections.abc import Mapping
from typing import Final

from stormsail.engine.core import state
from stormsail.engine.core.values import Word


class WorkflowTask(Word):
    """Where the workflow task stands."""

    ABSENT = "absent"
    SCHEDULED = "scheduled"
    """In a task queue."""
    STARTED = "started"
    """A worker holds it."""


_ABSENT, _SCHEDULED, _STARTED = WorkflowTask
"""To look a member up in its enumeration takes several times as long."""

WORKFLOW_TASK: Final[Mapping[tuple[WorkflowTask, str], WorkflowTask]] = {
    (WorkflowTask.ABSENT, "WorkflowTaskScheduled"): WorkflowTask.SCHEDULED,
    (WorkflowTask.SCHEDULED, "WorkflowTaskStarted"): WorkflowTask.STARTED,
    # A task waited too long in a sticky queue.
    (WorkflowTask.SCHEDULED, "WorkflowTaskTimedOut"): WorkflowTask.ABSENT,
    # Its run was paused before a worker took it.
    (WorkflowTask.SCHEDULED, "WorkflowTaskFailed"): WorkflowTask.ABSENT,
    (WorkflowTask.STARTED, "WorkflowTaskCompleted"): WorkflowTask.ABSENT,
    (WorkflowTask.STARTED, "WorkflowTaskFailed"): WorkflowTask.ABSENT,
    (WorkflowTask.STARTED, "WorkflowTaskTimedOut"): WorkflowTask.ABSENT,
}


def stands(task: state.WorkflowTask | None) -> WorkflowTask:
    """Say where history has a workflow task stand; None is no task. One whose start is held is only scheduled there."""
    if task is None:
        return _ABSENT
    return _STARTED if task.started_at_ms and task.held_start is None else _SCHEDULED
