"""Every strategy under every schedule of one fault, and of a refusal after a refusal, at whichever call to the cloud.

Not drawn but gone through one by one: the calls of a deployment are counted first, then each of them goes wrong in each
way. The clouds check the guard at every effect; here is checked where it all ends. On a virtual clock.
"""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest

from delivery.strategies.watched import CAPACITY, DESIRED, Watched, WatchedShares, deploy
from stormsail.delivery.model.operation import OperationResult
from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.model.faults import Fault

pytestmark = pytest.mark.slow

OLD, NEW = "web-v000", "web-v001"
WAYS: Final[Mapping[str, dict[str, Any]]] = {
    "none": {},
    "redblack": {"scaleDown": True, "maxRemainingAsgs": 2},
    "redblack that destroys": {"strategy": "redblack", "rollback": {"destroyLatest": True}},
    "rollingredblack": {"targetPercentages": [34, 67], "scaleDown": True},
    "highlander": {},
    "canary": {"canary": {"steps": [{"setWeight": 30}, {"setWeight": 70}]}, "scaleDown": True},
}
REFUSALS_AFTER: Final = 8
"""How many calls after a refusal the second one may come."""


class Schedule:
    """Goes wrong at chosen calls, and counts all."""

    def __init__(self, faults: Mapping[int, Fault]) -> None:
        self._faults = faults
        self.calls = 0

    def next(self, verb: str, kind: str) -> Fault | None:
        self.calls += 1
        return self._faults.get(self.calls)


def played(
    way: str, faults: Mapping[int, Fault], cancel_at_call: int = 0
) -> tuple[Watched, OperationResult | None, int]:
    """Deploy a second version under a schedule; return the cloud, the result, and how many calls there were."""
    options = {"strategy": way, **WAYS[way]}
    shares = options["strategy"] == "canary"
    watched: Watched = WatchedShares(1) if shares else Watched(1, in_shares=way == "rollingredblack")
    schedule = Schedule(faults)

    async def scenario() -> OperationResult | None:
        assert (await deploy(watched, "earlier", "v0", **({"strategy": "canary"} if shares else {}))).ok
        watched.new_group = NEW
        return await deploy(watched, "new", "new", faults=schedule, cancel_at_call=cancel_at_call, **options)

    return watched, asyncio.run(scenario()), schedule.calls


def check(way: str, watched: Watched, result: OperationResult | None, said: str) -> None:
    """Hold the end against what was promised: the new version alone, or the old one as it was, or a loud word."""
    groups = watched.groups()
    if result is not None and result.ok:
        assert NEW in watched.good(), said
        assert groups[NEW].capacity == Capacity(**CAPACITY), said
    loud = result is not None and result.left_behind
    kept = result is not None and not result.ok and not result.rolled_back
    if OLD in groups and groups[OLD].capacity.desired:
        assert groups[OLD].capacity == Capacity(**CAPACITY) or loud, f"{said}: the pinned minimum was given back"
    assert watched.up() >= DESIRED, f"{said}: those that serve are whole together"
    if result is not None and result.rolled_back:
        assert watched.good() == [OLD], said
    if result is None and way != "highlander":
        assert OLD in watched.good(), f"{said}: a cancel puts the old version back"
    if kept and not loud:
        assert result is not None and result.errors, said


def single_faults(calls: int) -> Iterator[dict[int, Fault]]:
    for call in range(1, calls + 1):
        for fault in Fault:
            yield {call: fault}


def refusals(calls: int) -> Iterator[dict[int, Fault]]:
    for first in range(1, calls + 1):
        for after in range(1, REFUSALS_AFTER + 1):
            yield {first: Fault.PERMANENT, first + after: Fault.PERMANENT}


@pytest.mark.parametrize("way", WAYS)
def test_the_guard_holds_and_what_was_pinned_is_given_back_whichever_call_goes_wrong(way: str) -> None:
    _, result, calls = played(way, {})
    assert result is not None and result.ok
    assert calls >= 8
    for faults in single_faults(calls):
        watched, result, _ = played(way, faults)
        check(way, watched, result, f"{way} {faults}")
        if Fault.PERMANENT not in faults.values():
            assert result is not None and result.ok, f"{way} {faults}: a fault that passes changes nothing"


@pytest.mark.parametrize("way", WAYS)
def test_the_guard_holds_when_putting_back_is_refused_too(way: str) -> None:
    _, _, calls = played(way, {})
    for faults in refusals(calls):
        watched, result, _ = played(way, faults)
        check(way, watched, result, f"{way} {faults}")


@pytest.mark.parametrize("way", WAYS)
def test_the_guard_holds_whenever_it_is_cancelled_and_a_call_is_refused_on_the_way_back(way: str) -> None:
    _, _, calls = played(way, {})
    for cancel_at in range(1, calls + 1):
        watched, result, made = played(way, {}, cancel_at)
        check(way, watched, result, f"{way} cancelled at {cancel_at}")
        for call in (made - 1, made):
            watched, result, _ = played(way, {call: Fault.PERMANENT}, cancel_at)
            assert watched.up() >= DESIRED, f"{way} cancelled at {cancel_at}, refused at {call}"
