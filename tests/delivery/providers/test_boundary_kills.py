"""kill -9 of the worker at every boundary between activities: another one finishes, and exactly one of each is made."""

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from delivery.engines import EngineProcess
from delivery.providers import boundary_worker
from delivery.providers.aws_account import launch, settings
from delivery.providers.aws_cloud import StrictCloud
from delivery.providers.local_account import hello, running
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import OperationRequest
from stormsail.delivery.model.server_group import Health, LaunchSpec
from stormsail.delivery.providers.local.provider import stop_everything

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

OLD, NEW = "shop-v000", "shop-v001"
CAPACITY = {"min": 1, "desired": 2, "max": 3}


@dataclass
class Place:
    """One account of one provider."""

    provider: str
    settings: dict[str, str]
    launch: Callable[[str], LaunchSpec]
    running: Callable[[str], int]
    created: Callable[[str], int]
    """How often a group of a name was made, counted by other means than the provider."""


@pytest.fixture(params=["aws", "local"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    if request.param == "aws":
        cloud: StrictCloud = request.getfixturevalue("cloud")
        cloud.target_group("shop-blue")
        yield Place(
            "aws",
            settings(cloud, poll_s="0.1"),
            lambda version: launch(cloud, "shop-blue", version=version),
            cloud.running,
            cloud.created.count,
        )
        return

    def made(name: str) -> int:
        logs = tmp_path / "local" / "logs" / name
        # Each instance that was ever started has a log of its own, and an index is given once.
        return len(list(logs.glob("*.log"))) // 2 if logs.is_dir() else 0

    yield Place("local", {"data_dir": str(tmp_path)}, hello, lambda name: running(tmp_path, name), made)
    await stop_everything(tmp_path)


class Workers:
    """Workers of one queue, one life after the other."""

    def __init__(self, engine: EngineProcess, queue: str, place: Place, stderr: Path) -> None:
        self._command = [sys.executable, boundary_worker.__file__, engine.address, queue, place.provider]
        self._command.append(json.dumps(place.settings))
        self._stderr = stderr
        self.kills = 0

    async def until(self, ending: "asyncio.Task[Any]", when: str) -> None:
        """Start one worker after the other, each to die, until the operation has ended."""
        while not ending.done():
            worker = self._started(when)
            try:
                while worker.poll() is None and not ending.done():
                    await asyncio.wait({ending}, timeout=0.05)
                self.kills += worker.poll() is not None
            finally:
                worker.kill()
                worker.wait()

    def _started(self, when: str) -> "subprocess.Popen[bytes]":
        with self._stderr.open("ab") as written:
            return subprocess.Popen(
                [*self._command, when], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=written
            )


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["create", "resize", "redblack"])
async def test_a_worker_killed_at_every_boundary_leaves_what_others_finish_exactly_once(
    engine: EngineProcess, place: Place, tmp_path: Path, operation: str, when: str
) -> None:
    queue = f"edge-{uuid.uuid4().hex[:8]}"
    client = await DeliveryClient.connect(engine.address, task_queue=queue)
    workers = Workers(engine, queue, place, tmp_path / "worker.stderr")

    async def run(operation_type: str, when: str, **payload: Any) -> None:
        request = OperationRequest(operation_type=operation_type, application="shop", account=queue, payload=payload)
        handle = await client.start(request)
        ending = asyncio.create_task(client.result(handle.operation_id))
        await workers.until(ending, when)
        result = await ending
        assert result.ok, (result.errors, (tmp_path / "worker.stderr").read_text()[-3000:])

    async def deploy(version: str, when: str) -> None:
        spec = place.launch(version).model_dump(mode="json")
        await run("createServerGroup", when, launch=spec, capacity=CAPACITY, strategy="redblack")

    if operation != "create":
        await deploy("v1", "never")
    if operation == "resize":
        await run("resizeServerGroup", when, serverGroupName=OLD, capacity={"min": 3, "desired": 3, "max": 3})
    else:
        await deploy("v2", when)
    assert workers.kills >= 2, (tmp_path / "worker.stderr").read_text()[-3000:]
    serving = NEW if operation == "redblack" else OLD
    names = [OLD, NEW] if operation == "redblack" else [OLD]
    assert [place.created(name) for name in names] == [1] * len(names)
    assert place.running(serving) == (3 if operation == "resize" else 2)
    reading = asyncio.create_task(client.observe(queue, "shop"))
    await workers.until(reading, "never")
    seen = await reading
    assert [(group.name, group.count(Health.UP)) for group in seen.server_groups if group.enabled] == [
        (serving, 3 if operation == "resize" else 2)
    ]
    await client.close()
