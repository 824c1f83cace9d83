"""Operations on single instances, clones and rollbacks by image, as workflows on real engines."""

from typing import Any

import pytest

from delivery.stage import Stage, replays
from stormsail.delivery.model.operation import OperationResult
from stormsail.delivery.model.server_group import Capacity, Health

ROOMY = {"min": 2, "desired": 3, "max": 4}
NAME = "web-v000"


async def run_replayed(stage: Stage, operation_type: str, **payload: Any) -> OperationResult:
    """Run an operation to its end, and see that its history replays."""
    request = stage.request(operation_type, **payload)
    handle = await stage.client.start(request)
    result = await stage.client.result(handle.operation_id)
    await replays(await stage.history(request, handle.operation_id))
    return result


async def test_terminated_instances_are_replaced(stage: Stage) -> None:
    assert (await stage.deploy("v1", capacity=ROOMY)).ok
    result = await run_replayed(
        stage, "terminateInstances", serverGroupName=NAME, instanceIds=[f"{NAME}-1", f"{NAME}-2", f"{NAME}-1"]
    )
    assert result.ok, result.errors
    assert result.output == {"serverGroup": NAME, "terminated": [f"{NAME}-1", f"{NAME}-2"], "capacity": ROOMY}
    assert [one.id for one in stage.groups()[NAME].instances] == [f"{NAME}-3", f"{NAME}-4", f"{NAME}-5"]
    assert stage.effects()[2:] == [f"terminate {NAME} {NAME}-1 {NAME}-2"]
    assert [step.name for step in result.steps] == ["determineServerGroup", "terminateInstances", "waitForUpInstances"]


async def test_one_instance_less_leaves_a_smaller_group(stage: Stage) -> None:
    assert (await stage.deploy("v1", capacity=ROOMY)).ok
    kind = "terminateInstanceAndDecrementServerGroup"
    result = await run_replayed(stage, kind, asgName=NAME, instance=f"{NAME}-2")
    assert result.ok, result.errors
    assert stage.groups()[NAME].capacity == Capacity(min=2, desired=2, max=4)
    at_minimum = await stage.run(kind, asgName=NAME, instance=f"{NAME}-1")
    assert [(error.kind, error.field) for error in at_minimum.errors] == [("InvalidPayload", "adjustMinIfNecessary")]
    both = {"adjustMinIfNecessary": True, "setMaxToNewDesired": True}
    result = await stage.run(kind, asgName=NAME, instance=f"{NAME}-1", **both)
    assert result.ok, result.errors
    assert stage.groups()[NAME].capacity == Capacity.fixed(1)
    last = await stage.run(kind, asgName=NAME, instance=f"{NAME}-3", **both)
    assert [error.kind for error in last.errors] == ["TrafficGuard"]


async def test_an_instance_is_taken_out_of_traffic_and_given_it_again(stage: Stage) -> None:
    assert (await stage.deploy("v1", capacity=ROOMY)).ok
    wanted = {"serverGroupName": NAME, "instanceIds": [f"{NAME}-1"]}
    assert (await run_replayed(stage, "deregisterInstances", **wanted)).ok
    assert [one.health for one in stage.groups()[NAME].instances] == [Health.OUT_OF_SERVICE, Health.UP, Health.UP]
    assert (await run_replayed(stage, "registerInstances", **wanted)).ok
    assert stage.groups()[NAME].count(Health.UP) == 3


@pytest.mark.parametrize("kind", ["terminateInstances", "registerInstances", "deregisterInstances"])
async def test_an_instance_that_is_not_there_is_told_with_those_that_are(stage: Stage, kind: str) -> None:
    assert (await stage.deploy("v1")).ok
    result = await stage.run(kind, serverGroupName=NAME, instanceIds=["web-v000-9"])
    assert [(error.kind, error.field) for error in result.errors] == [("NotFound", "instanceIds")]
    assert f"it has {NAME}-1, {NAME}-2" in result.errors[0].message
    assert len(stage.effects()) == 2


async def test_a_clone_is_what_it_copies_with_what_was_changed(stage: Stage) -> None:
    environment = {"A": "1", "B": "2"}
    launch = {"version": "v1", "command": ["serve"], "environment": environment, "healthPath": "/up"}
    assert (await stage.deploy("v1", capacity=ROOMY, launch=launch)).ok
    result = await run_replayed(
        stage, "cloneServerGroup", strategy="redblack", launch={"version": "v2", "environment": {"B": "3"}}
    )
    assert result.ok, result.errors
    copy = stage.groups()["web-v001"]
    assert copy.launch.model_dump() == {
        "version": "v2",
        "image": "",
        "command": ("serve",),
        "environment": {"A": "1", "B": "3"},
        "health_path": "/up",
        "settings": {},
    }
    assert copy.capacity == Capacity(**ROOMY)
    assert stage.serving() == ["web-v001"]


async def test_a_clone_may_go_to_another_cluster_and_keeps_to_its_source(stage: Stage) -> None:
    assert (await stage.deploy("v1", stack="test")).ok
    source = {"serverGroupName": "web-test-v000"}
    result = await stage.run("cloneServerGroup", stack="prod", source=source, strategy="redblack")
    assert result.ok, result.errors
    assert stage.serving() == ["web-test-v000", "web-prod-v000"]
    own = await stage.run("cloneServerGroup", serverGroupName="web-test-v000", launch={"version": "v2"})
    assert own.ok, own.errors
    assert own.output["serverGroup"] == "web-test-v001"
    nothing = await stage.run("cloneServerGroup", stack="none")
    assert [error.kind for error in nothing.errors] == ["NotFound"]
    broken = await stage.run("cloneServerGroup", serverGroupName="web-test-v000", launch={"command": "serve"})
    assert [(error.kind, error.field) for error in broken.errors] == [("InvalidPayload", "launch.command")]


async def test_a_rollback_by_image_makes_a_new_group_of_what_served_before(stage: Stage) -> None:
    for version, count in (("v1", 2), ("v2", 3)):
        launch = {"version": version, "image": f"image-{version}", "environment": {"IN": version}}
        assert (await stage.deploy(version, launch=launch, capacity=Capacity.fixed(count).model_dump())).ok
    result = await run_replayed(stage, "rollbackServerGroup", rollbackType="PREVIOUS_IMAGE")
    assert result.ok, result.errors
    assert result.output == {
        "serverGroup": "web-v002",
        "rolledBack": "web-v001",
        "capacity": {"min": 3, "desired": 3, "max": 3},
    }
    made = stage.groups()["web-v002"].launch
    assert (made.image, made.version, made.environment) == ("image-v1", "v1", {"IN": "v2"})
    assert stage.serving() == ["web-v002"]
    named = await stage.run("rollbackServerGroup", rollbackType="PREVIOUS_IMAGE", image="image-v0")
    assert named.ok, named.errors
    assert stage.groups()["web-v003"].launch.image == "image-v0"
