"""The engine as a source: questions about workflows, schedules and task queues, each one call on any Temporal server.

Its failures are sorted here: an engine that is away is `SourceFailed`, an answer that says no is `NotThere` or
`Refused`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from temporalio.api.common.v1 import WorkflowExecution as ExecutionName
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.schedule.v1 import ScheduleListEntry
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetSystemInfoRequest,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
    ListSchedulesRequest,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError, RPCStatusCode, TLSConfig

from stormsail.delivery import client_types as failures
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import TASK_QUEUE
from stormsail.web.sources.held import SourceFailed

T = TypeVar("T")

OUTAGE_MAX_S: Final = 1.0
"""How long one question keeps trying while the engine is away: a viewer is waiting, and the last answer is kept."""

NO_WORKER_WAIT_S: Final = 2.0
"""How long a reading waits for a worker: less than the page waits for the reading, so that it can say why."""

CHANGE_OUTAGE_MAX_S: Final = 30.0

_AWAY: Final = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.INTERNAL,
        RPCStatusCode.UNIMPLEMENTED,
    }
)
_AWAY_NAMES: Final = frozenset(status.name for status in _AWAY)


class NotThere(Exception):
    """The engine answered: there is no such thing."""


class Refused(Exception):
    """The engine answered and said no to what was asked."""

    def __init__(self, message: str, status: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class EngineAddress:
    """Which engine, and how to reach it."""

    address: str
    namespace: str = "default"
    tls: bool | TLSConfig = False
    api_key: str | None = None
    task_queue: str = TASK_QUEUE


class EngineSource:
    """One namespace of one engine. Made without a connection: the first question connects, and so does each later.

    `delivery` is for readings, which give up soon; `changing` is for changes, which outlive a restart of the engine.
    """

    def __init__(self, client: Client, at: EngineAddress) -> None:
        self.at = at
        self.client = client
        self.questions = 0
        """How many were asked since the start."""
        self.delivery = DeliveryClient(
            client, at.address, task_queue=at.task_queue, outage_max_s=OUTAGE_MAX_S, no_worker_wait_s=NO_WORKER_WAIT_S
        )
        self.changing = DeliveryClient(client, at.address, task_queue=at.task_queue, outage_max_s=CHANGE_OUTAGE_MAX_S)

    @staticmethod
    async def open(at: EngineAddress) -> "EngineSource":
        """Return the source; whether the engine is there shows with the first question."""
        client = await Client.connect(
            at.address,
            namespace=at.namespace,
            tls=at.tls,
            api_key=at.api_key,
            data_converter=pydantic_data_converter,
            lazy=True,
        )
        return EngineSource(client, at)

    async def asked(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call with its failures sorted."""
        self.questions += 1
        try:
            return await call()
        except (failures.EngineUnreachable, failures.NoWorker, failures.ObservationFailed) as error:
            raise SourceFailed(str(error)) from error
        except failures.NamespaceNotFound as error:
            raise SourceFailed(str(error)) from error
        except failures.EngineRefused as error:
            if error.status in _AWAY_NAMES:
                raise SourceFailed(str(error)) from error
            raise Refused(str(error), error.status) from error
        except (failures.OperationNotFound, failures.ApplicationNotFound) as error:
            raise NotThere(str(error)) from error
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                raise NotThere(error.message) from error
            if error.status in _AWAY:
                raise SourceFailed(f"the engine at {self.at.address} does not answer: {error.message}") from error
            raise Refused(error.message, error.status.name) from error
        except RuntimeError as error:
            # What the SDK raises where a first connection cannot be made.
            raise SourceFailed(
                f"no engine answers at {self.at.address}: start one with `stormsail up`, or check the address"
            ) from error

    # Questions, one call each

    async def list_workflows(self, query: str, limit: int, token: bytes) -> ListWorkflowExecutionsResponse:
        """List one page of runs."""
        question = ListWorkflowExecutionsRequest(
            namespace=self.at.namespace, query=query, page_size=limit, next_page_token=token
        )
        return await self.asked(lambda: self.client.workflow_service.list_workflow_executions(question))

    async def count_workflows(self, query: str) -> dict[str, int]:
        """Count the runs that a filter matches, by status."""
        whole = f"{query} GROUP BY ExecutionStatus".strip()
        question = CountWorkflowExecutionsRequest(namespace=self.at.namespace, query=whole)
        reply = await self.asked(lambda: self.client.workflow_service.count_workflow_executions(question))
        decode = self.client.data_converter.payload_converter.from_payload
        return {str(decode(group.group_values[0])): group.count for group in reply.groups if group.group_values}

    async def describe_workflow(self, workflow_id: str, run_id: str) -> DescribeWorkflowExecutionResponse:
        """Describe a run, or the newest run of a workflow id."""
        question = DescribeWorkflowExecutionRequest(
            namespace=self.at.namespace, execution=ExecutionName(workflow_id=workflow_id, run_id=run_id)
        )
        return await self.asked(lambda: self.client.workflow_service.describe_workflow_execution(question))

    async def history_page(
        self, workflow_id: str, run_id: str, limit: int, token: bytes, *, wait: bool = False
    ) -> GetWorkflowExecutionHistoryResponse:
        """Read a page of a history, oldest first; with `wait`, stay until there is news behind the token."""
        question = GetWorkflowExecutionHistoryRequest(
            namespace=self.at.namespace,
            execution=ExecutionName(workflow_id=workflow_id, run_id=run_id),
            maximum_page_size=limit,
            next_page_token=token,
            wait_new_event=wait,
        )
        return await self.asked(lambda: self.client.workflow_service.get_workflow_execution_history(question))

    async def history_page_newest_first(
        self, workflow_id: str, run_id: str, limit: int, token: bytes
    ) -> GetWorkflowExecutionHistoryReverseResponse:
        """Read a page of a history, newest first."""
        question = GetWorkflowExecutionHistoryReverseRequest(
            namespace=self.at.namespace,
            execution=ExecutionName(workflow_id=workflow_id, run_id=run_id),
            maximum_page_size=limit,
            next_page_token=token,
        )
        return await self.asked(lambda: self.client.workflow_service.get_workflow_execution_history_reverse(question))

    async def list_schedules(self, limit: int, token: bytes) -> tuple[list[ScheduleListEntry], bytes]:
        """List one page of schedules, and the token of the next."""
        question = ListSchedulesRequest(namespace=self.at.namespace, maximum_page_size=limit, next_page_token=token)
        reply = await self.asked(lambda: self.client.workflow_service.list_schedules(question))
        return list(reply.schedules), reply.next_page_token

    async def describe_schedule(self, schedule_id: str) -> DescribeScheduleResponse:
        """Describe a schedule."""
        question = DescribeScheduleRequest(namespace=self.at.namespace, schedule_id=schedule_id)
        return await self.asked(lambda: self.client.workflow_service.describe_schedule(question))

    async def describe_task_queue(self, name: str, *, activities: bool) -> DescribeTaskQueueResponse:
        """Say who polls a task queue and what waits in it."""
        question = DescribeTaskQueueRequest(
            namespace=self.at.namespace,
            task_queue=TaskQueue(name=name),
            task_queue_type=(
                TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY if activities else TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
            ),
            report_stats=True,
        )
        return await self.asked(lambda: self.client.workflow_service.describe_task_queue(question))

    async def version(self) -> str:
        """Return the version that the engine says it has."""
        question = GetSystemInfoRequest()
        reply = await self.asked(lambda: self.client.workflow_service.get_system_info(question))
        return reply.server_version
