"""kill -9 of the server: what was acknowledged is there, tasks come again, timers fire once."""

import asyncio
import resource
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from conformance import workflows as w
from conformance.servers import START_S, EngineProcess
from conformance.workers import worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

Handle = WorkflowHandle[Any, Any]
TRANSIENT = {RPCStatusCode.UNAVAILABLE, RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.UNKNOWN}


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineProcess]:
    engine = EngineProcess(tmp_path / "data")
    await engine.start()
    yield engine
    assert await engine.stop() == 0
    assert "internal error" not in engine.log()


async def insist(call: Any, *arguments: Any, **options: Any) -> Any:
    """Make a call until the server is there to answer it. The SDK keeps the request id over its own retries only."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await call(*arguments, **options)
            except RPCError as error:
                if error.status not in TRANSIENT:
                    raise
                await asyncio.sleep(0.05)


async def test_what_was_acknowledged_survives(engine: EngineProcess) -> None:
    client = await engine.connect()
    handle = await client.start_workflow(w.Waiter.run, "", id="w", task_queue="q", memo={"m": 1})
    for number in range(10):
        await handle.signal(w.Waiter.say, str(number))
    before = await handle.fetch_history()
    await engine.kill()
    await engine.start()
    after = await insist(handle.fetch_history)
    assert after.events == before.events
    assert await (await handle.describe()).memo() == {"m": 1}
    async with worker(client):
        await handle.signal(w.Waiter.end)
        assert await asyncio.wait_for(handle.result(), 60) == [str(number) for number in range(10)]


async def test_a_timer_that_ran_out_while_the_server_was_down_fires_once(engine: EngineProcess) -> None:
    client = await engine.connect()
    async with worker(client):
        handle = await client.start_workflow(w.Sleeper.run, 1_500, id="w", task_queue="q")
        while not await has(handle, EventType.EVENT_TYPE_TIMER_STARTED):  # noqa: ASYNC110 - the server knows
            await asyncio.sleep(0.05)
        await engine.kill()
        await asyncio.sleep(1.6)
        await engine.start()
        assert await asyncio.wait_for(handle.result(), 60) == "Hello, before! Hello, after!"
    fired = [e for e in (await handle.fetch_history()).events if e.event_type == EventType.EVENT_TYPE_TIMER_FIRED]
    assert len(fired) == 1


async def has(handle: Handle, event_type: EventType.ValueType) -> bool:
    return any(event.event_type == event_type for event in (await handle.fetch_history()).events)


async def test_a_task_taken_by_a_worker_before_the_crash_comes_again(engine: EngineProcess) -> None:
    """The token that the worker holds is good in the next life too."""
    client = await engine.connect()
    name = f"across {uuid.uuid4()}"
    async with worker(client):
        handle = await client.start_workflow(w.Elsewhere.run, name, id="w", task_queue="q")
        while name not in w.HANDED.tokens:  # noqa: ASYNC110 - filled by the worker
            await asyncio.sleep(0.02)
        await engine.kill()
        await engine.start()
        elsewhere = client.get_async_activity_handle(task_token=w.HANDED.tokens[name])
        await insist(elsewhere.complete, "across the crash")
        assert await asyncio.wait_for(handle.result(), 60) == "across the crash"


async def test_a_second_server_on_the_data_directory_is_refused(engine: EngineProcess) -> None:
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stormsail.engine.api.server", "--data-dir", str(engine.data_dir), "--port", "0"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await asyncio.wait_for(second.communicate(), START_S)
    assert second.returncode == 1
    assert f"The data directory {engine.data_dir} is in use by process".encode() in told
    assert b"Traceback" not in told


async def test_a_second_server_on_the_port_is_refused(engine: EngineProcess, tmp_path: Path) -> None:
    second = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "stormsail.engine.api.server",
            "--data-dir",
            str(tmp_path / "other"),
            "--port",
            str(engine.port),
        ),
        stderr=asyncio.subprocess.PIPE,
    )
    _, told = await asyncio.wait_for(second.communicate(), START_S)
    assert second.returncode == 1
    assert told.decode().strip().endswith(f"cannot listen on {engine.address}: another process listens there")


async def test_a_disk_that_fails_stops_the_server_with_the_reason(tmp_path: Path) -> None:
    """The file may not grow any more: the write fails in a way that is not a full disk."""
    engine = EngineProcess(tmp_path / "data")
    await engine.start()
    client = await engine.connect()
    await client.start_workflow(w.Waiter.run, "", id="kept", task_queue="q")
    size = max(path.stat().st_size for path in engine.data_dir.iterdir())
    resource.prlimit(engine.pid, resource.RLIMIT_FSIZE, (size, size))
    with pytest.raises(RPCError):
        await client.start_workflow(
            w.Waiter.run, "x" * 1_000_000, id="lost", task_queue="q", rpc_timeout=timedelta(seconds=5)
        )
    assert await engine.ended() == 1
    assert "Traceback" not in engine.log().splitlines()[-1]
    await engine.start()
    kept = [run.id async for run in client.list_workflows()]
    assert kept == ["kept"]
    assert await engine.stop() == 0
