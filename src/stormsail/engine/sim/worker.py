"""A model worker: polls, caches histories, answers, dawdles, and can vanish at any moment."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from google.protobuf.message import Message
from temporalio.api.common.v1 import Payloads, WorkflowExecution
from temporalio.api.enums.v1 import QueryResultType, TaskQueueKind, WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.query.v1 import WorkflowQueryResult
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RecordActivityTaskHeartbeatRequest,
    RecordActivityTaskHeartbeatResponse,
    RespondActivityTaskCanceledRequest,
    RespondActivityTaskCanceledResponse,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskCompletedByIdResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondActivityTaskFailedRequest,
    RespondActivityTaskFailedResponse,
    RespondQueryTaskCompletedRequest,
    RespondQueryTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    RespondWorkflowTaskFailedRequest,
    RespondWorkflowTaskFailedResponse,
)

from stormsail.engine.core.errors import Refused
from stormsail.engine.sim import updates
from stormsail.engine.sim.ledger import Ledger
from stormsail.engine.sim.network import Network, Unknown
from stormsail.engine.sim.program import ACTIVITY_QUEUE, NotDeterministic, Program, behaviour, derive, payloads, text_of
from stormsail.engine.sim.swarm import Swarm
from stormsail.engine.sim.trace import Violation

WORKFLOW_QUEUE: Final = "workflows"
POLL_S: Final = 12.0
CACHED_MAX: Final = 50
T = TypeVar("T", bound=Message)
_ANSWERED: Final = QueryResultType.QUERY_RESULT_TYPE_ANSWERED
_CAUSE = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE


class Worker:
    """See the module. `steady` workers neither dawdle nor fail their tasks."""

    def __init__(
        self, name: str, namespace: str, network: Network, ledger: Ledger, swarm: Swarm, chance: random.Random
    ) -> None:
        self.name = name
        self._namespace = self.namespace = namespace
        self._network = network
        self._ledger = ledger
        self._swarm = swarm
        self._chance = chance
        self._sticky = f"sticky-{name}"
        self._cache: dict[str, list[HistoryEvent]] = {}
        self._drawn = 0
        self._dead = False
        self.steady = False
        loop = asyncio.get_running_loop()
        pollers = (self._poll_normal, self._poll_sticky, self._poll_activity, self._poll_activity)
        self._tasks = [loop.create_task(self._loop(poller)) for poller in pollers]
        for task in self._tasks:
            task.add_done_callback(ledger.violated.raised)
        self._beside: set[asyncio.Task[None]] = set()

    def die(self) -> None:
        """Go away in the middle of whatever it does."""
        self._dead = True
        for task in (*self._tasks, *sorted(self._beside, key=asyncio.Task.get_name)):
            task.cancel()

    async def _loop(self, poll: Callable[[], Awaitable[None]]) -> None:
        while not self._dead:
            try:
                await poll()
            except (Refused, Unknown):
                await asyncio.sleep(0.02 + self._chance.random() * 0.2)

    def _identity(self) -> str:
        self._drawn += 1
        return f"{self.name}#{self._drawn}"

    async def _poll_normal(self) -> None:
        await self._poll_workflow(TaskQueue(name=WORKFLOW_QUEUE, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL))

    async def _poll_sticky(self) -> None:
        kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY
        await self._poll_workflow(TaskQueue(name=self._sticky, kind=kind, normal_name=WORKFLOW_QUEUE))

    async def _poll_workflow(self, queue: TaskQueue) -> None:
        request = PollWorkflowTaskQueueRequest(namespace=self._namespace, task_queue=queue, identity=self.name)
        task: PollWorkflowTaskQueueResponse | None = await self._network.call(
            self.name, "PollWorkflowTaskQueue", request, PollWorkflowTaskQueueResponse, POLL_S
        )
        while task is not None and task.task_token:
            self._ledger.delivered(self.name, task)
            task = await self._do(task)

    async def _do(self, task: PollWorkflowTaskQueueResponse) -> PollWorkflowTaskQueueResponse | None:
        """Do a workflow task or answer a query; return the task that came with the reply."""
        events = await self._history(task)
        if events is None:
            return None
        try:
            program = derive(events)
        except NotDeterministic as wrong:
            run = task.workflow_execution
            self._ledger.violated(Violation("H2", f"{run.workflow_id}/{run.run_id}: {wrong}"))
            return None
        if task.HasField("query"):
            answer = RespondQueryTaskCompletedRequest(
                namespace=self._namespace,
                task_token=task.task_token,
                completed_type=_ANSWERED,
                query_result=_counted(program),
            )
            await self._call("RespondQueryTaskCompleted", answer, RespondQueryTaskCompletedResponse)
            return None
        if not self.steady and self._chance.random() < self._swarm.lazy:
            await asyncio.sleep(self._chance.choice((0.5, 2.0, 11.0)))
            if self._chance.random() < 0.2:
                failed = RespondWorkflowTaskFailedRequest(
                    namespace=self._namespace, task_token=task.task_token, identity=self._identity(), cause=_CAUSE
                )
                await self._call("RespondWorkflowTaskFailed", failed, RespondWorkflowTaskFailedResponse)
                return None
        return await self._complete(task, program)

    async def _complete(
        self, task: PollWorkflowTaskQueueResponse, program: Program
    ) -> PollWorkflowTaskQueueResponse | None:
        identity = self._identity()
        messages, commands = updates.answers(program.updates, program.admitted, task.messages)
        request = RespondWorkflowTaskCompletedRequest(
            namespace=self._namespace,
            task_token=task.task_token,
            identity=identity,
            binary_checksum=f"{task.started_event_id}/{task.attempt}",
            commands=commands + program.decide(),
            messages=messages,
            return_new_workflow_task=self._chance.random() < 0.3,
        )
        for query_id in task.queries:
            request.query_results[query_id].CopyFrom(
                WorkflowQueryResult(result_type=_ANSWERED, answer=_counted(program))
            )
        if self._chance.random() < self._swarm.sticky:
            sticky = request.sticky_attributes
            sticky.worker_task_queue.name = self._sticky
            sticky.worker_task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_STICKY
            sticky.worker_task_queue.normal_name = WORKFLOW_QUEUE
            sticky.schedule_to_start_timeout.FromMilliseconds(2_000)
        run = task.workflow_execution
        reply = await self._call("RespondWorkflowTaskCompleted", request, RespondWorkflowTaskCompletedResponse)
        if request.commands or not task.messages:  # else it may have been a task that leaves no trace
            self._ledger.workflow_task_done(self._namespace, run, identity)
        for activity in reply.activity_tasks:
            self._begin_activity(activity)
        return reply.workflow_task if reply.HasField("workflow_task") else None

    async def _history(self, task: PollWorkflowTaskQueueResponse) -> list[HistoryEvent] | None:
        """Return the history that a task shows, put together with what is in the cache. None where that is not to be
        had: the task then times out."""
        run = task.workflow_execution
        shown = list(task.history.events)
        token = task.next_page_token
        while token:
            page = await self._page(run, token)
            shown += page.history.events
            token = page.next_page_token
        cached = self._cache.get(run.run_id, [])
        if shown and shown[0].event_id == 1:
            events = shown
            self._ledger.saw(self._namespace, run, [one for one in shown if one.event_id < task.started_event_id - 1])
        else:
            first = shown[0].event_id if shown else len(cached) + 1
            if not shown and not cached:
                events = await self._fetched(run, 1 << 60)
            elif first > len(cached) + 1 or not cached:
                events = await self._fetched(run, first) + shown
            else:
                events = cached[: first - 1] + shown
        if task.started_event_id and (not events or events[-1].event_id != task.started_event_id):
            last = events[-1].event_id if events else 0
            self._ledger.violated(
                Violation("H1", f"{run.run_id}: a task shows events to {last}, not to {task.started_event_id}")
            )
            return None
        self._remember(run.run_id, events)
        return events

    async def _fetched(self, run: WorkflowExecution, before: int) -> list[HistoryEvent]:
        events: list[HistoryEvent] = []
        token = b""
        while True:
            page = await self._page(run, token)
            events += page.history.events
            token = page.next_page_token
            if not token or (events and events[-1].event_id >= before):
                return [event for event in events if event.event_id < before]

    async def _page(self, run: WorkflowExecution, token: bytes) -> GetWorkflowExecutionHistoryResponse:
        request = GetWorkflowExecutionHistoryRequest(
            namespace=self._namespace, execution=run, next_page_token=token, maximum_page_size=1_000
        )
        return await self._call("GetWorkflowExecutionHistory", request, GetWorkflowExecutionHistoryResponse)

    def _remember(self, run_id: str, events: list[HistoryEvent]) -> None:
        self._cache[run_id] = events
        if len(self._cache) > CACHED_MAX:
            del self._cache[next(iter(self._cache))]

    # Activities.

    async def _poll_activity(self) -> None:
        request = PollActivityTaskQueueRequest(
            namespace=self._namespace, task_queue=TaskQueue(name=ACTIVITY_QUEUE), identity=self.name
        )
        task = await self._network.call(
            self.name, "PollActivityTaskQueue", request, PollActivityTaskQueueResponse, POLL_S
        )
        if task.task_token:
            await self._do_activity(task)

    def _begin_activity(self, task: PollActivityTaskQueueResponse) -> None:
        """Do an activity that came with a reply, beside everything else."""

        async def beside() -> None:
            try:
                await self._do_activity(task)
            except (Refused, Unknown):
                return

        doing = asyncio.get_running_loop().create_task(beside(), name=self._identity())
        self._beside.add(doing)
        doing.add_done_callback(self._beside.discard)
        doing.add_done_callback(self._ledger.violated.raised)

    async def _do_activity(self, task: PollActivityTaskQueueResponse) -> None:
        self._ledger.activity_delivered(self.name, task)
        act = behaviour(text_of(task.input), task.activity_id, task.attempt)
        await asyncio.sleep(self._chance.random() * self._swarm.activity_s)
        match act:
            case "ok":
                await self._complete_activity(task)
            case "late":
                await asyncio.sleep(3.5)
                await self._complete_activity(task)
            case "fail" | "fatal":
                await self._fail_activity(task, retryable=act == "fail")
            case "beat":
                for number in range(3):
                    if await self._beat(task, number):
                        await self._cancel_activity(task)
                        return
                    await asyncio.sleep(0.5)
                await self._complete_activity(task)
            case "hang":
                return

    async def _complete_activity(self, task: PollActivityTaskQueueResponse) -> None:
        identity = self._identity()
        run = task.workflow_execution
        result = payloads(f"{task.activity_id}/{task.attempt}/{identity}")
        if self._chance.random() < 0.1:
            by_id = RespondActivityTaskCompletedByIdRequest(
                namespace=self._namespace,
                workflow_id=run.workflow_id,
                run_id=run.run_id,
                activity_id=task.activity_id,
                result=result,
                identity=identity,
            )
            await self._call("RespondActivityTaskCompletedById", by_id, RespondActivityTaskCompletedByIdResponse)
        else:
            request = RespondActivityTaskCompletedRequest(
                namespace=self._namespace, task_token=task.task_token, result=result, identity=identity
            )
            self._ledger.activity_answering(identity, task)
            await self._call("RespondActivityTaskCompleted", request, RespondActivityTaskCompletedResponse)
        self._ledger.activity_done(self._namespace, run, identity)

    async def _fail_activity(self, task: PollActivityTaskQueueResponse, *, retryable: bool) -> None:
        request = RespondActivityTaskFailedRequest(
            namespace=self._namespace, task_token=task.task_token, identity=self._identity()
        )
        self._ledger.activity_answering(request.identity, task)
        request.failure.message = "as planned"
        request.failure.application_failure_info.type = "Planned"
        request.failure.application_failure_info.non_retryable = not retryable
        await self._call("RespondActivityTaskFailed", request, RespondActivityTaskFailedResponse)

    async def _beat(self, task: PollActivityTaskQueueResponse, number: int) -> bool:
        request = RecordActivityTaskHeartbeatRequest(
            namespace=self._namespace, task_token=task.task_token, details=payloads(str(number)), identity=self.name
        )
        self._ledger.beating(task, number)
        reply = await self._call("RecordActivityTaskHeartbeat", request, RecordActivityTaskHeartbeatResponse)
        self._ledger.beaten(task, number)
        return reply.cancel_requested

    async def _cancel_activity(self, task: PollActivityTaskQueueResponse) -> None:
        request = RespondActivityTaskCanceledRequest(
            namespace=self._namespace, task_token=task.task_token, identity=self._identity()
        )
        self._ledger.activity_answering(request.identity, task)
        await self._call("RespondActivityTaskCanceled", request, RespondActivityTaskCanceledResponse)

    async def _call(self, method: str, request: Message, reply: type[T]) -> T:
        """Call, and once more when there was no reply: a worker's answer is worth it."""
        try:
            return await self._network.call(self.name, method, request, reply)
        except Unknown:
            return await self._network.call(self.name, method, request, reply)


def _counted(program: Program) -> Payloads:
    return payloads(str(len(program.signals)))
