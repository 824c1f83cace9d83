"""What a canary keeps whatever happens: whoever gets requests has the instances for them. On a virtual clock."""

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from delivery.strategies.watched import CAPACITY, DESIRED, WatchedShares, deploy, launch_settings
from stormsail.delivery.model.canary import Measurement
from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.model.steering import SteerRequest, Verb
from stormsail.delivery.operations.steering import Steering
from stormsail.delivery.providers.model.faults import SeededFaults

pytestmark = pytest.mark.slow

OLD, NEW = "web-v000", "web-v001"

weights = st.lists(st.integers(1, 100), min_size=1, max_size=3, unique=True).map(sorted)
between: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"pause": {"duration": 5}},
        {"pause": {}},
        {"approval": {}},
        {"analysis": {"web": {"url": "http://x"}, "successCondition": "> 0", "count": 2, "failureLimit": 1}},
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sick=launch_settings,
    seed=st.integers(0, 10_000),
    probability=st.sampled_from([0.0, 0.1, 0.4]),
    changes_take=st.integers(0, 3),
    cancel_at_call=st.integers(0, 60),
    abort_at_call=st.integers(0, 60),
    shares=weights,
    waits=st.lists(between, min_size=3, max_size=3),
    measured=st.sampled_from([1.0, 0.0, None]),
    person=st.sampled_from([Verb.APPROVE, Verb.PROMOTE, Verb.ABORT]),
    full=st.booleans(),
    scale_down=st.booleans(),
)
def test_whoever_gets_requests_has_the_instances_for_them(
    sick: dict[str, Any],
    seed: int,
    probability: float,
    changes_take: int,
    cancel_at_call: int,
    abort_at_call: int,
    shares: list[int],
    waits: list[dict[str, Any]],
    measured: float | None,
    person: Verb,
    full: bool,
    scale_down: bool,
) -> None:
    async def scenario() -> None:
        watched = WatchedShares(changes_take)
        assert (await deploy(watched, "earlier", "v0", strategy="canary")).ok
        watched.new_group = NEW
        before = len(watched.cloud.effects)
        watched.may_be_down = "sick_under_traffic" in sick

        def decide(steering: Steering) -> None:
            if steering.memo.paused:
                more = {"full": True} if full and person is Verb.PROMOTE else {}
                steering.ask(SteerRequest(id=f"p{len(steering.records)}", verb=person, by="ada", input=more))

        steps = [step for share, wait in zip(shares, waits, strict=False) for step in ({"setWeight": share}, wait)]
        result = await deploy(
            watched,
            "new",
            "new",
            strategy="canary",
            canary={"steps": steps},
            launch_settings=sick,
            faults=SeededFaults(seed, probability),
            cancel_at_call=cancel_at_call,
            steer_at_call={abort_at_call: SteerRequest(id="abort", verb=Verb.ABORT, by="bob")},
            measure=lambda _: Measurement(value=measured),
            person=decide,
            scaleDown=scale_down,
        )
        groups = watched.groups()
        event("cancelled" if result is None else "deployed" if result.ok else f"failed: {result.errors[0].kind}")
        if result is not None and result.ok:
            assert watched.good() == [NEW]
            assert (groups[NEW].capacity, groups[NEW].request_percent) == (Capacity(**CAPACITY), None)
            assert groups[OLD].capacity.desired == (0 if scale_down else DESIRED)
            assert groups[OLD].capacity.min == (0 if scale_down else CAPACITY["min"])
            return
        assert watched.good() == [OLD]
        assert groups[OLD].capacity == Capacity(**CAPACITY), "the pinned minimum was given back"
        assert NEW not in groups, "the canary was destroyed"
        if result is not None:
            assert result.rolled_back is (len(watched.cloud.effects) > before)

    asyncio.run(scenario())


@settings(max_examples=200, deadline=None)
@given(breaks_at_call=st.integers(1, 45), shares=weights, changes_take=st.integers(0, 2))
def test_a_canary_that_goes_bad_gives_the_old_group_every_request_back(
    breaks_at_call: int, shares: list[int], changes_take: int
) -> None:
    async def scenario() -> None:
        watched = WatchedShares(changes_take)
        assert (await deploy(watched, "earlier", "v0")).ok
        watched.new_group = NEW

        def go_bad() -> None:
            if NEW in watched.groups():
                watched.may_be_down = True  # What it gets of the requests by now is lost until they are given back.
                watched.cloud.break_group(NEW)

        steps = [{"setWeight": share} for share in shares]
        happens = {breaks_at_call: go_bad}
        result = await deploy(watched, "new", "new", strategy="canary", canary={"steps": steps}, at_call=happens)
        event("deployed" if result.ok else f"failed: {result.errors[0].kind}")
        if not result.ok:
            assert watched.good() == [OLD]
            assert NEW not in watched.groups()
            assert result.errors[0].kind in ("NeverHealthy", "Unhealthy", "TrafficGuard")
            assert watched.groups()[OLD].capacity == Capacity(**CAPACITY)

    asyncio.run(scenario())
