"""Listeners that divide requests among target groups follow who serves, in whatever way that changes."""

import pytest

from contracts.provider_contract import finish
from delivery.providers.aws_account import launch, opened
from delivery.providers.aws_cloud import StrictCloud
from stormsail.delivery.model.server_group import Capacity, Health
from stormsail.delivery.providers.errors import Conflict
from stormsail.delivery.providers.provider import (
    Change,
    CreateServerGroup,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    ShiftTraffic,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

OLD, NEW = "shop-v000", "shop-v001"


async def test_a_group_enabled_behind_a_target_group_without_requests_gets_its_part_and_gives_it_back(
    cloud: StrictCloud,
) -> None:
    cloud.target_group("blue")
    cloud.beside("blue", "green")
    provider = await opened(cloud)
    seen = []
    story: list[Change] = [
        CreateServerGroup(name=OLD, capacity=Capacity.fixed(2), launch=launch(cloud, "blue")),
        EnableServerGroup(name=OLD),
        CreateServerGroup(name=NEW, capacity=Capacity.fixed(1), launch=launch(cloud, "green")),
        ShiftTraffic(name=NEW, percent=10),
        EnableServerGroup(name=NEW),
        ShiftTraffic(name=NEW, percent=None),
        DisableServerGroup(name=OLD),
        EnableServerGroup(name=OLD),
        DestroyServerGroup(name=NEW),
    ]
    for number, change in enumerate(story):
        await finish(provider, f"t{number}", change)
        seen.append((change.kind, tuple(cloud.weights().values())))
    await provider.close()
    assert seen == [
        ("createServerGroup", (100, 0)),
        ("enableServerGroup", (100, 0)),
        ("createServerGroup", (100, 0)),
        ("shiftTraffic", (100, 0)),
        ("enableServerGroup", (90, 10)),
        ("shiftTraffic", (90, 10)),
        ("disableServerGroup", (0, 100)),
        ("enableServerGroup", (67, 33)),
        ("destroyServerGroup", (100, 0)),
    ]


async def test_a_share_between_groups_of_one_target_group_is_refused_before_anything_is_changed(
    cloud: StrictCloud,
) -> None:
    cloud.target_group("blue")
    provider = await opened(cloud)
    for name in (OLD, NEW):
        create = CreateServerGroup(name=name, capacity=Capacity.fixed(1), launch=launch(cloud, "blue"))
        await finish(provider, f"c{name}", create)
    await finish(provider, "e", EnableServerGroup(name=OLD))
    with pytest.raises(Conflict, match="both behind target group blue"):
        await provider.begin("s", ShiftTraffic(name=NEW, percent=10))
    group = (await provider.observe("shop")).find(NEW)
    assert group is not None
    assert group.request_percent is None
    await provider.close()


async def test_a_target_group_that_was_removed_hides_neither_groups_nor_how_requests_are_divided(
    cloud: StrictCloud,
) -> None:
    cloud.target_group("blue")
    cloud.beside("blue", "green")
    gone = cloud.target_group("gone")
    provider = await opened(cloud)
    for name, behind in ((OLD, "blue"), (NEW, "gone")):
        create = CreateServerGroup(name=name, capacity=Capacity.fixed(1), launch=launch(cloud, behind))
        await finish(provider, f"c{name}", create)
        await finish(provider, f"e{name}", EnableServerGroup(name=name))
    cloud.remove_target_group(gone)
    seen = await provider.observe("shop")
    assert [(group.name, group.count(Health.UP)) for group in seen.server_groups] == [(OLD, 1), (NEW, 0)]
    await finish(provider, "x", DestroyServerGroup(name=NEW))
    assert cloud.weights() == {"blue": 100, "green": 0}
    await provider.close()
