"""Reading the cloud through a worker: a short workflow asks and answers, while a person waits for it."""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError

from stormsail.delivery.client_types import NoWorker, ObservationFailed
from stormsail.delivery.engine_link import EngineLink
from stormsail.delivery.model.operation import ObserveRequest

T = TypeVar("T")

READ_WAIT_S: Final = 20.0
"""How long reading the cloud through a worker may take."""

NO_WORKER_WAIT_S: Final = 10.0
"""How long a reading waits before it asks whether any worker is there at all: one may be starting on a busy machine."""


async def read_through_worker(
    link: EngineLink,
    task_queue: str,
    workflow: str,
    request: ObserveRequest,
    answer: type[T],
    *,
    no_worker_wait_s: float = NO_WORKER_WAIT_S,
) -> T:
    """Have a worker read the cloud. Raises NoWorker or ObservationFailed."""
    request_id = str(uuid.uuid4())
    workflow_id = f"observe/{request.account}/{request.application}/{request_id}"
    message = await link.start_message(
        workflow, workflow_id, request, task_queue=task_queue, request_id=request_id, memo={}
    )
    message.workflow_execution_timeout.FromTimedelta(timedelta(seconds=READ_WAIT_S))
    reply = await link.ask(lambda: link.client.workflow_service.start_workflow_execution(message))
    handle: WorkflowHandle[object, T] = link.client.get_workflow_handle(
        workflow_id, run_id=reply.run_id, result_type=answer
    )
    waiting = asyncio.ensure_future(link.ask(lambda: handle.result(follow_runs=False)))
    try:
        await asyncio.wait({waiting}, timeout=no_worker_wait_s)
        if not waiting.done() and not await link.ask(lambda: pollers(link.client, task_queue)):
            raise NoWorker(task_queue, no_worker_wait_s)
        return await waiting
    except WorkflowFailureError as error:
        refusal = innermost(error)
        if isinstance(refusal, ApplicationError):
            raise ObservationFailed(f"account {request.account} could not be read: {refusal.message}") from None
        raise NoWorker(task_queue, READ_WAIT_S) from None
    finally:
        waiting.cancel()


async def pollers(
    client: Client, task_queue: str, kind: TaskQueueType.ValueType = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
) -> Sequence[PollerInfo]:
    """Return who polls a task queue. Servers go on listing a worker that was killed, for minutes."""
    reply = await client.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=task_queue), task_queue_type=kind
        )
    )
    return reply.pollers


def innermost(error: BaseException) -> BaseException:
    """Return the first cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
