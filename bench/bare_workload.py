"""W2 by a bare protocol client: the same calls that the SDK makes of a one-activity workflow, and no SDK behind them.

`python -m bench.bare_workload PORT SECONDS` prints marks as they come and a line of JSON, as bench.workload does.
"""

import argparse
import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType, HistoryEventFilterType, TaskQueueKind
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryRequest,
    GetWorkflowExecutionHistoryResponse,
    PollActivityTaskQueueRequest,
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)

from bench.bare import BareClient
from bench.engines import NAMESPACE
from bench.processes import on_uvloop
from bench.workload import cpu_s, in_flight

QUEUE: Final = "bare"
_IDENTITY: Final = "bench"
_POLLS: Final = 16
"""Of each of the three kinds, at once."""
_CLOSE_EVENT: Final = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT
_STICKY: Final = TaskQueueKind.TASK_QUEUE_KIND_STICKY


async def one(client: BareClient) -> None:
    """Start a workflow and wait for its end."""
    start = StartWorkflowExecutionRequest(
        namespace=NAMESPACE, workflow_id=f"bare-{uuid.uuid4()}", request_id=str(uuid.uuid4()), identity=_IDENTITY
    )
    start.workflow_type.name, start.task_queue.name = "Greet", QUEUE
    run_id = (await client.call("StartWorkflowExecution", start, StartWorkflowExecutionResponse)).run_id
    wait = GetWorkflowExecutionHistoryRequest(
        namespace=NAMESPACE, wait_new_event=True, history_event_filter_type=_CLOSE_EVENT
    )
    wait.execution.workflow_id, wait.execution.run_id = start.workflow_id, run_id
    while True:
        reply = await client.call("GetWorkflowExecutionHistory", wait, GetWorkflowExecutionHistoryResponse)
        if reply.history.events:
            return
        wait.next_page_token = reply.next_page_token


class Worker:
    """Answers tasks as the SDK's worker does: sticky, and with the activity in the reply to its command."""

    def __init__(self, client: BareClient) -> None:
        self._client = client
        self._sticky = f"bare-sticky-{uuid.uuid4()}"

    async def workflow_tasks(self, *, sticky: bool) -> None:
        """Take workflow tasks of one of the two queues until cancelled."""
        poll = PollWorkflowTaskQueueRequest(namespace=NAMESPACE, identity=_IDENTITY)
        poll.task_queue.name = self._sticky if sticky else QUEUE
        if sticky:
            poll.task_queue.kind, poll.task_queue.normal_name = _STICKY, QUEUE
        while True:
            task = await self._client.call("PollWorkflowTaskQueue", poll, PollWorkflowTaskQueueResponse)
            if task.task_token:
                await self._answer(task)

    async def activity_tasks(self) -> None:
        """Take activity tasks until cancelled."""
        poll = PollActivityTaskQueueRequest(namespace=NAMESPACE, identity=_IDENTITY)
        poll.task_queue.name = QUEUE
        while True:
            await self._perform(await self._client.call("PollActivityTaskQueue", poll, PollActivityTaskQueueResponse))

    async def _answer(self, task: PollWorkflowTaskQueueResponse) -> None:
        command = _complete() if task.previous_started_event_id else _schedule()
        done = RespondWorkflowTaskCompletedRequest(
            namespace=NAMESPACE,
            identity=_IDENTITY,
            task_token=task.task_token,
            commands=[command],
            return_new_workflow_task=True,
        )
        sticky = done.sticky_attributes
        sticky.worker_task_queue.name, sticky.worker_task_queue.kind = self._sticky, _STICKY
        sticky.worker_task_queue.normal_name = QUEUE
        sticky.schedule_to_start_timeout.seconds = 10
        reply = await self._client.call("RespondWorkflowTaskCompleted", done, RespondWorkflowTaskCompletedResponse)
        for activity in reply.activity_tasks:
            await self._perform(activity)

    async def _perform(self, activity: PollActivityTaskQueueResponse) -> None:
        if activity.task_token:
            done = RespondActivityTaskCompletedRequest(
                namespace=NAMESPACE, identity=_IDENTITY, task_token=activity.task_token, result=activity.input
            )
            await self._client.call("RespondActivityTaskCompleted", done, RespondActivityTaskCompletedResponse)


def _schedule() -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
    asked = command.schedule_activity_task_command_attributes
    asked.activity_id, asked.activity_type.name, asked.task_queue.name = "1", "greet", QUEUE
    payload = asked.input.payloads.add(data=b'"you"')
    payload.metadata["encoding"] = b"json/plain"
    asked.start_to_close_timeout.seconds = 30
    asked.request_eager_execution = True
    return command


def _complete() -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
    command.complete_workflow_execution_command_attributes.SetInParent()
    return command


async def run(port: int, seconds: float, mark: Callable[[str], None]) -> dict[str, Any]:
    """Run; `mark` is told where it begins and ends."""
    async with BareClient(port) as callers, BareClient(port) as workers:
        worker = Worker(workers)
        polls: list[Awaitable[None]] = []
        for _ in range(_POLLS):
            polls += [worker.workflow_tasks(sticky=False), worker.workflow_tasks(sticky=True), worker.activity_tasks()]
        working = [asyncio.ensure_future(each) for each in polls]
        try:
            for _ in range(5):
                await one(callers)
            mark("w2")
            used_s = cpu_s()
            concurrent: dict[str, float] = await in_flight(lambda: one(callers), seconds)
            concurrent["client_cpu_s"] = cpu_s() - used_s
            mark("w3")
        finally:
            for each in working:
                each.cancel()
            ended = cast(list[BaseException | None], await asyncio.gather(*working, return_exceptions=True))
    for failed in ended:
        if isinstance(failed, Exception):
            raise failed
    return {"w2": concurrent}


def main() -> None:
    """Run as a process: marks go to standard output as they come, the figures as the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()

    def mark(name: str) -> None:
        print(json.dumps({"mark": name}), flush=True)

    print(json.dumps(on_uvloop(run(given.port, given.seconds, mark))), flush=True)


if __name__ == "__main__":
    main()
