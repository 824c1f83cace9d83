"""Each operation as a workflow: what it does to the cloud, and what it says when it cannot."""

import pytest

from delivery.stage import Stage, replays
from stormsail.delivery.model.operation import RUNNER, OperationResult, StepStatus
from stormsail.delivery.model.server_group import Capacity, Health


async def test_none_leaves_the_older_groups_serving(stage: Stage) -> None:
    assert (await stage.deploy("v1", strategy="none")).ok
    assert (await stage.deploy("v2", strategy="none")).ok
    assert stage.serving() == ["web-v000", "web-v001"]


async def test_redblack_shrinks_then_disables_then_scales_down_and_gives_the_minimum_back(stage: Stage) -> None:
    roomy = {"min": 1, "desired": 2, "max": 4}
    for version in ("v1", "v2"):
        assert (await stage.deploy(version, capacity=roomy)).ok
    before = len(stage.effects())
    result = await stage.deploy("v3", capacity=roomy, maxRemainingAsgs=2, scaleDown=True, delayBeforeCleanup=0.2)

    assert result.ok, result.errors
    assert stage.effects()[before:] == [
        "resize web-v001 2/2/4",
        "create web-v002 1/2/4",
        "enable web-v002 100%",
        "destroy web-v000",
        "disable web-v001 100%",
        "resize web-v001 0/0/0",
    ]
    assert [step.name for step in result.steps] == [
        "determineSourceServerGroup",
        "pinMinimumCapacity",
        "createServerGroup",
        "waitForUpInstances",
        "enableServerGroup",
        "waitForUpInstances",
        "shrinkCluster",
        "destroyServerGroup",
        "waitBeforeCleanup",
        "disableCluster",
        "disableServerGroup",
        "waitForDownInstances",
        "scaleDownCluster",
        "resizeServerGroup",
    ]
    assert {name: group.capacity for name, group in stage.groups().items()} == {
        "web-v001": Capacity.fixed(0),
        "web-v002": Capacity(**roomy),
    }


async def test_the_pinned_minimum_is_given_back_after_a_deployment(stage: Stage) -> None:
    roomy = {"min": 1, "desired": 2, "max": 4}
    assert (await stage.deploy("v1", capacity=roomy)).ok
    result = await stage.deploy("v2", source={"useSourceCapacity": True}, capacity=None)
    assert result.ok, result.errors
    assert "resize web-v000 2/2/4" in stage.effects()
    assert stage.effects()[-1] == "resize web-v000 1/2/4"
    assert {group.capacity for group in stage.groups().values()} == {Capacity(**roomy)}


async def test_a_server_group_is_resized_disabled_enabled_and_destroyed(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    name = "web-v000"
    resized = await stage.run(
        "resizeServerGroup",
        serverGroupName=name,
        capacity={"min": 0, "desired": 3, "max": 3},
        constraints={"capacity": {"min": 2, "desired": 2, "max": 2}},
    )
    assert resized.ok, resized.errors
    assert len(stage.groups()[name].instances) == 3
    assert (await stage.run("disableServerGroup", serverGroupName=name, allowOutage=True)).ok
    assert stage.serving() == []
    assert (await stage.run("enableServerGroup", serverGroupName=name)).ok
    assert stage.groups()[name].count(Health.UP) == 3
    assert (await stage.run("disableServerGroup", serverGroupName=name, desiredPercentage=50)).ok
    assert stage.groups()[name].count(Health.UP) == 2
    destroyed = await stage.run("destroyServerGroup", serverGroupName=name, allowOutage=True)
    assert destroyed.ok, destroyed.errors
    assert stage.groups() == {}
    assert [step.name for step in destroyed.steps] == [
        "determineServerGroup",
        "disableServerGroup",
        "waitForDownInstances",
        "destroyServerGroup",
        "waitForDestroyedServerGroup",
    ]


async def test_a_resize_that_expected_another_capacity_changes_nothing(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    before = stage.effects()
    result = await stage.run(
        "resizeServerGroup",
        serverGroupName="web-v000",
        capacity={"min": 5, "desired": 5, "max": 5},
        constraints={"capacity": {"min": 1, "desired": 1, "max": 1}},
    )
    assert [error.kind for error in result.errors] == ["Conflict"]
    assert "2/2/2" in result.errors[0].message
    assert stage.effects() == before


async def test_rollback_gives_traffic_back_to_the_version_before(stage: Stage) -> None:
    assert (await stage.deploy("v1", capacity={"min": 1, "desired": 2, "max": 2})).ok
    assert (await stage.deploy("v2", capacity={"min": 1, "desired": 3, "max": 4}, scaleDown=True)).ok
    failed = await stage.deploy("v3", settings={"never_healthy": True}, healthTimeout=1)
    assert failed.rolled_back
    before = len(stage.effects())
    result = await stage.run("rollbackServerGroup")

    assert result.ok, result.errors
    assert result.output == {
        "serverGroup": "web-v000",
        "rolledBack": "web-v001",
        "capacity": {"min": 1, "desired": 3, "max": 4},
    }
    assert stage.effects()[before:] == [
        "enable web-v000 100%",
        "resize web-v000 3/3/4",
        "disable web-v001 100%",
        "resize web-v000 1/3/4",
    ]
    assert stage.serving() == ["web-v000"]


async def test_a_rollback_to_a_version_that_does_not_come_up_leaves_the_current_one_serving(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    assert (await stage.deploy("v2")).ok
    stage.cloud.break_group("web-v000")
    result = await stage.run("rollbackServerGroup", healthTimeout=1)
    assert [error.kind for error in result.errors] == ["NeverHealthy"]
    assert result.rolled_back
    assert result.left_behind == ()
    assert stage.serving() == ["web-v001"]


@pytest.mark.parametrize(
    ("operation_type", "payload", "kind", "says"),
    [
        ("frobnicate", {}, "UnknownOperation", "createServerGroup"),
        ("createServerGroup", {"capacity": {"min": 1, "desired": 1, "max": 1}}, "InvalidPayload", "required"),
        ("resizeServerGroup", {"serverGroupName": "web-v007", "capacity": "big"}, "InvalidPayload", "dict"),
        ("destroyServerGroup", {"serverGroupName": "web-v007"}, "NotFound", "nothing is deployed"),
        ("destroyServerGroup", {"serverGroupName": "other-v007"}, "InvalidPayload", "belongs to application 'other'"),
        ("destroyServerGroup", {"serverGroupName": "web"}, "InvalidPayload", "has no version"),
        ("rollbackServerGroup", {}, "NothingServing", "enable one"),
    ],
)
async def test_what_cannot_be_done_is_said_and_changes_nothing(
    stage: Stage,
    operation_type: str,
    payload: dict[str, object],
    kind: str,
    says: str,
) -> None:
    result = await stage.run(operation_type, **payload)
    assert not result.ok
    assert result.errors[0].kind == kind
    assert says in result.errors[0].message
    assert stage.effects() == []


async def test_an_unknown_server_group_is_told_with_those_that_are_there(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    result = await stage.run("enableServerGroup", serverGroupName="web-v009")
    assert [error.kind for error in result.errors] == ["NotFound"]
    assert "there are web-v000" in result.errors[0].message


async def test_an_account_that_no_worker_serves_is_named(stage: Stage) -> None:
    request = stage.request("createServerGroup", launch={"command": ["serve"]}, capacity=Capacity.fixed(1).model_dump())
    handle = await stage.client.start(request.model_copy(update={"account": f"{stage.account}-typo"}))
    result = await stage.client.result(handle.operation_id)
    assert "serves no account" in result.errors[0].message
    assert stage.account in result.errors[0].message


async def test_a_new_group_that_never_gets_healthy_is_rolled_back_and_the_old_one_still_serves(stage: Stage) -> None:
    roomy = {"min": 1, "desired": 2, "max": 2}
    assert (await stage.deploy("v1", capacity=roomy)).ok
    result = await stage.deploy("v2", capacity=roomy, settings={"never_healthy": True}, healthTimeout=1)

    assert [error.kind for error in result.errors] == ["NeverHealthy"]
    assert "web-v001 did not have 2 healthy instances within 1 s: 0 of 2 healthy" in result.errors[0].message
    assert result.rolled_back
    assert result.left_behind == ()
    assert stage.serving() == ["web-v000"]
    assert stage.groups()["web-v000"].capacity == Capacity(**roomy)
    assert [(step.name, step.status) for step in result.steps][3] == ("waitForUpInstances", StepStatus.TERMINAL)


async def test_a_new_group_that_fails_under_traffic_loses_it_and_is_destroyed_if_asked(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    result = await stage.deploy(
        "v2",
        settings={"sick_under_traffic": True},
        healthTimeout=1,
        rollback={"onFailure": True, "destroyLatest": True},
    )
    assert [error.kind for error in result.errors] == ["NeverHealthy"]
    assert result.rolled_back
    assert stage.effects()[2:] == [
        "create web-v001 2/2/2",
        "enable web-v001 100%",
        "cancel enable web-v001",
        "destroy web-v001",
    ]
    assert stage.serving() == ["web-v000"]


async def test_without_rollback_a_failed_group_stays_to_look_at_and_the_minimum_is_given_back(stage: Stage) -> None:
    roomy = {"min": 1, "desired": 2, "max": 2}
    assert (await stage.deploy("v1", capacity=roomy)).ok
    settings = {"never_healthy": True}
    result = await stage.deploy("v2", settings=settings, healthTimeout=1, rollback={"onFailure": False})
    assert not result.ok
    assert not result.rolled_back
    assert set(stage.groups()) == {"web-v000", "web-v001"}
    assert stage.serving() == ["web-v000"]
    assert stage.groups()["web-v000"].capacity == Capacity(**roomy)


async def test_a_command_that_does_not_start_is_a_result_and_leaves_nothing(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    result = await stage.deploy("v2", settings={"not_launchable": True})
    assert [error.kind for error in result.errors] == ["InvalidLaunch"]
    assert set(stage.groups()) == {"web-v000"}
    assert stage.serving() == ["web-v000"]


async def test_an_account_that_is_full_is_a_result(stage: Stage) -> None:
    result = await stage.deploy("v1", capacity={"min": 0, "desired": 2000, "max": 2000})
    assert [error.kind for error in result.errors] == ["Permanent"]
    assert "may run 1000 instances" in result.errors[0].message


async def test_a_finished_history_replays(stage: Stage) -> None:
    requests = [
        stage.request("createServerGroup", launch={"command": ["serve"]}, capacity=Capacity.fixed(1).model_dump()),
        stage.request("resizeServerGroup", serverGroupName="web-v000", capacity=Capacity.fixed(2).model_dump()),
        stage.request("frobnicate"),
    ]
    for request in requests:
        handle = await stage.client.start(request)
        await stage.client.result(handle.operation_id)
        await replays(await stage.history(request, handle.operation_id))


@pytest.mark.parametrize(
    ("untyped", "field"),
    [({"operation_type": "createServerGroup"}, "application"), ("nonsense", ""), (None, "")],
)
async def test_a_workflow_started_with_no_operation_request_ends_and_says_so(
    stage: Stage,
    untyped: object,
    field: str,
) -> None:
    """Somebody starts the workflow by hand, past our client."""
    handle = await stage.temporal.start_workflow(
        RUNNER,
        untyped,
        id=f"operation/{stage.account}/web",
        task_queue=stage.account,
        result_type=OperationResult,
    )
    result = await handle.result()
    assert [(error.kind, error.field) for error in result.errors] == [("InvalidRequest", field)]
