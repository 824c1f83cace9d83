"""Updates through the official SDK, while the server is killed: each is done once, and what was answered stays so."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from conformance.servers import EngineProcess

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]

CALLERS = 4
EACH = 12
KILLS = 3


@workflow.defn
class Tally:
    """Adds up what it is told; takes nothing negative."""

    def __init__(self) -> None:
        self.total = 0
        self.over = False

    @workflow.run
    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.over)
        return self.total

    @workflow.update
    async def add(self, number: int) -> int:
        self.total += number
        total = self.total
        await asyncio.sleep(0.01)
        return total

    @add.validator
    def check(self, number: int) -> None:
        if number < 0:
            raise ValueError("negative")

    @workflow.signal
    def end(self) -> None:
        self.over = True


Handle = WorkflowHandle[Any, Any]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineProcess]:
    engine = EngineProcess(tmp_path / "data")
    await engine.start()
    yield engine
    assert await engine.stop() == 0
    assert "internal error" not in engine.log()


def worker(client: Client) -> Worker:
    """Without a watch on its workflows: a machine that is busy for two seconds would have their tasks fail."""
    runner = UnsandboxedWorkflowRunner()
    return Worker(client, task_queue="q", workflows=[Tally], workflow_runner=runner, debug_mode=True)


async def insist(handle: Handle, number: int, update_id: str) -> int:
    """Ask until there is an answer, always for the same update."""
    lost = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.UNKNOWN}
    async with asyncio.timeout(150):
        while True:
            try:
                answer: int = await handle.execute_update(
                    Tally.add, number, id=update_id, rpc_timeout=timedelta(seconds=5)
                )
                return answer
            except WorkflowUpdateRPCTimeoutOrCancelledError:
                pass
            except RPCError as error:
                if error.status not in lost:
                    raise
            await asyncio.sleep(0.05)


async def test_updates_are_done_once_whenever_the_server_dies(engine: EngineProcess) -> None:
    client = await engine.connect()
    handle: Handle = await client.start_workflow(Tally.run, id="w", task_queue="q")
    answers: dict[str, int] = {}
    killed = asyncio.Event()

    async def call(caller: int) -> None:
        for turn in range(EACH):
            update_id = f"{caller}-{turn}"
            answers[update_id] = await insist(handle, caller * EACH + turn, update_id)
            with pytest.raises(WorkflowUpdateFailedError):
                await insist(handle, -1, f"{update_id}-bad")
        await killed.wait()

    async def kill() -> None:
        for life in range(1, KILLS + 1):
            async with asyncio.timeout(150):
                while len(answers) < life * CALLERS * EACH // (KILLS + 1):  # noqa: ASYNC110 - callers fill it
                    await asyncio.sleep(0.01)
            await engine.kill()
            await engine.start()
        killed.set()

    async with worker(client):
        await asyncio.gather(kill(), *(call(caller) for caller in range(CALLERS)))
        for update_id, answer in answers.items():
            assert await insist(handle, 0, update_id) == answer  # the same update, whatever it is given now
        await handle.signal(Tally.end)
        assert await asyncio.wait_for(handle.result(), 120) == sum(range(CALLERS * EACH))
    history = await handle.fetch_history()
    accepted = [
        event.workflow_execution_update_accepted_event_attributes.protocol_instance_id
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED
    ]
    assert sorted(accepted) == sorted(answers)
    await Replayer(workflows=[Tally], workflow_runner=UnsandboxedWorkflowRunner()).replay_workflow(history)


async def test_an_update_with_start_starts_once(engine: EngineProcess) -> None:
    client = await engine.connect()
    async with worker(client):
        totals = []
        for number in (1, 2):
            start = WithStartWorkflowOperation(
                Tally.run, id="w", task_queue="q", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
            )
            totals.append(
                await client.execute_update_with_start_workflow(Tally.add, number, start_workflow_operation=start)
            )
        assert totals == [1, 3]
        handle = client.get_workflow_handle("w")
        before = len((await handle.fetch_history()).events)
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(Tally.add, -1)
        assert len((await handle.fetch_history()).events) == before
        await handle.signal(Tally.end)
        assert await handle.result() == 3
