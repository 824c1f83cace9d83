"""RPCs that begin runs or push open ones: start, signal, signal-with-start, cancel, terminate."""

from typing import Final

from google.protobuf.message import Message
from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType, WorkflowIdConflictPolicy
from temporalio.api.workflowservice.v1 import (
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
)

from stormsail.engine.api import callbacks, validate
from stormsail.engine.api.transport import Call
from stormsail.engine.core import search_attributes, versioning
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.events import varint
from stormsail.engine.core.requests import (
    RequestCancel,
    SignalWithStart,
    SignalWorkflow,
    StartReply,
    StartWorkflow,
    Terminate,
)
from stormsail.engine.shell.deliver import field_bytes
from stormsail.engine.shell.engine import Engine

_EAGER_FIELD: Final = StartWorkflowExecutionResponse.DESCRIPTOR.fields_by_name["eager_workflow_task"]
_EAGER_TAG: Final = varint(_EAGER_FIELD.number << 3 | 2)

_STARTS = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest


async def start_workflow_execution(engine: Engine, _: Call, request: StartWorkflowExecutionRequest) -> bytes | Message:
    """Start a workflow."""
    check_start_workflow(engine, request)
    started = await engine.start(request.namespace, StartWorkflow(request))
    response = start_response(started)
    if started.first_task is None:
        return response
    return response.SerializeToString() + field_bytes(_EAGER_TAG, engine.eager_workflow_task(started.first_task))


def check_start_workflow(engine: Engine, request: StartWorkflowExecutionRequest) -> None:
    """Refuse a start whose shape is wrong, and fill its defaults."""
    validate.id_policies(request, WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL)
    validate.workflow_id(request.workflow_id, engine.limits)
    _check_start(engine, request)
    if request.HasField("on_conflict_options"):
        options = request.on_conflict_options
        if options.attach_completion_callbacks and not options.attach_request_id:
            raise InvalidArgument("attaching request ID is required for attaching completion callbacks")


def start_response(started: StartReply) -> StartWorkflowExecutionResponse:
    """Return the answer to a start, without an eager workflow task."""
    response = StartWorkflowExecutionResponse(
        run_id=started.run_id,
        first_execution_run_id=started.first_execution_run_id,
        started=started.started,
        status=started.status,
    )
    if started.link is not None:
        response.link.CopyFrom(started.link)
    return response


async def signal_with_start_workflow_execution(
    engine: Engine, _: Call, request: SignalWithStartWorkflowExecutionRequest
) -> Message:
    """Signal the running run of a workflow id, or start one with the signal already in it."""
    limits = engine.limits
    validate.workflow_id(request.workflow_id, limits)
    if not request.signal_name:
        raise InvalidArgument("signal not set")
    if validate.too_long(request.signal_name, limits):
        size = len(request.signal_name.encode())
        raise InvalidArgument(f"signal name exceeds maximum allowed length ({size}/{limits.id_length_max})")
    if request.workflow_id_conflict_policy == WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL:
        raise InvalidArgument(
            "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation."
        )
    validate.id_policies(request, WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING)
    _check_start(engine, request)
    started = await engine.start(request.namespace, SignalWithStart(request))
    return SignalWithStartWorkflowExecutionResponse(
        run_id=started.run_id,
        first_execution_run_id=started.first_execution_run_id,
        started=started.started,
        signal_link=started.link,
    )


async def signal_workflow_execution(engine: Engine, _: Call, request: SignalWorkflowExecutionRequest) -> Message:
    """Signal an open run."""
    limits = engine.limits
    target = request.workflow_execution
    validate.execution(target, present=request.HasField("workflow_execution"))
    validate.required(request.signal_name, "SignalName", limits)
    validate.bounded(request.request_id, "RequestId", limits)
    validate.links(request.links)
    run_id = await engine.execute(request.namespace, target.workflow_id, target.run_id, SignalWorkflow(request))
    return SignalWorkflowExecutionResponse(
        link=_signal_link(request.namespace, target.workflow_id, run_id, request.request_id)
    )


async def request_cancel_workflow_execution(
    engine: Engine, _: Call, request: RequestCancelWorkflowExecutionRequest
) -> Message:
    """Ask an open run to cancel itself; of a closed one it is no error to ask."""
    target = request.workflow_execution
    validate.execution(target, present=request.HasField("workflow_execution"))
    validate.links(request.links)
    await engine.execute(request.namespace, target.workflow_id, target.run_id, RequestCancel(request))
    return RequestCancelWorkflowExecutionResponse()


async def terminate_workflow_execution(engine: Engine, _: Call, request: TerminateWorkflowExecutionRequest) -> Message:
    """End an open run now."""
    target = request.workflow_execution
    validate.execution(target, present=request.HasField("workflow_execution"))
    validate.links(request.links)
    # So that a history tells a user's termination from the server's own.
    request.reason = request.reason or "terminated by user via frontend"
    request.identity = request.identity or "frontend-service"
    await engine.execute(request.namespace, target.workflow_id, target.run_id, Terminate(request))
    return TerminateWorkflowExecutionResponse()


def _check_start(engine: Engine, request: _STARTS) -> None:
    """What both ways to start have in common, in the order in which Temporal looks. Sizes, and fields that are not
    served, are the core's to refuse. What is not set is not looked into: to look costs as much as to check."""
    limits, cron_schedule = engine.limits, request.cron_schedule
    if request.HasField("retry_policy"):
        validate.retry_policy(request.retry_policy, limits)
    if request.HasField("workflow_start_delay"):
        validate.start_delay(request.workflow_start_delay, cron_schedule)
    if cron_schedule:
        validate.cron_schedule(cron_schedule, engine.clock.now_ms())
    validate.required(request.workflow_type.name, "WorkflowType", limits)
    validate.task_queue(request.task_queue, limits, present=request.HasField("task_queue"), by_user=True)
    validate.workflow_timeouts(request)
    validate.request_id(request, limits)
    if request.HasField("search_attributes"):
        types = engine.store.search_attributes.types(request.namespace)
        search_attributes.check(request.search_attributes, types, request.namespace)
        search_attributes.check_size(request.search_attributes)
    if request.HasField("priority"):
        validate.priority(request.priority)
    validate.links(request.links)
    if isinstance(request, StartWorkflowExecutionRequest):
        callbacks.check(request.completion_callbacks)
    if request.HasField("versioning_override"):
        versioning.check_structure(request.versioning_override)


def _signal_link(namespace: str, workflow_id: str, run_id: str, request_id: str) -> Link:
    """The link by which a signal's event is found again: its request id, for buffered events have no event id yet."""
    link = Link()
    event = link.workflow_event
    event.namespace, event.workflow_id, event.run_id = namespace, workflow_id, run_id
    event.request_id_ref.request_id = request_id
    event.request_id_ref.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    return link
