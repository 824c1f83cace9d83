"""A canary on AWS as a workflow, on both engines: people lead it, checks are taken, workers are killed."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from delivery.engines import EngineProcess
from delivery.metrics import metrics
from delivery.providers.aws_account import launch, settings
from delivery.providers.aws_cloud import StrictCloud
from delivery.providers.lives import Workers
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.client_types import OperationDetail
from stormsail.delivery.model.operation import OperationRequest, OperationResult, StepStatus
from stormsail.delivery.model.steering import Verb

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

OLD, NEW = "shop-v000", "shop-v001"
CAPACITY = {"min": 2, "desired": 2, "max": 2}
WAIT_MAX_S = 400.0


class Shop:
    """One application behind a listener that divides requests between two target groups."""

    def __init__(self, client: DeliveryClient, queue: str, cloud: StrictCloud, workers: Workers) -> None:
        self.client, self.queue, self.cloud, self.workers = client, queue, cloud, workers
        self.blue = cloud.target_group("shop-blue")
        self.green = cloud.beside("shop-blue", "shop-green")

    async def start(self, version: str, target_group: str, **payload: Any) -> str:
        spec = launch(self.cloud, target_group, version=version).model_dump(mode="json")
        request = OperationRequest(
            operation_type="createServerGroup",
            application="shop",
            account=self.queue,
            payload={"launch": spec, "capacity": CAPACITY, **payload},
        )
        return (await self.client.start(request)).operation_id

    async def ended(self, operation_id: str, when: str) -> OperationResult:
        """Wait for the end, with workers that die as is said."""
        ending = asyncio.create_task(self.client.result(operation_id))
        await self.workers.until(ending, when)
        return await ending

    async def waits_at(self, operation_id: str, step: str, when: str) -> OperationDetail:
        """Wait until the operation waits for a person at a step, with workers that die as is said."""

        async def looking() -> OperationDetail:
            async with asyncio.timeout(WAIT_MAX_S):
                while True:
                    detail = await self.client.get(operation_id)
                    steps = detail.progress.steps if detail.progress is not None else ()
                    if any(one.name == step and one.status is StepStatus.PAUSED for one in steps):
                        return detail
                    assert detail.result is None, detail.result
                    await asyncio.sleep(0.2)

        looked = asyncio.create_task(looking())
        await self.workers.until(looked, when)
        return await looked


@pytest.fixture
async def shop(engine: EngineProcess, cloud: StrictCloud, tmp_path: Path) -> AsyncIterator[Shop]:
    queue = f"canary-{uuid.uuid4().hex[:8]}"
    client = await DeliveryClient.connect(engine.address, task_queue=queue)
    workers = Workers(
        engine.address, queue, "aws", settings(cloud, poll_s="0.1"), tmp_path / "worker.stderr", dies_at=4
    )
    shop = Shop(client, queue, cloud, workers)
    first = await shop.ended(await shop.start("v1", "shop-blue", strategy="none"), "never")
    assert first.ok, first.errors
    assert cloud.weights() == {"shop-blue": 100, "shop-green": 0}
    cloud.divided.clear()
    yield shop
    await client.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_canary_is_measured_approved_and_takes_over_while_its_workers_are_killed(shop: Shop, when: str) -> None:
    with metrics('{"success": 0.999}') as (url, asked):
        web = {"url": f"{url}/{{canary}}/{{weight}}", "jsonPath": "success"}
        steps: list[dict[str, Any]] = [
            {"setWeight": 10},
            {"pause": {"duration": 1}},
            {"analysis": {"name": "success", "web": web, "successCondition": ">= 0.99", "count": 2, "interval": 0.2}},
            {"setWeight": 50},
            {"approval": {"message": "look"}},
        ]
        name = await shop.start("v2", "shop-green", strategy="canary", canary={"steps": steps})
        detail = await shop.waits_at(name, "canaryApproval", when)
        assert detail.progress is not None
        assert detail.progress.rollout is not None
        assert (detail.progress.rollout.step, detail.progress.rollout.weight) == (5, 50)
        assert shop.cloud.weights() == {"shop-blue": 50, "shop-green": 50}
        approving = asyncio.create_task(shop.client.steer(name, Verb.APPROVE, requested_by="ada", reason="looks good"))
        await shop.workers.until(approving, "never")
        assert (await approving).accepted
        result = await shop.ended(name, when)
    assert result.ok, (result.errors, shop.workers.said())
    assert shop.workers.kills >= 4, shop.workers.said()
    # A measurement that a worker had no time to report is taken again; it changes nothing.
    assert set(asked) == {f"/{NEW}/10"}
    assert len(asked) >= 2
    assert _without_repeats(shop.cloud.divided) == [(90, 10), (50, 50), (0, 100)]
    assert shop.cloud.created == [OLD, NEW]
    assert (shop.cloud.running(OLD), shop.cloud.running(NEW)) == (2, 2)
    assert (len(shop.cloud.registered(shop.blue)), len(shop.cloud.registered(shop.green))) == (0, 2)


@pytest.mark.parametrize("why", ["aborted", "measured bad"])
async def test_a_canary_that_fails_gives_every_request_back_while_its_workers_are_killed(shop: Shop, why: str) -> None:
    with metrics('{"success": 0.5}') as (url, _):
        web = {"url": url, "jsonPath": "success"}
        last: dict[str, Any] = {"analysis": {"name": "success", "web": web, "successCondition": ">= 0.99"}}
        if why == "aborted":
            last = {"pause": {}}
        steps = [{"setWeight": 10}, {"setWeight": 50}, last]
        name = await shop.start("v2", "shop-green", strategy="canary", canary={"steps": steps})
        if why == "aborted":
            await shop.waits_at(name, "canaryApproval", "after")
            aborting = asyncio.create_task(
                shop.client.steer(name, Verb.ABORT, requested_by="ada", reason="wrong image")
            )
            await shop.workers.until(aborting, "never")
        result = await shop.ended(name, "after")
    assert [error.kind for error in result.errors] == ["Aborted" if why == "aborted" else "AnalysisFailed"]
    assert result.rolled_back, (result, shop.workers.said())
    assert result.left_behind == ()
    assert shop.workers.kills >= 4, shop.workers.said()
    assert _without_repeats(shop.cloud.divided) == [(90, 10), (50, 50), (100, 0)]
    assert shop.cloud.created == [OLD, NEW]
    assert shop.cloud.names("shop") == [OLD]
    assert (shop.cloud.running(OLD), shop.cloud.running(NEW)) == (2, 0)
    assert (len(shop.cloud.registered(shop.blue)), len(shop.cloud.registered(shop.green))) == (2, 0)


def _without_repeats(divided: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """A change whose worker died is made again; what counts is how requests came to be divided."""
    return [one for number, one in enumerate(divided) if number == 0 or divided[number - 1] != one]
