"""Asking a run to cancel itself, and ending it without asking."""

from temporalio.api.history.v1 import (
    WorkflowExecutionCancelRequestedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
)
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from stormsail.engine.core.decide import workflow_task
from stormsail.engine.core.errors import NotFound
from stormsail.engine.core.events import Extras
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn


def request_cancel(turn: Turn, request: RequestCancelWorkflowExecutionRequest, limits: Limits) -> None:
    """Ask a run to cancel itself. To ask again, or to ask a closed run, succeeds without effect."""
    turn.reply = turn.state.key.run_id
    if not turn.state.open:
        return
    _check_first_run(turn.state, request.first_execution_run_id)
    if turn.state.cancel_requested:
        return
    attributes = WorkflowExecutionCancelRequestedEventAttributes(cause=request.reason, identity=request.identity)
    turn.emit(attributes, extras=Extras(links=tuple(request.links)))
    workflow_task.wake(turn, limits)


def terminate(turn: Turn, request: TerminateWorkflowExecutionRequest) -> None:
    """End a run now. No retry follows."""
    turn.reply = turn.state.key.run_id
    if not turn.state.open:
        raise NotFound(workflow_task.RUN_COMPLETED)
    _check_first_run(turn.state, request.first_execution_run_id)
    attributes = WorkflowExecutionTerminatedEventAttributes(
        reason=request.reason,
        details=request.details if request.HasField("details") else None,
        identity=request.identity,
    )
    workflow_task.terminate(turn, attributes, Extras(links=tuple(request.links)))


def _check_first_run(state: RunState, first_execution_run_id: str) -> None:
    """Who names the first run of a chain means this chain, and no other of the same workflow id."""
    if first_execution_run_id and first_execution_run_id != state.start.first_execution_run_id:
        raise NotFound("workflow execution not found")
