"""Polls: wait for a task, start it, hand it out.

A poll whose client goes away gives its task back. Once the start is on its way to disk it cannot be taken back, so the
response that nobody waits for goes to the next poller of the same queue, as long as it still counts.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

from temporalio.api.common.v1 import WorkerVersionStamp
from temporalio.api.enums.v1 import TaskQueueKind, WorkerVersioningMode
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest, PollWorkflowTaskQueueRequest

from stormsail.engine.core.errors import NotFound, Refused
from stormsail.engine.core.ids import Ids
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import (
    ActivityToken,
    StartActivity,
    StartedActivity,
    StartedWorkflowTask,
    StartWorkflowTask,
    WorkflowTaskToken,
)
from stormsail.engine.core.values import quick
from stormsail.engine.core.work import TaskKind
from stormsail.engine.shell.backlog import QueueName, WaitingTask
from stormsail.engine.shell.clock import Clock
from stormsail.engine.shell.deliver import Deliver, Extras
from stormsail.engine.shell.dispatch_limit import SYSTEM_RATE
from stormsail.engine.shell.driven import Undertakings
from stormsail.engine.shell.histories import patience_ms
from stormsail.engine.shell.matching import Matching
from stormsail.engine.shell.overload import Admission
from stormsail.engine.shell.queries import Queries
from stormsail.engine.shell.runs import Runs
from stormsail.engine.shell.task_queue import Found, QueryTask, TaskQueue, Undelivered
from stormsail.engine.shell.workers import Workers

_VERSIONED: Final = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
_STICKY: Final = TaskQueueKind.TASK_QUEUE_KIND_STICKY


_HandOut = Callable[[Found, int], Coroutine[Any, Any, "Delivery | None"]]


@quick
@dataclass(frozen=True, slots=True)
class Delivery:
    """A response on its way to a worker, and what to do with it if that worker is not there."""

    queue: QueueName
    response: bytes
    current: Callable[[], bool]
    sticky: bool = False


class Polls:
    """Answers the two polls."""

    def __init__(
        self,
        runs: Runs,
        matching: Matching,
        *,
        deliver: Deliver,
        queries: Queries,
        workers: Workers,
        admission: Admission,
        clock: Clock,
        ids: Ids,
        limits: Limits,
    ) -> None:
        self._runs = runs
        self._matching = matching
        self._deliver = deliver
        self._queries = queries
        self._workers = workers
        self._admission = admission
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._starts = Undertakings()

    async def workflow(self, request: PollWorkflowTaskQueueRequest, deadline_s: float | None) -> bytes:
        """Wait for a workflow task or a query; b"" when none came."""
        queue = QueueName(request.namespace, TaskKind.WORKFLOW, request.task_queue.name)
        identity, version = request.identity, _stamp(request)

        async def hand_out(found: Found, waited_ms: int) -> Delivery | None:
            match found:
                case WaitingTask():
                    return await self._start_workflow_task(found, identity, version, waited_ms)
                case QueryTask():
                    return self._hand_out_query(found)
                case Undelivered():
                    return Delivery(found.queue, found.response, found.current)

        polled = self._seen(queue, request, SYSTEM_RATE)
        if polled is None:
            return b""
        sticky = request.task_queue.kind == _STICKY
        return await self._poll(queue, polled, request.worker_instance_key, deadline_s, hand_out, sticky=sticky)

    async def activity(self, request: PollActivityTaskQueueRequest, deadline_s: float | None) -> bytes:
        """Wait for an activity task; b"" when none came."""
        queue = QueueName(request.namespace, TaskKind.ACTIVITY, request.task_queue.name)
        identity, build_id = request.identity, request.deployment_options.build_id

        async def hand_out(found: Found, waited_ms: int) -> Delivery | None:
            match found:
                case WaitingTask():
                    return await self._start_activity(found, identity, build_id, waited_ms)
                case Undelivered():
                    return Delivery(found.queue, found.response, found.current)
                case QueryTask():
                    raise AssertionError("a query in an activity task queue")

        # The last poll decides: one that asks for no limit ends the limit of the one before, as on Temporal's server.
        metadata = request.task_queue_metadata
        rate = metadata.max_tasks_per_second.value if metadata.HasField("max_tasks_per_second") else None
        self._matching.limit(queue, rate)
        shown_rate = SYSTEM_RATE if rate is None else rate
        polled = self._seen(queue, request, shown_rate)
        if polled is None:
            return b""
        return await self._poll(queue, polled, request.worker_instance_key, deadline_s, hand_out)

    def workflow_delivery(
        self, started: StartedWorkflowTask, queue: QueueName, extras: Extras, *, partial: bool
    ) -> Delivery:
        """Build the delivery of a started workflow task; `partial` when its worker has the run in its cache."""
        response = self._deliver.workflow_task(started, partial=partial, extras=extras)
        sticky = queue.name != started.task_queue
        return Delivery(queue, response, lambda: self._workflow_task_current(started.token), sticky)

    def activity_delivery(self, started: StartedActivity, scaling: int = 0) -> Delivery | None:
        """Build the delivery of a started activity. None when it is over already."""
        key = started.token.key
        state = self._runs.read(key.namespace, key.workflow_id, key.run_id)
        response = self._deliver.activity_task(started, state, scaling)
        if response is None:
            return None
        queue_name = state.activities[started.scheduled_event_id].scheduled.task_queue.name
        queue = QueueName(key.namespace, TaskKind.ACTIVITY, queue_name)
        return Delivery(queue, response, lambda: self._activity_current(started.token))

    def keep(self, delivery: Delivery) -> None:
        """Keep a response whose worker has gone for the next poller."""
        self._matching.put_back(Undelivered(delivery.response, delivery.queue, delivery.current))

    async def stop(self) -> None:
        """Wait for the starts that are under way."""
        await self._starts.over()

    async def _poll(
        self,
        queue: QueueName,
        polled: TaskQueue,
        worker_instance_key: str,
        deadline_s: float | None,
        hand_out: _HandOut,
        *,
        sticky: bool = False,
    ) -> bytes:
        now_ms = began_ms = polled.last_use_ms
        until_ms = began_ms + patience_ms(self._limits.long_poll_ms, deadline_s)
        if until_ms <= began_ms:
            return b""
        self._admission.enter_wait()
        try:
            while True:
                left_ms = until_ms - now_ms
                found = await self._matching.take(
                    queue, left_ms, worker_instance_key=worker_instance_key, sticky=sticky
                )
                if found is None:
                    if self._runs.failed.is_set():
                        self._runs.check_serving()
                    return b""
                delivery = await self._handed_out(found, hand_out, polled.last_use_ms - began_ms)
                if delivery is not None:
                    return delivery.response
                now_ms = self._clock.now_ms()
        finally:
            self._admission.leave_wait()

    async def _handed_out(self, found: Found, hand_out: _HandOut, waited_ms: int) -> Delivery | None:
        """Start what was found. Its caller may be cancelled, the start may not."""

        def keep(delivery: Delivery | None) -> None:
            if isinstance(found, QueryTask):
                self._matching.put_back(found)
            elif delivery is not None:
                self.keep(delivery)

        try:
            return await self._starts.carried_out(hand_out(found, waited_ms), unheard=keep)
        except asyncio.CancelledError:
            if isinstance(found, WaitingTask) and found.task.sticky:
                self._matching.broken_off(found.queue)
            raise

    async def _start_workflow_task(
        self, found: WaitingTask, identity: str, version: WorkerVersionStamp | None, waited_ms: int
    ) -> Delivery | None:
        key, task = found.key, found.task
        request = StartWorkflowTask(
            task.scheduled_event_id, task.attempt, identity, self._ids.uuid(), version, hold=True
        )
        started = await self._started(found, request)
        if not isinstance(started, StartedWorkflowTask):
            return None
        backlog = self._matching.count(found.queue)
        extras = Extras(self._queries.waiting(key), backlog, self._scaling(found, waited_ms))
        try:
            return self.workflow_delivery(started, found.queue, extras, partial=started.sticky)
        except NotFound:
            return None  # closed and deleted since

    async def _start_activity(
        self, found: WaitingTask, identity: str, build_id: str, waited_ms: int
    ) -> Delivery | None:
        task = found.task
        request = StartActivity(task.scheduled_event_id, task.attempt, identity, self._ids.uuid(), build_id)
        started = await self._started(found, request)
        if not isinstance(started, StartedActivity):
            return None
        try:
            return self.activity_delivery(started, self._scaling(found, waited_ms))
        except NotFound:
            return None  # closed and deleted since

    async def _started(
        self, found: WaitingTask, request: StartWorkflowTask | StartActivity
    ) -> StartedWorkflowTask | StartedActivity | None:
        """Start a task. None when there is nothing to start any more; put back when it cannot be started now."""
        key = found.key
        try:
            started: StartedWorkflowTask | StartedActivity = await self._runs.execute(
                key.namespace, key.workflow_id, key.run_id, request, carried=True
            )
        except Refused as refused:
            if refused.status in ("RESOURCE_EXHAUSTED", "UNAVAILABLE"):
                self._matching.put_back(found)
                raise
            self._matching.in_vain(found)
            return None
        self._matching.done(found)
        return started

    def _hand_out_query(self, found: QueryTask) -> Delivery | None:
        key = found.key
        if not found.wanted:
            return None
        try:
            state = self._runs.read(key.namespace, key.workflow_id, key.run_id)
            partial = found.queue.name == state.sticky_queue
            response = self._deliver.query_task(state, found.query_id, found.query, partial=partial)
        except Refused as refused:
            self._queries.lost(found.query_id, refused)
            return None
        return Delivery(found.queue, response, lambda: found.wanted)

    def _seen(
        self,
        queue: QueueName,
        request: PollWorkflowTaskQueueRequest | PollActivityTaskQueueRequest,
        rate: float,
    ) -> TaskQueue | None:
        """Note who polls; return the queue where the poll may wait, as used now. A worker that said it is stopping gets
        no more tasks."""
        self._runs.check_serving()
        if self._workers.is_shut_down(request.worker_instance_key):
            return None
        polled = self._matching.seen_polling(queue)
        polled.pollers.saw(
            request.identity,
            polled.last_use_ms,
            rate=rate,
            capabilities=request.worker_version_capabilities
            if request.HasField("worker_version_capabilities")
            else None,
            deployment=request.deployment_options if request.HasField("deployment_options") else None,
        )
        return polled

    def _scaling(self, found: WaitingTask, waited_ms: int) -> int:
        """Suggest a poll more or fewer to workers that scale their polls."""
        limits = self._limits
        if not found.backlog and waited_ms >= limits.scaling_idle_poll_ms:
            return -1
        queue = self._matching.queue(found.queue)
        if queue is None:
            return 0
        now_ms = queue.last_use_ms
        per_second = limits.scaling_decisions_per_s * max(1, len(queue.pollers.pollers))
        if (now_ms - queue.looked_at_ms) * per_second < 1_000 or queue.limited is not None:
            return 0
        queue.looked_at_ms = now_ms
        count, age_ms = self._matching.backlog(found.queue)
        too_old = count and age_ms > limits.scaling_old_backlog_ms
        return 1 if too_old or self._comes_too_fast(queue, now_ms) else 0

    def _comes_too_fast(self, queue: TaskQueue, now_ms: int) -> bool:
        added, dispatched = queue.rates(now_ms)
        return added > dispatched * self._limits.scaling_add_to_dispatch_ratio

    def _workflow_task_current(self, token: WorkflowTaskToken) -> bool:
        key = token.key
        try:
            task = self._runs.read(key.namespace, key.workflow_id, key.run_id).workflow_task
        except Refused:
            return False
        return task is not None and task.nonce == token.nonce and task.started_event_id == token.started_event_id

    def _activity_current(self, token: ActivityToken) -> bool:
        key = token.key
        try:
            activities = self._runs.read(key.namespace, key.workflow_id, key.run_id).activities
        except Refused:
            return False
        activity = activities.get(token.scheduled_event_id)
        return activity is not None and activity.nonce == token.nonce and activity.started_at_ms > 0


def _stamp(request: PollWorkflowTaskQueueRequest) -> WorkerVersionStamp | None:
    """Return what a workflow task's start records of its worker's version: nothing where that names a deployment's."""
    deployment = request.deployment_options
    build_id = request.worker_version_capabilities.build_id
    if not build_id or (deployment.worker_versioning_mode == _VERSIONED and deployment.deployment_name):
        return None
    return WorkerVersionStamp(build_id=build_id)
