"""What redblack keeps whatever happens: random clouds, faults, sick instances and cancels, on a virtual clock."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from delivery.strategies.watched import CAPACITY, DESIRED, Watched, deploy, launch_settings
from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.model.faults import SeededFaults

pytestmark = pytest.mark.slow


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sick=launch_settings,
    seed=st.integers(0, 10_000),
    probability=st.sampled_from([0.0, 0.1, 0.4]),
    changes_take=st.integers(0, 3),
    cancel_at_call=st.integers(0, 25),
    earlier=st.integers(1, 3),
    options=st.fixed_dictionaries(
        {
            "scaleDown": st.booleans(),
            "maxRemainingAsgs": st.integers(0, 2),
            "delayBeforeCleanup": st.sampled_from([0, 5]),
            "delayBeforeScaleDown": st.sampled_from([0, 5]),
            "rollback": st.fixed_dictionaries({"destroyLatest": st.booleans()}),
        },
    ),
)
def test_the_old_group_serves_until_the_new_one_was_seen_good(
    sick: dict[str, Any],
    seed: int,
    probability: float,
    changes_take: int,
    cancel_at_call: int,
    earlier: int,
    options: dict[str, Any],
) -> None:
    async def scenario() -> None:
        watched = Watched(changes_take)
        for number in range(earlier):
            assert (await deploy(watched, f"earlier-{number}", f"v{number}")).ok
        old = f"web-v{earlier - 1:03d}"
        watched.new_group = f"web-v{earlier:03d}"
        result = await deploy(
            watched,
            "new",
            "new",
            launch_settings=sick,
            faults=SeededFaults(seed, probability),
            cancel_at_call=cancel_at_call,
            **options,
        )
        groups = watched.groups()
        created = [
            effect for effect in watched.cloud.effects if (effect.kind, effect.name) == ("create", watched.new_group)
        ]
        assert len(created) <= 1
        event("cancelled" if result is None else "deployed" if result.ok else f"failed: {result.errors[0].kind}")
        if result is not None and result.ok:
            assert watched.good() == [watched.new_group]
            assert groups[old].capacity.desired == (0 if options["scaleDown"] else DESIRED)
            assert groups[old].capacity.min == (0 if options["scaleDown"] else CAPACITY["min"])
            return
        assert watched.good() == [old]
        assert groups[old].capacity.min == CAPACITY["min"], "the pinned minimum was given back"
        assert not groups[watched.new_group].enabled if watched.new_group in groups else True
        if result is None or options["rollback"]["destroyLatest"]:
            assert watched.new_group not in groups
        if result is not None:
            assert result.rolled_back

    asyncio.run(scenario())


@settings(max_examples=200, deadline=None)
@given(breaks_at_call=st.integers(1, 16), scale_down=st.booleans(), changes_take=st.integers(0, 2))
def test_a_new_group_that_goes_bad_never_costs_the_old_one_its_traffic(
    breaks_at_call: int,
    scale_down: bool,
    changes_take: int,
) -> None:
    async def scenario() -> None:
        watched = Watched(changes_take)
        assert (await deploy(watched, "oldest", "v0")).ok
        assert (await deploy(watched, "earlier", "v1")).ok
        watched.new_group = "web-v002"

        def go_bad() -> None:
            groups = watched.groups()
            if "web-v002" in groups:
                watched.cloud.break_group("web-v002")
                # Broken when it already serves alone: no order of steps could have prevented that.
                watched.may_be_down = not groups["web-v001"].enabled

        more = {"scaleDown": scale_down, "maxRemainingAsgs": 2}
        result = await deploy(watched, "new", "new", at_call={breaks_at_call: go_bad}, **more)
        event("deployed" if result.ok else f"failed: {result.errors[0].kind}")
        if not result.ok:
            assert watched.good() == ["web-v001"]
            assert result.errors[0].kind in ("NeverHealthy", "Unhealthy")
            assert watched.groups()["web-v001"].capacity == Capacity(**CAPACITY)

    asyncio.run(scenario())
