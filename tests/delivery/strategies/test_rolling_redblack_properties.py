"""What rollingredblack keeps whatever happens: the groups together always serve whole. On a virtual clock."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from delivery.strategies.watched import CAPACITY, DESIRED, Watched, deploy, launch_settings
from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.model.faults import SeededFaults

pytestmark = pytest.mark.slow

OLD, NEW = "web-v000", "web-v001"
targets = st.lists(st.integers(1, 100), max_size=3, unique=True).map(sorted)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sick=launch_settings,
    seed=st.integers(0, 10_000),
    probability=st.sampled_from([0.0, 0.1, 0.4]),
    changes_take=st.integers(0, 3),
    cancel_at_call=st.integers(0, 40),
    options=st.fixed_dictionaries(
        {
            "targetPercentages": targets,
            "scaleDown": st.booleans(),
            "delayBeforeCleanup": st.sampled_from([0, 5]),
            "delayBeforeScaleDown": st.sampled_from([0, 5]),
            "rollback": st.fixed_dictionaries({"destroyLatest": st.booleans()}),
        },
    ),
)
def test_both_groups_together_always_serve_whole(
    sick: dict[str, Any],
    seed: int,
    probability: float,
    changes_take: int,
    cancel_at_call: int,
    options: dict[str, Any],
) -> None:
    async def scenario() -> None:
        watched = Watched(changes_take, in_shares=True)
        assert (await deploy(watched, "earlier", "v0", strategy="rollingredblack")).ok
        watched.new_group = NEW
        result = await deploy(
            watched,
            "new",
            "new",
            strategy="rollingredblack",
            launch_settings=sick,
            faults=SeededFaults(seed, probability),
            cancel_at_call=cancel_at_call,
            **options,
        )
        groups = watched.groups()
        event("cancelled" if result is None else "deployed" if result.ok else f"failed: {result.errors[0].kind}")
        if result is not None and result.ok:
            assert watched.good() == [NEW]
            assert groups[NEW].capacity == Capacity(**CAPACITY), "what was pinned scales freely again"
            assert groups[OLD].capacity.desired == (0 if options["scaleDown"] else DESIRED)
            assert groups[OLD].capacity.min == (0 if options["scaleDown"] else CAPACITY["min"])
            return
        assert watched.good() == [OLD]
        assert groups[OLD].capacity == Capacity(**CAPACITY), "the pinned minimum was given back"
        assert not groups[NEW].enabled if NEW in groups else True
        if result is None or options["rollback"]["destroyLatest"]:
            assert NEW not in groups
        if result is not None:
            assert result.rolled_back

    asyncio.run(scenario())


@settings(max_examples=200, deadline=None)
@given(breaks_at_call=st.integers(1, 40), target_percentages=targets, changes_take=st.integers(0, 2))
def test_a_new_group_that_goes_bad_gives_the_old_one_all_of_its_traffic_back(
    breaks_at_call: int,
    target_percentages: list[int],
    changes_take: int,
) -> None:
    async def scenario() -> None:
        watched = Watched(changes_take, in_shares=True)
        assert (await deploy(watched, "earlier", "v0")).ok
        watched.new_group = NEW

        def go_bad() -> None:
            if NEW in watched.groups():
                # What the old one has lost by now is down with the new one: no order of steps prevents that.
                watched.may_be_down = watched.up(OLD) < DESIRED
                watched.cloud.break_group(NEW)

        result = await deploy(
            watched,
            "new",
            "new",
            strategy="rollingredblack",
            targetPercentages=target_percentages,
            at_call={breaks_at_call: go_bad},
        )
        event("deployed" if result.ok else f"failed: {result.errors[0].kind}")
        if not result.ok:
            assert watched.good() == [OLD]
            assert watched.groups()[OLD].weight_percent == 100
            assert result.errors[0].kind in ("NeverHealthy", "Unhealthy")
            assert watched.groups()[OLD].capacity == Capacity(**CAPACITY)

    asyncio.run(scenario())


@settings(max_examples=100, deadline=None)
@given(grows_at_call=st.integers(1, 20), target_percentages=targets)
def test_a_source_that_an_autoscaler_grows_meanwhile_is_replaced_at_its_new_size_where_that_is_seen(
    grows_at_call: int, target_percentages: list[int]
) -> None:
    async def scenario() -> None:
        watched = Watched(0, in_shares=True)
        assert (await deploy(watched, "earlier", "v0")).ok
        watched.new_group = NEW

        def grow() -> None:
            capacity = watched.groups()[OLD].capacity
            watched.cloud.put_capacity(OLD, capacity.model_copy(update={"desired": capacity.max}))

        result = await deploy(
            watched,
            "new",
            "new",
            strategy="rollingredblack",
            targetPercentages=target_percentages,
            at_call={grows_at_call: grow},
        )
        assert result.ok, result.errors
        size = len(watched.groups()[NEW].instances)
        event(f"{size} instances")
        assert size in (DESIRED, 5)
        assert watched.groups()[NEW].capacity.min == CAPACITY["min"]

    asyncio.run(scenario())
