"""Starting, following and ending operations on any Temporal server, for the command line and the page.

Knows which requests to send; knows nothing of what operations do.
"""

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio.api.common.v1 import WorkflowExecution as ExecutionName
from temporalio.api.enums.v1 import HistoryEventFilterType
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
)
from temporalio.client import (
    Client,
    TLSConfig,
    WorkflowExecution,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.exceptions import CancelledError, TerminatedError
from temporalio.service import RPCError, RPCStatusCode

from stormsail.delivery.client_types import (
    AmbiguousOperation,
    ApplicationNotFound,
    DeliveryError,
    EngineRefused,
    EngineUnreachable,
    IdempotencyKeyReused,
    NamespaceNotFound,
    NoWorker,
    ObservationFailed,
    OperationCanceled,
    OperationConflict,
    OperationDetail,
    OperationEnded,
    OperationFailed,
    OperationHandle,
    OperationNotFound,
    OperationSummary,
    PendingActivity,
    SteeringRefused,
)
from stormsail.delivery.engine_link import OUTAGE_MAX_S, EngineLink, quoted
from stormsail.delivery.model.operation import (
    MEMO_OPERATION,
    RUNNER,
    TASK_QUEUE,
    ApplicationList,
    ObserveRequest,
    OperationMemo,
    OperationProgress,
    OperationRequest,
    OperationResult,
    OperationStatus,
    cluster_of,
    workflow_id_of,
)
from stormsail.delivery.model.priority import priority_of
from stormsail.delivery.model.server_group import Observation
from stormsail.delivery.model.steering import CancelReason, SteeringRecord, Verb
from stormsail.delivery.reading import NO_WORKER_WAIT_S, innermost, read_through_worker
from stormsail.delivery.steer import request_for, steer, steering_of
from stormsail.delivery.summaries import memo_of, outcome_of, pending_of, raw_memo, summary_of

__all__ = [
    "AmbiguousOperation",
    "ApplicationNotFound",
    "DeliveryClient",
    "DeliveryError",
    "EngineRefused",
    "EngineUnreachable",
    "IdempotencyKeyReused",
    "NamespaceNotFound",
    "NoWorker",
    "ObservationFailed",
    "OperationCanceled",
    "OperationConflict",
    "OperationDetail",
    "OperationEnded",
    "OperationFailed",
    "OperationHandle",
    "OperationNotFound",
    "OperationSummary",
    "PendingActivity",
    "SteeringRefused",
]

T = TypeVar("T")

SEARCHED_MAX: Final = 1000
"""How many operations a search by application or idempotency key reads before it stops."""

PREFIX_MIN: Final = 4
FOUND_MAX: Final = 10
FRESH_LIST_WAIT_S: Final = 2.0
"""How long a just started operation may be missing from the engine's lists."""

QUERY_TIMEOUT: Final = timedelta(seconds=5)
LONG_POLL_TIMEOUT: Final = timedelta(seconds=70)

_RUN_ID_LENGTH: Final = 36
_FILTER: Final = {
    OperationStatus.RUNNING: "ExecutionStatus = 'Running'",
    OperationStatus.SUCCEEDED: "ExecutionStatus = 'Completed'",
    OperationStatus.TERMINAL: "ExecutionStatus IN ('Completed', 'Failed', 'TimedOut')",
    OperationStatus.CANCELED: "ExecutionStatus IN ('Canceled', 'Terminated')",
}


class DeliveryClient:
    """One namespace of one engine. Calls outlive a restart of the engine, for at most `outage_max_s`."""

    def __init__(
        self,
        client: Client,
        address: str,
        *,
        task_queue: str = TASK_QUEUE,
        outage_max_s: float = OUTAGE_MAX_S,
        no_worker_wait_s: float = NO_WORKER_WAIT_S,
    ) -> None:
        self.client = client
        self.task_queue = task_queue
        self._no_worker_wait_s = no_worker_wait_s
        self._link = EngineLink(client, address, outage_max_s)
        self._workflow_ids: dict[str, str] = {}

    @staticmethod
    async def connect(
        address: str,
        namespace: str = "default",
        *,
        tls: bool | TLSConfig = False,
        api_key: str | None = None,
        task_queue: str = TASK_QUEUE,
        outage_max_s: float = OUTAGE_MAX_S,
        no_worker_wait_s: float = NO_WORKER_WAIT_S,
    ) -> "DeliveryClient":
        """Connect and see that the namespace is there. Raises EngineUnreachable or NamespaceNotFound."""
        try:
            client = await Client.connect(
                address,
                namespace=namespace,
                tls=tls,
                api_key=api_key,
                data_converter=pydantic_data_converter,
            )
        except RuntimeError as error:
            raise EngineUnreachable(address, str(error).partition("\n")[0]) from error
        delivery = DeliveryClient(
            client, address, task_queue=task_queue, outage_max_s=outage_max_s, no_worker_wait_s=no_worker_wait_s
        )
        question = DescribeNamespaceRequest(namespace=namespace)
        try:
            await delivery._link.ask(lambda: client.workflow_service.describe_namespace(question))
        except RPCError as error:
            raise NamespaceNotFound(namespace) from error
        return delivery

    async def close(self) -> None:
        """Let go of the connection; the SDK closes it with the last reference."""
        self._workflow_ids.clear()

    # Starting and ending

    async def start(self, request: OperationRequest) -> OperationHandle:
        """Start an operation, or attach to the one that the same idempotency key started before.

        Never starts twice for one key: the key makes the start's request id, which the engine deduplicates against the
        cluster's newest run, and older runs are found by the key in their memo.
        Raises OperationConflict while another operation changes the same cluster.
        """
        workflow_id = workflow_id_of(request)
        key = request.idempotency_key
        digest = _digest(request)
        if key and (earlier := await self._by_key(workflow_id, key)):
            return await self._attached(earlier, digest)
        memo = OperationMemo(
            operation_type=request.operation_type,
            application=request.application,
            account=request.account,
            cluster=cluster_of(request),
            reason=request.reason,
            requested_by=request.requested_by,
            idempotency_key=key,
            request_digest=digest,
            started_by=str(uuid.uuid4()),
        )
        message = await self._link.start_message(
            RUNNER,
            workflow_id,
            request,
            task_queue=self.task_queue,
            request_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{workflow_id}#{key}") if key else uuid.uuid4()),
            memo={MEMO_OPERATION: memo},
            priority=priority_of(request.operation_type, request.priority),
        )
        try:
            reply = await self._link.ask(lambda: self.client.workflow_service.start_workflow_execution(message))
        except RPCError as error:
            if error.status is not RPCStatusCode.ALREADY_EXISTS:
                raise EngineRefused(error.status.name, error.message) from error
            running = await self._link.describe(workflow_id)
            if key and (await memo_of(self._link, running)).idempotency_key == key:
                return await self._attached(running, digest)
            raise OperationConflict(await summary_of(self._link, running)) from None
        self._workflow_ids[reply.run_id] = workflow_id
        if key:
            # A start deduplicated by its request id is answered like the first one; only the memo tells them apart.
            started = await self._link.describe(workflow_id, reply.run_id)
            if (await memo_of(self._link, started)).started_by != memo.started_by:
                return await self._attached(started, digest)
        return OperationHandle(reply.run_id, workflow_id, attached=False)

    async def cancel(self, operation_id: str, reason: str, requested_by: str = "") -> None:
        """Ask an operation to stop and to put the previous state back; it ends as CANCELED once that is done.

        Cancelling one that has ended changes nothing.
        """
        handle = await self._handle(operation_id)
        text = CancelReason(by=requested_by, reason=reason).text
        try:
            await self._link.ask(lambda: handle.cancel(reason=text))
        except RPCError as error:
            if (await self._link.describe(handle.id, handle.run_id)).status is WorkflowExecutionStatus.RUNNING:
                raise EngineRefused(error.status.name, error.message) from error

    async def steer(
        self,
        operation_id: str,
        verb: Verb,
        *,
        step: str = "",
        reason: str = "",
        requested_by: str = "",
        changes: Mapping[str, Any] | None = None,
        attempt: int = 0,
        request_id: str = "",
    ) -> SteeringRecord:
        """Have a step retried now, skipped, or rerun with another input, and return the record of it.

        `attempt` is the one that the caller saw (`Step.attempt`); 0 means the one that the step is at now.
        The same `request_id` again is the same request.
        Raises SteeringRefused, also for the second of two who ask at once, OperationEnded, or NoWorker.
        """
        handle = await self._handle(operation_id)
        request = request_for(verb, step, requested_by, reason, changes, attempt, request_id)
        return await steer(self._link, handle, lambda: self._progress(handle), request, self.task_queue)

    async def result(self, operation_id: str) -> OperationResult:
        """Wait for the operation's end. Raises OperationFailed or OperationCanceled when the workflow itself failed."""
        handle = await self._handle(operation_id)
        run_id = handle.run_id or operation_id
        try:
            return await self._link.ask(lambda: handle.result(follow_runs=False))
        except WorkflowFailureError as error:
            if isinstance(error.cause, CancelledError):
                described = await self._link.describe(handle.id, run_id)
                left_behind = (await outcome_of(self._link, described)).left_behind
                raise OperationCanceled(run_id, left_behind) from None
            raise OperationFailed(run_id, _failure_text(error)) from None

    # Following

    async def watch(self, operation_id: str) -> AsyncIterator[OperationProgress]:
        """Yield the progress each time it has changed, and the last one when the operation has ended."""
        handle = await self._handle(operation_id)
        shown: OperationProgress | None = None
        page_token = b""
        while True:
            try:
                page = await self._next_page(handle, page_token)
            except EngineRefused as error:
                if not page_token or error.status != "INVALID_ARGUMENT":
                    raise
                page_token = b""  # A restarted engine need not know its old page tokens.
                continue
            page_token = page.next_page_token
            if not page_token:
                break
            now = await self._progress(handle) if page.history.events else None
            if now is not None and now != shown:
                shown = now
                yield now
        last = (await self.get(operation_id)).progress
        if last is not None and last != shown:
            yield last

    async def get(self, operation_id: str) -> OperationDetail:
        """Read one operation whole: how it stands, what it waits for, how it ended."""
        handle = await self._handle(operation_id)
        described = await self._link.describe(handle.id, handle.run_id)
        summary = await summary_of(self._link, described)
        result: OperationResult | None = None
        failure = ""
        if summary.status is not OperationStatus.RUNNING:
            try:
                result = await self.result(operation_id)
            except (OperationCanceled, OperationFailed) as error:
                failure = str(error)
        ended = summary.status, summary.operation_type
        steering = await steering_of(self._link, raw_memo(described))
        return OperationDetail(
            summary=summary,
            progress=(
                OperationProgress(
                    status=ended[0], operation_type=ended[1], steps=result.steps, steering=steering.records
                )
                if result is not None
                else await self._progress(handle)
            ),
            pending=await pending_of(self._link, described),
            result=result,
            steering=steering.records,
            failure=failure,
        )

    # Reading the cloud

    async def observe(self, account: str, application: str) -> Observation:
        """Read an application from the cloud, through a worker.

        Raises ApplicationNotFound, NoWorker or ObservationFailed.
        """
        request = ObserveRequest(account=account, application=application)
        observation = await read_through_worker(self._link, self.task_queue, "ObserveApplication", request, Observation)
        if not observation.server_groups:
            raise ApplicationNotFound(application, account, await self.applications(account))
        return observation

    async def applications(self, account: str) -> list[str]:
        """Read the names of the account's applications, through a worker."""
        request = ObserveRequest(account=account)
        found = await self._read("ListApplications", request, ApplicationList)
        return [*found.applications]

    async def _read(self, workflow: str, request: ObserveRequest, answer: type[T]) -> T:
        return await read_through_worker(
            self._link, self.task_queue, workflow, request, answer, no_worker_wait_s=self._no_worker_wait_s
        )

    # Finding operations

    async def _handle(self, operation_id: str) -> WorkflowHandle[Any, OperationResult]:
        """Find an operation by its id or a unique prefix of it."""
        run_id = operation_id if operation_id in self._workflow_ids else await self._found(operation_id)
        return self.client.get_workflow_handle(self._workflow_ids[run_id], run_id=run_id, result_type=OperationResult)

    async def _found(self, operation_id: str) -> str:
        if len(operation_id) < PREFIX_MIN:
            raise AmbiguousOperation(operation_id, ())
        whole = len(operation_id) == _RUN_ID_LENGTH
        match = f"RunId {'=' if whole else 'STARTS_WITH'} {quoted(operation_id)}"
        give_up_at = time.monotonic() + (FRESH_LIST_WAIT_S if whole else 0)
        while not (found := await self._link.search(f"WorkflowType = '{RUNNER}' AND {match}", FOUND_MAX)):
            if time.monotonic() >= give_up_at:
                raise OperationNotFound(operation_id)
            await asyncio.sleep(0.1)
        if len(found) > 1:
            raise AmbiguousOperation(operation_id, [execution.run_id for execution in found])
        self._workflow_ids[found[0].run_id] = found[0].id
        return found[0].run_id

    async def _by_key(self, workflow_id: str, key: str) -> WorkflowExecution | None:
        query = f"WorkflowType = '{RUNNER}' AND WorkflowId = {quoted(workflow_id)}"
        for execution in await self._link.search(query, SEARCHED_MAX):
            if (await memo_of(self._link, execution)).idempotency_key == key:
                return execution
        return None

    async def _attached(self, earlier: WorkflowExecution, digest: str) -> OperationHandle:
        memo = await memo_of(self._link, earlier)
        if memo.request_digest != digest:
            raise IdempotencyKeyReused(memo.idempotency_key, earlier.run_id)
        self._workflow_ids[earlier.run_id] = earlier.id
        return OperationHandle(earlier.run_id, earlier.id, attached=True)

    async def _next_page(
        self,
        handle: WorkflowHandle[Any, OperationResult],
        page_token: bytes,
    ) -> GetWorkflowExecutionHistoryResponse:
        """Wait for the next events of a history; a page without events means that none came in the engine's wait."""
        question = GetWorkflowExecutionHistoryRequest(
            namespace=self.client.namespace,
            execution=ExecutionName(workflow_id=handle.id, run_id=handle.run_id or ""),
            wait_new_event=True,
            next_page_token=page_token,
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT,
        )
        service = self.client.workflow_service
        return await self._link.ask(
            lambda: service.get_workflow_execution_history(question, retry=True, timeout=LONG_POLL_TIMEOUT),
        )

    async def _progress(self, handle: WorkflowHandle[Any, OperationResult]) -> OperationProgress | None:
        """Ask the operation how it stands; None when no worker answers in time, which says nothing of the operation."""
        try:
            progress: OperationProgress = await handle.query(
                "progress",
                result_type=OperationProgress,
                rpc_timeout=QUERY_TIMEOUT,
            )
        except (RPCError, WorkflowQueryFailedError):
            return None
        return progress

    # Named like the builtin, so it comes last: below it, `list` in an annotation would mean this method.

    async def list(
        self,
        *,
        application: str = "",
        status: OperationStatus | None = None,
        limit: int = 50,
        account: str = "",
    ) -> list[OperationSummary]:
        """Read operations, newest first. The engine filters on standard attributes only; the rest is filtered here."""
        clauses = [f"WorkflowType = '{RUNNER}'"]
        if status is not None:
            clauses.append(_FILTER[status])
        if account:
            clauses.append(f"WorkflowId STARTS_WITH {quoted(f'operation/{account}/{application}')}")
        plain = not application and status in (None, OperationStatus.RUNNING, OperationStatus.CANCELED)
        executions = await self._link.search(" AND ".join(clauses), limit if plain else SEARCHED_MAX)
        found: list[OperationSummary] = []
        for execution in executions:
            summary = await summary_of(self._link, execution)
            if application in ("", summary.application) and status in (None, summary.status):
                found.append(summary)
        return sorted(found, key=lambda summary: summary.started_at_ms, reverse=True)[:limit]


def _failure_text(error: WorkflowFailureError) -> str:
    if isinstance(error.cause, TerminatedError):
        return f"it was terminated ({error.cause.message})"
    return str(innermost(error))


def _digest(request: OperationRequest) -> str:
    """Return a hash of what is asked for. Who asks and why are not part of it: a colleague may repeat a call."""
    asked = request.model_dump(mode="json", exclude={"reason", "requested_by", "priority"})
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
