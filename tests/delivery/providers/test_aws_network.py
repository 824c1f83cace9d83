"""Load balancers and security groups on AWS, over HTTP, with faults and beside what is not ours."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from contracts.network_contract import DOOR, FRONT, WEB, NetworkContract, balancer, door, enabled, weights
from contracts.provider_contract import Subject, finish
from delivery.providers.aws_account import launch, opened
from delivery.providers.aws_cloud import StrictCloud
from delivery.providers.aws_proxy import Fault
from delivery.providers.aws_story import persist
from stormsail.delivery.model.network import IngressRule, LoadBalancer
from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.errors import Conflict, InvalidLaunch, NotFound
from stormsail.delivery.providers.provider import (
    Change,
    DeleteLoadBalancer,
    DeleteSecurityGroup,
    DestroyServerGroup,
    Provider,
    UpsertLoadBalancer,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
async def provider(cloud: StrictCloud) -> AsyncIterator[Provider]:
    found = await opened(cloud)
    yield found
    await found.close()


class TestAwsNetwork(NetworkContract):
    @pytest.fixture
    async def subject(self, cloud: StrictCloud) -> AsyncIterator[Subject]:
        opened_ones: list[Provider] = []

        async def open_again() -> Provider:
            opened_ones.append(await opened(cloud))
            return opened_ones[-1]

        async def count(name: str) -> int:
            return cloud.running(name)

        yield Subject(open_again, launch(cloud), LaunchSpec(), LaunchSpec(), count)
        for one in opened_ones:
            await one.close()

    @pytest.fixture
    def settings(self, cloud: StrictCloud) -> dict[str, Any]:
        return {"subnets": cloud.subnets}

    @pytest.fixture
    def made(self, cloud: StrictCloud) -> Callable[[str], Awaitable[int]]:
        async def count(name: str) -> int:
            return cloud.made.count(name)

        return count


async def test_the_shares_of_a_canary_outlive_a_change_of_the_load_balancer_and_what_serves_keeps_it(
    cloud: StrictCloud, provider: Provider
) -> None:
    settings = {"subnets": cloud.subnets}
    await finish(provider, "u", balancer(settings, "shop-blue", "shop-green"))
    await enabled(provider, "shop-v000", launch(cloud, "shop-blue"))
    await enabled(provider, "shop-v001", launch(cloud, "shop-green"), percent=20)
    assert weights(await provider.network("shop")) == [{"shop-blue": 80, "shop-green": 20}]
    await finish(provider, "v", balancer(settings, "shop-blue", "shop-green", ports=(80, 8080)))
    assert weights(await provider.network("shop"))[0] == {"shop-blue": 80, "shop-green": 20}
    seen = (await provider.network("shop")).load_balancer(FRONT)
    assert seen is not None
    assert seen.serves == ("shop-v000", "shop-v001")
    with pytest.raises(Conflict, match="pool shop-green still has instances"):
        await provider.begin("w", balancer(settings, "shop-blue"))
    await finish(provider, "x", DestroyServerGroup(name="shop-v001"))
    await finish(provider, "y", balancer(settings, "shop-blue"))
    assert weights(await provider.network("shop")) == [{"shop-blue": 100}]


@pytest.mark.long
@pytest.mark.parametrize("fault", [Fault.CUT_AFTER, Fault.INTERNAL_BEFORE, Fault.THROTTLED])
async def test_one_of_each_is_made_under_a_fault_at_every_call(
    cloud: StrictCloud, provider: Provider, fault: Fault
) -> None:
    settings = {"subnets": cloud.subnets}
    number, hit = 0, True
    while hit:
        number += 3
        for step in range(3):
            cloud.proxy.fail(number + step * 7, fault)
        start = len(cloud.proxy.calls)
        story: list[Change] = [
            balancer(settings, "shop-blue", "shop-green"),
            door(WEB),
            DeleteLoadBalancer(name=FRONT),
            DeleteSecurityGroup(name=DOOR),
        ]
        for change in story:
            await persist(provider, f"{number}-{change.kind}", change)
        hit = len(cloud.proxy.calls) - start >= number
        cloud.proxy.be_well()
        assert (cloud.made.count(FRONT), cloud.made.count(DOOR)) == (number // 3, number // 3), (
            f"fault at call {number}"
        )
        assert cloud.pools() == [], f"fault at call {number}"
    assert number > 30, "the calls were not counted"


async def test_what_is_not_ours_is_left_alone(cloud: StrictCloud, provider: Provider) -> None:
    cloud.target_group("shop-blue")
    wish = balancer({"subnets": cloud.subnets}, "shop-blue").load_balancer
    theirs = UpsertLoadBalancer(name="lb-shop-blue", load_balancer=wish.model_copy(update={"name": "lb-shop-blue"}))
    for change in (theirs, DeleteLoadBalancer(name="lb-shop-blue"), DeleteSecurityGroup(name="default")):
        with pytest.raises(Conflict, match="Stormsail did not make it"):
            await finish(provider, f"t-{change.kind}", change)
    with pytest.raises(Conflict, match="was not made for this load balancer"):
        await finish(provider, "u", balancer({"subnets": cloud.subnets}, "shop-blue"))
    assert (await provider.network("lb")).load_balancers == ()


@pytest.mark.parametrize(
    ("wish", "says"),
    [
        (balancer({}, "shop-blue"), "needs the setting subnets"),
        (balancer({"subnets": ["s"], "zone": 1}, "shop-blue"), "has no setting zone"),
        (balancer({"subnets": ["s"]}, "shop_blue"), "up to 32 letters, digits and hyphens"),
        (balancer({"subnets": ["s"]}, "shop-blue", protocol="TCP"), "HTTP and HTTPS listeners and pools alone"),
    ],
)
async def test_a_wish_that_aws_would_not_take_is_refused_by_field(
    provider: Provider, wish: UpsertLoadBalancer, says: str
) -> None:
    with pytest.raises(InvalidLaunch, match=says):
        await provider.begin("u", wish)


async def test_a_rule_for_a_group_that_is_not_there_names_it(provider: Provider) -> None:
    with pytest.raises(NotFound, match="no security group 'shop-gone'"):
        await finish(provider, "u", door(IngressRule(start_port=1, end_port=2, security_group="shop-gone")))


async def test_a_kind_that_cannot_be_changed_is_refused(cloud: StrictCloud, provider: Provider) -> None:
    settings = {"subnets": cloud.subnets}
    await finish(provider, "u", balancer(settings, "shop-blue"))
    inside = LoadBalancer(name=FRONT, internal=True, settings=settings)
    with pytest.raises(Conflict, match="isInternal"):
        await finish(provider, "v", UpsertLoadBalancer(name=FRONT, load_balancer=inside))
