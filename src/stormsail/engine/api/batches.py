"""RPCs of batches: an operation on many runs, named one by one or by a query."""

from typing import Any, Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.batch.v1 import BatchOperationInfo, BatchOperationUpdateWorkflowExecutionOptions
from temporalio.api.enums.v1 import BatchOperationType, ExecutionType, ResetType
from temporalio.api.workflowservice.v1 import (
    DescribeBatchOperationRequest,
    DescribeBatchOperationResponse,
    ListBatchOperationsRequest,
    ListBatchOperationsResponse,
    StartBatchOperationRequest,
    StartBatchOperationResponse,
    StopBatchOperationRequest,
    StopBatchOperationResponse,
)

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.api.workflow_admin import check_options
from stormsail.engine.core.decide.reset import check_after
from stormsail.engine.core.errors import InvalidArgument, NotFound
from stormsail.engine.shell.batches import reset_options
from stormsail.engine.shell.engine import Engine
from stormsail.engine.store.batches import Batch

_TYPES: Final = {
    "termination_operation": BatchOperationType.BATCH_OPERATION_TYPE_TERMINATE_WORKFLOW,
    "cancellation_operation": BatchOperationType.BATCH_OPERATION_TYPE_CANCEL_WORKFLOW,
    "signal_operation": BatchOperationType.BATCH_OPERATION_TYPE_SIGNAL_WORKFLOW,
    "deletion_operation": BatchOperationType.BATCH_OPERATION_TYPE_DELETE_WORKFLOW,
    "reset_operation": BatchOperationType.BATCH_OPERATION_TYPE_RESET_WORKFLOW,
    "update_workflow_options_operation": BatchOperationType.BATCH_OPERATION_TYPE_UPDATE_WORKFLOW_EXECUTION_OPTIONS,
    "unpause_activities_operation": BatchOperationType.BATCH_OPERATION_TYPE_UNPAUSE_ACTIVITY,
    "reset_activities_operation": BatchOperationType.BATCH_OPERATION_TYPE_RESET_ACTIVITY,
    "update_activity_options_operation": BatchOperationType.BATCH_OPERATION_TYPE_UPDATE_ACTIVITY_OPTIONS,
}
"""The operations that are served."""
_OF_ACTIVITIES: Final = {
    "unpause_activities_operation": "activity filter must be set",
    "reset_activities_operation": "must provide ActivityType or MatchAll",
    "update_activity_options_operation": "Either activity type must be set, or match all should be set to true",
}
"""Those on pending activities, and how one is refused that names none."""


async def start_batch_operation(engine: Engine, _: Call, request: StartBatchOperationRequest) -> Message:
    """Begin an operation on many runs, or on pending activities of many runs."""
    _check_whom(engine, request)
    operation = request.WhichOneof("operation")
    if operation not in _TYPES:
        # Those on activities without a workflow. Temporal's server refuses them so where it does not have those.
        raise InvalidArgument(f"The operation type {operation} is not supported for this namespace")
    if operation == "signal_operation":
        if not request.signal_operation.signal:
            raise InvalidArgument("must provide signal name")
        validate.bounded(request.signal_operation.signal, "SignalName", engine.limits)
        validate.blob(request.signal_operation.input, engine.limits)
    if operation == "reset_operation":
        _check_reset(request)
    if operation == "update_workflow_options_operation":
        _check_update(request.update_workflow_options_operation)
    if operation in _OF_ACTIVITIES:
        _check_activities(request)
    if request.visibility_query:
        engine.store.visibility.check(request.namespace, request.visibility_query)
    await engine.batches.begin(request)
    return StartBatchOperationResponse()


async def stop_batch_operation(engine: Engine, _: Call, request: StopBatchOperationRequest) -> Message:
    """Stop a batch; what it has done stays done."""
    _check_job(request.job_id)
    if not request.reason:
        raise InvalidArgument("Reason is not set on request.")
    await engine.batches.end(request.namespace, request.job_id)
    return StopBatchOperationResponse()


async def describe_batch_operation(engine: Engine, _: Call, request: DescribeBatchOperationRequest) -> Message:
    """Show a batch and how far it got."""
    _check_job(request.job_id)
    batch = engine.store.batches.get(request.namespace, request.job_id)
    if batch is None:
        raise NotFound(f"workflow not found for ID: {request.job_id}")
    asked = StartBatchOperationRequest.FromString(batch.request)
    operation = asked.WhichOneof("operation")
    assert operation is not None
    response = DescribeBatchOperationResponse(
        operation_type=_TYPES[operation],
        job_id=batch.job_id,
        state=batch.state,
        start_time=_timestamp(batch.started_ms),
        close_time=_timestamp(batch.closed_ms),
        total_operation_count=batch.total,
        complete_operation_count=batch.completed,
        failure_operation_count=batch.failed,
        identity=getattr(asked, operation).identity,
        reason=asked.reason,
        query=asked.visibility_query,
    )
    for execution in asked.executions:
        response.executions.add(
            type=ExecutionType.EXECUTION_TYPE_WORKFLOW, business_id=execution.workflow_id, run_id=execution.run_id
        )
    response.executions.extend(asked.target_executions)
    return response


async def list_batch_operations(engine: Engine, _: Call, request: ListBatchOperationsRequest) -> Message:
    """List the batches of a namespace, the newest first."""
    most = engine.limits.visibility_page_max
    size = request.page_size if 0 < request.page_size <= most else most
    page = engine.store.batches.page(request.namespace, size, request.next_page_token)
    return ListBatchOperationsResponse(
        operation_info=[_info(batch) for batch in page.batches], next_page_token=page.next_token
    )


def _info(batch: Batch) -> BatchOperationInfo:
    operation = StartBatchOperationRequest.FromString(batch.request).WhichOneof("operation")
    assert operation is not None
    return BatchOperationInfo(
        job_id=batch.job_id,
        state=batch.state,
        start_time=_timestamp(batch.started_ms),
        close_time=_timestamp(batch.closed_ms),
        operation_type=_TYPES[operation],
    )


def _check_whom(engine: Engine, request: StartBatchOperationRequest) -> None:
    named = [*request.executions, *request.target_executions]
    selectors = sum(map(bool, (request.visibility_query, request.executions, request.target_executions)))
    if not selectors or not request.reason or request.WhichOneof("operation") is None:
        raise InvalidArgument(
            "must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR Executions OR "
            "TargetExecutions)"
        )
    _check_job(request.job_id)
    validate.bounded(request.job_id, "JobId", engine.limits)
    if selectors > 1:
        raise InvalidArgument("visibility query, executions, and target executions are mutually exclusive")
    if len(named) > engine.limits.batch_executions_max:
        raise InvalidArgument(
            f"{len(named)} executions are more than the {engine.limits.batch_executions_max} that a batch may name; "
            "use a query."
        )
    for execution in request.executions:
        validate.execution(execution, present=True)
    for target in request.target_executions:
        if not target.business_id:
            raise InvalidArgument("WorkflowId is not set on request.")
        validate.run_id(target.run_id)


def _check_reset(request: StartBatchOperationRequest) -> None:
    operation = request.reset_operation
    if reset_options(request).WhichOneof("target") is None:
        if operation.HasField("options"):
            raise InvalidArgument("batch reset missing target")
        known = operation.reset_type in ResetType.values()
        shown = ResetType.Name(operation.reset_type) if known else str(operation.reset_type)
        raise InvalidArgument(f"unknown batch reset type {shown.removeprefix('RESET_TYPE_').title().replace('_', '')}")
    check_after(operation.post_reset_operations)


def _check_update(operation: BatchOperationUpdateWorkflowExecutionOptions) -> None:
    if not operation.HasField("workflow_execution_options"):
        raise InvalidArgument("must provide UpdateOptions")
    if not operation.HasField("update_mask"):
        raise InvalidArgument("must provide UpdateMask")
    check_options(operation.workflow_execution_options, operation.update_mask)


def _check_activities(request: StartBatchOperationRequest) -> None:
    name = request.WhichOneof("operation")
    operation: Any = getattr(request, str(name))
    which = operation.WhichOneof("activity")
    if which is None:
        raise InvalidArgument(_OF_ACTIVITIES[str(name)])
    if not getattr(operation, which):
        raise InvalidArgument("Either activity type must be set, or match all should be set to true")
    if name == "update_activity_options_operation":
        if operation.HasField("activity_options") and operation.restore_original:
            raise InvalidArgument("cannot set both activity options and restore original")
        if not operation.HasField("activity_options") and not operation.restore_original:
            raise InvalidArgument("Either activity type must be set, or restore original should be set to true")
        validate.priority(operation.activity_options.priority)
    elif wrong := validate.duration(operation.jitter):
        raise InvalidArgument(f"Jitter is not a valid duration: {wrong}")


def _check_job(job_id: str) -> None:
    if not job_id:
        raise InvalidArgument("JobId is not set on request.")


def _timestamp(at_ms: int | None) -> Timestamp | None:
    if at_ms is None:
        return None
    moment = Timestamp()
    moment.FromMilliseconds(at_ms)
    return moment
