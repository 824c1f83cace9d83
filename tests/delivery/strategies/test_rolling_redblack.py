"""The shares of rollingredblack, what it refuses, and the validation between shares."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from delivery.direct_cloud import ACCOUNT, APPLICATION, Clock, run_directly
from stormsail.delivery.model.operation import OperationResult
from stormsail.delivery.model.server_group import Capacity, LaunchSpec, ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.create_server_group import CreateServerGroupInput, CreateServerGroupOperation
from stormsail.delivery.operations.operation import Registered
from stormsail.delivery.operations.registry import OPERATIONS
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.strategies.catalog import STRATEGIES
from stormsail.delivery.strategies.rolling_redblack import (
    RollingRedBlack,
    Share,
    Validation,
    percentages,
    share_of,
    whole_of,
)

ROOMY = Capacity(min=1, desired=4, max=8)


def group(capacity: Capacity, name: str = "web-v000", *, enabled: bool = True) -> ServerGroup:
    return ServerGroup(
        name=name,
        account="a",
        location="here",
        capacity=capacity,
        enabled=enabled,
        launch=LaunchSpec(),
        created_at_ms=0,
    )


@pytest.mark.parametrize(
    ("targets", "shares"),
    [((), (100,)), ((100,), (100,)), ((25, 50), (25, 50, 100)), ((25, 50, 100), (25, 50, 100))],
)
def test_a_hundred_percent_come_last_said_or_not(targets: tuple[int, ...], shares: tuple[int, ...]) -> None:
    assert percentages(targets) == shares


@pytest.mark.parametrize(
    ("percent", "healthy", "expected"),
    [
        (1, 100, Share(1, Capacity.fixed(1), 1)),
        (50, 100, Share(50, Capacity.fixed(2), 2)),
        (60, 100, Share(60, Capacity.fixed(3), 3)),
        (60, 50, Share(60, Capacity.fixed(3), 2)),
        (100, 100, Share(100, ROOMY, 4)),
    ],
)
def test_a_share_is_held_at_its_size_until_it_is_the_whole(percent: int, healthy: int, expected: Share) -> None:
    assert share_of(percent, ROOMY, healthy) == expected


@pytest.mark.parametrize(
    ("before", "now", "whole"),
    [
        (None, None, Capacity.fixed(7)),
        (group(Capacity.fixed(0)), group(Capacity.fixed(0)), Capacity.fixed(7)),
        (group(ROOMY), group(Capacity(min=4, desired=4, max=8)), ROOMY),
        (group(ROOMY), group(Capacity(min=4, desired=6, max=8)), Capacity(min=1, desired=6, max=8)),
        (group(ROOMY), None, ROOMY),
    ],
)
def test_the_whole_is_the_size_of_what_is_replaced(
    before: ServerGroup | None, now: ServerGroup | None, whole: Capacity
) -> None:
    assert whole_of(Capacity.fixed(7), before, now) == whole


@pytest.mark.parametrize(("initial_max", "refused"), [(1, True), (2, False), (-1, False)])
def test_more_serving_groups_than_allowed_are_refused_by_name(initial_max: int, refused: bool) -> None:
    groups = [group(ROOMY, "web-v000"), group(ROOMY, "web-v001"), group(ROOMY, "web-v002", enabled=False)]
    objection = RollingRedBlack().objection(groups, initial_max)
    assert bool(objection) is refused
    assert not refused or "web-v000, web-v001" in objection


@pytest.mark.parametrize(
    ("payload", "field", "says"),
    [
        ({"targetPercentages": [50, 25]}, "targetPercentages", "larger"),
        ({"targetPercentages": [0]}, "targetPercentages.0", "greater"),
        ({"pipelineBeforeCleanup": {"application": "web", "pipelineId": "x"}}, "pipelineBeforeCleanup", "Python"),
        ({"strategy": "redblak"}, "strategy", "Did you mean redblack?"),
    ],
)
def test_a_payload_that_cannot_be_kept_is_refused_by_field(payload: dict[str, Any], field: str, says: str) -> None:
    result = _deploy(ModelCloud(Clock()), **payload)
    assert [(error.kind, error.field) for error in result.errors] == [("InvalidPayload", field)]
    assert says in result.errors[0].message


def test_each_share_is_grown_enabled_once_and_taken_from_the_old_group() -> None:
    cloud = ModelCloud(Clock())
    assert _deploy(cloud).ok
    before = len(cloud.effects)
    result = _deploy(cloud, identity="second", targetPercentages=[25, 50], scaleDown=True)
    assert result.ok, result.errors
    assert [f"{effect.kind} {effect.name} {effect.detail}" for effect in cloud.effects[before:]] == [
        "resize web-v000 4/4/8",
        "create web-v001 0/0/0",
        "resize web-v001 1/1/1",
        "enable web-v001 100%",
        "disable web-v000 25%",
        "resize web-v001 2/2/2",
        "disable web-v000 50%",
        "resize web-v001 1/4/8",
        "disable web-v000 100%",
        "resize web-v000 0/0/0",
    ]
    assert result.output["capacity"] == {"min": 1, "desired": 4, "max": 8}
    assert (result.output["disabled"], result.output["scaledDown"]) == (["web-v000"], ["web-v000"])


def test_a_validation_sees_each_share_and_its_refusal_rolls_back() -> None:
    seen: list[Validation] = []

    async def validate(conduct: Conduct, now: Validation) -> None:
        assert (await conduct.observe()).find(now.deployed_server_group) is not None
        seen.append(now)
        if now.percentage_complete == 50:
            raise OperationFailure("ValidationFailed", "too many errors")

    validated = CreateServerGroupOperation({**STRATEGIES, "rollingredblack": RollingRedBlack(validate)})
    cloud = ModelCloud(Clock())
    assert _deploy(cloud).ok
    table = {"createServerGroup": Registered(CreateServerGroupInput, validated)}
    result = _deploy(cloud, identity="second", operations=table, targetPercentages=[25, 50])

    assert [error.kind for error in result.errors] == ["ValidationFailed"]
    assert result.rolled_back
    assert seen == [Validation("web-v001", "web-v000", 25), Validation("web-v001", "web-v000", 50)]
    old, new = cloud.server_groups(ACCOUNT, APPLICATION)
    assert (old.enabled, old.weight_percent, old.capacity) == (True, 100, ROOMY)
    assert not new.enabled


def _deploy(
    cloud: ModelCloud,
    identity: str = "first",
    operations: Mapping[str, Registered[Any]] = OPERATIONS,
    **payload: Any,
) -> OperationResult:
    defaults = {"capacity": ROOMY.model_dump(), "strategy": "rollingredblack", "launch": {"command": ["serve"]}}
    wanted = {**defaults, **payload}
    result = asyncio.run(run_directly(cloud, Clock(), identity, "createServerGroup", operations=operations, **wanted))
    assert result is not None
    return result
