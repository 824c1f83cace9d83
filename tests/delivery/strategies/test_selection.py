"""Which server groups of a cluster are dropped, kept and gone back to."""

from dataclasses import dataclass

import pytest

from stormsail.delivery.model.server_group import Capacity, Health, Instance, LaunchSpec, ServerGroup
from stormsail.delivery.strategies.selection import serving, to_disable, to_restore, to_scale_down, to_shrink


def cluster(text: str) -> tuple[ServerGroup, ...]:
    """Read a cluster, oldest first: `E2` is enabled with two instances, `D0` disabled with none.

    A trailing `!` says that the group never took traffic, a trailing `x` that nothing says what it launched.
    """
    return tuple(_group(index, word) for index, word in enumerate(text.split()))


def _group(index: int, word: str) -> ServerGroup:
    count = int(word[1])
    enabled = word[0] == "E"
    name = f"web-v{index:03d}"
    return ServerGroup(
        name=name,
        account="a",
        location="here",
        capacity=Capacity.fixed(count),
        enabled=enabled,
        instances=tuple(Instance(id=f"{name}-{number}", health=Health.UP) for number in range(count)),
        launch=LaunchSpec() if word.endswith("x") else LaunchSpec(command=("serve",)),
        created_at_ms=index,
        enabled_at_ms=0 if word.endswith("!") else index + 1,
    )


def versions(groups: tuple[ServerGroup, ...]) -> set[int]:
    return {int(group.name[-3:]) for group in groups}


@dataclass(frozen=True)
class Shrink:
    there: str
    size: int
    drops: set[int]
    active: bool = False
    larger: bool = False


@pytest.mark.parametrize(
    "case",
    [
        Shrink("E1", 1, set()),
        Shrink("D1 E1", 1, {0}),
        Shrink("D1 E1", 2, set()),
        Shrink("D1 D1 E1", 2, {0}),
        Shrink("D1 D1 E1", 1, {0, 1}),
        Shrink("D1 E1 E1", 1, {0}),  # Two serve and may not be touched: the one disabled group is over the count.
        Shrink("E1 E1", 1, set()),
        Shrink("D1 D1", 0, {0, 1}),
        Shrink("E1 E1", 1, {0}, active=True),
        Shrink("E1 D1", 1, {1}, active=True),  # Active ones are kept before newer ones.
        Shrink("E1 D1 E1 D1", 2, {1, 3}, active=True),
        Shrink("D3 D1 E1", 2, {1}, larger=True),
        Shrink("D3 D1 E1", 2, {0}),
        Shrink("E1 E3 E2", 1, {0, 2}, active=True, larger=True),
        Shrink("D3 E1 D9", 1, {0, 2}, active=True, larger=True),
    ],
)
def test_shrinking_keeps_active_then_larger_then_newer(case: Shrink) -> None:
    dropped = to_shrink(
        cluster(case.there),
        case.size,
        allow_delete_active=case.active,
        retain_larger_over_newer=case.larger,
    )
    assert versions(dropped) == case.drops


@pytest.mark.parametrize(
    ("there", "remaining", "keep", "drops"),
    [
        ("E1", 1, set(), set()),
        ("E1 E1", 1, set(), {0}),
        ("E1 D1 E1", 1, set(), {0}),
        ("E1 E1 E1", 2, set(), {0}),
        ("E1 E1 E1", 1, {"web-v001"}, {0, 2}),  # The group just made stays, even if somebody made a newer one.
        ("E1 D1", 1, {"web-v001"}, set()),
    ],
)
def test_disabling_keeps_the_newest_enabled(there: str, remaining: int, keep: set[str], drops: set[int]) -> None:
    assert versions(to_disable(cluster(there), remaining, keep=keep)) == drops


@pytest.mark.parametrize(
    ("there", "remaining", "drops"),
    [
        ("D2 E2", 1, {0}),
        ("D0 E2", 1, set()),  # There is nothing left to take away.
        ("D2 D2 E2", 1, {0, 1}),
        ("D2 D2 E2", 2, {0}),
        ("E2 E2", 1, set()),
    ],
)
def test_scaling_down_leaves_active_groups_and_empty_ones_alone(there: str, remaining: int, drops: set[int]) -> None:
    assert versions(to_scale_down(cluster(there), remaining)) == drops


@pytest.mark.parametrize(
    ("there", "newest"),
    [("", None), ("D1 D1", None), ("E1 D1", 0), ("E1 E1 D1", 1)],
)
def test_what_serves_is_the_newest_enabled_group(there: str, newest: int | None) -> None:
    group = serving(cluster(there))
    assert (None if group is None else int(group.name[-3:])) == newest


@pytest.mark.parametrize(
    ("there", "restored"),
    [
        ("E1", None),
        ("D1 E1", 0),
        ("D0 E1", 0),  # Scaled down, but it can be launched again.
        ("D1 D1 E1", 1),
        ("D1 D1! E1", 0),  # The one between never took traffic: its deployment failed.
        ("D1x E1", None),
        ("D1! E1", None),
        ("D1 D1! E1!", 1),  # The cloud keeps no such times: the newest older one, whose health decides.
        ("D1 E1 D1", 0),  # What is newer than the serving group is no earlier version.
    ],
)
def test_rollback_goes_to_the_newest_older_group_that_once_served(there: str, restored: int | None) -> None:
    groups = cluster(there)
    current = serving(groups)
    assert current is not None
    group = to_restore(groups, current)
    assert (None if group is None else int(group.name[-3:])) == restored
