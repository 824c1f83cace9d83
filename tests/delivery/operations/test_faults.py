"""Faults of the cloud at each call of a deployment, and cancels at its stages."""

import pytest

from delivery.direct_cloud import NthFault
from delivery.stage import Stage, replays, until
from stormsail.delivery.client import OperationCanceled
from stormsail.delivery.model.operation import OperationStatus, StepStatus
from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.model.faults import Fault, ScriptedFaults

ROOMY = {"min": 1, "desired": 2, "max": 4}
FIRST_DEPLOY = ["create web-v000 1/2/4", "enable web-v000 100%"]
SECOND_DEPLOY = [
    "resize web-v000 2/2/4",
    "create web-v001 1/2/4",
    "enable web-v001 100%",
    "disable web-v000 100%",
    "resize web-v000 1/2/4",
]


@pytest.mark.parametrize("fault", [Fault.TRANSIENT, Fault.UNKNOWN_BEFORE, Fault.UNKNOWN_AFTER])
async def test_a_fault_at_every_kind_of_call_changes_nothing_of_what_comes_out(stage: Stage, fault: Fault) -> None:
    assert (await stage.deploy("v1", capacity=ROOMY)).ok
    kinds = ("createServerGroup", "enableServerGroup", "disableServerGroup", "resizeServerGroup")
    faults = ScriptedFaults(
        {"observe": [fault], **{f"{verb} {kind}": [fault] for verb in ("begin", "resume") for kind in kinds}},
    )
    stage.faults = faults
    await stage.restart_worker()
    result = await stage.deploy("v2", capacity=ROOMY)

    assert result.ok, result.errors
    assert faults.used_up
    assert stage.effects() == FIRST_DEPLOY + SECOND_DEPLOY


async def test_a_permanent_refusal_while_tidying_up_keeps_the_good_new_group(stage: Stage) -> None:
    assert (await stage.deploy("v1", capacity=ROOMY)).ok
    stage.faults = ScriptedFaults({"begin disableServerGroup": [Fault.PERMANENT]})
    await stage.restart_worker()
    result = await stage.deploy("v2", capacity=ROOMY)

    assert [error.kind for error in result.errors] == ["Permanent"]
    assert not result.rolled_back
    assert stage.serving() == ["web-v000", "web-v001"]
    assert stage.groups()["web-v000"].capacity == Capacity(**ROOMY)


async def test_a_permanent_refusal_to_enable_is_rolled_back(stage: Stage) -> None:
    assert (await stage.deploy("v1", capacity=ROOMY)).ok
    stage.faults = ScriptedFaults({"begin enableServerGroup": [Fault.PERMANENT]})
    await stage.restart_worker()
    result = await stage.deploy("v2", capacity=ROOMY)

    assert [error.kind for error in result.errors] == ["Permanent"]
    assert result.rolled_back
    assert stage.serving() == ["web-v000"]
    assert stage.groups()["web-v000"].capacity == Capacity(**ROOMY)


async def test_a_cloud_that_stays_away_fails_the_operation_when_its_retry_time_is_over(stage: Stage) -> None:
    stage.faults = ScriptedFaults({"observe": [Fault.TRANSIENT] * 1000})
    await stage.restart_worker()
    result = await stage.deploy("v1", retryTimeout=5)
    assert [error.kind for error in result.errors] == ["Transient"]
    assert "tried again for up to 5 s and still fails: observe: the model cloud throttles" in result.errors[0].message


async def test_what_could_not_be_put_back_is_named(stage: Stage) -> None:
    assert (await stage.deploy("v1", capacity=ROOMY)).ok
    # The second resize is the one that gives the minimum back.
    stage.faults = NthFault("begin", "resizeServerGroup", 2)
    await stage.restart_worker()
    result = await stage.deploy("v2", capacity=ROOMY, settings={"never_healthy": True}, healthTimeout=1)
    assert not result.ok
    assert not result.rolled_back
    assert result.left_behind == ("restore the minimum of web-v000 to 1: begin: the model cloud refuses",)
    assert stage.serving() == ["web-v000"]


async def test_a_cancel_while_the_new_group_is_awaited_puts_everything_back(stage: Stage) -> None:
    assert (await stage.deploy("v1", capacity=ROOMY)).ok
    launch = {"version": "v2", "command": ["serve"], "settings": {"healthy_after_ms": 600_000}}
    request = stage.request("createServerGroup", strategy="redblack", capacity=ROOMY, launch=launch)
    handle = await stage.client.start(request)
    await until(lambda: "web-v001" in stage.groups(), "the new group")
    await stage.client.cancel(handle.operation_id, "changed my mind")

    with pytest.raises(OperationCanceled) as caught:
        await stage.client.result(handle.operation_id)
    assert caught.value.left_behind == ()
    assert set(stage.groups()) == {"web-v000"}
    assert stage.serving() == ["web-v000"]
    assert stage.groups()["web-v000"].capacity == Capacity(**ROOMY)
    detail = await stage.client.get(handle.operation_id)
    assert detail.summary.status is OperationStatus.CANCELED
    assert detail.progress is not None
    assert StepStatus.CANCELED in [step.status for step in detail.progress.steps]
    await replays(await stage.history(request, handle.operation_id))


async def test_a_cancel_after_the_old_group_was_disabled_gives_it_its_traffic_back(stage: Stage) -> None:
    assert (await stage.deploy("v1", capacity=ROOMY)).ok
    request = stage.request(
        "createServerGroup",
        strategy="redblack",
        capacity=ROOMY,
        launch={"version": "v2", "command": ["serve"]},
        scaleDown=True,
        delayBeforeScaleDown=600,
    )
    handle = await stage.client.start(request)
    await until(lambda: stage.serving() == ["web-v001"], "the switch")
    before = len(stage.effects())
    await stage.client.cancel(handle.operation_id, "changed my mind")

    with pytest.raises(OperationCanceled):
        await stage.client.result(handle.operation_id)
    assert stage.effects()[before:] == [
        "enable web-v000 100%",
        "disable web-v001 100%",
        "destroy web-v001",
        "resize web-v000 1/2/4",
    ]
    await replays(await stage.history(request, handle.operation_id))


async def test_a_cancel_names_the_groups_that_shrinking_destroyed(stage: Stage) -> None:
    for version in ("v1", "v2"):
        assert (await stage.deploy(version)).ok
    request = stage.request(
        "createServerGroup",
        strategy="redblack",
        capacity=ROOMY,
        launch={"version": "v3", "command": ["serve"]},
        maxRemainingAsgs=2,
        delayBeforeCleanup=600,
    )
    handle = await stage.client.start(request)
    await until(lambda: "web-v000" not in stage.groups(), "the shrinking")
    await stage.client.cancel(handle.operation_id, "changed my mind")
    with pytest.raises(OperationCanceled) as caught:
        await stage.client.result(handle.operation_id)
    assert len(caught.value.left_behind) == 1
    assert "web-v000" in caught.value.left_behind[0]
    assert "does not come back" in caught.value.left_behind[0]
    assert stage.serving() == ["web-v001"]


async def test_a_cancel_with_no_worker_is_carried_out_by_the_next_one(stage: Stage) -> None:
    launch = {"version": "v1", "command": ["serve"], "settings": {"healthy_after_ms": 600_000}}
    request = stage.request("createServerGroup", capacity=ROOMY, launch=launch)
    handle = await stage.client.start(request)
    await until(lambda: "web-v000" in stage.groups(), "the new group")
    await stage.stop_workers()
    await stage.client.cancel(handle.operation_id, "changed my mind")
    await stage.start_worker()
    with pytest.raises(OperationCanceled):
        await stage.client.result(handle.operation_id)
    assert stage.groups() == {}
