"""FireDue: all that is due in a run, done in one turn. What can be due is listed in `deadlines.py`, and only there."""

from typing import Final

from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.history.v1 import TimerFiredEventAttributes

from stormsail.engine.core import deadlines, notes
from stormsail.engine.core.deadlines import Due, DueKind
from stormsail.engine.core.decide import activity
from stormsail.engine.core.decide.close import time_out_run
from stormsail.engine.core.decide.workflow_task import ensure_workflow_task, first_task_due, time_out_workflow_task
from stormsail.engine.core.ids import Ids
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.values import replace

_TOLD_TOGETHER: Final = (DueKind.TIMER, DueKind.ACTIVITY_READY, DueKind.ACTIVITY_TIMEOUT)
"""Their events enter history in the order of a flush, as buffered ones do: starts of activities before ends."""


def fire_due(turn: Turn, ids: Ids, limits: Limits) -> None:
    """Do what is due at the turn's time, by instant, kind and event id; leave nothing that is due.

    Everything is told as of now, however late it is. Doing one thing may undo another (an activity closes by its first
    timeout and has no other) or make one due (an attempt whose backoff ended long ago has waited too long for a
    worker), so it goes in rounds. Rounds end: nothing here starts a task or an attempt, so each is done at most once.
    """
    while due := deadlines.due_by(turn.state, turn.now_ms):
        wakes = False
        for one in due:
            if not deadlines.still_due(turn.state, one):
                continue
            if one.kind not in _TOLD_TOGETHER:
                _tell(turn)
            wakes |= _do(turn, one, ids, limits)
        _tell(turn)
        if wakes:
            # One workflow task for all of the round, after its events: the worker sees them together.
            ensure_workflow_task(turn, limits)


def _tell(turn: Turn) -> None:
    """Put what was postponed into history, unless a started workflow task keeps it waiting."""
    task = turn.state.workflow_task
    if task is None or not task.started_at_ms:
        turn.flush()


def _do(turn: Turn, due: Due, ids: Ids, limits: Limits) -> bool:
    """Do one thing. Returns whether the workflow must hear of it."""
    match due.kind:
        case DueKind.TIMER:
            turn.postpone(TimerFiredEventAttributes(timer_id=due.name, started_event_id=due.event_id))
            return True
        case DueKind.ACTIVITY_READY:
            turn.note(notes.ActivityReady(due.event_id))
        case DueKind.ACTIVITY_TIMEOUT:
            pending = turn.state.activities[due.event_id]
            return activity.time_out(turn, pending, TimeoutType.ValueType(due.timeout_type), limits)
        case DueKind.FIRST_TASK:
            first_task_due(turn, limits)
        case DueKind.WORKFLOW_TASK_READY:
            task = turn.state.workflow_task
            assert task is not None
            turn.note(notes.WorkflowTaskPlaced(replace(task, ready=True)))
        case DueKind.WORKFLOW_TASK_TIMEOUT:
            time_out_workflow_task(turn, TimeoutType.ValueType(due.timeout_type), limits)
        case DueKind.RUN_TIMEOUT:
            time_out_run(turn, ids, limits)
    return False
