"""What every provider with load balancers and security groups promises of them; see `provider_contract.py`."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from contracts.provider_contract import Subject, finish, finish_cancel
from stormsail.delivery.model.network import IngressRule, Listener, LoadBalancer, Network, Pool, Route, SecurityGroup
from stormsail.delivery.model.server_group import Capacity, LaunchSpec
from stormsail.delivery.providers.errors import Conflict
from stormsail.delivery.providers.provider import (
    CreateServerGroup,
    DeleteLoadBalancer,
    DeleteSecurityGroup,
    EnableServerGroup,
    Provider,
    ShiftTraffic,
    UpsertLoadBalancer,
    UpsertSecurityGroup,
)

FRONT, DOOR, INNER = "shop-front", "shop-door", "shop-inner"
WEB = IngressRule(start_port=80, end_port=80, cidr="0.0.0.0/0")
OPS = IngressRule(start_port=22, end_port=22, cidr="10.0.0.0/8")


def balancer(settings: dict[str, Any], *pools: str, ports: tuple[int, ...] = (80,), **more: Any) -> UpsertLoadBalancer:
    """Return the wish for a load balancer whose listeners send to the first pool, and with weight 0 to the others."""
    routes = tuple(Route(pool=name, weight=100 if name == pools[0] else 0) for name in pools)
    listeners = tuple(Listener(port=port, routes=routes) for port in ports)
    made = tuple(Pool(name=name, port=80, **more) for name in pools)
    return UpsertLoadBalancer(
        name=FRONT, load_balancer=LoadBalancer(name=FRONT, listeners=listeners, pools=made, settings=settings)
    )


def door(*rules: IngressRule, append_only: bool = False, name: str = DOOR) -> UpsertSecurityGroup:
    """Return the wish for a security group."""
    group = SecurityGroup(name=name, description="who may come in", ingress=rules)
    return UpsertSecurityGroup(name=name, security_group=group, append_only=append_only)


def weights(seen: Network) -> list[dict[str, int]]:
    found = seen.load_balancer(FRONT)
    assert found is not None
    return [{route.pool: route.weight for route in listener.routes} for listener in found.listeners]


class NetworkContract:
    """The suite. `settings` are what a load balancer needs there; `made` counts what was made of a name."""

    @pytest.fixture
    def settings(self) -> dict[str, Any]:
        return {}

    @pytest.fixture
    def made(self) -> Callable[[str], Awaitable[int]]:
        raise LookupError("the subclass says how to count what was made")

    async def test_a_load_balancer_is_made_once_whoever_begins_it(
        self, provider: Provider, subject: Subject, settings: dict[str, Any], made: Callable[[str], Awaitable[int]]
    ) -> None:
        assert await provider.network("shop") == Network()
        wish = balancer(settings, "shop-blue", "shop-green")
        other = await subject.open()
        await asyncio.gather(finish(provider, "u", wish), finish(other, "u", wish))
        seen = (await provider.network("shop")).load_balancer(FRONT)
        assert seen is not None
        assert [pool.name for pool in seen.pools] == ["shop-blue", "shop-green"]
        assert weights(await other.network("shop")) == [{"shop-blue": 100, "shop-green": 0}]
        assert seen.address
        assert await made(FRONT) == 1
        assert (await provider.network("cart")) == Network()

    async def test_a_load_balancer_is_changed_to_what_is_wished_and_no_more(
        self, provider: Provider, settings: dict[str, Any]
    ) -> None:
        await finish(provider, "a", balancer(settings, "shop-blue", "shop-green", ports=(80, 8080)))
        await finish(provider, "b", balancer(settings, "shop-blue", ports=(80,), health={"path": "/ready"}))
        seen = (await provider.network("shop")).load_balancer(FRONT)
        assert seen is not None
        assert [listener.port for listener in seen.listeners] == [80]
        assert [(pool.name, pool.health.path) for pool in seen.pools] == [("shop-blue", "/ready")]
        assert (await provider.begin("a", balancer(settings, "shop-blue", "shop-green", ports=(80, 8080)))).done
        assert len((await provider.network("shop")).load_balancers[0].pools) == 1
        with pytest.raises(Conflict, match="token"):
            await provider.begin("b", balancer(settings, "shop-blue", ports=(81,)))

    async def test_a_load_balancer_goes_with_all_that_was_made_for_it(
        self, provider: Provider, settings: dict[str, Any]
    ) -> None:
        await finish(provider, "u", balancer(settings, "shop-blue", "shop-green"))
        await finish(provider, "d", DeleteLoadBalancer(name=FRONT))
        assert (await provider.network("shop")).load_balancers == ()
        assert (await provider.begin("e", DeleteLoadBalancer(name=FRONT))).done
        await finish(provider, "v", balancer(settings, "shop-blue", "shop-green"))

    async def test_a_cancelled_change_is_carried_on_by_nobody_and_another_one_begins_anew(
        self, provider: Provider, settings: dict[str, Any]
    ) -> None:
        wish = balancer(settings, "shop-blue", "shop-green")
        begun = await provider.begin("u", wish)
        await finish_cancel(provider, "u", wish)
        if not begun.done:
            with pytest.raises(Conflict, match="cancelled"):
                await finish(provider, "u", wish)
        await finish(provider, "v", wish)
        assert weights(await provider.network("shop")) == [{"shop-blue": 100, "shop-green": 0}]

    async def test_a_security_group_lets_in_who_is_described_and_with_append_only_others_too(
        self, provider: Provider, subject: Subject, made: Callable[[str], Awaitable[int]]
    ) -> None:
        other = await subject.open()
        await asyncio.gather(*(finish(one, "u", door(WEB, OPS)) for one in (provider, other)))
        assert await self.inside(provider) == {(80, "0.0.0.0/0"), (22, "10.0.0.0/8")}
        new = IngressRule(start_port=443, end_port=443, cidr="0.0.0.0/0")
        await finish(provider, "v", door(WEB, new))
        assert await self.inside(provider) == {(80, "0.0.0.0/0"), (443, "0.0.0.0/0")}
        await finish(provider, "w", door(OPS, append_only=True))
        assert await self.inside(provider) == {(80, "0.0.0.0/0"), (443, "0.0.0.0/0"), (22, "10.0.0.0/8")}
        assert (await provider.begin("v", door(WEB, new))).done
        assert await made(DOOR) == 1

    async def test_a_security_group_may_let_in_another_one_and_goes_when_it_is_deleted(
        self, provider: Provider
    ) -> None:
        await finish(provider, "u", door(WEB))
        inner = IngressRule(start_port=5432, end_port=5432, security_group=DOOR)
        await finish(provider, "v", door(inner, name=INNER))
        found = (await provider.network("shop")).security_group(INNER)
        assert found is not None
        assert [(rule.start_port, bool(rule.security_group)) for rule in found.ingress] == [(5432, True)]
        await finish(provider, "w", door(name=INNER))
        for number, name in enumerate((INNER, DOOR, INNER)):
            await finish(provider, f"d{number}", DeleteSecurityGroup(name=name))
        assert (await provider.network("shop")).security_groups == ()

    async def inside(self, provider: Provider) -> set[tuple[int, str]]:
        """Return who may come in, by port."""
        group = (await provider.network("shop")).security_group(DOOR)
        assert group is not None
        return {(rule.start_port, rule.cidr) for rule in group.ingress}


async def enabled(provider: Provider, name: str, launch: LaunchSpec, percent: int | None = None) -> None:
    """Make a server group that takes traffic, with a share of it where one is given."""
    await finish(provider, f"c-{name}", CreateServerGroup(name=name, capacity=Capacity.fixed(1), launch=launch))
    if percent is not None:
        await finish(provider, f"s-{name}", ShiftTraffic(name=name, percent=percent))
    await finish(provider, f"e-{name}", EnableServerGroup(name=name))
