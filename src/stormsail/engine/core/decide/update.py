"""Admitting updates: a run takes one in, in memory alone, and sees to it that a worker is given it.

Whoever asks again with the same update id gets the same update. What is not accepted is forgotten when the server
restarts, and then asked for again by its caller, which has heard nothing of it yet.
"""

from typing import Final

from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionRequest

from stormsail.engine.core import notes, updates
from stormsail.engine.core.decide.signal import workflow_closing
from stormsail.engine.core.decide.workflow_task import RUN_COMPLETED, schedule_speculative
from stormsail.engine.core.errors import FailedPrecondition, NotFound, ResourceExhausted, WorkflowNotReady
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn

FAILING_ATTEMPTS: Final = 3
"""From this attempt of a workflow task on, the run is taken for unable to take an update."""


def admit(turn: Turn, request: UpdateWorkflowExecutionRequest, limits: Limits) -> None:
    """Admit an update, unless there is one of its id already. Of a closed run only known updates are found."""
    state = turn.state
    first_run_id = request.first_execution_run_id
    if first_run_id and first_run_id != state.start.first_execution_run_id:
        raise NotFound("workflow execution not found")
    turn.reply = state.key
    update_id = request.request.meta.update_id
    known = updates.reached(state, update_id) is not None
    if not state.open:
        if known:
            return
        raise NotFound(RUN_COMPLETED)
    if state.paused:
        raise FailedPrecondition("Workflow is paused. Cannot update the workflow.")
    _check_ready(state)
    if known:
        return
    body = updates.packed(request.request)
    _check_limits(state, update_id, request.request.ByteSize(), limits)
    turn.hold(notes.UpdateAdmitted(update_id, body))
    if state.workflow_task is None:
        schedule_speculative(turn, limits)


def check_count(state: RunState, limits: Limits) -> None:
    """Refuse an update of a run that has had too many."""
    if 0 < limits.updates_max <= updates.count(state):
        raise FailedPrecondition(
            "The limit on the total number of distinct updates in this workflow has been reached "
            f"({limits.updates_max}). Make sure any duplicate updates share an Update ID so the server can deduplicate "
            "them, and consider rejecting updates that you aren't going to process. You can also Continue-as-New to "
            "avoid this; we recommend you check Continue-as-New Suggested in your Workflow."
        )


def _check_ready(state: RunState) -> None:
    task = state.workflow_task
    if task is not None and task.attempt >= FAILING_ATTEMPTS:
        raise WorkflowNotReady("Unable to perform workflow execution update due to Workflow Task in failed state.")
    if state.close_attempted and task is not None and task.started_at_ms:
        raise workflow_closing()


def _check_limits(state: RunState, update_id: str, size_bytes: int, limits: Limits) -> None:
    if 0 < limits.updates_in_flight_max <= updates.in_flight(state):
        raise _too_many(
            f"limit on number of concurrent in-flight updates has been reached ({limits.updates_in_flight_max})"
        )
    check_count(state, limits)
    held_bytes = updates.in_flight_bytes(state) + 2 * len(update_id.encode())
    if 0 < limits.updates_in_flight_size_max <= held_bytes + size_bytes:
        raise _too_many(
            "limit on total payload size of in-flight updates has been reached "
            f"({limits.updates_in_flight_size_max} bytes)"
        )


def _too_many(message: str) -> ResourceExhausted:
    detail = ResourceExhaustedFailure(
        cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_CONCURRENT_LIMIT,
        scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
    )
    return ResourceExhausted(message, detail)
