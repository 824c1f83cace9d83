"""A model cloud that checks, at each of its effects, what every strategy promises."""

import math
from typing import Any

from hypothesis import strategies as st

from delivery.direct_cloud import ACCOUNT, APPLICATION, Clock, run_directly
from stormsail.delivery.model.operation import OperationResult
from stormsail.delivery.model.server_group import Health, ServerGroup
from stormsail.delivery.providers.model.cloud import Effect, ModelCloud

DESIRED = 3
CAPACITY = {"min": 1, "desired": DESIRED, "max": 5}

launch_settings = st.one_of(
    st.just({}),
    st.builds(lambda ms: {"healthy_after_ms": ms}, st.integers(0, 20_000)),
    st.just({"never_healthy": True}),
    st.just({"sick_under_traffic": True}),
    st.just({"not_launchable": True}),
)


class Watched:
    """A model cloud that checks the guarantee at each of its effects.

    Taken over `in_shares`, the groups together must serve whole, and the new one must have what the old one loses.
    """

    def __init__(self, changes_take: int, *, in_shares: bool = False) -> None:
        self.in_shares = in_shares
        self.clock = Clock()
        self.cloud = ModelCloud(self.clock, changes_take=changes_take, after=self._check)
        self.new_group = ""
        self.may_be_down = False

    def groups(self) -> dict[str, ServerGroup]:
        return {group.name: group for group in self.cloud.server_groups(ACCOUNT, APPLICATION)}

    def good(self) -> list[str]:
        """The groups that serve with all their instances up."""
        return [name for name, group in self.groups().items() if group.enabled and group.count(Health.UP) >= DESIRED]

    def up(self, *names: str) -> int:
        """Count the instances that serve, of some groups or of all."""
        return sum(group.count(Health.UP) for name, group in self.groups().items() if not names or name in names)

    def _check(self, effect: Effect) -> None:
        if not self.new_group:
            return
        whole = self.up() >= DESIRED if self.in_shares else bool(self.good())
        assert whole or self.may_be_down, f"nothing serves whole after {effect}; all of it: {self.cloud.effects}"
        if effect.kind == "enable" and effect.name == self.new_group:
            group = self.groups()[self.new_group]
            healthy = sum(one.health in (Health.UP, Health.OUT_OF_SERVICE) for one in group.instances)
            sick_later = "sick_under_traffic" in group.launch.settings
            wanted = len(group.instances) if self.in_shares else DESIRED
            assert healthy >= max(1, wanted) or sick_later, f"{effect} came before the group was healthy"
        takes_away = effect.kind in ("disable", "destroy") or (effect.kind == "resize" and "/0/" in effect.detail)
        if takes_away and effect.name != self.new_group:
            lost = int(effect.detail[:-1]) if self.in_shares and effect.kind == "disable" else 100
            assert self.up(self.new_group) >= math.ceil(DESIRED * lost / 100), (
                f"{effect} came before {self.new_group} was good"
            )


class WatchedShares(Watched):
    """Checks at each effect that every group that gets requests has enough instances up for its share of them."""

    def _check(self, effect: Effect) -> None:
        if not self.new_group:
            return
        shares = self.cloud.request_shares("web")
        assert math.isclose(sum(shares.values()), 1.0), f"nobody gets the requests after {effect}: {self.cloud.effects}"
        for name, share in shares.items():
            if name == self.new_group and self.may_be_down:
                continue
            wanted = math.ceil(round(DESIRED * share, 6))
            assert self.up(name) >= wanted, f"{name} gets {share:.0%} after {effect}: {self.cloud.effects}"


async def deploy(watched: Watched, identity: str, version: str, **more: Any) -> OperationResult | None:
    """Deploy, by redblack unless said otherwise. None means that it ended cancelled."""
    launch = {"version": version, "command": ["serve"], "settings": more.pop("launch_settings", {})}
    return await run_directly(
        watched.cloud,
        watched.clock,
        identity,
        "createServerGroup",
        **{"capacity": CAPACITY, "strategy": "redblack", "launch": launch, "healthTimeout": 30, **more},
    )
