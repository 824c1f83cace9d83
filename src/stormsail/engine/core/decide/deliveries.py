"""Messages from other runs, taken by the run that they are for. One that comes too late, or twice, has no effect."""

from typing import Any, Final

from google.protobuf.message import Message as Proto
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import (
    CancelExternalWorkflowExecutionFailedCause,
    EventType,
    ParentClosePolicy,
    SignalExternalWorkflowExecutionFailedCause,
    StartChildWorkflowExecutionFailedCause,
)
from temporalio.api.history.v1 import (
    ChildWorkflowExecutionCanceledEventAttributes,
    ChildWorkflowExecutionCompletedEventAttributes,
    ChildWorkflowExecutionFailedEventAttributes,
    ChildWorkflowExecutionStartedEventAttributes,
    ChildWorkflowExecutionTerminatedEventAttributes,
    ChildWorkflowExecutionTimedOutEventAttributes,
    ExternalWorkflowExecutionCancelRequestedEventAttributes,
    ExternalWorkflowExecutionSignaledEventAttributes,
    RequestCancelExternalWorkflowExecutionFailedEventAttributes,
    SignalExternalWorkflowExecutionFailedEventAttributes,
    StartChildWorkflowExecutionFailedEventAttributes,
    WorkflowExecutionCancelRequestedEventAttributes,
    WorkflowExecutionSignaledEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
)

from stormsail.engine.core.decide import signal, workflow_task
from stormsail.engine.core.decide.workflow_task import HISTORY_SERVICE, RUN_COMPLETED, ensure_workflow_task
from stormsail.engine.core.errors import AlreadyStarted, InvalidArgument, NamespaceNotFound, NotFound, Refused
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.messages import (
    Body,
    CancelAnswered,
    ChildClosed,
    ChildNotStarted,
    ChildStarted,
    ParentClosed,
    RunMessage,
    SendCancel,
    SendSignal,
    SignalAnswered,
    StartChild,
)
from stormsail.engine.core.requests import Delivered
from stormsail.engine.core.state import Child, RunState
from stormsail.engine.core.turn import Turn

_Start = StartChildWorkflowExecutionFailedCause
_Signal = SignalExternalWorkflowExecutionFailedCause
_Cancel = CancelExternalWorkflowExecutionFailedCause
_WRONG_PARENT: Final = "workflow parent does not match"


def deliver(turn: Turn, request: Delivered, limits: Limits) -> None:
    """Take a message. Refused where the run cannot do what it asks; `refused` then says what its sender hears."""
    message = request.message
    match message.body:
        case SendSignal():
            _take_signal(turn, message, message.body, limits)
        case SendCancel(attributes):
            _take_cancel(turn, message, attributes.reason, attributes.child_workflow_only, limits)
            turn.messages.append(message.answer(CancelAnswered(0)))
        case ParentClosed():
            _take_parent_closed(turn, message, message.body, limits)
        case StartChild():
            raise AssertionError(f"{message.name} begins a run: it is for decide_start")
        case ChildStarted() | ChildNotStarted() | ChildClosed() | SignalAnswered() | CancelAnswered():
            if turn.state.open:
                _take_answer(turn, message, limits)
            elif turn.state.reset_run_id and message.initiated_event_id < turn.state.reset_event_id:
                # What the run has asked for is now the matter of the run that it was reset to, under the same event.
                follower = turn.state.key._replace(run_id=turn.state.reset_run_id)
                turn.messages.append(RunMessage(follower, message.initiated_event_id, follower, message.body))


def still_wanted(initiator: RunState | None, message: RunMessage) -> bool:
    """Say whether what a run asked of another is still to be done. A run that has closed since asks nothing any more;
    what it answers, and what its close means to others, is told all the same."""
    known = initiator if initiator is not None and initiator.open else None
    match message.body:
        case StartChild():
            child = known.children.get(message.initiated_event_id) if known else None
            return child is not None and not child.run_id
        case SendSignal():
            return known is not None and message.initiated_event_id in known.signals_sent
        case SendCancel():
            return known is not None and message.initiated_event_id in known.cancels_sent
        case _:
            return True


def refused(message: RunMessage, refusal: Refused) -> RunMessage | None:
    """Return what the sender hears of a refusal, None where it hears nothing. Refusals that may pass are not for here:
    whoever delivers tries again."""
    answer: Body | None = None
    missing = isinstance(refusal, NamespaceNotFound)
    match message.body:
        case StartChild():
            taken = _Start.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS
            nowhere = _Start.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_NAMESPACE_NOT_FOUND
            other = _Start.START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_UNSPECIFIED
            known = taken if isinstance(refusal, AlreadyStarted) else other
            answer = ChildNotStarted(nowhere if missing else known)
        case SendSignal():
            many = _Signal.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_SIGNAL_COUNT_LIMIT_EXCEEDED
            absent = _Signal.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND
            no_namespace = _Signal.SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_NAMESPACE_NOT_FOUND
            answer = SignalAnswered(
                no_namespace if missing else many if isinstance(refusal, InvalidArgument) else absent
            )
        case SendCancel():
            gone = _Cancel.CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND
            unknown = _Cancel.CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED_CAUSE_NAMESPACE_NOT_FOUND
            answer = CancelAnswered(unknown if missing else gone)
    return message.answer(answer) if answer is not None else None


def _take_signal(turn: Turn, message: RunMessage, body: SendSignal, limits: Limits) -> None:
    state, asked = turn.state, body.attributes
    if message.request_id not in state.signal_request_ids:
        if not state.open:
            raise NotFound(RUN_COMPLETED)
        signal.check_signal(state, asked.input, limits)
        if asked.child_workflow_only:
            _check_parent(state, message)
        turn.emit(
            WorkflowExecutionSignaledEventAttributes(
                signal_name=asked.signal_name,
                input=asked.input if asked.HasField("input") else None,
                identity=HISTORY_SERVICE,
                header=asked.header if asked.HasField("header") else None,
                external_workflow_execution=_execution(message),
                request_id=message.request_id,
            )
        )
        ensure_workflow_task(turn, limits)
    turn.messages.append(message.answer(SignalAnswered(0)))


def _take_cancel(turn: Turn, message: RunMessage, reason: str, child_only: bool, limits: Limits) -> None:
    """Ask the run to cancel itself; for one that has closed, or was asked before, nothing is left to do."""
    if not turn.state.open:
        return
    if child_only:
        _check_parent(turn.state, message)
    if turn.state.cancel_requested:
        return
    initiated_event_id = message.initiated_event_id if isinstance(message.body, SendCancel) else 0
    turn.emit(
        WorkflowExecutionCancelRequestedEventAttributes(
            cause=reason,
            identity=HISTORY_SERVICE,
            external_initiated_event_id=initiated_event_id,
            external_workflow_execution=_execution(message),
        )
    )
    workflow_task.wake(turn, limits)


def _take_parent_closed(turn: Turn, message: RunMessage, body: ParentClosed, limits: Limits) -> None:
    """Do what the parent close policy says, unless this is not that parent's child."""
    if not turn.state.open:
        raise NotFound(RUN_COMPLETED)
    _check_parent(turn.state, message)
    if body.first_run_id and body.first_run_id != turn.state.start.first_execution_run_id:
        raise NotFound("workflow execution not found")
    if body.policy == ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL:
        _take_cancel(turn, message, "", True, limits)
    else:
        attributes = WorkflowExecutionTerminatedEventAttributes(
            reason="by parent close policy", identity=HISTORY_SERVICE
        )
        workflow_task.terminate(turn, attributes)


def _check_parent(state: RunState, message: RunMessage) -> None:
    """Who speaks only to its child is heard by nobody else."""
    parent = state.start.parent_workflow_execution
    if (parent.workflow_id, parent.run_id) != (message.initiator.workflow_id, message.initiator.run_id):
        raise NotFound(_WRONG_PARENT)


def _execution(message: RunMessage) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=message.initiator.workflow_id, run_id=message.initiator.run_id)


def _take_answer(turn: Turn, message: RunMessage, limits: Limits) -> None:
    """Write what came of what this run asked for; nothing where it has been told already."""
    asked = message.initiated_event_id
    child = turn.state.children.get(asked)
    match message.body:
        case ChildStarted(run_id) if child is not None and not child.run_id:
            _child_started(turn, child, run_id)
        case ChildNotStarted(cause) if child is not None and not child.run_id:
            initiated = child.initiated
            turn.emit(
                StartChildWorkflowExecutionFailedEventAttributes(
                    initiated_event_id=asked,
                    namespace=initiated.namespace,
                    namespace_id=initiated.namespace_id,
                    workflow_id=initiated.workflow_id,
                    workflow_type=initiated.workflow_type,
                    control=initiated.control,
                    cause=_Start.ValueType(cause),
                )
            )
        case ChildClosed(first_run_id) if child is not None and child.run_id in ("", first_run_id):
            if not child.run_id:
                _child_started(turn, child, first_run_id)
            turn.emit(_child_end(turn.state.children[asked], message.body))
        case SignalAnswered(cause) if asked in turn.state.signals_sent:
            _signal_answered(turn, asked, _Signal.ValueType(cause))
        case CancelAnswered(cause) if asked in turn.state.cancels_sent:
            _cancel_answered(turn, asked, _Cancel.ValueType(cause))
        case _:
            return
    ensure_workflow_task(turn, limits)


def _child_started(turn: Turn, child: Child, run_id: str) -> None:
    initiated = child.initiated
    turn.emit(
        ChildWorkflowExecutionStartedEventAttributes(
            namespace=initiated.namespace,
            namespace_id=initiated.namespace_id,
            initiated_event_id=child.initiated_event_id,
            workflow_execution=WorkflowExecution(workflow_id=initiated.workflow_id, run_id=run_id),
            workflow_type=initiated.workflow_type,
            header=initiated.header if initiated.HasField("header") else None,
        )
    )


def _child_end(child: Child, closed: ChildClosed) -> Proto:
    """Return the event that tells a parent of its child's end."""
    initiated, event = child.initiated, closed.event
    named: dict[str, Any] = {
        "namespace": initiated.namespace,
        "namespace_id": initiated.namespace_id,
        "workflow_execution": WorkflowExecution(workflow_id=initiated.workflow_id, run_id=closed.run_id),
        "workflow_type": initiated.workflow_type,
        "initiated_event_id": child.initiated_event_id,
        "started_event_id": child.started_event_id,
    }
    match event.event_type:
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED:
            completed = event.workflow_execution_completed_event_attributes
            result = completed.result if completed.HasField("result") else None
            return ChildWorkflowExecutionCompletedEventAttributes(result=result, **named)
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_FAILED:
            failed = event.workflow_execution_failed_event_attributes
            return ChildWorkflowExecutionFailedEventAttributes(
                failure=failed.failure, retry_state=failed.retry_state, **named
            )
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED:
            cancelled = event.workflow_execution_canceled_event_attributes
            details = cancelled.details if cancelled.HasField("details") else None
            return ChildWorkflowExecutionCanceledEventAttributes(details=details, **named)
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT:
            retry_state = event.workflow_execution_timed_out_event_attributes.retry_state
            return ChildWorkflowExecutionTimedOutEventAttributes(retry_state=retry_state, **named)
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED:
            return ChildWorkflowExecutionTerminatedEventAttributes(**named)
        case other:
            raise AssertionError(f"event type {other} ends no chain of runs")


def _signal_answered(turn: Turn, asked: int, cause: _Signal.ValueType) -> None:
    initiated = turn.state.signals_sent[asked]
    named: dict[str, Any] = {
        "initiated_event_id": asked,
        "namespace": initiated.namespace or turn.state.key.namespace,
        "namespace_id": initiated.namespace_id,
        "workflow_execution": initiated.workflow_execution,
        "control": initiated.control,
    }
    if cause:
        turn.emit(SignalExternalWorkflowExecutionFailedEventAttributes(cause=cause, **named))
    else:
        turn.emit(ExternalWorkflowExecutionSignaledEventAttributes(**named))


def _cancel_answered(turn: Turn, asked: int, cause: _Cancel.ValueType) -> None:
    initiated = turn.state.cancels_sent[asked]
    named: dict[str, Any] = {
        "initiated_event_id": asked,
        "namespace": initiated.namespace or turn.state.key.namespace,
        "namespace_id": initiated.namespace_id,
        "workflow_execution": initiated.workflow_execution,
    }
    if cause:
        turn.emit(RequestCancelExternalWorkflowExecutionFailedEventAttributes(cause=cause, **named))
    else:
        turn.emit(ExternalWorkflowExecutionCancelRequestedEventAttributes(**named))
