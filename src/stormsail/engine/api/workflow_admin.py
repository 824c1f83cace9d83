"""RPCs by which people put whole runs in order: delete, reset."""

from google.protobuf.message import Message
from temporalio.api.enums.v1 import ResetReapplyType
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DeleteWorkflowExecutionResponse,
    ResetWorkflowExecutionRequest,
    ResetWorkflowExecutionResponse,
)

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.core.decide.workflow_task import HISTORY_SERVICE
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.shell.engine import Engine


async def delete_workflow_execution(engine: Engine, _: Call, request: DeleteWorkflowExecutionRequest) -> Message:
    """Delete a run with its history, ending it first where it is open. It is gone when the call returns."""
    execution = request.workflow_execution
    validate.execution(execution, present=request.HasField("workflow_execution"))
    await engine.delete(request.namespace, execution.workflow_id, execution.run_id, HISTORY_SERVICE)
    return DeleteWorkflowExecutionResponse()


async def reset_workflow_execution(engine: Engine, _: Call, request: ResetWorkflowExecutionRequest) -> Message:
    """Begin a new run with a run's history up to a workflow task, and tell it again what that run was told since."""
    if not request.request_id:
        raise InvalidArgument("RequestId is not set on request.")
    validate.bounded(request.request_id, "RequestId", engine.limits)
    validate.execution(request.workflow_execution, present=request.HasField("workflow_execution"))
    validate.identity(request.identity, engine.limits)
    if request.reset_reapply_type not in ResetReapplyType.values():
        raise InvalidArgument(f"unknown reset reapply type: {request.reset_reapply_type}")
    run_id = await engine.runs.reset(request)
    return ResetWorkflowExecutionResponse(run_id=run_id)
