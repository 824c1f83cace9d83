"""The engine as the API sees it: everything the other rooms of the shell do, wired together.

After each commit, and before anybody is answered, `_committed` tells matching, the timers, the queries and the waiters
what changed. All of that is in memory and can be rebuilt from the store, which is what `open` does.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from temporalio.api.enums.v1 import CommandType, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueueConfig
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeTaskQueueResponse,
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryReverseRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    QueryWorkflowRequest,
    QueryWorkflowResponse,
    RespondQueryTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
    ShutdownWorkerRequest,
    TerminateWorkflowExecutionRequest,
)

from stormsail.engine.core.errors import InvalidArgument, NamespaceNotFound, NotFound, Refused
from stormsail.engine.core.ids import Ids, RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import (
    CompletedWorkflowTask,
    CompleteWorkflowTask,
    FireDue,
    RunRequest,
    SignalWithStart,
    StartedWorkflowTask,
    StartReply,
    StartWorkflow,
    StickyGone,
    Terminate,
    WorkflowTaskToken,
)
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.values import members, quick
from stormsail.engine.core.work import Task, TaskKind, task_changes
from stormsail.engine.shell.backlog import QueueName
from stormsail.engine.shell.batches import Batches
from stormsail.engine.shell.clock import Clock
from stormsail.engine.shell.deliver import Deliver, Extras
from stormsail.engine.shell.driven import Undertakings
from stormsail.engine.shell.histories import Histories
from stormsail.engine.shell.matching import Matching
from stormsail.engine.shell.outbox import Outbox
from stormsail.engine.shell.overload import Admission
from stormsail.engine.shell.polls import Delivery, Polls
from stormsail.engine.shell.queries import Queries
from stormsail.engine.shell.queue_report import describe_task_queue
from stormsail.engine.shell.recovery import Recovery
from stormsail.engine.shell.removal import Removal
from stormsail.engine.shell.retention import Retention
from stormsail.engine.shell.runs import AnyRequest, Core, Runs
from stormsail.engine.shell.schedules import Schedules
from stormsail.engine.shell.timers import Timers
from stormsail.engine.shell.updates import Updates
from stormsail.engine.shell.waiters import Waiters
from stormsail.engine.shell.workers import Workers
from stormsail.engine.store.errors import RowDamaged, cannot_start
from stormsail.engine.store.store import Store
from stormsail.engine.store.task_queues import ConfigName

_log: Final = structlog.get_logger(__name__)
_STOPPING: Final = "The server is stopping. Connect again once it is back."
NAMING_NAMESPACES: Final[Mapping[int, str]] = {
    CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION: "start_child_workflow_execution_command_attributes",
    CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION: (
        "signal_external_workflow_execution_command_attributes"
    ),
    CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION: (
        "request_cancel_external_workflow_execution_command_attributes"
    ),
}
"""The commands that name a namespace, and where."""
_KIND_OF_TYPE: Final = {
    TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW: TaskKind.WORKFLOW,
    TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY: TaskKind.ACTIVITY,
}
_TYPE_OF_KIND: Final = {kind: number for number, kind in _KIND_OF_TYPE.items()}
_WORKFLOW_QUEUE: Final = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW


@quick
@dataclass(frozen=True, slots=True)
class _Completed:
    """What the reply to a completed workflow task is made of."""

    new_task: Delivery | None
    activities: list[Delivery]
    reset_history_event_id: int | None


class Engine:
    """Durable execution, without a network. Make one with `open`."""

    def __init__(self, store: Store, *, clock: Clock, ids: Ids, limits: Limits, core: Core | None = None) -> None:
        self.store = store
        self.clock = clock
        self.ids = ids
        self.limits = limits
        self.admission = Admission(
            limits.commit_queue_max, tasks=lambda: self.matching.waiting, tasks_max=limits.waiting_tasks_max
        )
        self.runs = Runs(
            store,
            clock=clock,
            ids=ids,
            limits=limits,
            admission=self.admission,
            committed=self._committed,
            forgotten=self._forgotten,
            waited_for=self._waited_for,
            core=core,
        )
        self.matching = Matching(clock, limits, worker_left=self._worker_left, configured=self._task_queue_config)
        store.task_queue_configs.changed = self._task_queue_configured
        self.recovery = Recovery(self.runs, self.matching, place=self._place, clock=clock, limits=limits)
        self.waiters = Waiters(clock)
        self.workers = Workers(clock, limits)
        self.timers = Timers(
            clock,
            window_ms=limits.timer_window_ms,
            due=self.runs.due,
            fire=self._fire,
            deadline_ms=self._deadline_ms,
            held_ms=limits.workflow_task_timeout_max_ms,
        )
        self.queries = Queries(self.runs, self.matching, admission=self.admission, clock=clock, ids=ids, limits=limits)
        self.schedules = Schedules(
            store.schedules, self.runs, admission=self.admission, clock=clock, ids=ids, limits=limits
        )
        self.batches = Batches(store, self.runs, clock=clock, limits=limits, delete=self.delete)
        self.retention = Retention(
            clock,
            limits,
            lasts_ms=self._retentions,
            closed_by=self.runs.closed_by,
            looked_for=self.schedules.looks_for,
            delete=self.runs.delete,
            forget=self.batches.forget,
        )
        self.outbox = Outbox(store, self.runs, clock=clock, limits=limits)
        self.removal = Removal(
            store, schedules=self.schedules, batches=self.batches, delete=self.delete, clock=clock, limits=limits
        )
        self._deliver = Deliver(self.runs, limits)
        self.updates = Updates(self.runs, deliver=self._deliver, admission=self.admission, clock=clock, limits=limits)
        self._histories = Histories(
            self.runs,
            deliver=self._deliver,
            waiters=self.waiters,
            admission=self.admission,
            clock=clock,
            limits=limits,
        )
        self._polls = Polls(
            self.runs,
            self.matching,
            deliver=self._deliver,
            queries=self.queries,
            workers=self.workers,
            admission=self.admission,
            clock=clock,
            ids=ids,
            limits=limits,
        )
        self._completing = Undertakings()
        self._loops: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(cls, store: Store, *, clock: Clock, ids: Ids, limits: Limits, core: Core | None = None) -> "Engine":
        """Take up what the store has: waiting tasks go to their queues, deadlines are watched. Raises StorageFailed."""
        engine = cls(store, clock=clock, ids=ids, limits=limits, core=core)
        try:
            for room in (engine.recovery, engine.schedules, engine.outbox, engine.batches, engine.removal):
                room.open()
        except RowDamaged as damaged:
            raise cannot_start(damaged) from damaged
        loop = asyncio.get_running_loop()
        rooms = (engine.recovery, engine.timers, engine.schedules, engine.retention)
        loops = (*(room.run() for room in rooms), engine._watch_storage())
        engine._loops = [loop.create_task(each) for each in loops]
        return engine

    @property
    def failed(self) -> asyncio.Event:
        """Set when the storage failed: every call is answered UNAVAILABLE, and the process must stop."""
        return self.runs.failed

    def execute(self, namespace: str, workflow_id: str, run_id: str, request: RunRequest) -> Coroutine[Any, Any, Any]:
        """Do one request on one run; an empty run id means the current run. Returns once it is on disk."""
        return self.runs.execute(namespace, workflow_id, run_id, request)

    async def start(self, namespace: str, request: StartWorkflow | SignalWithStart) -> StartReply:
        """Start a workflow, or do what its policies say where one is there. Returns once it is on disk."""
        reply = await self.runs.start(namespace, request)
        assert isinstance(reply, StartReply)
        return reply

    async def delete(self, namespace: str, workflow_id: str, run_id: str, identity: str) -> None:
        """Take a run out of the store, ending it first where it is open. Returns once that is on disk."""
        key = self.runs.read(namespace, workflow_id, run_id).key
        while not await self.runs.delete(key):
            if self.runs.read(namespace, workflow_id, key.run_id).open:
                end = TerminateWorkflowExecutionRequest(reason="Delete workflow execution", identity=identity)
                # Who else deletes it may have ended it just now; it is there to be deleted all the same.
                with contextlib.suppress(NotFound):
                    await self.runs.execute(namespace, workflow_id, key.run_id, Terminate(end))
        self.timers.set(key, None)
        self.waiters.wake(key, closed=True)

    def eager_workflow_task(self, started: StartedWorkflowTask) -> bytes:
        """Return the first workflow task of a run just started, serialised, for the reply to its start."""
        return self._deliver.workflow_task(started, partial=False, extras=Extras())

    def read(self, namespace: str, workflow_id: str, run_id: str) -> RunState:
        """Return the newest committed state; not to be changed. An empty run id means the current run."""
        return self.runs.read(namespace, workflow_id, run_id)

    def poll_workflow_task(
        self, request: PollWorkflowTaskQueueRequest, deadline_s: float | None
    ) -> Coroutine[Any, Any, bytes]:
        """Wait for a workflow task or a query. `deadline_s`: seconds that the caller has left. b"" when none came."""
        return self._polls.workflow(request, deadline_s)

    def poll_activity_task(
        self, request: PollActivityTaskQueueRequest, deadline_s: float | None
    ) -> Coroutine[Any, Any, bytes]:
        """Wait for an activity task. `deadline_s`: seconds that the caller has left. b"" when none came."""
        return self._polls.activity(request, deadline_s)

    async def complete_workflow_task(
        self, token: WorkflowTaskToken, request: RespondWorkflowTaskCompletedRequest
    ) -> bytes:
        """Do a worker's commands; return a serialised RespondWorkflowTaskCompletedResponse.

        Raises InvalidArgument when the commands were bad: the task's failure is on disk then.
        """
        completed = await self._completing.carried_out(self._complete(token, request), unheard=self._keep_reply)
        return self._deliver.completion_reply(
            completed.new_task.response if completed.new_task else b"",
            [activity.response for activity in completed.activities],
            completed.reset_history_event_id,
        )

    async def query(self, request: QueryWorkflowRequest, deadline_s: float | None) -> QueryWorkflowResponse:
        """Get a query answered by a worker. `deadline_s`: seconds that the caller has left."""
        return await self.queries.ask(request, deadline_s)

    async def answer_query(self, request: RespondQueryTaskCompletedRequest) -> None:
        """Take a worker's answer to a query."""
        self.queries.answer(request)

    def history(
        self, request: GetWorkflowExecutionHistoryRequest, deadline_s: float | None, *, unwritten: bool = True
    ) -> Coroutine[Any, Any, bytes]:
        """Return a serialised GetWorkflowExecutionHistoryResponse. `deadline_s`: seconds that the caller has left;
        `unwritten`: with the events of a workflow task that is not in history yet."""
        return self._histories.read(request, deadline_s, unwritten=unwritten)

    async def history_reverse(self, request: GetWorkflowExecutionHistoryReverseRequest) -> bytes:
        """Return a serialised GetWorkflowExecutionHistoryReverseResponse."""
        return await self._histories.read_reverse(request)

    def describe_task_queue(self, request: DescribeTaskQueueRequest) -> DescribeTaskQueueResponse:
        """Tell who polls a task queue, and how much waits in it."""
        config = self.store.task_queue_configs.get(
            (request.namespace, request.task_queue.name, request.task_queue_type or _WORKFLOW_QUEUE)
        )
        return describe_task_queue(self.matching, request, config, self.clock.now_ms())

    async def shutdown_worker(self, request: ShutdownWorkerRequest) -> None:
        """Take note that a worker stops: its polls end now, and what waits for it alone goes to its colleagues."""
        if request.HasField("worker_heartbeat"):
            self.workers.record(request.namespace, [request.worker_heartbeat])
        if request.worker_instance_key:
            self.workers.shut_down(request.namespace, request.worker_instance_key)
            self.matching.end_polls_of(request.worker_instance_key)
        for task_queue_type in request.task_queue_types:
            kind = _KIND_OF_TYPE.get(task_queue_type)
            queue = self.matching.queue(QueueName(request.namespace, kind, request.task_queue)) if kind else None
            if queue is not None:
                queue.pollers.forget(request.identity)
        if request.sticky_task_queue:
            sticky = QueueName(request.namespace, TaskKind.WORKFLOW, request.sticky_task_queue)
            self._worker_left(sticky)

    async def close(self) -> None:
        """Stop: polls end empty, waiting calls end, and what is being written is written. The store stays open."""
        self.runs.refuse(_STOPPING)
        for loop in self._loops:
            loop.cancel()
        self.matching.close()
        self._release_waiting()
        await self.removal.stop()
        await self.batches.stop()
        await self._polls.stop()
        await self.outbox.stop()
        await self.timers.stop()
        await self.schedules.stop()
        await self._completing.over()
        await self.runs.written()
        if self._background:
            await asyncio.wait(self._background)
        await asyncio.gather(*self._loops, return_exceptions=True)

    def _committed(self, turn: Turn, request: AnyRequest) -> None:
        """Tell everybody what a commit changed."""
        if isinstance(request, CompleteWorkflowTask):
            self.queries.answered(request.token.key, request.request.query_results)
        for step in turn.every:
            state = step.state
            added, dropped = task_changes(step.before, state)
            for kind, event_id in dropped:
                self.matching.drop((state.key, kind, event_id))
            for task in added:
                self._place(state.key, task)
            self.timers.set(state.key, self.runs.core.deadline_ms(state))
            self.queries.committed(state)
            self.waiters.wake(state.key, closed=not state.open)
            for message in step.messages:
                self.outbox.add(message)
            self.schedules.run_committed(state)
            self.updates.committed(step)

    def _task_queue_config(self, name: QueueName) -> TaskQueueConfig | None:
        return self.store.task_queue_configs.get((name.namespace, name.name, _TYPE_OF_KIND[name.kind]))

    def _task_queue_configured(self, name: ConfigName) -> None:
        namespace, queue_name, task_queue_type = name
        kind = _KIND_OF_TYPE.get(task_queue_type)
        if kind is not None:
            self.matching.configure(QueueName(namespace, kind, queue_name))

    def _waited_for(self, key: RunKey) -> bool:
        return self.updates.waited_for(key)

    def _forgotten(self, key: RunKey) -> None:
        """Let who waits for what was in memory alone find out."""
        self.updates.forgotten(key)

    def _worker_left(self, sticky: QueueName) -> None:
        """Give what waits for one worker alone to its colleagues."""
        for key in self.matching.shut_down_sticky(sticky):
            self._spawn(self._move_from_sticky(key, sticky), key)

    def _place(self, key: RunKey, task: Task) -> None:
        self.matching.add(key, task)
        if task.sticky:
            queue = QueueName(key.namespace, task.kind, task.queue)
            if not self.matching.sticky_alive(queue):
                self._spawn(self._move_from_sticky(key, queue), key)

    async def _move_from_sticky(self, key: RunKey, queue: QueueName) -> None:
        """Move a run's waiting task to its normal queue. Should that be refused, the sticky timeout does it later."""
        try:
            await self.runs.execute(key.namespace, key.workflow_id, key.run_id, StickyGone(queue.name))
        except Refused as refused:
            _log.info("sticky_task_not_moved", run=str(key), queue=queue.name, refused=refused.message)

    async def _complete(self, token: WorkflowTaskToken, request: RespondWorkflowTaskCompletedRequest) -> "_Completed":
        key = token.key
        types = self.store.search_attributes.types(key.namespace)
        asked = CompleteWorkflowTask(token, request, types, self._namespace_ids(key.namespace, request))
        reply = await self.runs.execute(key.namespace, key.workflow_id, key.run_id, asked, carried=True)
        assert isinstance(reply, CompletedWorkflowTask)
        if reply.failed:
            raise InvalidArgument(reply.failed)
        new_task = None
        if reply.new_task is not None:
            # Whoever asks for a task in the reply has the run in its cache.
            queue_name = request.sticky_attributes.worker_task_queue.name or reply.new_task.task_queue
            new_task = self._polls.workflow_delivery(
                reply.new_task,
                QueueName(key.namespace, TaskKind.WORKFLOW, queue_name),
                Extras(self.queries.waiting(key)),
                partial=True,
            )
        activities = [self._polls.activity_delivery(activity) for activity in reply.activities]
        kept = [activity for activity in activities if activity is not None]
        return _Completed(new_task, kept, reply.reset_history_event_id)

    def _namespace_ids(self, namespace: str, request: RespondWorkflowTaskCompletedRequest) -> dict[str, str]:
        """Return the ids of the namespaces that commands are about, which their events record."""
        ids: dict[str, str] = {}
        for command in members(request.commands):
            field = NAMING_NAMESPACES.get(command.command_type)
            if field is not None:
                name = getattr(command, field).namespace or namespace
                found = self.store.namespaces.get(name)
                if found is None:
                    raise NamespaceNotFound(name)
                ids[name] = found.id
        return ids

    def _keep_reply(self, completed: _Completed) -> None:
        """Give what a vanished worker was to get in its reply to those that poll."""
        new_task = completed.new_task
        # A normal queue's pollers need the whole history, and this reply has part of it: that task will time out.
        if new_task is not None and new_task.sticky:
            self._polls.keep(new_task)
        for activity in completed.activities:
            self._polls.keep(activity)

    async def _fire(self, key: RunKey) -> None:
        await self.runs.execute(key.namespace, key.workflow_id, key.run_id, FireDue())

    def _deadline_ms(self, key: RunKey) -> int | None:
        return self.runs.core.deadline_ms(self.runs.read(key.namespace, key.workflow_id, key.run_id))

    def _retentions(self) -> list[tuple[str, int]]:
        namespaces = self.store.namespaces.all()
        return [(one.name, duration_ms(one.described.config.workflow_execution_retention_ttl)) for one in namespaces]

    async def _watch_storage(self) -> None:
        """Once the storage has failed, end everything that waits: nothing will come any more."""
        await self.failed.wait()
        self.matching.close()
        self._release_waiting()

    def _release_waiting(self) -> None:
        self.queries.stop()
        self.updates.stop()
        self.waiters.wake_all()

    def _spawn(self, work: Coroutine[Any, Any, None], key: RunKey) -> None:
        """Do something beside; a failure is logged with its run."""

        async def guarded() -> None:
            try:
                await work
            except Exception:
                _log.exception("background_work_failed", run=str(key))

        task = asyncio.get_running_loop().create_task(guarded())
        self._background.add(task)
        task.add_done_callback(self._background.discard)
