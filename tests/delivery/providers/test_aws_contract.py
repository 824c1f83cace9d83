"""The aws provider keeps the contract, over HTTP, against a cloud that is stricter than moto."""

from collections.abc import AsyncIterator

import pytest

from contracts.instance_contract import InstanceContract
from contracts.provider_contract import ProviderContract, Subject
from contracts.weight_contract import WeightContract
from delivery.providers.aws_account import launch, opened
from delivery.providers.aws_cloud import SICK, StrictCloud, Timing
from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.provider import Provider

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


class TestAwsProvider(ProviderContract, InstanceContract, WeightContract):
    @pytest.fixture
    def apart(self, cloud: StrictCloud, subject: Subject) -> LaunchSpec:
        targets = subject.launch.settings["target_groups"]
        return launch(
            cloud,
            *(
                cloud.beside(name.split("/")[-2] if "/" in name else name, f"beside-{number}")
                for number, name in enumerate(targets)
            ),
        )

    @pytest.fixture(params=["one target group", "two, slowly"])
    async def subject(self, request: pytest.FixtureRequest, cloud: StrictCloud) -> AsyncIterator[Subject]:
        targets = ["shop-blue"]
        cloud.target_group("shop-blue")
        if request.param == "two, slowly":
            targets.append(cloud.target_group("shop-green"))
            cloud.timing, cloud.page = Timing(start=0.1, healthy=0.1, drain=0.1, delete=0.1), "1"
        opened_ones: list[Provider] = []

        async def open_again() -> Provider:
            opened_ones.append(await opened(cloud))
            return opened_ones[-1]

        async def count(group: str) -> int:
            return cloud.running(group)

        yield Subject(
            open=open_again,
            launch=launch(cloud, *targets),
            never_healthy=launch(cloud, *targets, image=SICK),
            invalid=launch(cloud, *targets, image="ami-00000000"),
            count=count,
        )
        for provider in opened_ones:
            await provider.close()
