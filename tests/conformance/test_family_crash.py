"""kill -9 of the server while workflows start and signal each other: each child and each signal once."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from conformance import family as f
from conformance.servers import EngineProcess
from conformance.test_crash import insist

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(480)]

CHILDREN = 12
KILLS = 6


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineProcess]:
    engine = EngineProcess(tmp_path / "data")
    await engine.start()
    yield engine
    assert await engine.stop() == 0
    assert "internal error" not in engine.log()
    assert "quarantined" not in engine.log()


async def names(client: Client, workflow_id: str) -> Counter[str]:
    history = await insist(client.get_workflow_handle(workflow_id).fetch_history)
    return Counter(EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events)


async def progress(client: Client, workflow_id: str) -> int:
    return sum((await names(client, workflow_id)).values())


async def test_children_and_signals_happen_once_while_the_server_is_killed(engine: EngineProcess) -> None:
    client = await engine.connect()
    workflow_id = f"crowd {uuid.uuid4()}"
    worker = Worker(
        client,
        task_queue="q",
        workflows=f.WORKFLOWS,
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=50,
    )
    async with worker:
        handle = await client.start_workflow(f.Crowd.run, CHILDREN, id=workflow_id, task_queue="q")
        for kill in range(KILLS):
            before = await progress(client, workflow_id)
            async with asyncio.timeout(60):
                while (now := await progress(client, workflow_id)) <= before and kill:
                    if (await insist(handle.describe)).close_time is not None:
                        break
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.03 * kill)  # another moment of the same work each time
            await engine.kill()
            await engine.start()
            assert now >= before
        result = await asyncio.wait_for(insist(handle.result), 120)
    assert result == [f"waits:{number}" for number in range(CHILDREN)]
    parent = await names(client, workflow_id)
    for name in (
        "START_CHILD_WORKFLOW_EXECUTION_INITIATED",
        "CHILD_WORKFLOW_EXECUTION_STARTED",
        "CHILD_WORKFLOW_EXECUTION_COMPLETED",
        "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_INITIATED",
        "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED",
    ):
        assert parent[name] == CHILDREN, (name, parent)
    for number in range(CHILDREN):
        assert (await names(client, f"{workflow_id} {number}"))["WORKFLOW_EXECUTION_SIGNALED"] == 1
    runs = [run async for run in client.list_workflows("WorkflowType = 'Kin'")]
    assert len(runs) == CHILDREN
