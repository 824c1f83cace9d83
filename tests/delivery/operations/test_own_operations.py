"""Operations that packages offer: what is taken and refused, and the example as it is documented."""

import asyncio
import os
import subprocess
import sys
import tomllib
import uuid
from collections.abc import AsyncIterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from delivery.direct_cloud import ACCOUNT, APPLICATION, Clock, run_directly
from delivery.engines import EngineProcess
from delivery.providers.local_account import Traffic, hello
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import OperationRequest
from stormsail.delivery.offers import OfferUnusable
from stormsail.delivery.operations.installed import GROUP, offered
from stormsail.delivery.operations.operation import Registered
from stormsail.delivery.providers.local.process import count_processes
from stormsail.delivery.providers.local.provider import stop_everything
from stormsail.delivery.providers.model.cloud import ModelCloud

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "own_operation"
STOP_MAX_S = 60.0


def entry(name: str, value: str) -> EntryPoint:
    return EntryPoint(name=name, value=value, group=GROUP)


def test_what_a_package_offers_is_taken_under_its_name() -> None:
    value = "stormsail.delivery.operations.registry:OPERATIONS"
    with pytest.raises(OfferUnusable, match="is a dict; offer a Registered"):
        offered([entry("mine", value)])
    [(name, registered)] = offered([entry("mine", "delivery.operations.own:MINE")]).items()
    assert name == "mine"
    assert isinstance(registered, Registered)


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ([entry("createServerGroup", "delivery.operations.own:MINE")], "one of Stormsail's own"),
        ([entry("a", "delivery.operations.own:MINE"), entry("a", "delivery.operations.own:OTHER")], "same name"),
        ([entry("a", "no_such_module:X")], "cannot be loaded: No module named"),
        ([entry("a", "delivery.operations.own:NOT_THERE")], "cannot be loaded"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(entries: list[EntryPoint], says: str) -> None:
    with pytest.raises(OfferUnusable, match=says):
        offered(entries)


@pytest.fixture
async def own_worker(engine: EngineProcess, tmp_path: Path) -> AsyncIterator[DeliveryClient]:
    """A worker process in an environment where the example is installed, and a client on its task queue."""
    declared = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())
    [(name, value)] = declared["project"]["entry-points"][GROUP].items()
    installed = tmp_path / "site" / "restart_server_group-1.0.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: restart-server-group\nVersion: 1.0.0\n")
    (installed / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {value}\n")
    queue = f"own-{uuid.uuid4().hex[:8]}"
    path = os.pathsep.join([str(installed.parent), str(EXAMPLE), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "stormsail.cli", "worker", "start", "--engine", engine.address]
    command += ["--task-queue", queue, "--data-dir", str(tmp_path / "data")]
    with (tmp_path / "worker.stderr").open("wb") as stderr:
        worker = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.DEVNULL, stderr=stderr
        )
    client = await DeliveryClient.connect(engine.address, task_queue=queue)
    try:
        yield client
    finally:
        worker.terminate()
        await asyncio.wait_for(worker.wait(), STOP_MAX_S)
        await client.close()
        await stop_everything(tmp_path / "data")
        assert count_processes(tmp_path / "data") == {}


async def test_the_example_restarts_a_server_group_under_traffic(own_worker: DeliveryClient) -> None:
    application = f"own{uuid.uuid4().hex[:6]}"
    name = f"{application}-v000"

    async def run(operation_type: str, **payload: object) -> dict[str, object]:
        request = OperationRequest(operation_type=operation_type, payload=payload, application=application)
        handle = await own_worker.start(request)
        result = await own_worker.result(handle.operation_id)
        assert result.ok, result.errors
        return result.output

    capacity = {"min": 2, "desired": 2, "max": 2}
    await run("createServerGroup", capacity=capacity, launch=hello("v1").model_dump(mode="json"))
    traffic = Traffic((await own_worker.observe("local", application)).address)
    with traffic.flowing():
        traffic.wait_for_more()
        output = await run("restartServerGroup", serverGroupName=name, pause=0.1)
        await asyncio.to_thread(traffic.wait_for_more)
    assert output == {"serverGroup": name, "replaced": [f"{name}:0", f"{name}:1"]}
    assert traffic.failures == []
    seen = await own_worker.observe("local", application)
    assert [one.id for one in seen.server_groups[0].instances] == [f"{name}:2", f"{name}:3"]


def test_an_operation_of_ones_own_is_tested_without_any_engine() -> None:
    table = offered([entry("touch", "delivery.operations.own:MINE")])
    result = asyncio.run(run_directly(ModelCloud(Clock()), Clock(), "op", "touch", operations=table))
    assert result is not None
    assert result.ok
    assert [step.name for step in result.steps] == ["look"]
    assert (ACCOUNT, APPLICATION) == ("model", "web")
