"""The model provider keeps the contract, so that what tests show on it holds for real ones."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from contracts.instance_contract import InstanceContract
from contracts.network_contract import NetworkContract
from contracts.provider_contract import ProviderContract, Subject
from contracts.weight_contract import WeightContract
from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.model.provider import ModelProvider, wall_clock_ms
from stormsail.delivery.providers.provider import Provider


class TestModelProvider(ProviderContract, InstanceContract, WeightContract, NetworkContract):
    @pytest.fixture
    def made(self, subject: Subject) -> Callable[[str], Awaitable[int]]:
        async def count(name: str) -> int:
            provider = await subject.open()
            seen = await provider.network("shop")
            return sum(one.name == name for one in (*seen.load_balancers, *seen.security_groups))

        return count

    @pytest.fixture(params=[0, 2], ids=["at once", "resumed twice"])
    async def subject(self, request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
        cloud = ModelCloud(wall_clock_ms, changes_take=request.param)

        async def open_again() -> Provider:
            return ModelProvider(cloud)

        async def count(name: str) -> int:
            application = name.partition("-")[0]
            groups = {group.name: group for group in cloud.server_groups("model", application)}
            return len(groups[name].instances) if name in groups else 0

        yield Subject(
            open=open_again,
            launch=LaunchSpec(command=("serve",), settings={"healthy_after_ms": 5}),
            never_healthy=LaunchSpec(command=("serve",), settings={"never_healthy": True}),
            invalid=LaunchSpec(command=("serve",), settings={"not_launchable": True}),
            count=count,
        )
