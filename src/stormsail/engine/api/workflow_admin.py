"""RPCs by which people put whole runs in order: delete."""

from google.protobuf.message import Message
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest, DeleteWorkflowExecutionResponse

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.core.decide.workflow_task import HISTORY_SERVICE
from stormsail.engine.shell.engine import Engine


async def delete_workflow_execution(engine: Engine, _: Call, request: DeleteWorkflowExecutionRequest) -> Message:
    """Delete a run with its history, ending it first where it is open. It is gone when the call returns."""
    execution = request.workflow_execution
    validate.execution(execution, present=request.HasField("workflow_execution"))
    await engine.delete(request.namespace, execution.workflow_id, execution.run_id, HISTORY_SERVICE)
    return DeleteWorkflowExecutionResponse()
