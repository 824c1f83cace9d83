"""The limits of one run: how it is brought to have so much of something, and what then happens.

Both our server and Temporal's are driven so, over gRPC.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Request
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)

from engine.api.rpc import Rpc, status

Answer = tuple[str, str]
_AT_ONCE: Final = 50
_READY_S: Final = 30.0


@dataclass(frozen=True)
class Script:
    """One limit. `field` is its name in Limits, `run` the outcome of having that many."""

    name: str
    field: str
    most: int
    run: Callable[[Rpc, int], Awaitable[Answer]]
    code: str
    text: str


class Run:
    """A workflow of its own, with a worker that does as it is told."""

    def __init__(self, rpc: Rpc) -> None:
        self.rpc = rpc
        self.name = str(uuid.uuid4())
        self.execution = WorkflowExecution(workflow_id=self.name)

    async def start(self) -> None:
        """Start it, on a task queue of its own."""
        request = StartWorkflowExecutionRequest(
            namespace="default",
            workflow_id=self.name,
            workflow_type=WorkflowType(name="T"),
            task_queue=TaskQueue(name=self.name),
        )
        await self.rpc.call(request)

    async def poll(self) -> bytes:
        """Take its workflow task; return the token."""
        token = (await self.task()).task_token
        assert isinstance(token, bytes)
        assert token, "no workflow task came"
        return token

    async def task(self) -> Any:
        """Take its workflow task."""
        poll = PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=self.name))
        return await self.rpc.call(poll, timeout=_READY_S)

    async def complete(self, token: bytes, *commands: Command) -> Answer:
        """Complete its workflow task."""
        done = RespondWorkflowTaskCompletedRequest(namespace="default", task_token=token, commands=commands)
        return await status(self.rpc, done)

    async def signal(self, many: int) -> list[Answer]:
        """Signal it that often."""
        answers: list[Answer] = []
        request = SignalWorkflowExecutionRequest(
            namespace="default", workflow_execution=self.execution, signal_name="s"
        )
        for begin in range(0, many, _AT_ONCE):
            some = (status(self.rpc, request) for _ in range(begin, min(begin + _AT_ONCE, many)))
            answers += await asyncio.gather(*some)
        return answers


def _commands(make: Callable[[int], Command]) -> Callable[[Rpc, int], Awaitable[Answer]]:
    async def run(rpc: Rpc, many: int) -> Answer:
        one = Run(rpc)
        await one.start()
        return await one.complete(await one.poll(), *(make(number) for number in range(many)))

    return run


def _activity(number: int) -> Command:
    return Command(
        command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
        schedule_activity_task_command_attributes={
            "activity_id": str(number),
            "activity_type": {"name": "A"},
            "task_queue": {"name": "nobody"},
            "start_to_close_timeout": {"seconds": 60},
        },
    )


def _child(_number: int) -> Command:
    return Command(
        command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION,
        start_child_workflow_execution_command_attributes={
            "workflow_id": str(uuid.uuid4()),
            "workflow_type": {"name": "C"},
            "task_queue": {"name": "nobody"},
        },
    )


def _signal(number: int) -> Command:
    return Command(
        command_type=CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION,
        signal_external_workflow_execution_command_attributes={
            "execution": {"workflow_id": f"absent-{number}"},
            "signal_name": "s",
        },
    )


def _cancel(number: int) -> Command:
    return Command(
        command_type=CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION,
        request_cancel_external_workflow_execution_command_attributes={"workflow_id": f"absent-{number}"},
    )


async def _signals(rpc: Rpc, many: int) -> Answer:
    one = Run(rpc)
    await one.start()
    answers = await one.signal(many)
    return next((answer for answer in answers if answer[0] != "OK"), ("OK", ""))


async def _buffered(rpc: Rpc, many: int) -> Answer:
    """Signals that come while a worker has the workflow task; past the limit the task is taken from it."""
    one = Run(rpc)
    await one.start()
    token = await one.poll()
    assert {answer[0] for answer in await one.signal(many)} == {"OK"}
    return await one.complete(token)


async def _updates(rpc: Rpc, many: int) -> Answer:
    """Updates that a worker takes and does not answer; what is said at once is said of one too many."""
    one = Run(rpc)
    await one.start()
    asking = []
    for number in range(many):
        update = Request(meta=Meta(update_id=str(number)), input=Input(name="n"))
        request = UpdateWorkflowExecutionRequest(namespace="default", workflow_execution=one.execution, request=update)
        asking.append(asyncio.ensure_future(status(rpc, request)))
    # A run takes its calls in order: once this signal is in its history, all of them have been looked at.
    assert {answer[0] for answer in await one.signal(1)} == {"OK"}
    if len((await one.task()).messages) < many:
        await asyncio.wait(asking, timeout=_READY_S, return_when=asyncio.FIRST_COMPLETED)
    said = [each.result() for each in asking if each.done()]
    for each in asking:
        each.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return said[0] if said else ("OK", "")


SCRIPTS: Final = [
    Script(
        "pending activities",
        "pending_activities_max",
        2_000,
        _commands(_activity),
        "INVALID_ARGUMENT",
        "PendingActivitiesLimitExceeded: the number of pending activities",
    ),
    Script(
        "pending children",
        "pending_children_max",
        2_000,
        _commands(_child),
        "INVALID_ARGUMENT",
        "PendingChildWorkflowsLimitExceeded: the number of pending child workflow executions",
    ),
    Script(
        "signals under way to others",
        "pending_signals_sent_max",
        2_000,
        _commands(_signal),
        "INVALID_ARGUMENT",
        "PendingSignalsLimitExceeded: the number of pending signals to external workflows",
    ),
    Script(
        "cancellations under way to others",
        "pending_cancels_sent_max",
        2_000,
        _commands(_cancel),
        "INVALID_ARGUMENT",
        "PendingRequestCancelLimitExceeded: the number of pending requests to cancel external workflows",
    ),
    Script(
        "signals",
        "signals_max",
        10_000,
        _signals,
        "INVALID_ARGUMENT",
        "exceeded workflow execution limit for signal events",
    ),
    Script("buffered events", "buffered_events_max", 100, _buffered, "NOT_FOUND", "Workflow task not found."),
    Script(
        "updates in flight",
        "updates_in_flight_max",
        10,
        _updates,
        "RESOURCE_EXHAUSTED",
        "limit on number of concurrent in-flight updates has been reached",
    ),
]
