"""Each strategy as a workflow on real engines, with real processes behind a real load balancer under traffic."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from delivery.engines import EngineProcess
from delivery.providers.local_account import Traffic, hello
from stormsail.delivery.client import DeliveryClient, OperationCanceled, OperationEnded, SteeringRefused
from stormsail.delivery.model.operation import OperationRequest, OperationResult
from stormsail.delivery.model.server_group import Health
from stormsail.delivery.model.steering import Verb
from stormsail.delivery.providers.local.process import count_processes
from stormsail.delivery.providers.local.provider import LocalProvider, open_provider, stop_everything
from stormsail.delivery.worker import run_worker

pytestmark = pytest.mark.timeout(300)

STEPS = [{"setWeight": 25}, {"analysis": {"command": {"command": ["true"]}}}, {"setWeight": 60}]
CAPACITY = {"min": 2, "desired": 4, "max": 4}


class Shop:
    """One application on a local account of this test alone, with a worker that serves it."""

    def __init__(self, client: DeliveryClient, provider: LocalProvider) -> None:
        self.client = client
        self.provider = provider

    async def deploy(self, version: str, strategy: str, *arguments: str, **payload: Any) -> OperationResult:
        launch = hello(version, "--startup-delay", "0.2", *arguments).model_dump(mode="json")
        request = OperationRequest(
            operation_type="createServerGroup",
            payload={"capacity": CAPACITY, "strategy": strategy, "launch": launch, **payload},
            application="shop",
            account=self.provider.account,
        )
        handle = await self.client.start(request)
        return await self.client.result(handle.operation_id)


@pytest.fixture
async def shop(engine: EngineProcess, tmp_path: Path) -> AsyncIterator[Shop]:
    account = f"local-{uuid.uuid4().hex[:8]}"
    client = await DeliveryClient.connect(engine.address, task_queue=account)
    provider = await open_provider(account, {"data_dir": str(tmp_path)})
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(client.client, {account: provider}, account, stop))
    try:
        yield Shop(client, provider)
    finally:
        stop.set()
        await worker
        await provider.close()
        await client.close()
        await stop_everything(tmp_path)
        assert count_processes(tmp_path) == {}


@pytest.mark.parametrize(
    ("strategy", "payload", "left"),
    [
        ("none", {}, ["shop-v000", "shop-v001"]),
        ("redblack", {"scaleDown": True}, ["shop-v000", "shop-v001"]),
        ("rollingredblack", {"targetPercentages": [25, 50], "scaleDown": True}, ["shop-v000", "shop-v001"]),
        ("highlander", {}, ["shop-v001"]),
        ("canary", {"canary": {"steps": STEPS}, "scaleDown": True}, ["shop-v000", "shop-v001"]),
    ],
)
async def test_no_request_fails_while_a_strategy_replaces_what_serves(
    shop: Shop, strategy: str, payload: dict[str, Any], left: list[str]
) -> None:
    first = await shop.deploy("v1", "none")
    assert first.ok, first.errors
    traffic = Traffic((await shop.provider.observe("shop")).address)
    with traffic.flowing():
        traffic.wait_for_more()
        result = await shop.deploy("v2", strategy, **payload)
        await asyncio.to_thread(traffic.wait_for_more)
    assert result.ok, result.errors
    assert traffic.failures == []
    assert traffic.versions == {"v1", "v2"}
    seen = await shop.provider.observe("shop")
    assert [group.name for group in seen.server_groups] == left
    serving = left if strategy == "none" else ["shop-v001"]
    assert {group.name: group.count(Health.UP) for group in seen.server_groups if group.enabled} == dict.fromkeys(
        serving, 4
    )
    assert traffic.last == "v2" or strategy == "none"


@pytest.mark.parametrize("strategy", ["redblack", "rollingredblack", "highlander", "canary"])
async def test_no_request_fails_while_a_strategy_gives_up_a_version_that_is_never_healthy(
    shop: Shop, strategy: str
) -> None:
    assert (await shop.deploy("v1", "none")).ok
    traffic = Traffic((await shop.provider.observe("shop")).address)
    with traffic.flowing():
        traffic.wait_for_more()
        more: dict[str, Any] = {"canary": {"steps": STEPS}} if strategy == "canary" else {"targetPercentages": [50]}
        result = await shop.deploy("v2", strategy, "--unhealthy", healthTimeout=1, **more)
        await asyncio.to_thread(traffic.wait_for_more)
    assert [error.kind for error in result.errors] == ["NeverHealthy"]
    assert traffic.failures == []
    assert traffic.versions == {"v1"}
    old = (await shop.provider.observe("shop")).find("shop-v000")
    assert old is not None
    assert (old.enabled, old.count(Health.UP), old.capacity.model_dump()) == (True, 4, CAPACITY)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("strategy", ["none", "redblack", "rollingredblack", "highlander", "canary"])
async def test_no_request_fails_while_a_strategy_is_called_off_at_each_of_its_steps(shop: Shop, strategy: str) -> None:
    """Cancelled at each step in turn; a canary is aborted at every second one. What served before serves again."""
    assert (await shop.deploy("v1", "none")).ok
    traffic = Traffic((await shop.provider.observe("shop")).address)
    step, called_off = 0, True
    with traffic.flowing():
        while called_off:
            step += 1
            aborts = strategy == "canary" and step % 2 == 0
            called_off = await _called_off(shop, strategy, step, aborts=aborts)
            await asyncio.to_thread(traffic.wait_for_more)
            assert traffic.failures == [], f"called off at step {step}"
            seen = await shop.provider.observe("shop")
            serving = {group.name: group.count(Health.UP) for group in seen.server_groups if group.enabled}
            if called_off and "shop-v000" in {group.name for group in seen.server_groups}:
                assert serving.get("shop-v000") == 4, f"called off at step {step}: {serving}"
            elif called_off:
                break  # highlander has destroyed what served: from there on there is no way back.
    assert step > 4, "the steps were not counted"
    assert sum(serving.values()) >= 4


async def _called_off(shop: Shop, strategy: str, step: int, *, aborts: bool) -> bool:
    """Deploy and call that off once so many steps have begun; return whether it was before the end."""
    more: dict[str, Any] = {"canary": {"steps": STEPS}} if strategy == "canary" else {}
    if strategy == "rollingredblack":
        more = {"targetPercentages": [50]}
    launch = hello("v2").model_dump(mode="json")
    handle = await shop.client.start(
        OperationRequest(
            operation_type="createServerGroup",
            payload={"capacity": CAPACITY, "strategy": strategy, "launch": launch, **more},
            application="shop",
            account=shop.provider.account,
        )
    )
    async for progress in shop.client.watch(handle.operation_id):
        if len(progress.steps) >= step:
            break
    with contextlib.suppress(OperationEnded, SteeringRefused):
        if aborts:
            await shop.client.steer(handle.operation_id, Verb.ABORT, requested_by="a test")
        else:
            await shop.client.cancel(handle.operation_id, "a test")
    try:
        result = await shop.client.result(handle.operation_id)
    except OperationCanceled as ended:
        assert strategy == "highlander" or ended.left_behind == (), ended
        return True
    return not result.ok
