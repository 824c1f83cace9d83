"""What a batch asks of each of its runs, as the request that a client would make for that one."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    ResetActivityRequest,
    SignalWorkflowExecutionRequest,
    StartBatchOperationRequest,
    TerminateWorkflowExecutionRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
    UpdateWorkflowExecutionOptionsRequest,
)

from stormsail.engine.core.requests import (
    ForBatch,
    RequestCancel,
    ResetActivity,
    RunRequest,
    SignalWorkflow,
    Terminate,
    UnpauseActivity,
    UpdateActivityOptions,
    UpdateWorkflowOptions,
)


def asked_of_run(request: StartBatchOperationRequest, execution: WorkflowExecution, once: str) -> RunRequest:
    """Return what is asked of one run; `once` is the request id, which makes a repetition have no effect. A batch that
    deletes or resets asks for more than that."""
    asking = _ASKING[request.WhichOneof("operation")]
    return asking(request, execution, once)


def _signal(request: StartBatchOperationRequest, execution: WorkflowExecution, once: str) -> RunRequest:
    signal = request.signal_operation
    return SignalWorkflow(
        SignalWorkflowExecutionRequest(
            workflow_execution=execution,
            signal_name=signal.signal,
            input=_given(signal, "input"),
            header=_given(signal, "header"),
            identity=signal.identity,
            request_id=once,
        )
    )


def _cancel(request: StartBatchOperationRequest, execution: WorkflowExecution, once: str) -> RunRequest:
    return RequestCancel(
        RequestCancelWorkflowExecutionRequest(
            workflow_execution=execution,
            identity=request.cancellation_operation.identity,
            reason=request.reason,
            request_id=once,
        )
    )


def _terminate(request: StartBatchOperationRequest, execution: WorkflowExecution, _once: str) -> RunRequest:
    end = request.termination_operation
    return Terminate(
        TerminateWorkflowExecutionRequest(
            workflow_execution=execution,
            reason=request.reason,
            details=_given(end, "details"),
            identity=end.identity,
        )
    )


def _update_options(request: StartBatchOperationRequest, execution: WorkflowExecution, once: str) -> RunRequest:
    update = request.update_workflow_options_operation
    asked = UpdateWorkflowExecutionOptionsRequest(
        workflow_execution=execution,
        workflow_execution_options=update.workflow_execution_options,
        update_mask=update.update_mask,
        identity=update.identity,
    )
    return ForBatch(UpdateWorkflowOptions(asked), once)


def _unpause_activities(request: StartBatchOperationRequest, execution: WorkflowExecution, once: str) -> RunRequest:
    unpause = request.unpause_activities_operation
    asked = UnpauseActivityRequest(
        execution=execution,
        identity=unpause.identity,
        reset_attempts=unpause.reset_attempts,
        reset_heartbeat=unpause.reset_heartbeat,
        jitter=_given(unpause, "jitter"),
    )
    if unpause.WhichOneof("activity") == "type":
        asked.type = unpause.type
    else:
        asked.unpause_all = True
    return ForBatch(UnpauseActivity(asked), once)


def _reset_activities(request: StartBatchOperationRequest, execution: WorkflowExecution, once: str) -> RunRequest:
    reset = request.reset_activities_operation
    asked = ResetActivityRequest(
        execution=execution,
        identity=reset.identity,
        reset_heartbeat=reset.reset_heartbeat,
        keep_paused=reset.keep_paused,
        restore_original_options=reset.restore_original_options,
        jitter=_given(reset, "jitter"),
    )
    _name(asked, reset)
    return ForBatch(ResetActivity(asked), once)


def _update_activities(request: StartBatchOperationRequest, execution: WorkflowExecution, once: str) -> RunRequest:
    update = request.update_activity_options_operation
    asked = UpdateActivityOptionsRequest(
        execution=execution,
        identity=update.identity,
        activity_options=_given(update, "activity_options"),
        update_mask=_given(update, "update_mask"),
        restore_original=update.restore_original,
    )
    _name(asked, update)
    return ForBatch(UpdateActivityOptions(asked), once)


def _name(asked: Any, operation: Any) -> None:
    if operation.WhichOneof("activity") == "type":
        asked.type = operation.type
    else:
        asked.match_all = True


def _given(message: Message, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None


_ASKING: Final[Mapping[str | None, Callable[[StartBatchOperationRequest, WorkflowExecution, str], RunRequest]]] = {
    "signal_operation": _signal,
    "cancellation_operation": _cancel,
    "termination_operation": _terminate,
    "update_workflow_options_operation": _update_options,
    "unpause_activities_operation": _unpause_activities,
    "reset_activities_operation": _reset_activities,
    "update_activity_options_operation": _update_activities,
}
