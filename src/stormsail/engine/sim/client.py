"""A client that does one thing after the other, and repeats what had no reply with the same request id."""

import asyncio
import contextlib

from temporalio.api.common.v1 import RetryPolicy, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import (
    HistoryEventFilterType,
    UpdateWorkflowExecutionLifecycleStage,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    DescribeWorkflowExecutionResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RequestCancelWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionResponse,
    ResetStickyTaskQueueRequest,
    ResetStickyTaskQueueResponse,
    SignalWithStartWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
    TerminateWorkflowExecutionRequest,
    TerminateWorkflowExecutionResponse,
    UpdateWorkflowExecutionRequest,
    UpdateWorkflowExecutionResponse,
)

from stormsail.engine.core.errors import Refused
from stormsail.engine.core.events import NAME_OF_TYPE
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.machines.run import CLOSING
from stormsail.engine.sim.caller import Caller
from stormsail.engine.sim.ledger import SignalSent, StartSent
from stormsail.engine.sim.network import Network, Unknown
from stormsail.engine.sim.program import SHAPE_MARK, payloads, priority_of, text_of
from stormsail.engine.sim.swarm import Swarm
from stormsail.engine.sim.trace import Violation
from stormsail.engine.sim.updates import UpdateSent
from stormsail.engine.sim.worker import WORKFLOW_QUEUE

_USE = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
_TERMINATE = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
_FAIL = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL
_REUSE = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
_CLOSE = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
_ACCEPTED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
_COMPLETED = UpdateWorkflowExecutionLifecycleStage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


class Client:
    """See the module."""

    def __init__(self, caller: Caller, swarm: Swarm) -> None:
        self._caller = caller
        self._swarm = swarm
        self.name, self._namespace = caller.name, caller.namespace
        self._network, self._ledger = caller.network, caller.ledger
        self._chance, self._ids, self._runs = caller.chance, caller.ids, caller.runs
        self._number = 0

    async def work(self) -> None:
        """Do everything, one after the other."""
        operations = (
            (self._start, 4),
            (self._signal, 7),
            (self._signal_with_start, 3),
            (self._query, 7 * ("queries" in self._swarm.features)),
            (self._update, 3 * ("updates" in self._swarm.features)),
            (self._read, 3),
            (self._wait, 2),
            (self._cancel, 1),
            (self._terminate, 1),
            (self._describe, 2),
            (self._reset_sticky, 1),
        )
        await self._start()
        for _ in range(self._swarm.operations):
            await asyncio.sleep(self._chance.random() * self._chance.choice((0.01, 0.3, 1.5)))
            operation = self._chance.choices([one for one, _ in operations], [share for _, share in operations])[0]
            await operation()

    async def _start(self) -> None:
        workflow_id = self._chance.choice(self._caller.workflow_ids)
        request = StartWorkflowExecutionRequest(
            workflow_id_conflict_policy=self._chance.choice((_USE, _TERMINATE, _FAIL, _FAIL)), identity=self.name
        )
        self._fill(request, workflow_id)
        run_id, started = "", False
        try:
            reply = await self._caller.certain("StartWorkflowExecution", request, StartWorkflowExecutionResponse)
            if reply is not None:
                run_id, started = reply.run_id, reply.started
        except Refused as refused:
            self._check_not_ours(refused, request.request_id)
        self._ledger.starts.append(StartSent(self._namespace, workflow_id, request.request_id, run_id, started))
        self._caller.know(workflow_id, run_id)

    async def _signal_with_start(self) -> None:
        workflow_id = self._chance.choice(self._caller.workflow_ids)
        self._number += 1
        request = SignalWithStartWorkflowExecutionRequest(
            signal_name=f"{self._namespace}.{self.name}.{self._number}", identity=self.name
        )
        self._fill(request, workflow_id)
        run_id = ""
        try:
            reply = await self._caller.certain(
                "SignalWithStartWorkflowExecution", request, SignalWithStartWorkflowExecutionResponse
            )
            run_id = reply.run_id if reply is not None else ""
        except Refused as refused:
            self._check_not_ours(refused, request.request_id)
        self._signalled(workflow_id, run_id, named_run=False)
        self._caller.know(workflow_id, run_id)

    async def _signal(self) -> None:
        target = self._caller.target()
        self._number += 1
        request = SignalWorkflowExecutionRequest(
            namespace=self._namespace,
            workflow_execution=target,
            signal_name=f"{self._namespace}.{self.name}.{self._number}",
            request_id=self._ids.uuid(),
            identity=self.name,
        )
        run_id = ""
        try:
            reply = await self._caller.certain("SignalWorkflowExecution", request, SignalWorkflowExecutionResponse)
            run_id = reply.link.workflow_event.run_id if reply is not None else ""
        except Refused:
            pass
        self._signalled(target.workflow_id, run_id, named_run=bool(target.run_id))

    async def _update(self) -> None:
        target = self._caller.target()
        self._number += 1
        update_id = f"{self._namespace}.{self.name}.{self._number}"
        request = UpdateWorkflowExecutionRequest(namespace=self._namespace, workflow_execution=target)
        request.wait_policy.lifecycle_stage = self._chance.choice((_ACCEPTED, _COMPLETED, _COMPLETED))
        request.request.meta.update_id = update_id
        request.request.meta.identity = self.name
        request.request.input.name = "U"
        run_id = result = ""
        try:
            reply = await self._caller.certain("UpdateWorkflowExecution", request, UpdateWorkflowExecutionResponse, 9.0)
        except Refused:
            return
        if reply is not None and reply.stage >= _ACCEPTED and not reply.outcome.HasField("failure"):
            run_id = reply.update_ref.workflow_execution.run_id
            result = text_of(reply.outcome.success)
        sent = UpdateSent(self._namespace, target.workflow_id, update_id, run_id, result, bool(target.run_id))
        self._ledger.updates.append(sent)

    async def _cancel(self) -> None:
        target = self._caller.target()
        request = RequestCancelWorkflowExecutionRequest(
            namespace=self._namespace, workflow_execution=target, request_id=self._ids.uuid(), identity=self.name
        )
        done = await self._caller.done(
            "RequestCancelWorkflowExecution", request, RequestCancelWorkflowExecutionResponse
        )
        if done and target.run_id:
            self._ledger.cancelled(RunKey(self._namespace, target.workflow_id, target.run_id))

    async def _terminate(self) -> None:
        target = self._caller.target()
        identity = f"{self.name}!{self._ids.uuid()[:8]}"
        request = TerminateWorkflowExecutionRequest(
            namespace=self._namespace, workflow_execution=target, identity=identity
        )
        try:
            reply = await self._caller.certain(
                "TerminateWorkflowExecution", request, TerminateWorkflowExecutionResponse
            )
        except Refused:
            return
        if reply is not None:
            self._ledger.terminated.append((self._namespace, target.workflow_id, identity))

    async def _query(self) -> None:
        """Q1: the answer counts every signal that was acknowledged before the question."""
        target = self._caller.target()
        request = QueryWorkflowRequest(namespace=self._namespace, execution=target)
        request.query.query_type = "signals"
        before = dict(self._ledger.acknowledged)
        try:
            reply = await self._network.call(self.name, "QueryWorkflow", request, QueryWorkflowResponse, 8.0)
        except (Refused, Unknown):
            return
        if reply.HasField("query_rejected"):
            return  # the run is paused
        run_id = reply.link.workflow.run_id
        counted = int(text_of(reply.query_result))
        if counted < before.get(run_id, 0):
            told = f"a query of {target.workflow_id}/{run_id} counts {counted} signals of {before[run_id]} acknowledged"
            self._ledger.violated(Violation("Q1", told))

    async def _read(self) -> None:
        if not self._runs:
            return
        key = self._chance.choice(self._runs)
        events = await read_history(self._network, self.name, key, self._chance.choice((0, 4)))
        if events is not None:
            self._ledger.saw(self._namespace, _execution(key), events)

    async def _describe(self) -> None:
        """D1: what is described is no older than what was read."""
        if not self._runs:
            return
        key = self._chance.choice(self._runs)
        request = DescribeWorkflowExecutionRequest(namespace=self._namespace, execution=_execution(key))
        seen = len(self._ledger.read.get(key, ()))
        try:
            reply = await self._network.call(
                self.name, "DescribeWorkflowExecution", request, DescribeWorkflowExecutionResponse
            )
        except (Refused, Unknown):
            return
        info = reply.workflow_execution_info
        if info.execution.run_id != key.run_id or info.history_length < seen:
            told = f"{key} is described with {info.history_length} events after {seen} were read"
            self._ledger.violated(Violation("H3", told))

    async def _reset_sticky(self) -> None:
        request = ResetStickyTaskQueueRequest(namespace=self._namespace, execution=self._caller.target())
        with contextlib.suppress(Refused, Unknown):
            await self._network.call(self.name, "ResetStickyTaskQueue", request, ResetStickyTaskQueueResponse)

    async def _wait(self) -> None:
        """Wait for a run's end."""
        if not self._runs:
            return
        key = self._chance.choice(self._runs)
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self._namespace,
            execution=_execution(key),
            wait_new_event=True,
            history_event_filter_type=_CLOSE,
        )
        try:
            reply = await self._network.call(
                self.name, "GetWorkflowExecutionHistory", request, GetWorkflowExecutionHistoryResponse, 9.0
            )
        except (Refused, Unknown):
            return
        closed = bool(reply.history.events) and NAME_OF_TYPE[reply.history.events[-1].event_type] in CLOSING
        if not closed:
            self._ledger.still_open(key)

    def _fill(
        self, request: StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest, workflow_id: str
    ) -> None:
        """Say what is to be started."""
        request.namespace = self._namespace
        request.workflow_id = workflow_id
        request.request_id = self._ids.uuid()
        request.workflow_id_reuse_policy = _REUSE
        request.workflow_type.CopyFrom(WorkflowType(name="W"))
        request.task_queue.CopyFrom(TaskQueue(name=WORKFLOW_QUEUE))
        request.input.CopyFrom(payloads(f"{self._chance.getrandbits(32)}{SHAPE_MARK}{self._swarm.shape}"))
        if asked := priority_of(workflow_id):
            request.priority.CopyFrom(asked)
        if self._chance.random() < 0.3:
            request.retry_policy.CopyFrom(RetryPolicy(maximum_attempts=2, backoff_coefficient=1.0))
            request.retry_policy.initial_interval.FromMilliseconds(300)
        if self._chance.random() < 0.1:
            request.workflow_start_delay.FromMilliseconds(800)
        if self._chance.random() < 0.1:
            request.workflow_run_timeout.FromMilliseconds(4_000)

    def _signalled(self, workflow_id: str, run_id: str, *, named_run: bool) -> None:
        sent = SignalSent(self._namespace, workflow_id, self.name, self._number, run_id, named_run)
        self._ledger.signals.append(sent)
        if run_id:
            self._ledger.acknowledged[run_id] += 1

    def _check_not_ours(self, refused: Refused, request_id: str) -> None:
        """D2: nobody is refused because of what the same request did before."""
        detail = refused.detail
        if isinstance(detail, WorkflowExecutionAlreadyStartedFailure) and detail.start_request_id == request_id:
            self._ledger.violated(Violation("D2", f"{self.name} is refused a repetition of its own start: {refused}"))


def _execution(key: RunKey) -> WorkflowExecution:
    return WorkflowExecution(workflow_id=key.workflow_id, run_id=key.run_id)


async def read_history(network: Network, who: str, key: RunKey, page_size: int) -> list[HistoryEvent] | None:
    """Read a whole history, page by page. None where that does not succeed."""
    events: list[HistoryEvent] = []
    token = b""
    while True:
        request = GetWorkflowExecutionHistoryRequest(
            namespace=key.namespace,
            execution=_execution(key),
            maximum_page_size=page_size,
            next_page_token=token,
        )
        try:
            page = await network.call(who, "GetWorkflowExecutionHistory", request, GetWorkflowExecutionHistoryResponse)
        except (Refused, Unknown):
            return None
        events += page.history.events
        token = page.next_page_token
        if not token:
            return events
