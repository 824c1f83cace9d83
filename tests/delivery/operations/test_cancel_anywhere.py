"""A cancel at any call of any operation puts back what was there, or names what could not be. On a virtual clock."""

import asyncio
from typing import Any

import pytest

from delivery.direct_cloud import ACCOUNT, APPLICATION, Clock, NthFault, run_directly
from stormsail.delivery.model.server_group import Capacity, Health, LaunchSpec
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.provider import CreateServerGroup

CAPACITY = {"min": 1, "desired": 2, "max": 4}
CALLS_MAX = 30

OPERATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "create": (
        "createServerGroup",
        {
            "capacity": CAPACITY,
            "strategy": "redblack",
            "launch": {"command": ["serve"]},
            "scaleDown": True,
            "delayBeforeScaleDown": 5,
        },
    ),
    "create in shares": (
        "createServerGroup",
        {
            "capacity": CAPACITY,
            "strategy": "rollingredblack",
            "targetPercentages": [50],
            "launch": {"command": ["serve"]},
            "scaleDown": True,
            "delayBeforeCleanup": 5,
        },
    ),
    "grow": ("resizeServerGroup", {"serverGroupName": "web-v001", "capacity": {"min": 3, "desired": 3, "max": 3}}),
    "shrink": ("resizeServerGroup", {"serverGroupName": "web-v001", "capacity": {"min": 0, "desired": 1, "max": 3}}),
    "enable": ("enableServerGroup", {"serverGroupName": "web-v000"}),
    "disable": ("disableServerGroup", {"serverGroupName": "web-v001", "allowOutage": True}),
    "destroy": ("destroyServerGroup", {"serverGroupName": "web-v001", "allowOutage": True}),
    "clone": (
        "cloneServerGroup",
        {"strategy": "rollingredblack", "targetPercentages": [50], "launch": {"version": "v3"}},
    ),
    "deregister": ("deregisterInstances", {"serverGroupName": "web-v001", "instanceIds": ["web-v001-1"]}),
    "roll back by image": ("rollbackServerGroup", {"rollbackType": "PREVIOUS_IMAGE", "delayBeforeDisable": 5}),
    "roll back": ("rollbackServerGroup", {"delayBeforeDisable": 5}),
}


def state(cloud: ModelCloud) -> dict[str, tuple[bool, Capacity, int]]:
    """What is enabled, of what capacity, with how many instances that serve or, disabled, are there."""
    return {
        group.name: (group.enabled, group.capacity, group.count(Health.UP) if group.enabled else len(group.instances))
        for group in cloud.server_groups(ACCOUNT, APPLICATION)
    }


async def two_versions(cloud: ModelCloud, clock: Clock) -> None:
    for version in ("v1", "v2"):
        launch = {"command": ["serve"], "version": version}
        deployed = await run_directly(
            *(cloud, clock, version, "createServerGroup"),
            capacity=CAPACITY,
            strategy="redblack",
            launch=launch,
        )
        assert deployed is not None
        assert deployed.ok


@pytest.mark.parametrize("changes_take", [0, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_cancel_at_any_call_puts_the_previous_state_back(name: str, changes_take: int) -> None:
    operation_type, payload = OPERATIONS[name]

    async def cancelled_at(call: int) -> bool:
        clock = Clock()
        cloud = ModelCloud(clock, changes_take=changes_take)
        await two_versions(cloud, clock)
        before = state(cloud)
        result = await run_directly(cloud, clock, "op", operation_type, cancel_at_call=call, **payload)
        if result is not None:
            assert result.ok, result.errors
            return False
        after = state(cloud)
        destroyed = name == "destroy" and "web-v001" not in after
        assert destroyed or after == before, f"cancelled at call {call}: {cloud.effects}"
        return True

    cancelled = [call for call in range(1, CALLS_MAX) if asyncio.run(cancelled_at(call))]
    assert len(cancelled) >= 2, "some calls of the operation were cancelled"


def test_a_cancel_takes_nothing_from_the_new_group_when_the_old_one_is_sick() -> None:
    async def scenario() -> None:
        clock = Clock()
        cloud = ModelCloud(clock)
        await two_versions(cloud, clock)
        _, payload = OPERATIONS["create"]
        # At call 7, the wait before cleaning up, the new group serves and the old one still does too.
        result = await run_directly(
            *(cloud, clock, "op", "createServerGroup"),
            cancel_at_call=8,
            at_call={7: lambda: cloud.break_group("web-v001")},
            **{**payload, "delayBeforeCleanup": 5},
        )
        assert result is None
        assert state(cloud)["web-v002"] == (True, Capacity(**CAPACITY), 2)

    asyncio.run(scenario())


def test_nothing_is_replaced_by_a_group_without_instances() -> None:
    async def scenario() -> None:
        clock = Clock()
        cloud = ModelCloud(clock)
        await two_versions(cloud, clock)
        _, payload = OPERATIONS["create"]
        empty = {**payload, "capacity": {"min": 0, "desired": 0, "max": 0}}
        result = await run_directly(cloud, clock, "op", "createServerGroup", **empty)
        assert result is not None
        assert [(error.kind, error.field) for error in result.errors] == [("InvalidPayload", "capacity.desired")]

    asyncio.run(scenario())


def test_a_group_of_the_same_name_that_somebody_else_made_is_left_alone() -> None:
    async def scenario() -> None:
        clock = Clock()
        cloud = ModelCloud(clock)
        _, payload = OPERATIONS["create"]
        theirs = CreateServerGroup(name="web-v000", capacity=Capacity.fixed(1), launch=LaunchSpec(command=("theirs",)))
        result = await run_directly(
            *(cloud, clock, "op", "createServerGroup"),
            at_call={2: lambda: cloud.begin("theirs", theirs)},
            **payload,
        )
        assert result is not None
        assert [error.kind for error in result.errors] == ["Conflict"]
        assert state(cloud) == {"web-v000": (False, Capacity.fixed(1), 1)}

    asyncio.run(scenario())


def test_a_rollback_that_cannot_give_the_current_group_its_traffic_back_leaves_the_old_one_serving() -> None:
    async def scenario() -> None:
        clock = Clock()
        cloud = ModelCloud(clock)
        await two_versions(cloud, clock)
        # Call 7 waits for the current group to stop serving; giving it back its traffic is the second enabling.
        result = await run_directly(
            *(cloud, clock, "op", "rollbackServerGroup"),
            cancel_at_call=7,
            faults=NthFault("begin", "enableServerGroup", 2),
            delayBeforeDisable=5,
        )
        assert result is None
        assert {name: enabled for name, (enabled, _, _) in state(cloud).items()} == {
            "web-v000": True,
            "web-v001": False,
        }

    asyncio.run(scenario())
