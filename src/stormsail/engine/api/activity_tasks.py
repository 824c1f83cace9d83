"""RPCs of activity workers: poll, heartbeat, and the three ways an attempt ends, by task token and by id.

Payloads over the blob limit are not refused here: the core ends the attempt with a failure that says so, as Temporal
does, for a worker would repeat a refused call for ever.
"""

from collections.abc import Coroutine, Sequence
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkerVersionStamp
from temporalio.api.failure.v1 import Failure
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueRequest,
    RecordActivityTaskHeartbeatByIdRequest,
    RecordActivityTaskHeartbeatByIdResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledByIdRequest,
    RespondActivityTaskCanceledByIdResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedByIdRequest,
    RespondActivityTaskFailedByIdResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
)

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.requests import (
    ActivityRef,
    CancelActivity,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    HeartbeatReply,
)
from stormsail.engine.shell import tokens
from stormsail.engine.shell.engine import Engine

_BY_TOKEN = (
    RecordActivityTaskHeartbeatRequest
    | RespondActivityTaskCompletedRequest
    | RespondActivityTaskFailedRequest
    | RespondActivityTaskCanceledRequest
)
_BY_ID = (
    RecordActivityTaskHeartbeatByIdRequest
    | RespondActivityTaskCompletedByIdRequest
    | RespondActivityTaskFailedByIdRequest
    | RespondActivityTaskCanceledByIdRequest
)


def poll_activity_task_queue(
    engine: Engine, call: Call, request: PollActivityTaskQueueRequest
) -> Coroutine[Any, Any, bytes]:
    """Wait for an activity's attempt; an empty message when none came."""
    validate.task_queue(request.task_queue, engine.limits, present=request.HasField("task_queue"))
    validate.identity(request.identity, engine.limits)
    validate.worker_version(request, engine.limits)
    return engine.poll_activity_task(request, call.deadline_s)


async def respond_activity_task_completed(
    engine: Engine, _: Call, request: RespondActivityTaskCompletedRequest
) -> Message:
    """Record an attempt's result."""
    await _complete(engine, _by_token(request), request)
    return RespondActivityTaskCompletedResponse()


async def respond_activity_task_completed_by_id(
    engine: Engine, _: Call, request: RespondActivityTaskCompletedByIdRequest
) -> Message:
    """Record a result for the activity of that id."""
    await _complete(engine, _by_id(request), request)
    return RespondActivityTaskCompletedByIdResponse()


async def respond_activity_task_failed(engine: Engine, _: Call, request: RespondActivityTaskFailedRequest) -> Message:
    """Record an attempt's failure."""
    failures = await _fail(engine, _by_token(request), request)
    return RespondActivityTaskFailedResponse(failures=failures)


async def respond_activity_task_failed_by_id(
    engine: Engine, _: Call, request: RespondActivityTaskFailedByIdRequest
) -> Message:
    """Record a failure for the activity of that id."""
    failures = await _fail(engine, _by_id(request), request)
    return RespondActivityTaskFailedByIdResponse(failures=failures)


async def respond_activity_task_canceled(
    engine: Engine, _: Call, request: RespondActivityTaskCanceledRequest
) -> Message:
    """Record that an attempt was cancelled."""
    await _cancel(engine, _by_token(request), request)
    return RespondActivityTaskCanceledResponse()


async def respond_activity_task_canceled_by_id(
    engine: Engine, _: Call, request: RespondActivityTaskCanceledByIdRequest
) -> Message:
    """Record a cancellation for the activity of that id."""
    await _cancel(engine, _by_id(request), request)
    return RespondActivityTaskCanceledByIdResponse()


async def record_activity_task_heartbeat(
    engine: Engine, _: Call, request: RecordActivityTaskHeartbeatRequest
) -> Message:
    """Note that an attempt is alive, and tell it whether to stop."""
    told = await _heartbeat(engine, _by_token(request), request)
    return RecordActivityTaskHeartbeatResponse(
        cancel_requested=told.cancel_requested, activity_paused=told.paused, activity_reset=told.reset
    )


async def record_activity_task_heartbeat_by_id(
    engine: Engine, _: Call, request: RecordActivityTaskHeartbeatByIdRequest
) -> Message:
    """Note that the activity of that id is alive."""
    told = await _heartbeat(engine, _by_id(request), request)
    return RecordActivityTaskHeartbeatByIdResponse(
        cancel_requested=told.cancel_requested, activity_paused=told.paused, activity_reset=told.reset
    )


_Target = tuple[RunKey, ActivityRef]


def _by_token(request: _BY_TOKEN) -> _Target:
    token = tokens.decode_activity(request.task_token, request.namespace)
    return token.key, ActivityRef(token=token)


def _by_id(request: _BY_ID) -> _Target:
    if not request.activity_id:
        raise InvalidArgument("ActivityId is not set on request.")
    if not request.workflow_id:
        raise InvalidArgument("WorkflowId is not set on request.")
    validate.run_id(request.run_id)
    return RunKey(request.namespace, request.workflow_id, request.run_id), ActivityRef(activity_id=request.activity_id)


async def _complete(
    engine: Engine,
    target: _Target,
    request: RespondActivityTaskCompletedRequest | RespondActivityTaskCompletedByIdRequest,
) -> None:
    key, ref = target
    validate.identity(request.identity, engine.limits)
    result = request.result if request.HasField("result") else None
    done = CompleteActivity(ref, result, request.identity, worker_version=_worker_version(request))
    await engine.execute(key.namespace, key.workflow_id, key.run_id, done)


async def _fail(
    engine: Engine,
    target: _Target,
    request: RespondActivityTaskFailedRequest | RespondActivityTaskFailedByIdRequest,
) -> Sequence[Failure]:
    """Record a failure. Returns what of it was too large to record, each as a failure that says so."""
    key, ref = target
    if request.HasField("failure") and not request.failure.HasField("application_failure_info"):
        raise InvalidArgument("Failure must have ApplicationFailureInfo.")
    _check_retry_delays(request.failure)
    validate.identity(request.identity, engine.limits)
    details = request.last_heartbeat_details if request.HasField("last_heartbeat_details") else None
    failed = FailActivity(
        ref,
        request.failure if request.HasField("failure") else None,
        request.identity,
        last_heartbeat_details=details,
        worker_version=_worker_version(request),
    )
    told = await engine.execute(key.namespace, key.workflow_id, key.run_id, failed)
    assert isinstance(told, tuple)
    return told


async def _cancel(
    engine: Engine,
    target: _Target,
    request: RespondActivityTaskCanceledRequest | RespondActivityTaskCanceledByIdRequest,
) -> None:
    key, ref = target
    validate.identity(request.identity, engine.limits)
    details = request.details if request.HasField("details") else None
    gone = CancelActivity(ref, details, request.identity, worker_version=_worker_version(request))
    await engine.execute(key.namespace, key.workflow_id, key.run_id, gone)


async def _heartbeat(
    engine: Engine,
    target: _Target,
    request: RecordActivityTaskHeartbeatRequest | RecordActivityTaskHeartbeatByIdRequest,
) -> HeartbeatReply:
    key, ref = target
    validate.identity(request.identity, engine.limits)
    details = request.details if request.HasField("details") else None
    beat = HeartbeatActivity(ref, details, request.identity)
    reply = await engine.execute(key.namespace, key.workflow_id, key.run_id, beat)
    assert isinstance(reply, HeartbeatReply)
    return reply


def _worker_version(request: Message) -> WorkerVersionStamp | None:
    """What the worker says of its version; the requests by id have no field for it."""
    if "worker_version" in request.DESCRIPTOR.fields_by_name and request.HasField("worker_version"):
        return request.worker_version  # type: ignore[attr-defined, no-any-return]
    return None


def _check_retry_delays(failure: Failure) -> None:
    """Refuse a next_retry_delay that is no duration, in the failure or in any of its causes."""
    current: Failure | None = failure
    while current is not None:
        info = current.application_failure_info
        if info.HasField("next_retry_delay") and (wrong := validate.duration(info.next_retry_delay)):
            raise InvalidArgument(f"NextRetryDelay is not a valid duration: {wrong}")
        current = current.cause if current.HasField("cause") else None
