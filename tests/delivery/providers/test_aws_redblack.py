"""Red/black on AWS as a workflow, on both engines: with failing calls, and with workers killed meanwhile."""

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from delivery.engines import EngineProcess
from delivery.providers import aws_worker
from delivery.providers.aws_account import launch, settings
from delivery.providers.aws_cloud import SICK, StrictCloud
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import OperationRequest, OperationResult
from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.aws.provider import open_provider
from stormsail.delivery.worker import run_worker

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

CALLS_A_LIFE = 14
"""Calls to AWS that a worker makes before it is killed: less than any change with its waiting takes."""

KILLS_MAX = 6


class Shop:
    """Deployments of one application through an engine."""

    def __init__(self, client: DeliveryClient, queue: str, cloud: StrictCloud) -> None:
        self.client, self.queue, self.cloud = client, queue, cloud
        self.blue = cloud.target_group("shop-blue")

    def request(self, spec: LaunchSpec, **payload: Any) -> OperationRequest:
        return OperationRequest(
            operation_type="createServerGroup",
            application="shop",
            account=self.queue,
            payload={
                "launch": spec.model_dump(mode="json"),
                "capacity": {"min": 1, "desired": 2, "max": 3},
                "strategy": "redblack",
                **payload,
            },
        )

    async def deploy(self, spec: LaunchSpec, **payload: Any) -> OperationResult:
        handle = await self.client.start(self.request(spec, **payload))
        return await self.client.result(handle.operation_id)

    async def groups(self) -> list[tuple[str, bool, int]]:
        seen = await self.client.observe(self.queue, "shop")
        return [(group.name, group.enabled, group.capacity.desired) for group in seen.server_groups]


@pytest.fixture
async def shop(engine: EngineProcess, cloud: StrictCloud) -> AsyncIterator[Shop]:
    queue = f"aws-{uuid.uuid4().hex[:8]}"
    client = await DeliveryClient.connect(engine.address, task_queue=queue)
    yield Shop(client, queue, cloud)
    await client.close()


@pytest.fixture
async def worker(shop: Shop) -> AsyncIterator[None]:
    provider = await open_provider(shop.queue, settings(shop.cloud))
    stop = asyncio.Event()
    running = asyncio.create_task(run_worker(shop.client.client, {shop.queue: provider}, shop.queue, stop))
    yield
    stop.set()
    await running
    await provider.close()


@pytest.mark.usefixtures("worker")
async def test_redblack_replaces_a_group_while_a_tenth_of_all_calls_fail(shop: Shop) -> None:
    shop.cloud.proxy.fail_at_random(seed=4, share=0.1)
    first = await shop.deploy(launch(shop.cloud, "shop-blue"))
    assert first.ok, first.errors
    second = await shop.deploy(launch(shop.cloud, "shop-blue", version="v2"), scaleDown=True)
    assert second.ok, second.errors
    shop.cloud.proxy.be_well()
    assert await shop.groups() == [("shop-v000", False, 0), ("shop-v001", True, 2)]
    assert shop.cloud.created == ["shop-v000", "shop-v001"]
    assert (shop.cloud.running("shop-v000"), shop.cloud.running("shop-v001")) == (0, 2)
    assert len(shop.cloud.registered(shop.blue)) == 2


@pytest.mark.usefixtures("worker")
async def test_a_new_group_that_never_becomes_healthy_leaves_the_old_one_serving(shop: Shop) -> None:
    first = await shop.deploy(launch(shop.cloud, "shop-blue"))
    assert first.ok, first.errors
    serving = shop.cloud.registered(shop.blue)
    sick = launch(shop.cloud, "shop-blue", image=SICK, version="v2")
    second = await shop.deploy(sick, healthTimeout=4, rollback={"onFailure": True, "destroyLatest": True})
    assert not second.ok
    assert second.rolled_back, second
    assert shop.cloud.registered(shop.blue) == serving
    assert await shop.groups() == [("shop-v000", True, 2)]


async def test_workers_killed_again_and_again_make_each_group_once(
    engine: EngineProcess, shop: Shop, tmp_path: Path
) -> None:
    life = [sys.executable, aws_worker.__file__, engine.address, shop.queue, shop.queue]
    command = [*life, json.dumps(settings(shop.cloud, poll_s="0.2"))]
    for number in range(2):
        handle = await shop.client.start(shop.request(launch(shop.cloud, "shop-blue", version=f"v{number}")))
        ending = asyncio.create_task(shop.client.result(handle.operation_id))
        kills = 0
        while not ending.done():
            worker = _started(command, tmp_path / "worker.stderr")
            if kills < KILLS_MAX:
                # Odd ones die before the effect of their last call and even ones after it.
                shop.cloud.proxy.at_call(CALLS_A_LIFE + kills, worker.kill, after=kills % 2 == 0)
            while worker.poll() is None and not ending.done():
                await asyncio.wait({ending}, timeout=0.05)
            kills += worker.poll() is not None
            worker.kill()
            worker.wait()
            shop.cloud.proxy.be_well()
        result = await ending
        assert result.ok, result.errors
        assert kills >= 2, (tmp_path / "worker.stderr").read_text()[-3000:]
    assert shop.cloud.created == ["shop-v000", "shop-v001"]
    assert (shop.cloud.running("shop-v000"), shop.cloud.running("shop-v001")) == (2, 2)
    assert len(shop.cloud.registered(shop.blue)) == 2


def _started(command: list[str], stderr: Path) -> subprocess.Popen[bytes]:
    with stderr.open("ab") as written:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=written)
