"""Pausing a run and letting it go on: while it is paused none of its tasks is handed out, and its timers go on."""

from typing import Final

from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import (
    WorkflowExecutionPausedEventAttributes,
    WorkflowExecutionUnpausedEventAttributes,
)
from temporalio.api.workflowservice.v1 import PauseWorkflowExecutionRequest, UnpauseWorkflowExecutionRequest

from stormsail.engine.core.decide import workflow_task
from stormsail.engine.core.decide.workflow_task import HISTORY_SERVICE, RUN_COMPLETED
from stormsail.engine.core.errors import FailedPrecondition, NotFound
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.turn import Turn

_NOT_STARTED: Final = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED


def pause(turn: Turn, request: PauseWorkflowExecutionRequest) -> None:
    """Pause a run; the same request asked again has no effect. A workflow task that a worker holds may be completed."""
    state = turn.state
    if not state.open:
        raise NotFound(RUN_COMPLETED)
    if state.paused:
        assert state.pause is not None
        if request.request_id and state.pause.request_id == request.request_id:
            return
        raise FailedPrecondition("workflow is already paused.")
    if state.workflow_task is not None and not state.workflow_task.started_at_ms:
        workflow_task.fail_task(turn, _NOT_STARTED, None, HISTORY_SERVICE)
    turn.emit(
        WorkflowExecutionPausedEventAttributes(
            identity=request.identity, reason=request.reason, request_id=request.request_id
        )
    )


def unpause(turn: Turn, request: UnpauseWorkflowExecutionRequest, limits: Limits) -> None:
    """Let a paused run go on, also one that waited for its start delay."""
    if not turn.state.open:
        raise NotFound(RUN_COMPLETED)
    if not turn.state.paused:
        raise FailedPrecondition("workflow is not paused.")
    turn.emit(
        WorkflowExecutionUnpausedEventAttributes(
            identity=request.identity, reason=request.reason, request_id=request.request_id
        )
    )
    workflow_task.wake(turn, limits)
