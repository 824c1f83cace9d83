"""Calls to an engine that outlive its restart, with its refusals turned into sentences for people."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from pydantic import BaseModel
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from stormsail.delivery.client_types import EngineRefused, EngineUnreachable, NamespaceNotFound
from stormsail.delivery.model.priority import Priority

T = TypeVar("T")

OUTAGE_MAX_S: Final = 120.0
"""How long a call keeps trying to reach an engine that was there before."""

RETRY_PAUSE_S: Final = 0.2
RETRY_PAUSE_MAX_S: Final = 2.0
WORKFLOW_TASK_TIMEOUT: Final = timedelta(seconds=5)
"""How long a killed worker can hold up an operation's decisions."""

_OUTAGE: Final = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.UNKNOWN,  # "transport error": the connection broke in the middle of the call
    },
)
_ANSWERS: Final = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.ALREADY_EXISTS})
"""Refusals that a caller may know how to read."""


class EngineLink:
    """One namespace of one engine. Every request sent through `ask` must be safe to send again."""

    def __init__(self, client: Client, address: str, outage_max_s: float = OUTAGE_MAX_S) -> None:
        self.client = client
        self.address = address
        self._outage_max_s = outage_max_s

    async def ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, again and again while the engine is away.

        Raises EngineUnreachable, EngineRefused or NamespaceNotFound.
        NOT_FOUND and ALREADY_EXISTS pass through as RPCError: their meaning is the caller's.
        """
        give_up_at = time.monotonic() + self._outage_max_s
        pause = RETRY_PAUSE_S
        while True:
            try:
                return await call()
            except RPCError as error:
                if error.status in _OUTAGE:
                    if time.monotonic() + pause > give_up_at:
                        raise EngineUnreachable(self.address, error.message) from error
                elif error.status is RPCStatusCode.NOT_FOUND and error.message.lower().startswith("namespace"):
                    raise NamespaceNotFound(self.client.namespace) from error
                elif error.status in _ANSWERS:
                    raise
                else:
                    raise EngineRefused(error.status.name, error.message) from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, RETRY_PAUSE_MAX_S)

    async def search(self, query: str, limit: int) -> list[WorkflowExecution]:
        """List executions, at most `limit`, as the engine orders them."""

        async def read() -> list[WorkflowExecution]:
            return [execution async for execution in self.client.list_workflows(query, limit=limit)]

        return await self.ask(read)

    async def describe(self, workflow_id: str, run_id: str | None = None) -> WorkflowExecutionDescription:
        """Describe a run, or the newest run of a workflow."""
        return await self.ask(self.client.get_workflow_handle(workflow_id, run_id=run_id).describe)

    async def start_message(
        self,
        workflow: str,
        workflow_id: str,
        argument: BaseModel,
        *,
        task_queue: str,
        request_id: str,
        memo: Mapping[str, BaseModel],
        priority: Priority = Priority.MANUAL,
    ) -> StartWorkflowExecutionRequest:
        """Build a start by hand, because the SDK's own offers no request id, which makes sending it again safe."""
        converter = self.client.data_converter
        message = StartWorkflowExecutionRequest(
            namespace=self.client.namespace,
            workflow_id=workflow_id,
            request_id=request_id,
            identity=self.client.identity,
            workflow_id_reuse_policy=WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
            workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
        )
        message.workflow_type.name = workflow
        message.task_queue.name = task_queue
        message.priority.priority_key = priority.key
        message.workflow_task_timeout.FromTimedelta(WORKFLOW_TASK_TIMEOUT)
        message.input.payloads.extend(await converter.encode([argument]))
        for name, value in memo.items():
            message.memo.fields[name].CopyFrom((await converter.encode([value]))[0])
        return message


async def decoded(link: EngineLink, memo: Any, name: str, answer: type[T]) -> T | None:
    """Decode one memo field, or None where it is absent."""
    if name not in memo.fields:
        return None
    values = await link.client.data_converter.decode([memo.fields[name]], [answer])
    return values[0]  # type: ignore[no-any-return]


def quoted(text: str) -> str:
    """Write a string literal of the list filter language."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
