"""RPCs by which people put whole runs in order: delete, reset, pause, other options."""

from google.protobuf.descriptor import Descriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from temporalio.api.enums.v1 import ResetReapplyType
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    DeleteWorkflowExecutionRequest,
    DeleteWorkflowExecutionResponse,
    PauseWorkflowExecutionRequest,
    PauseWorkflowExecutionResponse,
    ResetWorkflowExecutionRequest,
    ResetWorkflowExecutionResponse,
    UnpauseWorkflowExecutionRequest,
    UnpauseWorkflowExecutionResponse,
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionOptionsResponse,
)

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.core.decide.workflow_task import HISTORY_SERVICE
from stormsail.engine.core.errors import InvalidArgument, Unimplemented
from stormsail.engine.core.requests import PauseWorkflow, UnpauseWorkflow, UpdateWorkflowOptions
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


async def pause_workflow_execution(engine: Engine, _: Call, request: PauseWorkflowExecutionRequest) -> Message:
    """Hand out no task of a run until it is unpaused; its timers go on."""
    _check_pause(engine, request)
    await engine.execute(request.namespace, request.workflow_id, request.run_id, PauseWorkflow(request))
    return PauseWorkflowExecutionResponse()


async def unpause_workflow_execution(engine: Engine, _: Call, request: UnpauseWorkflowExecutionRequest) -> Message:
    """Let a paused run go on, with a workflow task."""
    _check_pause(engine, request)
    await engine.execute(request.namespace, request.workflow_id, request.run_id, UnpauseWorkflow(request))
    return UnpauseWorkflowExecutionResponse()


async def update_workflow_execution_options(
    engine: Engine, _: Call, request: UpdateWorkflowExecutionOptionsRequest
) -> Message:
    """Change a run's priority, or how it follows its workers' versions."""
    execution = request.workflow_execution
    if not execution.workflow_id:
        raise InvalidArgument("WorkflowId is not set on request.")
    if not request.HasField("update_mask"):
        raise InvalidArgument("UpdateMask is required")
    if not request.HasField("workflow_execution_options"):
        raise InvalidArgument("WorkflowExecutionOptions is required")
    check_options(request.workflow_execution_options, request.update_mask)
    _check_run_id(execution.run_id)
    asked = UpdateWorkflowOptions(request)
    options = await engine.execute(request.namespace, execution.workflow_id, execution.run_id, asked)
    return UpdateWorkflowExecutionOptionsResponse(workflow_execution_options=options)


def check_options(options: WorkflowExecutionOptions, mask: FieldMask) -> None:
    """Refuse options of a run that cannot be, and a mask that names what is none of them."""
    for path in mask.paths:
        if not _names_field(WorkflowExecutionOptions.DESCRIPTOR, path):
            raise InvalidArgument(
                f'error parsing UpdateMask: proto: invalid path "{path}" for message '
                '"temporal.api.workflow.v1.WorkflowExecutionOptions"'
            )
    validate.priority(options.priority)
    if options.HasField("time_skipping_config"):
        raise Unimplemented("The Time-Skipping feature is not enabled for namespace.")


def _names_field(message: Descriptor, path: str) -> bool:
    name, _, rest = path.partition(".")
    field = message.fields_by_name.get(name)
    if field is None or not rest:
        return field is not None
    return field.message_type is not None and not field.is_repeated and _names_field(field.message_type, rest)


def _check_pause(engine: Engine, request: PauseWorkflowExecutionRequest | UnpauseWorkflowExecutionRequest) -> None:
    for name, text in (
        ("reason", request.reason),
        ("request id", request.request_id),
        ("identity", request.identity),
    ):
        if validate.too_long(text, engine.limits):
            raise InvalidArgument(f"{name} is too long.")
    if not request.workflow_id:
        raise InvalidArgument("Can't load workflow execution.  WorkflowId not set.")
    _check_run_id(request.run_id)


def _check_run_id(text: str) -> None:
    """Refuse a run id that is no UUID in the words of Temporal's history service, which looks at these requests."""
    if not validate.is_run_id(text):
        raise InvalidArgument("RunId is not valid UUID.")
