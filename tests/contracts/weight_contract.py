"""What every provider promises of shares of requests, as one suite; see `provider_contract.py` for how it is used."""

import pytest

from contracts.provider_contract import Subject, finish, finish_cancel, group_of
from stormsail.delivery.model.server_group import Capacity, Health, LaunchSpec
from stormsail.delivery.providers.errors import Conflict, NotFound
from stormsail.delivery.providers.provider import (
    CreateServerGroup,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    Provider,
    ShiftTraffic,
)

OLD, NEW = "shop-v000", "shop-v001"


class WeightContract:
    """The suite. `subject` and `provider` are fixtures of the subclass, as for ProviderContract.

    `apart` is what to launch the second group with, so that its requests can be told from the first one's.
    """

    @pytest.fixture
    def apart(self, subject: Subject) -> LaunchSpec:
        return subject.launch

    @pytest.fixture
    async def both(self, provider: Provider, subject: Subject, apart: LaunchSpec) -> None:
        """Two groups; the older one serves."""
        for name, launch, count in ((OLD, subject.launch, 2), (NEW, apart, 1)):
            create = CreateServerGroup(name=name, capacity=Capacity.fixed(count), launch=launch)
            await finish(provider, f"create-{name}", create)
        await finish(provider, "enable-old", EnableServerGroup(name=OLD))

    async def up(self, provider: Provider) -> dict[str, int]:
        """Count the instances that requests go to."""
        groups = (await provider.observe("shop")).server_groups
        return {group.name: group.count(Health.UP) for group in groups}

    @pytest.mark.usefixtures("both")
    async def test_a_share_is_given_before_traffic_and_moves_from_one_group_to_the_other(
        self, provider: Provider, subject: Subject
    ) -> None:
        await finish(provider, "s0", ShiftTraffic(name=NEW, percent=10))
        assert await self.up(provider) == {OLD: 2, NEW: 0}
        await finish(provider, "e", EnableServerGroup(name=NEW))
        assert await self.up(provider) == {OLD: 2, NEW: 1}
        assert (await group_of(provider, NEW)).request_percent == 10
        for token, percent, expected in (
            ("s1", 100, {OLD: 0, NEW: 1}),
            ("s2", 0, {OLD: 2, NEW: 0}),
            ("s3", 50, {OLD: 2, NEW: 1}),
            ("s4", None, {OLD: 2, NEW: 1}),
        ):
            await finish(provider, token, ShiftTraffic(name=NEW, percent=percent))
            assert await self.up(provider) == expected, percent
            group = await group_of(provider, NEW)
            assert (group.request_percent, group.enabled) == (percent, True)
        assert await subject.count(OLD) == 2

    @pytest.mark.usefixtures("both")
    async def test_a_group_left_alone_takes_every_request_whatever_it_was_given(self, provider: Provider) -> None:
        await finish(provider, "s0", ShiftTraffic(name=NEW, percent=10))
        await finish(provider, "e", EnableServerGroup(name=NEW))
        await finish(provider, "d", DisableServerGroup(name=OLD))
        assert await self.up(provider) == {OLD: 0, NEW: 1}
        await finish(provider, "s1", ShiftTraffic(name=NEW, percent=0))
        assert await self.up(provider) == {OLD: 0, NEW: 1}

    @pytest.mark.usefixtures("both")
    async def test_a_group_is_enabled_again_while_another_one_has_every_request(self, provider: Provider) -> None:
        await finish(provider, "s0", ShiftTraffic(name=NEW, percent=100))
        await finish(provider, "e", EnableServerGroup(name=NEW))
        await finish(provider, "d", DisableServerGroup(name=OLD))
        await finish(provider, "g", EnableServerGroup(name=OLD))
        assert await self.up(provider) == {OLD: 0, NEW: 1}
        await finish(provider, "s1", ShiftTraffic(name=NEW, percent=0))
        assert await self.up(provider) == {OLD: 2, NEW: 0}

    @pytest.mark.usefixtures("both")
    async def test_what_the_destroyed_group_had_goes_to_the_others(self, provider: Provider) -> None:
        await finish(provider, "s0", ShiftTraffic(name=NEW, percent=100))
        await finish(provider, "e", EnableServerGroup(name=NEW))
        assert await self.up(provider) == {OLD: 0, NEW: 1}
        await finish(provider, "x", DestroyServerGroup(name=NEW))
        assert await self.up(provider) == {OLD: 2}

    @pytest.mark.usefixtures("both")
    async def test_a_shift_is_done_once_and_a_cancelled_one_is_put_back(
        self, provider: Provider, subject: Subject
    ) -> None:
        await finish(provider, "s0", ShiftTraffic(name=NEW, percent=10))
        await finish(provider, "e", EnableServerGroup(name=NEW))
        first = ShiftTraffic(name=NEW, percent=30)
        await finish(provider, "s1", first)
        await finish(provider, "s2", ShiftTraffic(name=NEW, percent=60))
        assert (await (await subject.open()).begin("s1", first)).done
        assert (await group_of(provider, NEW)).request_percent == 60
        with pytest.raises(Conflict, match="token"):
            await provider.begin("s1", ShiftTraffic(name=NEW, percent=31))
        again = ShiftTraffic(name=NEW, percent=100)
        begun = await provider.begin("s3", again)
        await finish_cancel(provider, "s3", again)
        assert (await group_of(provider, NEW)).request_percent == (100 if begun.done else 60)

    async def test_a_share_of_what_is_not_there_is_not_found(self, provider: Provider) -> None:
        with pytest.raises(NotFound, match="shop-v001"):
            await provider.begin("s", ShiftTraffic(name=NEW, percent=10))
