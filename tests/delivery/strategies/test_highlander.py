"""Highlander: every other group is destroyed, each only after the new one was seen good. On a virtual clock."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from delivery.strategies.watched import DESIRED, Watched, deploy, launch_settings
from stormsail.delivery.providers.model.faults import SeededFaults

pytestmark = pytest.mark.slow


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sick=launch_settings,
    seed=st.integers(0, 10_000),
    probability=st.sampled_from([0.0, 0.1, 0.4]),
    changes_take=st.integers(0, 3),
    cancel_at_call=st.integers(0, 25),
    earlier=st.lists(st.sampled_from(["none", "redblack"]), min_size=1, max_size=3),
)
def test_one_is_left_and_none_is_lost_before_it_was_good(
    sick: dict[str, Any], seed: int, probability: float, changes_take: int, cancel_at_call: int, earlier: list[str]
) -> None:
    async def scenario() -> None:
        watched = Watched(changes_take)
        for number, strategy in enumerate(earlier):
            assert (await deploy(watched, f"earlier-{number}", f"v{number}", strategy=strategy)).ok
        before = watched.good()
        watched.new_group = f"web-v{len(earlier):03d}"
        result = await deploy(
            watched,
            "new",
            "new",
            strategy="highlander",
            launch_settings=sick,
            faults=SeededFaults(seed, probability),
            cancel_at_call=cancel_at_call,
        )
        event("cancelled" if result is None else "deployed" if result.ok else f"failed: {result.errors[0].kind}")
        if result is not None and result.ok:
            assert list(watched.groups()) == [watched.new_group]
            assert watched.up() == DESIRED
        elif any(effect.kind == "destroy" and effect.name in before for effect in watched.cloud.effects):
            # There is no way back any more, so the new one goes on serving.
            assert watched.new_group in watched.good()
        else:
            assert set(before) <= set(watched.good())

    asyncio.run(scenario())
