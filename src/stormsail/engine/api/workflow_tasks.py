"""RPCs of workflow workers: poll, answer, fail, and sticky queues."""

from collections.abc import Coroutine
from typing import Any

from google.protobuf.message import Message
from temporalio.api.enums.v1 import QueryResultType
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    ResetStickyTaskQueueRequest,
    ResetStickyTaskQueueResponse,
    RespondQueryTaskCompletedRequest,
    RespondQueryTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse,
)

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.core import failures
from stormsail.engine.core.requests import FailWorkflowTask, ResetSticky
from stormsail.engine.shell import tokens
from stormsail.engine.shell.engine import Engine


def poll_workflow_task_queue(
    engine: Engine, call: Call, request: PollWorkflowTaskQueueRequest
) -> Coroutine[Any, Any, bytes]:
    """Wait for a workflow task; an empty message when none came."""
    validate.identity(request.identity, engine.limits)
    validate.task_queue(request.task_queue, engine.limits, present=request.HasField("task_queue"))
    validate.worker_version(request, engine.limits)
    return engine.poll_workflow_task(request, call.deadline_s)


def respond_workflow_task_completed(
    engine: Engine, _: Call, request: RespondWorkflowTaskCompletedRequest
) -> Coroutine[Any, Any, bytes]:
    """Do a worker's commands."""
    token = tokens.decode_workflow_task(request.task_token, request.namespace)
    validate.identity(request.identity, engine.limits)
    return engine.complete_workflow_task(token, request)


async def respond_workflow_task_failed(engine: Engine, _: Call, request: RespondWorkflowTaskFailedRequest) -> Message:
    """Take note that a worker could not do a workflow task; it is tried again."""
    token = tokens.decode_workflow_task(request.task_token, request.namespace)
    validate.identity(request.identity, engine.limits)
    limits = engine.limits
    told = request.failure if request.HasField("failure") else None
    failure = failures.kept_small(told, limits.blob_size_max, keep=limits.blob_size_warn, non_retryable=True)
    failed = FailWorkflowTask(
        token,
        request.cause,
        failure,
        request.identity,
        binary_checksum=request.binary_checksum,
        worker_version=request.worker_version if request.HasField("worker_version") else None,
    )
    key = token.key
    await engine.execute(key.namespace, key.workflow_id, key.run_id, failed)
    return RespondWorkflowTaskFailedResponse()


async def respond_query_task_completed(engine: Engine, _: Call, request: RespondQueryTaskCompletedRequest) -> Message:
    """Hand a worker's answer to the client that asked."""
    if request.query_result.ByteSize() > engine.limits.blob_size_max:
        # The client learns why; refusing the worker would leave it waiting.
        request.ClearField("query_result")
        request.completed_type = QueryResultType.QUERY_RESULT_TYPE_FAILED
        request.error_message = "Blob data size exceeds limit."
    await engine.answer_query(request)
    return RespondQueryTaskCompletedResponse()


async def reset_sticky_task_queue(engine: Engine, _: Call, request: ResetStickyTaskQueueRequest) -> Message:
    """Forget which worker has a run in its cache."""
    target = request.execution
    validate.execution(target, present=request.HasField("execution"))
    await engine.execute(request.namespace, target.workflow_id, target.run_id, ResetSticky())
    return ResetStickyTaskQueueResponse()
