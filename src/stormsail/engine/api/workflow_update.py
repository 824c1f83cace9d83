"""RPCs of updates: ask for one, wait for one, and update-with-start."""

from typing import Final

from google.protobuf.message import Message
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    ExecuteMultiOperationResponse,
    PollWorkflowExecutionUpdateRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.api.workflow_start import check_start_workflow, start_response
from stormsail.engine.core.errors import (
    OPERATION_ABORTED,
    InvalidArgument,
    MultiOperationFailed,
    PermissionDenied,
    Refused,
    Unimplemented,
)
from stormsail.engine.core.requests import StartAndUpdate
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.shell.engine import Engine

_ADMITTED: Final = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
_COMPLETED: Final = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED
_NOT_START_AND_UPDATE: Final = "Operations have to be exactly [Start, Update]."
_NAMESPACE_MISMATCH: Final = "Operation namespace did not match request's namespace."

_Operation = ExecuteMultiOperationRequest.Operation


async def update_workflow_execution(engine: Engine, call: Call, request: UpdateWorkflowExecutionRequest) -> Message:
    """Have a run updated, and wait for its worker as long as asked."""
    _check_update(engine, request)
    return await engine.updates.ask(request, call.deadline_s)


async def poll_workflow_execution_update(
    engine: Engine, call: Call, request: PollWorkflowExecutionUpdateRequest
) -> Message:
    """Wait for an update that was asked for before."""
    if not request.HasField("update_ref"):
        raise InvalidArgument("UpdateRef is not set on request.")
    if not request.update_ref.workflow_execution.workflow_id:
        raise InvalidArgument("Can't load workflow execution. WorkflowId not set.")
    return await engine.updates.poll(request, call.deadline_s)


async def execute_multi_operation(engine: Engine, call: Call, request: ExecuteMultiOperationRequest) -> Message:
    """Start a workflow or find it running, and update it: both or neither. No other combination is served."""
    if [one.WhichOneof("operation") for one in request.operations] != ["start_workflow", "update_workflow"]:
        raise InvalidArgument(_NOT_START_AND_UPDATE)
    start, update = request.operations[0].start_workflow, request.operations[1].update_workflow
    failed = [_refusal(engine, request.namespace, start), _refusal(engine, request.namespace, update)]
    if failed == [None, None] and start.workflow_id != update.workflow_execution.workflow_id:
        failed[1] = InvalidArgument("WorkflowId is not consistent with previous operation(s).")
    if any(failed):
        raise MultiOperationFailed(failed[0] or OPERATION_ABORTED, failed[1] or OPERATION_ABORTED)
    started, updated = await engine.updates.start_and_ask(StartAndUpdate(start, update), call.deadline_s)
    response = ExecuteMultiOperationResponse()
    response.responses.add(start_workflow=start_response(started))
    response.responses.add(update_workflow=updated)
    return response


def _refusal(
    engine: Engine, namespace: str, request: StartWorkflowExecutionRequest | UpdateWorkflowExecutionRequest
) -> Refused | None:
    """Return why one half of an update-with-start is refused, None when it is not."""
    try:
        if request.namespace and request.namespace != namespace:
            raise InvalidArgument(_NAMESPACE_MISMATCH)
        request.namespace = namespace
        if isinstance(request, StartWorkflowExecutionRequest):
            _check_start(engine, request)
        else:
            _check_update(engine, request)
            if request.first_execution_run_id:
                raise InvalidArgument("FirstExecutionRunId is not allowed.")
            if request.workflow_execution.run_id:
                raise InvalidArgument("RunId is not allowed.")
    except Refused as refused:
        return refused
    return None


def _check_start(engine: Engine, request: StartWorkflowExecutionRequest) -> None:
    check_start_workflow(engine, request)
    if request.cron_schedule:
        raise InvalidArgument("CronSchedule is not allowed.")
    if request.request_eager_execution:
        raise InvalidArgument("RequestEagerExecution is not supported.")
    if duration_ms(request.workflow_start_delay) > 0:
        raise InvalidArgument("WorkflowStartDelay is not supported.")


def _check_update(engine: Engine, request: UpdateWorkflowExecutionRequest) -> None:
    """Refuse what is missing, in the order in which Temporal looks, and fill its defaults."""
    validate.execution(request.workflow_execution, present=request.HasField("workflow_execution"))
    update = request.request
    if not update.HasField("meta"):
        raise InvalidArgument("Update meta is not set on request.")
    if validate.too_long(update.meta.update_id, engine.limits):
        raise InvalidArgument("UpdateId length exceeds limit.")
    if not update.meta.update_id:
        update.meta.update_id = engine.ids.uuid()
    if not update.HasField("input"):
        raise InvalidArgument("Update input is not set on request.")
    if not update.input.name:
        raise InvalidArgument("Update name is not set on request.")
    if not request.wait_policy.lifecycle_stage:
        request.wait_policy.lifecycle_stage = _COMPLETED
    if request.wait_policy.lifecycle_stage == _ADMITTED:
        raise PermissionDenied(
            "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported."
        )
    if update.completion_callbacks:
        raise Unimplemented("completion_callbacks of an update are not served here; poll the update for its outcome.")
    validate.links(update.links)
