"""The local provider keeps the contract, with real processes behind a real load balancer."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contracts.instance_contract import InstanceContract
from contracts.provider_contract import ProviderContract, Subject
from contracts.weight_contract import WeightContract
from delivery.providers.local_account import hello, running
from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.local.process import count_processes
from stormsail.delivery.providers.local.provider import open_provider, stop_everything
from stormsail.delivery.providers.provider import Provider

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]


class TestLocalProvider(ProviderContract, InstanceContract, WeightContract):
    @pytest.fixture
    async def subject(self, tmp_path: Path) -> AsyncIterator[Subject]:
        opened: list[Provider] = []

        async def open_again() -> Provider:
            opened.append(await open_provider("local", {"data_dir": str(tmp_path)}))
            return opened[-1]

        async def count(group: str) -> int:
            return running(tmp_path, group)

        yield Subject(
            open=open_again,
            launch=hello(),
            never_healthy=hello("v1", "--unhealthy"),
            invalid=LaunchSpec(command=("no-such-command-anywhere",)),
            count=count,
        )
        for provider in opened:
            await provider.close()
        await stop_everything(tmp_path)
        assert count_processes(tmp_path) == {}
