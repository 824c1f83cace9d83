"""What a workflow test stands on: a model cloud, workers that can be stopped and started, and the delivery client."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from temporalio.client import Client, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import OperationRequest, OperationResult, workflow_id_of
from stormsail.delivery.model.server_group import Observation, ServerGroup
from stormsail.delivery.model.traffic_guard import TrafficGuards
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.model.faults import Faults
from stormsail.delivery.providers.model.provider import NO_FAULTS, ModelProvider, wall_clock_ms
from stormsail.delivery.worker import ACTIVITIES_MAX, WORKFLOWS, run_worker, workflow_runner

WAIT_MAX_S: Final = 60.0
APPLICATION: Final = "web"

T = TypeVar("T")


class Stage:
    """One account of a model cloud with everything around it; nothing in it outlives a test."""

    def __init__(self, client: DeliveryClient, address: str, account: str) -> None:
        self.client = client
        self.address = address
        self.account = account
        self.cloud = ModelCloud(wall_clock_ms)
        self.faults: Faults = NO_FAULTS
        self.guards = TrafficGuards()
        self.runs_cached_max = 200
        self.activities_max = ACTIVITIES_MAX
        self.provider_type: Callable[[ModelCloud, str], ModelProvider] | None = None
        self._workers: list[tuple[asyncio.Event, asyncio.Task[None]]] = []

    @staticmethod
    async def open(address: str, account: str) -> "Stage":
        return Stage(await DeliveryClient.connect(address, task_queue=account), address, account)

    @property
    def temporal(self) -> Client:
        return self.client.client

    async def start_worker(self) -> None:
        """Start one more worker on the same cloud."""
        provider = ModelProvider(self.cloud, self.account, faults=self.faults)
        if self.provider_type is not None:
            provider = self.provider_type(self.cloud, self.account)
        stop = asyncio.Event()
        running = run_worker(
            self.temporal,
            {self.account: provider},
            self.account,
            stop,
            runs_cached_max=self.runs_cached_max,
            activities_max=self.activities_max,
            guards=lambda: self.guards,
        )
        self._workers.append((stop, asyncio.create_task(running)))

    async def stop_workers(self) -> None:
        workers, self._workers = self._workers, []
        for stop, _ in workers:
            stop.set()
        for _, task in workers:
            await task

    async def restart_worker(self) -> None:
        await self.stop_workers()
        await self.start_worker()

    async def close(self) -> None:
        await self.stop_workers()
        await self.client.close()

    def request(self, operation_type: str, **payload: Any) -> OperationRequest:
        return OperationRequest(
            operation_type=operation_type,
            payload=payload,
            application=APPLICATION,
            account=self.account,
            reason="a test",
            requested_by="pytest",
        )

    async def run(self, operation_type: str, **payload: Any) -> OperationResult:
        """Run an operation to its end."""
        handle = await self.client.start(self.request(operation_type, **payload))
        return await self.client.result(handle.operation_id)

    async def deploy(self, version: str, **payload: Any) -> OperationResult:
        """Create a server group of two instances, by redblack unless said otherwise."""
        settings = payload.pop("settings", {})
        defaults: dict[str, Any] = {
            "capacity": {"min": 2, "desired": 2, "max": 2},
            "strategy": "redblack",
            "launch": {"version": version, "command": ["serve"], "settings": settings},
        }
        return await self.run("createServerGroup", **{**defaults, **payload})

    def groups(self) -> dict[str, ServerGroup]:
        return {group.name: group for group in self.cloud.server_groups(self.account, APPLICATION)}

    def serving(self) -> list[str]:
        return [name for name, group in self.groups().items() if group.enabled]

    def effects(self) -> list[str]:
        """What the cloud did, in order, one line each."""
        return [f"{effect.kind} {effect.name} {effect.detail}".strip() for effect in self.cloud.effects]

    async def observe(self) -> Observation:
        return await self.client.observe(self.account, APPLICATION)

    async def history(self, request: OperationRequest, operation_id: str) -> WorkflowHistory:
        handle = self.temporal.get_workflow_handle(workflow_id_of(request), run_id=operation_id)
        return await handle.fetch_history()


async def until(condition: Callable[[], T], what: str) -> T:
    """Wait for something to become true, for a bounded time."""
    give_up_at = time.monotonic() + WAIT_MAX_S
    while not (value := condition()):
        assert time.monotonic() < give_up_at, f"{what} did not happen within {WAIT_MAX_S} s"
        await asyncio.sleep(0.01)
    return value


async def until_answered(question: Callable[[], Awaitable[T]], good: Callable[[T], bool], what: str) -> T:
    """Ask until the answer is good, for a bounded time."""
    give_up_at = time.monotonic() + WAIT_MAX_S
    while not good(answer := await question()):
        assert time.monotonic() < give_up_at, f"{what} did not happen within {WAIT_MAX_S} s; last: {answer}"
        await asyncio.sleep(0.05)
    return answer


async def replays(*histories: WorkflowHistory) -> None:
    """Fail unless the SDK replays the finished histories with the workflows as they are now."""
    replayer = Replayer(workflows=WORKFLOWS, workflow_runner=workflow_runner(), data_converter=pydantic_data_converter)
    for history in histories:
        await replayer.replay_workflow(history)
