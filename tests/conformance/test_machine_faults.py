"""The real server on a machine whose disk fails a sync and whose wall clock jumps, with the real SDK."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from conformance import workflows as w
from conformance.servers import EngineProcess
from conformance.workers import worker

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

HOUR_S = 3_600
TIMEOUT = timedelta(seconds=60)
SOURCE = Path(__file__).with_name("machine_faults.c")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library to put before the server."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, SOURCE, "-ldl"], check=True)
    return library


@pytest.fixture
async def engine(tmp_path: Path, faults: Path) -> AsyncIterator[EngineProcess]:
    engine = EngineProcess(tmp_path / "data")
    engine.environment = {
        "LD_PRELOAD": str(faults),
        "FAULT_SYNC": str(tmp_path / "sync"),
        "FAULT_CLOCK": str(tmp_path / "clock"),
    }
    (tmp_path / "clock").write_text("0")
    await engine.start()
    yield engine
    assert await engine.stop() == 0
    assert "internal error" not in engine.log()


def let_next_sync_fail(engine: EngineProcess) -> None:
    """Let the server's next sync fail, and those after it succeed."""
    Path(engine.environment["FAULT_SYNC"]).touch()


def sync_failed(engine: EngineProcess) -> bool:
    """Whether it has."""
    return not Path(engine.environment["FAULT_SYNC"]).exists()


def set_clock(engine: EngineProcess, seconds: int) -> None:
    """Let the server's wall clock jump, at once and as a whole."""
    told = engine.data_dir.with_name("clock.new")
    told.write_text(str(seconds))
    told.replace(engine.environment["FAULT_CLOCK"])


async def test_after_one_failed_sync_the_server_stops_and_what_it_acknowledged_is_there(engine: EngineProcess) -> None:
    client = await engine.connect()
    for number in range(3):
        await client.start_workflow(w.Waiter.run, "", id=f"kept-{number}", task_queue="q")
    let_next_sync_fail(engine)
    call = asyncio.ensure_future(
        client.start_workflow(w.Waiter.run, "", id="never acknowledged", task_queue="q", rpc_timeout=TIMEOUT)
    )
    assert await engine.ended() == 1, "the next sync would have succeeded, and shown nothing of what this one lost"
    assert sync_failed(engine)
    assert not call.done() or call.exception() is not None
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert "storage_failed" in engine.log()
    await engine.start()
    found = {run.id async for run in client.list_workflows()}
    assert found >= {"kept-0", "kept-1", "kept-2"}
    await client.start_workflow(w.Waiter.run, "", id="after", task_queue="q")


async def test_a_wall_clock_that_jumps_fires_what_is_due_and_holds_up_nothing(engine: EngineProcess) -> None:
    client = await engine.connect()
    async with worker(client):
        long = await client.start_workflow(w.Sleeper.run, HOUR_S * 1_000, id="long", task_queue="q")
        await _timer_is_set(client, "long")
        set_clock(engine, 2 * HOUR_S)
        assert await asyncio.wait_for(long.result(), 60) is not None, "its time had come"
        set_clock(engine, -2 * HOUR_S)
        back = await client.start_workflow(w.Sleeper.run, 300, id="back", task_queue="q")
        assert await asyncio.wait_for(back.result(), 60) is not None, "time goes on at the steady clock's pace"
        for handle in (long, back):
            times = [event.event_time.ToNanoseconds() async for event in handle.fetch_history_events()]
            assert times == sorted(times)
        first = (await back.describe()).start_time
        assert first > (await long.describe()).start_time + timedelta(seconds=2 * HOUR_S - 60)


async def _timer_is_set(client: Client, workflow_id: str) -> None:
    """Wait until the workflow sleeps."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 60
    while True:
        names = [
            event.WhichOneof("attributes")
            async for event in client.get_workflow_handle(workflow_id).fetch_history_events()
        ]
        if "timer_started_event_attributes" in names:
            return
        assert loop.time() < deadline, names
        await asyncio.sleep(0.05)
