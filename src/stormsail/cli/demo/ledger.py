"""A ledger of what the engine acknowledged during the demo, and the audit of it at the end.

Beside the deployment it asks for small operations on a cluster of their own, and sends numbered signals to the running
deployment. Whatever was answered with OK must be there afterwards: the operation ended, the signal in the history once.
"""

import asyncio
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from stormsail.cli.errors import CommandFailed
from stormsail.cli.whoever import requested_by
from stormsail.delivery.client import DeliveryClient, OperationConflict, OperationFailed
from stormsail.delivery.model.operation import OperationRequest

SIDE_APPLICATION: Final = "ledger"
SIGNAL: Final = "demo-note"
PAUSE_SECONDS: Final = 0.25
SIGNAL_PAUSE_SECONDS: Final = 0.1

_AGAIN: Final = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.UNKNOWN,  # a connection that broke in the middle of a call
        RPCStatusCode.RESOURCE_EXHAUSTED,  # the answer while a run is just closing, too
    },
)


@dataclass
class Ledger:
    """What was acknowledged: operations by run id with their workflow id, and signals by run id."""

    client: DeliveryClient
    name: str
    """Tells this demo's idempotency keys from those of others on the same engine."""
    operations: dict[str, str] = field(default_factory=dict)
    signals: dict[str, list[int]] = field(default_factory=dict)
    current: str = ""
    """The deployment that signals go to; empty while there is none."""
    sent_again: int = 0
    """How often a signal got no answer and was sent again."""
    stopping: bool = False

    async def start(self, request: OperationRequest) -> str:
        """Start an operation; once this returns it is acknowledged."""
        handle = await self.client.start(request)
        self.operations[handle.operation_id] = handle.workflow_id
        return handle.operation_id

    async def prepare(self, program: str) -> None:
        """Make the server group that the small operations are about; it has no instance."""
        payload = {
            "application": SIDE_APPLICATION,
            "capacity": {"min": 0, "desired": 0, "max": 0},
            "launch": {"command": [program, "-c", ""]},
            "strategy": "none",
        }
        wrong = await wait_for_end(self.client, await self.start(_request("createServerGroup", payload, self.name)))
        if wrong:
            raise CommandFailed(f"the ledger's server group could not be made: {wrong}")

    async def keep_asking(self) -> None:
        """Start small operations one after the other until told to stop; they change a bound and start no process."""
        number = 0
        while not self.stopping:
            number += 1
            payload = {
                "serverGroupName": f"{SIDE_APPLICATION}-v000",
                "capacity": {"min": 0, "desired": 0, "max": number},
            }
            try:
                operation_id = await self.start(_request("resizeServerGroup", payload, f"{self.name}-{number}"))
            except OperationConflict:
                # The entry before this one has not ended yet, because the worker was killed.
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            await self.client.result(operation_id)
            await asyncio.sleep(PAUSE_SECONDS)

    async def keep_signalling(self) -> None:
        """Send numbered signals to the running deployment until told to stop.

        Without an answer the same signal is sent again under the same request id: the engine must take it once.
        """
        number = 0
        while not self.stopping:
            await asyncio.sleep(SIGNAL_PAUSE_SECONDS)
            run_id = self.current
            if not run_id:
                continue
            number += 1
            request = SignalWorkflowExecutionRequest(
                namespace=self.client.client.namespace,
                workflow_execution=WorkflowExecution(workflow_id=self.operations[run_id], run_id=run_id),
                signal_name=SIGNAL,
                request_id=str(uuid.uuid4()),
                input=Payloads(payloads=await self.client.client.data_converter.encode([number])),
            )
            if await self._signalled(request):
                self.signals.setdefault(run_id, []).append(number)

    async def _signalled(self, request: SignalWorkflowExecutionRequest) -> bool:
        """Send a signal until it is acknowledged; False when the deployment ended before that."""
        while True:
            try:
                await self.client.client.workflow_service.signal_workflow_execution(
                    request,
                    timeout=timedelta(seconds=2),
                )
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return False
                if error.status not in _AGAIN:
                    raise
                self.sent_again += 1
                await asyncio.sleep(SIGNAL_PAUSE_SECONDS)
            else:
                return True

    async def audit(self) -> list[str]:
        """Return what was acknowledged and is not there, in words; empty when nothing was lost."""
        lost = []
        for run_id, workflow_id in self.operations.items():
            handle = self.client.client.get_workflow_handle(workflow_id, run_id=run_id)
            try:
                described = await handle.describe()
            except RPCError as error:
                lost.append(f"operation {run_id} was acknowledged and is not there: {error.message}")
                continue
            if described.status is not WorkflowExecutionStatus.COMPLETED:
                status = described.status.name if described.status else "unknown"
                lost.append(f"operation {run_id} was acknowledged and stands at {status}")
            lost += await self._lost_signals(run_id, workflow_id)
        return lost

    async def _lost_signals(self, run_id: str, workflow_id: str) -> list[str]:
        sent = self.signals.get(run_id, [])
        if not sent:
            return []
        handle: Any = self.client.client.get_workflow_handle(workflow_id, run_id=run_id)
        converter = self.client.client.data_converter
        found: Counter[int] = Counter()
        async for event in handle.fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED:
                [number] = await converter.decode(event.workflow_execution_signaled_event_attributes.input.payloads)
                found[number] += 1
        lost = [
            f"signal {number} to {run_id} was acknowledged and is not there" for number in sent if not found[number]
        ]
        return lost + [f"signal {number} to {run_id} is there {n} times" for number, n in found.items() if n > 1]


def _request(operation_type: str, payload: dict[str, Any], key: str) -> OperationRequest:
    return OperationRequest(
        operation_type=operation_type,
        payload=payload,
        application=SIDE_APPLICATION,
        reason="demo: the ledger's entry",
        requested_by=requested_by(),
        idempotency_key=key,
    )


async def replay_all(client: DeliveryClient) -> tuple[int, list[str]]:
    """Replay every finished history in the SDK's replayer; return how many, and what failed in words."""
    from temporalio.worker import Replayer

    from stormsail.delivery.worker import WORKFLOWS, workflow_runner

    replayer = Replayer(
        workflows=WORKFLOWS,
        data_converter=client.client.data_converter,
        workflow_runner=workflow_runner(),
    )
    failed = []
    count = 0
    async with replayer.workflow_replay_iterator(
        client.client.list_workflows("ExecutionStatus != 'Running'").map_histories(),
    ) as results:
        async for result in results:
            count += 1
            if result.replay_failure is not None:
                failed.append(f"{result.history.workflow_id}: {result.replay_failure}")
    return count, failed


async def wait_for_end(client: DeliveryClient, operation_id: str) -> str:
    """Wait for an operation; return what went wrong in words, or empty."""
    try:
        result = await client.result(operation_id)
    except OperationFailed as error:
        return str(error)
    return "" if result.ok else "; ".join(f"{error.kind}: {error.message}" for error in result.errors)
