"""Load balancers as the local provider has them: one for each application, with a port that people may choose."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from contracts.provider_contract import finish
from delivery.providers.local_account import get, hello
from ports import free_port
from stormsail.delivery.model.network import Listener, LoadBalancer, Pool, SecurityGroup
from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.errors import Conflict, InvalidLaunch, Permanent
from stormsail.delivery.providers.local.provider import LocalProvider, open_provider, stop_everything
from stormsail.delivery.providers.provider import (
    CreateServerGroup,
    DeleteLoadBalancer,
    DestroyServerGroup,
    EnableServerGroup,
    UpsertLoadBalancer,
    UpsertSecurityGroup,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
async def provider(tmp_path: Path) -> AsyncIterator[LocalProvider]:
    opened = await open_provider("local", {"data_dir": str(tmp_path)})
    yield opened
    await opened.close()
    await stop_everything(tmp_path)


def wish(port: int, name: str = "shop", **more: Any) -> UpsertLoadBalancer:
    return UpsertLoadBalancer(
        name=name, load_balancer=LoadBalancer(name=name, listeners=(Listener(port=port),), **more)
    )


async def test_an_application_is_served_where_its_load_balancer_was_wished(provider: LocalProvider) -> None:
    first, second = free_port(), free_port()
    await finish(provider, "u", wish(first))
    await finish(provider, "v", wish(second))
    assert (await provider.begin("u", wish(first))).done, "a token that ended does nothing again"
    found = (await provider.network("shop")).load_balancer("shop")
    assert found is not None
    assert (found.address, found.serves) == (f"127.0.0.1:{second}", ())
    await finish(provider, "c", CreateServerGroup(name="shop-v000", capacity=Capacity.fixed(1), launch=hello()))
    await finish(provider, "e", EnableServerGroup(name="shop-v000"))
    assert get(f"127.0.0.1:{second}")[0] == 200
    assert (await provider.network("shop")).load_balancers[0].serves == ("shop-v000",)
    with pytest.raises(Conflict, match=f"served on port {second}, not {first}"):
        await provider.begin("w", wish(first))
    with pytest.raises(Conflict, match=r"has server groups \(shop-v000\)"):
        await provider.begin("d", DeleteLoadBalancer(name="shop"))
    await finish(provider, "x", DestroyServerGroup(name="shop-v000"))
    await finish(provider, "y", DeleteLoadBalancer(name="shop"))
    assert (await provider.network("shop")).load_balancers == ()
    await finish(provider, "z", DeleteLoadBalancer(name="shop"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (wish(8080, "shop-front"), "one for each application, under its name: 'shop'"),
        (wish(8080, settings={"vpc": "x"}), "no setting 'vpc'"),
        (wish(8080, pools=(Pool(name="blue", port=1),)), "leave pools and routes out"),
        (UpsertLoadBalancer(name="shop", load_balancer=LoadBalancer(name="shop")), "exactly one, for HTTP"),
    ],
)
async def test_what_there_is_not_here_is_refused_by_field(
    provider: LocalProvider, change: UpsertLoadBalancer, says: str
) -> None:
    with pytest.raises(InvalidLaunch, match=says):
        await provider.begin("t", change)


async def test_security_groups_are_refused_by_name(provider: LocalProvider) -> None:
    change = UpsertSecurityGroup(name="shop-door", security_group=SecurityGroup(name="shop-door"))
    with pytest.raises(Permanent, match=r"no security groups: .* leave upsertSecurityGroup out"):
        await provider.begin("t", change)
