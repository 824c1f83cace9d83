"""Signals to open runs."""

from collections.abc import Iterable

from temporalio.api.common.v1 import Header, Link, Payloads
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure
from temporalio.api.history.v1 import WorkflowExecutionSignaledEventAttributes
from temporalio.api.workflowservice.v1 import SignalWithStartWorkflowExecutionRequest, SignalWorkflowExecutionRequest

from stormsail.engine.core.decide.workflow_task import RUN_COMPLETED, ensure_workflow_task, wake
from stormsail.engine.core.errors import InvalidArgument, NotFound, ResourceExhausted
from stormsail.engine.core.events import Extras
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn


def signal(turn: Turn, request: SignalWorkflowExecutionRequest, limits: Limits) -> None:
    """Signal a run. A request id seen before has no further effect, also when the run has closed since."""
    turn.reply = turn.state.key.run_id
    if request.request_id and request.request_id in turn.state.signal_request_ids:
        return
    if not turn.state.open:
        raise NotFound(RUN_COMPLETED)
    check_signal(turn.state, request.input, limits)
    add_signal(
        turn,
        request.signal_name,
        request.input if request.HasField("input") else None,
        request.identity,
        request.header if request.HasField("header") else None,
        request.request_id,
        request.links,
    )
    ensure_workflow_task(turn, limits)


def signal_found(turn: Turn, request: SignalWithStartWorkflowExecutionRequest, limits: Limits) -> None:
    """Signal the open run that a signal-with-start found; unlike a plain signal it ends a start delay."""
    if request.request_id and request.request_id in turn.state.signal_request_ids:
        return
    check_signal(turn.state, request.signal_input, limits)
    signal_from_start(turn, request)
    wake(turn, limits)


def signal_from_start(turn: Turn, request: SignalWithStartWorkflowExecutionRequest) -> None:
    """Add the signal of a signal-with-start."""
    add_signal(
        turn,
        request.signal_name,
        request.signal_input if request.HasField("signal_input") else None,
        request.identity,
        request.header if request.HasField("header") else None,
        request.request_id,
        request.links,
    )


def check_signal(state: RunState, payloads: Payloads, limits: Limits) -> None:
    """Refuse a signal that is too large, one too many, or one that would keep the run from closing."""
    check_size(payloads, limits)
    if 0 < limits.signals_max <= state.signals:
        raise InvalidArgument("exceeded workflow execution limit for signal events")
    task = state.workflow_task
    if state.close_attempted and task is not None and task.started_at_ms:
        raise workflow_closing()


def workflow_closing() -> ResourceExhausted:
    """Return the refusal of what would keep a run from closing. Callers try again, and find it closed, or going on."""
    return ResourceExhausted(
        "workflow operation can not be applied because workflow is closing",
        ResourceExhaustedFailure(
            cause=ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW,
            scope=ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE,
        ),
    )


def check_size(payloads: Payloads, limits: Limits) -> None:
    """Refuse a signal that is too large."""
    if payloads.ByteSize() > limits.blob_size_max:
        raise InvalidArgument("Blob data size exceeds limit.")


def add_signal(
    turn: Turn,
    name: str,
    payloads: Payloads | None,
    identity: str,
    header: Header | None,
    request_id: str,
    links: Iterable[Link],
) -> None:
    """Add a signal's event."""
    attributes = WorkflowExecutionSignaledEventAttributes(
        signal_name=name, input=payloads, identity=identity, header=header, request_id=request_id
    )
    turn.emit(attributes, extras=Extras(links=tuple(links)))
