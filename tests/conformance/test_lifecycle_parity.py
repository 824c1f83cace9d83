"""What people do to whole runs goes the same way on our engine and on Temporal's dev server: pause, options, reset."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from grpc import aio
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Priority, WorkerVersionStamp
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.filter.v1 import WorkflowExecutionFilter
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.update.v1 import Input, Meta, Request
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListClosedWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsRequest,
    PauseWorkflowExecutionRequest,
    PollWorkflowTaskQueueRequest,
    QueryWorkflowRequest,
    ResetWorkflowExecutionRequest,
    RespondWorkflowTaskCompletedRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionRequest,
)

from conformance.reference import alike
from conformance.servers import both_servers
from engine.api.limit_scripts import Run
from engine.api.rpc import Rpc, status

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
_READY_S = 30.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Rpc, Rpc]]:
    """Clients of both servers, Temporal's first."""
    directory = tmp_path_factory.mktemp("lifecycle")
    async with (
        both_servers(directory, "frontend.WorkflowPauseEnabled=true") as (ours, theirs),
        aio.insecure_channel(theirs.address) as one,
        aio.insecure_channel(ours.address) as other,
    ):
        yield Rpc(one), Rpc(other)


class Told:
    """A run, and what was told of it: events by id, and statuses. Ids of runs are left out."""

    def __init__(self, rpc: Rpc) -> None:
        self.run = Run(rpc)
        self.rpc = rpc
        self.lines: list[Any] = []
        self.named: dict[str, Any] = {"namespace": "default", "workflow_id": self.run.name}
        self.execution: dict[str, Any] = {"namespace": "default", "execution": self.run.execution}

    async def ask(self, request: Message) -> None:
        """Ask something, and keep its status and its words."""
        self.lines.append(await status(self.rpc, request))

    async def events(self, run_id: str = "") -> list[Any]:
        """Read the history, and keep what is in it."""
        request = GetWorkflowExecutionHistoryRequest(**self.execution)
        request.execution.run_id = run_id
        found = list((await self.rpc.call(request)).history.events)
        self.lines.append([f"{event.event_id} {EventType.Name(event.event_type)}" for event in found])
        return found

    async def until(self, events: int, run_id: str = "") -> None:
        """Wait until the history has so many events, and keep what is in it."""
        async with asyncio.timeout(_READY_S):
            while len(await self.events(run_id)) < events:
                self.lines.pop()
                await asyncio.sleep(0.05)

    async def described(self) -> Any:
        """Describe the run."""
        return await self.rpc.call(DescribeWorkflowExecutionRequest(**self.execution))

    async def reset(self, point: int) -> str:
        """Reset it to an event; return the new run's id."""
        request = ResetWorkflowExecutionRequest(
            namespace="default",
            workflow_execution=self.run.execution,
            reason="why",
            request_id=str(uuid.uuid4()),
            workflow_task_finish_event_id=point,
        )
        return str((await self.rpc.call(request)).run_id)

    async def pause(self, request_id: str = "r") -> None:
        """Pause it."""
        request = PauseWorkflowExecutionRequest(**self.named, identity="ann", reason="why", request_id=request_id)
        await self.ask(request)

    async def unpause(self) -> None:
        """Let it go on."""
        await self.ask(UnpauseWorkflowExecutionRequest(**self.named))


def timer() -> Command:
    """A timer that is over soon."""
    attributes = {"timer_id": "t", "start_to_fire_timeout": {"nanos": 100_000_000}}
    kind = CommandType.COMMAND_TYPE_START_TIMER
    return Command(command_type=kind, start_timer_command_attributes=attributes)


def child(workflow_id: str) -> Command:
    """A child on a task queue of its own."""
    attributes = {"workflow_id": workflow_id, "workflow_type": {"name": "C"}, "task_queue": {"name": workflow_id}}
    kind = CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION
    return Command(command_type=kind, start_child_workflow_execution_command_attributes=attributes)


def done() -> Command:
    """The end."""
    kind = CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION
    return Command(command_type=kind, complete_workflow_execution_command_attributes={})


async def paused_before_its_task_is_taken(told: Told) -> None:
    await told.run.start()
    for request_id in ("r", "r", "other"):
        await told.pause(request_id)
    await told.run.signal(1)
    update = Request(meta=Meta(update_id="u"), input=Input(name="n"))
    await told.ask(
        UpdateWorkflowExecutionRequest(namespace="default", workflow_execution=told.run.execution, request=update)
    )
    query = QueryWorkflowRequest(**told.execution, query=WorkflowQuery(query_type="q"))
    told.lines.append((await told.rpc.call(query)).query_rejected.status)
    info = (await told.described()).workflow_execution_info
    shown = info.search_attributes.indexed_fields["TemporalPauseInfo"].data.decode()
    told.lines += [info.status, shown.replace(told.run.name, "w")]
    for lists in (ListOpenWorkflowExecutionsRequest, ListClosedWorkflowExecutionsRequest):
        listed = lists(namespace="default", execution_filter=WorkflowExecutionFilter(workflow_id=told.run.name))
        told.lines.append(len((await told.rpc.call(listed)).executions))
    await told.unpause()
    await told.unpause()
    await told.events()


async def paused_while_its_task_is_held(told: Told) -> None:
    await told.run.start()
    token = await told.run.poll()
    await told.pause()
    await told.run.signal(1)
    told.lines.append(await told.run.complete(token, timer()))
    await told.until(8)
    await told.unpause()
    token = await told.run.poll()
    await told.pause()
    told.lines.append(await told.run.complete(token, done()))
    await told.events()


async def options_changed(told: Told) -> None:
    await told.run.start()
    priority = WorkflowExecutionOptions(priority=Priority(priority_key=3, fairness_key="a"))
    override = WorkflowExecutionOptions(versioning_override=VersioningOverride(auto_upgrade=True))
    for options, path in (
        (priority, "priority.priority_key"),
        (priority, "priority.priority_key"),
        (priority, "priority"),
        (override, "versioning_override"),
        (WorkflowExecutionOptions(), "versioning_override"),
        (WorkflowExecutionOptions(), "nope"),
    ):
        await told.ask(
            UpdateWorkflowExecutionOptionsRequest(
                namespace="default",
                workflow_execution=told.run.execution,
                workflow_execution_options=options,
                update_mask=FieldMask(paths=[path]),
            )
        )
    told.lines += [str(event.workflow_execution_options_updated_event_attributes) for event in await told.events()]


async def reset_with_a_child_that_runs(told: Told) -> None:
    name = told.run.name + " child"
    await told.run.start()
    told.lines.append(await told.run.complete(await told.run.poll(), child(name)))
    await told.until(7)
    token = await told.run.poll()
    stamp = WorkerVersionStamp(build_id="b")
    await told.ask(
        RespondWorkflowTaskCompletedRequest(namespace="default", task_token=token, worker_version_stamp=stamp)
    )
    run_id = await told.reset(9)
    await told.events(run_id)
    poll = PollWorkflowTaskQueueRequest(namespace="default", task_queue={"name": name})
    end = (await told.rpc.call(poll)).task_token
    told.lines.append(await told.run.complete(end, done()))
    await told.until(11, run_id)
    info = (await told.described()).workflow_execution_info
    points = info.auto_reset_points.points
    told.lines.append([(one.build_id, one.first_workflow_task_completed_id, one.resettable) for one in points])


async def reset_to_before_a_child_was_there(told: Told) -> None:
    await told.run.start()
    done = RespondWorkflowTaskCompletedRequest(
        namespace="default",
        task_token=await told.run.poll(),
        commands=[child(told.run.name + " child")],
        force_create_new_workflow_task=True,
    )
    await told.ask(done)
    await told.until(7)
    run_id = await told.reset(7)
    await told.until(10, run_id)


Scenario = Callable[[Told], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {
    each.__name__: each
    for each in (
        paused_before_its_task_is_taken,
        paused_while_its_task_is_held,
        options_changed,
        reset_with_a_child_that_runs,
        reset_to_before_a_child_was_there,
    )
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_servers_do_the_same(pair: tuple[Rpc, Rpc], name: str) -> None:
    async def lines(rpc: Rpc) -> list[Any]:
        told = Told(rpc)
        await SCENARIOS[name](told)
        return [_plain(line) for line in told.lines]

    temporals, ours = pair
    await alike(lambda: lines(temporals), lines(ours))


def _plain(line: Any) -> Any:
    """Protobuf's texts have spaces that change by process."""
    return tuple(" ".join(part.split()) for part in line) if isinstance(line, tuple) else line
