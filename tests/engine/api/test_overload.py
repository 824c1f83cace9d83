"""An engine that is behind: new work waits and is turned away, what workers send is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.any_pb2 import Any as Packed
from grpc import aio
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.enums.v1 import ResourceExhaustedCause, ResourceExhaustedScope
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)

from engine.api.rpc import Rpc
from engine.shell.conftest import GatedStore, World
from stormsail.engine.api import admission
from stormsail.engine.api.front.line import Line, LineBounds
from stormsail.engine.api.interceptors import bind
from stormsail.engine.api.methods import METHODS
from stormsail.engine.api.namespaces import register_missing
from stormsail.engine.api.transport import Bounds, Transport

PATIENCE_S = 30.0
SERVED = {method.name for method in METHODS.values() if method.handler is not None}
TURNS_MAX, WAITING_MAX = 5, 3


class Recorded(GatedStore):
    """A gated store that remembers who came to be written, in order."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.came: list[str] = []

    async def commit(self, turns: Any) -> None:
        """See Store."""
        self.came += [turn.state.key.workflow_id for turn in turns]
        await super().commit(turns)


@asynccontextmanager
async def behind(directory: Path) -> AsyncIterator[tuple[Rpc, Recorded, Line, World]]:
    world = World(directory, store_of=Recorded)
    engine = await world.open()
    await register_missing(world.store, ("default",), world.limits)
    line = Line(
        admission._refused,
        turns=lambda: engine.admission.turns,
        bounds=LineBounds(turns_max=TURNS_MAX, waiting_max=WAITING_MAX, waiting_min=WAITING_MAX),
    )
    transport = Transport(bind(engine), [], bounds=Bounds(4 << 20), line=line, new_work=admission.NEW_WORK_PATHS)
    port = await transport.start("127.0.0.1", 0)
    try:
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Rpc(channel), world.store, line, world
    finally:
        world.store.open.set()
        await transport.stop(0)
        await world.close()


def start(workflow_id: str) -> StartWorkflowExecutionRequest:
    return StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name="T"),
        task_queue=TaskQueue(name="q"),
        request_id=workflow_id,
    )


async def until(condition: Any) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while not condition():
        assert loop.time() < deadline, "waited in vain"
        await asyncio.sleep(0.001)


async def test_past_its_bound_new_work_is_refused_untouched_and_a_completion_goes_before_what_waits(
    tmp_path: Path,
) -> None:
    async with behind(tmp_path) as (rpc, store, line, world):
        await rpc.call(start("held"))
        poll = PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"))
        task = await rpc.call(poll)
        store.open.clear()
        store.came.clear()

        calls = []
        for number in range(TURNS_MAX):
            calls.append(asyncio.ensure_future(rpc.call(start(f"begun-{number}"))))
            await until(lambda: len(store.came) == len(calls))
        for number in range(WAITING_MAX):
            calls.append(asyncio.ensure_future(rpc.call(start(f"waits-{number}"))))
            await until(lambda: line.waiting == len(calls) - TURNS_MAX)
        drawn = world.ids.drawn

        refusal = await rpc.refused(start("refused"))
        assert refusal.code == "RESOURCE_EXHAUSTED"
        assert "overloaded" in refusal.text
        [packed] = refusal.details
        failure = ResourceExhaustedFailure()
        assert isinstance(packed, Packed)
        assert packed.Unpack(failure)
        assert failure.cause == ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_SYSTEM_OVERLOADED
        assert failure.scope == ResourceExhaustedScope.RESOURCE_EXHAUSTED_SCOPE_SYSTEM
        assert (world.ids.drawn, len(store.came), line.refused) == (drawn, TURNS_MAX, 1)

        polling = asyncio.ensure_future(rpc.call(poll))
        await until(lambda: world.engine.admission.waiting == 1)
        calls.append(
            asyncio.ensure_future(
                rpc.call(RespondWorkflowTaskCompletedRequest(namespace="default", task_token=task.task_token))
            )
        )
        await until(lambda: len(store.came) == TURNS_MAX + 1)
        assert line.waiting == WAITING_MAX

        store.open.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*calls)
            assert (await polling).task_token
        assert store.came[: TURNS_MAX + 1] == [*(f"begun-{number}" for number in range(TURNS_MAX)), "held"]
        assert store.came[TURNS_MAX + 1 : TURNS_MAX + 1 + WAITING_MAX] == [f"waits-{n}" for n in range(WAITING_MAX)]


async def test_a_caller_that_goes_away_while_it_waits_leaves_no_trace(tmp_path: Path) -> None:
    async with behind(tmp_path) as (rpc, store, line, _):
        store.open.clear()
        calls = [asyncio.ensure_future(rpc.call(start(f"begun-{number}"))) for number in range(TURNS_MAX)]
        await until(lambda: len(store.came) == TURNS_MAX)
        waits = asyncio.ensure_future(rpc.call(start("waits")))
        await until(lambda: line.waiting == 1)
        waits.cancel()
        await until(lambda: line.waiting == 0)
        store.open.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*calls)
        assert "waits" not in store.came


def test_what_workers_send_and_what_ends_an_overload_never_stands_in_the_line() -> None:
    assert SERVED >= admission.NEW_WORK
    first = ("Poll", "Respond", "Record", "Terminate", "RequestCancel", "Pause", "Delete", "Describe", "GetWorkflow")
    assert not [name for name in admission.NEW_WORK if name.startswith(first)]
    assert {
        "StartWorkflowExecution",
        "SignalWithStartWorkflowExecution",
        "SignalWorkflowExecution",
    } <= admission.NEW_WORK
