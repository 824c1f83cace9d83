"""Requests are shifted by hand: as is asked, back again, and never to nobody."""

import asyncio

import pytest

from delivery.direct_cloud import Clock, run_directly
from delivery.operations.test_cancel_anywhere import ACCOUNT, APPLICATION, CAPACITY
from delivery.stage import Stage
from stormsail.delivery.model.operation import OperationResult
from stormsail.delivery.providers.model.cloud import ModelCloud


@pytest.fixture
async def two(stage: Stage) -> Stage:
    """A cluster in which both versions serve."""
    for version in ("v1", "v2"):
        assert (await stage.deploy(version, strategy="none")).ok
    return stage


async def shift(stage: Stage, name: str, percent: int | None) -> OperationResult:
    return await stage.run("shiftTraffic", serverGroupName=name, percent=percent)


async def test_a_group_takes_the_share_that_it_is_given_and_its_part_by_its_instances_again(two: Stage) -> None:
    before = len(two.effects())
    given = await shift(two, "web-v001", 20)
    assert given.ok, given.errors
    assert given.output == {"serverGroup": "web-v001", "before": None, "after": 20}
    assert two.groups()["web-v001"].request_percent == 20
    none = await shift(two, "web-v001", 0)
    assert (none.ok, none.output["before"]) == (True, 20)
    assert two.serving() == ["web-v000", "web-v001"]
    assert (await shift(two, "web-v001", None)).ok
    assert two.groups()["web-v001"].request_percent is None
    shifts = ["shift web-v001 20%", "shift web-v001 0%", "shift web-v001 by instances"]
    assert two.effects()[before:] == shifts


async def test_a_share_that_would_leave_nobody_to_answer_is_refused_and_nothing_is_changed(two: Stage) -> None:
    before = len(two.effects())
    no_share = await two.run("shiftTraffic", serverGroupName="web-v001")
    assert [(error.kind, error.field) for error in no_share.errors] == [("InvalidPayload", "percent")]
    too_much = await shift(two, "web-v001", 101)
    assert [(error.kind, error.field) for error in too_much.errors] == [("InvalidPayload", "percent")]
    unknown = await shift(two, "web-v007", 20)
    assert [error.kind for error in unknown.errors] == ["NotFound"]
    assert (await two.run("disableServerGroup", serverGroupName="web-v001")).ok
    disabled = await shift(two, "web-v001", 20)
    assert [(error.kind, "enable it first" in error.message) for error in disabled.errors] == [("Disabled", True)]
    alone = await shift(two, "web-v000", 20)
    assert [(error.kind, error.field) for error in alone.errors] == [("NobodyElse", "percent")]
    assert [effect for effect in two.effects()[before:] if effect.startswith("shift")] == []


async def test_requests_are_not_given_to_a_group_without_a_healthy_instance(stage: Stage) -> None:
    assert (await stage.deploy("v1", strategy="none")).ok
    assert (await stage.deploy("v2", strategy="none", capacity={"min": 0, "desired": 0, "max": 0})).ok
    refused = await shift(stage, "web-v001", 50)
    assert [error.kind for error in refused.errors] == ["Unhealthy"]
    assert stage.groups()["web-v001"].request_percent is None


@pytest.mark.parametrize("changes_take", [0, 2])
def test_a_cancel_at_any_call_gives_the_former_share_back(changes_take: int) -> None:
    async def cancelled_at(call: int) -> bool:
        clock = Clock()
        cloud = ModelCloud(clock, changes_take=changes_take)
        launch = {"command": ["serve"]}
        for version in ("v1", "v2"):
            await run_directly(
                *(cloud, clock, version, "createServerGroup"), capacity=CAPACITY, strategy="none", launch=launch
            )
        wanted = {"serverGroupName": "web-v001", "percent": 30}
        assert await run_directly(cloud, clock, "first", "shiftTraffic", **wanted)
        result = await run_directly(
            cloud, clock, "op", "shiftTraffic", cancel_at_call=call, **{**wanted, "percent": 70}
        )
        shares = {group.name: group.request_percent for group in cloud.server_groups(ACCOUNT, APPLICATION)}
        assert shares == {"web-v000": None, "web-v001": 70 if result is not None else 30}
        return result is None

    async def at_each() -> int:
        call = 1
        while await cancelled_at(call):
            call += 1
        return call - 1

    assert asyncio.run(at_each()) >= 2
