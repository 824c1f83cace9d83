"""Worker processes killed with SIGKILL while real processes are deployed: each of those is made once."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from delivery.engines import EngineProcess
from delivery.providers.local_account import hello, running
from delivery.stage import replays
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import OperationRequest, workflow_id_of
from stormsail.delivery.providers.local.provider import stop_everything

pytestmark = pytest.mark.timeout(300)

KILLS = 5
SEED = 20261121
STOP_MAX_S = 60.0


class WorkerProcess:
    """`stormsail worker start` on a data directory, started again each time it is killed."""

    def __init__(self, address: str, data_dir: Path) -> None:
        self._address = address
        self._data_dir = data_dir
        self._process = self._started()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(STOP_MAX_S)
        self._process = self._started()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(STOP_MAX_S)

    def _started(self) -> subprocess.Popen[bytes]:
        with (self._data_dir.parent / "worker.stderr").open("ab") as stderr:
            return subprocess.Popen(
                [
                    *[sys.executable, "-m", "stormsail.cli", "worker", "start"],
                    *["--engine", self._address, "--data-dir", str(self._data_dir)],
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )


@pytest.fixture
async def data_dir(tmp_path: Path) -> AsyncIterator[Path]:
    directory = tmp_path / "account"
    directory.mkdir()
    yield directory
    await stop_everything(directory)


@pytest.fixture
def worker(own_engine: EngineProcess, data_dir: Path) -> Iterator[WorkerProcess]:
    process = WorkerProcess(own_engine.address, data_dir)
    yield process
    process.stop()


async def test_workers_killed_again_and_again_make_each_process_once(
    own_engine: EngineProcess,
    worker: WorkerProcess,
    data_dir: Path,
) -> None:
    chance = random.Random(SEED)
    client = await DeliveryClient.connect(own_engine.address)
    kills = 0
    for number in range(2):
        request = OperationRequest(
            operation_type="createServerGroup",
            application="shop",
            payload={
                "launch": hello(f"v{number}").model_dump(mode="json"),
                "capacity": {"min": 1, "desired": 2, "max": 3},
                "strategy": "redblack",
                "delayBeforeCleanup": 2,
                "delayBeforeScaleDown": 2,
                "scaleDown": True,
            },
        )
        handle = await client.start(request)
        ending = asyncio.create_task(client.result(handle.operation_id))
        while not ending.done():
            # A running worker makes many calls in a tenth of a second; a new one takes over a second to start.
            await asyncio.wait({ending}, timeout=chance.choice((0.05, 0.2, 1.3, 1.6)))
            if not ending.done() and kills < KILLS:
                worker.kill()
                kills += 1
        result = await ending
        assert result.ok, result.errors
        history = await client.client.get_workflow_handle(
            workflow_id_of(request), run_id=handle.operation_id
        ).fetch_history()
        await replays(history)
    observation = await client.observe("local", "shop")
    assert [(group.name, group.enabled) for group in observation.server_groups] == [
        ("shop-v000", False),
        ("shop-v001", True),
    ]
    assert [running(data_dir, group.name) for group in observation.server_groups] == [0, 2]
    assert kills >= 2
