"""kill -9 of the worker at every boundary between activities: another one finishes, and exactly one of each is made."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from delivery.engines import EngineProcess
from delivery.providers.aws_account import launch, settings
from delivery.providers.aws_cloud import StrictCloud
from delivery.providers.lives import Workers
from delivery.providers.local_account import hello, running
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import OperationRequest
from stormsail.delivery.model.server_group import Health, LaunchSpec
from stormsail.delivery.providers.local.provider import stop_everything

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

OLD, NEW = "shop-v000", "shop-v001"
CAPACITY = {"min": 1, "desired": 2, "max": 3}


@dataclass
class Place:
    """One account of one provider."""

    provider: str
    settings: dict[str, str]
    launch: Callable[[str], LaunchSpec]
    running: Callable[[str], int]
    created: Callable[[], list[str]]
    """Every group that was made, once for each time it was, counted by other means than the provider."""


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
            lambda: list(cloud.created),
        )
        return
    book = tmp_path / "instances-began"
    yield Place(
        "local",
        {"data_dir": str(tmp_path)},
        lambda version: signing(hello(version), book),
        lambda name: running(tmp_path, name),
        lambda: made_by(book),
    )
    await stop_everything(tmp_path)


def signing(service: LaunchSpec, book: Path) -> LaunchSpec:
    """Have each instance put its name into a book before it becomes the service: nobody else counts it."""
    sign = 'echo "$STORMSAIL_INSTANCE" >> "$0"; exec "$@"'
    return service.model_copy(update={"command": ("sh", "-c", sign, str(book), *service.command)})


def made_by(book: Path) -> list[str]:
    """Return each group as often as the instance of it that was begun the most often."""
    began = Counter(book.read_text().split())
    times: dict[str, int] = {}
    for instance, count in began.items():
        group = instance.partition(":")[0]
        times[group] = max(times.get(group, 0), count)
    return sorted(Counter(times).elements())


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("operation", ["create", "resize", "redblack"])
async def test_a_worker_killed_at_every_boundary_leaves_what_others_finish_exactly_once(
    engine: EngineProcess, place: Place, tmp_path: Path, operation: str, when: str
) -> None:
    queue = f"edge-{uuid.uuid4().hex[:8]}"
    client = await DeliveryClient.connect(engine.address, task_queue=queue)
    workers = Workers(engine.address, queue, place.provider, place.settings, tmp_path / "worker.stderr")

    async def run(operation_type: str, when: str, **payload: Any) -> None:
        request = OperationRequest(operation_type=operation_type, application="shop", account=queue, payload=payload)
        handle = await client.start(request)
        ending = asyncio.create_task(client.result(handle.operation_id))
        await workers.until(ending, when)
        result = await ending
        assert result.ok, (result.errors, workers.said())

    async def deploy(version: str, when: str) -> None:
        spec = place.launch(version).model_dump(mode="json")
        await run("createServerGroup", when, launch=spec, capacity=CAPACITY, strategy="redblack")

    if operation != "create":
        await deploy("v1", "never")
    before = workers.kills
    if operation == "resize":
        await run("resizeServerGroup", when, serverGroupName=OLD, capacity={"min": 3, "desired": 3, "max": 3})
    else:
        await deploy("v2", when)
    assert workers.kills - before >= 2, workers.said()
    serving = NEW if operation == "redblack" else OLD
    names = [OLD, NEW] if operation == "redblack" else [OLD]
    size = 3 if operation == "resize" else 2
    assert place.created() == names
    assert [place.running(name) for name in names] == [*[2] * (len(names) - 1), size]
    reading = asyncio.create_task(client.observe(queue, "shop"))
    await workers.until(reading, "never")
    seen = await reading
    assert [(group.name, group.count(Health.UP)) for group in seen.server_groups if group.enabled] == [(serving, size)]
    await client.close()
