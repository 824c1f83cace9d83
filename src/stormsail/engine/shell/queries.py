"""Queries: who asks a run something, and how the question gets to a worker and the answer back. None of it is durable.

A query must see everything acknowledged before it. Where the run has events that no worker has seen yet, the query goes
with the workflow task that shows them; where it has none, it goes alone, as a task that leaves no trace in history.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import QueryRejectCondition, QueryResultType, WorkflowExecutionStatus
from temporalio.api.query.v1 import WorkflowQuery, WorkflowQueryResult
from temporalio.api.workflowservice.v1 import (
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RespondQueryTaskCompletedRequest,
)

from stormsail.engine.core.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    QueryFailed,
    Refused,
    WorkflowNotReady,
)
from stormsail.engine.core.ids import Ids, RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.priority import carried
from stormsail.engine.core.requests import ResetSticky
from stormsail.engine.core.state import RunState
from stormsail.engine.core.work import TaskKind
from stormsail.engine.shell import tokens
from stormsail.engine.shell.backlog import QueueName
from stormsail.engine.shell.clock import Clock, wait_until
from stormsail.engine.shell.matching import Matching
from stormsail.engine.shell.overload import Admission, busy_workflow
from stormsail.engine.shell.runs import Runs
from stormsail.engine.shell.task_queue import QueryTask

FAILING_ATTEMPTS: Final = 3
"""From this attempt of a workflow task on, the run is taken for unable to answer."""

_NO_POLLER_MS: Final = 20_000
_SAY_NO_POLLER_BEFORE_MS: Final = 1_000
_ANSWER_BEFORE_MS: Final = 50
_STICKY_FALLBACK_MS: Final = 5_000
_ANSWERED: Final = QueryResultType.QUERY_RESULT_TYPE_ANSWERED
_FAILED: Final = QueryResultType.QUERY_RESULT_TYPE_FAILED
_COMPLETED: Final = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
_NOT_OPEN: Final = QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_OPEN
_NOT_CLEAN: Final = QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY


@dataclass(slots=True, eq=False)
class _Buffered:
    """A query that goes with the run's next workflow task. The outcome is None when it had better look again."""

    query: WorkflowQuery
    outcome: "asyncio.Future[WorkflowQueryResult | None]"


@dataclass(slots=True, eq=False)
class _Sent:
    """A query that is alone with a worker, or on its way to one. The answer is None when this way leads nowhere."""

    namespace: str
    answer: "asyncio.Future[WorkflowQueryResult | Refused | None]"


class Queries:
    """The queries in flight."""

    def __init__(
        self, runs: Runs, matching: Matching, *, admission: Admission, clock: Clock, ids: Ids, limits: Limits
    ) -> None:
        self._runs = runs
        self._matching = matching
        self._admission = admission
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._buffered: dict[RunKey, dict[str, _Buffered]] = {}
        self._sent: dict[str, _Sent] = {}

    async def ask(self, request: QueryWorkflowRequest, deadline_s: float | None) -> QueryWorkflowResponse:
        """Get a query answered by a worker. An empty run id means the run that is current now."""
        patience_ms = self._limits.query_timeout_ms if deadline_s is None else deadline_s * 1000 - _ANSWER_BEFORE_MS
        until_ms = self._clock.now_ms() + int(patience_ms)
        state = self._runs.read(request.namespace, request.execution.workflow_id, request.execution.run_id)
        response = QueryWorkflowResponse()
        if _rejected(state, request.query_reject_condition):
            response.query_rejected.status = state.status  # type: ignore[assignment]
            if not state.paused:
                _link(response, state.key, "Query rejected")
            return response
        _link(response, state.key, "Query processed")
        self._admission.enter_wait()
        try:
            answer = await self._answer(state.key, request.query, until_ms)
        finally:
            self._admission.leave_wait()
        response.query_result.CopyFrom(answer)
        return response

    def answer(self, request: RespondQueryTaskCompletedRequest) -> None:
        """Take a worker's answer to a query that was sent alone."""
        token = tokens.decode_query(request.task_token, request.namespace)
        sent = self._sent.pop(token.query_id, None)
        if sent is None or sent.namespace != token.namespace or sent.answer.done():
            raise NotFound("query task not found, or already expired")
        if request.completed_type not in (_ANSWERED, _FAILED):
            self._sent[token.query_id] = sent
            raise InvalidArgument(f"completed_type {request.completed_type} is neither ANSWERED nor FAILED.")
        result = WorkflowQueryResult(
            result_type=request.completed_type,
            answer=request.query_result,
            error_message=request.error_message,
            failure=request.failure if request.HasField("failure") else None,
        )
        if request.query_result.ByteSize() > self._limits.blob_size_max:
            result = WorkflowQueryResult(result_type=_FAILED, error_message=self._too_large())
        sent.answer.set_result(result)

    def lost(self, query_id: str, why: Refused) -> None:
        """Tell a query's asker that it could not be put to a worker."""
        sent = self._sent.pop(query_id, None)
        if sent is not None and not sent.answer.done():
            sent.answer.set_result(why)

    def waiting(self, key: RunKey) -> dict[str, WorkflowQuery]:
        """Return the queries that go with this run's next workflow task, by id."""
        return {query_id: buffered.query for query_id, buffered in self._buffered.get(key, {}).items()}

    def answered(self, key: RunKey, results: Mapping[str, WorkflowQueryResult]) -> None:
        """Take the answers that came with a completed workflow task."""
        buffered = self._buffered.get(key, {})
        for query_id, result in results.items():
            one = buffered.pop(query_id, None)
            if one is not None and not one.outcome.done():
                one.outcome.set_result(result)

    def committed(self, state: RunState) -> None:
        """Let queries that wait for a workflow task look again, when the run needs none of them to wait any more."""
        if state.key in self._buffered and (_alone(state) or not state.open or _failing(state)):
            self._look_again(state.key)

    def stop(self) -> None:
        """Let every asker find out that the server is stopping."""
        for key in list(self._buffered):
            self._look_again(key)
        for sent in self._sent.values():
            if not sent.answer.done():
                sent.answer.set_result(None)

    async def _answer(self, key: RunKey, query: WorkflowQuery, until_ms: int) -> Payloads:
        while True:
            self._runs.check_serving()
            state = self._runs.read(key.namespace, key.workflow_id, key.run_id)
            self._check_answerable(state, until_ms)
            if _alone(state):
                return self._payloads(await self._send(state, query, until_ms), direct=True)
            result = await self._with_task(key, query, until_ms)
            if result is not None:
                return self._payloads(result, direct=False)

    def _check_answerable(self, state: RunState, until_ms: int) -> None:
        seen = state.last_completed_task_started_event_id
        if not state.open and not seen:
            raise WorkflowNotReady("Workflow execution closed before WorkflowTaskStarted event")
        if not seen and state.workflow_task is None and state.first_task_at_ms > until_ms:
            raise WorkflowNotReady("Workflow task is not scheduled yet.")
        if _failing(state):
            raise WorkflowNotReady("Unable to query workflow due to Workflow Task in failed state.")

    async def _with_task(self, key: RunKey, query: WorkflowQuery, until_ms: int) -> WorkflowQueryResult | None:
        """Let the query go with a workflow task. None: it was not answered, and may now be sent alone."""
        waiting = self._buffered.setdefault(key, {})
        if len(waiting) >= self._limits.buffered_queries_max:
            raise busy_workflow(
                "consistent query buffer is full, this may be caused by too many queries and workflow not able to "
                "process query fast enough"
            )
        query_id = self._ids.uuid()
        one = waiting[query_id] = _Buffered(query, asyncio.get_running_loop().create_future())
        try:
            if not await wait_until(self._clock, one.outcome, until_ms - self._clock.now_ms()):
                raise _timed_out()
            return one.outcome.result()
        finally:
            waiting.pop(query_id, None)
            if not waiting and self._buffered.get(key) is waiting:
                del self._buffered[key]

    async def _send(self, state: RunState, query: WorkflowQuery, until_ms: int) -> WorkflowQueryResult:
        """Put the query before a worker on its own: one that has the run in its cache, else any."""
        key = state.key
        if state.sticky_queue:
            sticky = QueueName(key.namespace, TaskKind.WORKFLOW, state.sticky_queue)
            if self._matching.sticky_alive(sticky):
                sticky_ms = state.sticky_timeout_ms or _STICKY_FALLBACK_MS
                sticky_until_ms = min(until_ms, self._clock.now_ms() + sticky_ms)
                if (
                    result := await self._send_to(state, query, sticky, sticky_until_ms, last_resort=False)
                ) is not None:
                    return result
            if state.open:
                await self._forget_sticky(key)
        self._runs.check_serving()
        normal = QueueName(key.namespace, TaskKind.WORKFLOW, state.task_queue)
        result = await self._send_to(state, query, normal, until_ms, last_resort=True)
        if result is None:
            self._runs.check_serving()
            raise _timed_out()
        return result

    async def _forget_sticky(self, key: RunKey) -> None:
        try:
            await self._runs.execute(key.namespace, key.workflow_id, key.run_id, ResetSticky())
        except NotFound:
            return  # closed meanwhile: nothing to forget

    async def _send_to(
        self, state: RunState, query: WorkflowQuery, queue: QueueName, until_ms: int, *, last_resort: bool
    ) -> WorkflowQueryResult | None:
        """Put the query before the pollers of one queue; None when it is not answered in time."""
        loop = asyncio.get_running_loop()
        priority = carried(state.priority)
        task = QueryTask(self._ids.uuid(), state.key, query, queue, loop.create_future(), priority)
        sent = self._sent[task.query_id] = _Sent(state.key.namespace, loop.create_future())

        def given_up(taken: "asyncio.Future[bool]") -> None:
            if not taken.cancelled() and not taken.result() and not sent.answer.done():
                sent.answer.set_result(None)

        task.taken.add_done_callback(given_up)
        self._matching.offer_query(task)
        try:
            early_ms = until_ms - self._clock.now_ms() - _SAY_NO_POLLER_BEFORE_MS
            if not await wait_until(self._clock, sent.answer, max(0, early_ms)):
                nobody = not task.taken.done() and not self._matching.has_poller(queue, _NO_POLLER_MS)
                if nobody and last_resort:
                    raise FailedPrecondition("no poller seen for task queue recently, worker may be down")
                await wait_until(self._clock, sent.answer, until_ms - self._clock.now_ms())
        finally:
            self._sent.pop(task.query_id, None)
            self._matching.withdraw_query(task)
        answer = sent.answer.result() if sent.answer.done() else None
        if isinstance(answer, Refused):
            raise answer
        return answer

    def _payloads(self, result: WorkflowQueryResult, *, direct: bool) -> Payloads:
        """Return an answer's payloads, or raise what the worker, or its size, says is wrong."""
        if not direct and result.answer.ByteSize() > self._limits.blob_size_max:
            raise InvalidArgument(self._too_large())
        if result.result_type == _ANSWERED:
            return result.answer
        raise QueryFailed(result.error_message, result.failure if result.HasField("failure") else None)

    def _too_large(self) -> str:
        return f"Blob data size exceeds limit. A query's result may have {self._limits.blob_size_max} bytes."

    def _look_again(self, key: RunKey) -> None:
        for one in self._buffered.pop(key, {}).values():
            if not one.outcome.done():
                one.outcome.set_result(None)


def _alone(state: RunState) -> bool:
    """Whether a query may go to a worker without a workflow task: the worker has seen, or will see, every event."""
    seen = state.last_completed_task_started_event_id
    return bool(seen) and (not state.open or (state.workflow_task is None and not state.paused))


def _failing(state: RunState) -> bool:
    return state.workflow_task is not None and state.workflow_task.attempt >= FAILING_ATTEMPTS


def _rejected(state: RunState, condition: int) -> bool:
    if state.open:
        return state.paused
    return condition == _NOT_OPEN or (condition == _NOT_CLEAN and state.status != _COMPLETED)


def _link(response: QueryWorkflowResponse, key: RunKey, reason: str) -> None:
    link = response.link.workflow
    link.namespace, link.workflow_id, link.run_id, link.reason = key.namespace, key.workflow_id, key.run_id, reason


def _timed_out() -> DeadlineExceeded:
    return DeadlineExceeded("query timed out before a worker could process it")
