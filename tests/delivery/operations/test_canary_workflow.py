"""A canary as a workflow, on both engines: people lead it, checks are taken by activities, restarts change nothing."""

import json
from typing import Any

import pytest

from delivery.metrics import metrics
from delivery.stage import Stage, replays, until_answered
from stormsail.delivery.client import SteeringRefused
from stormsail.delivery.client_types import OperationDetail
from stormsail.delivery.model.operation import OperationRequest, StepStatus
from stormsail.delivery.model.server_group import Health
from stormsail.delivery.model.steering import Verb

pytestmark = pytest.mark.timeout(120)


def canary(stage: Stage, *steps: dict[str, Any], **more: Any) -> OperationRequest:
    return stage.request(
        "createServerGroup",
        capacity={"min": 2, "desired": 2, "max": 2},
        strategy="canary",
        launch={"version": "v2", "command": ["serve"]},
        canary={"steps": steps},
        **more,
    )


def waiting(detail: OperationDetail) -> str:
    """Return the step that waits for a person, or an empty text."""
    steps = detail.progress.steps if detail.progress is not None else ()
    return next((step.name for step in steps if step.status is StepStatus.PAUSED), "")


async def test_a_canary_is_approved_over_a_restart_and_shows_where_it_is(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    request = canary(stage, {"setWeight": 10}, {"approval": {"message": "look"}}, {"setWeight": 50}, {"pause": {}})
    handle = await stage.client.start(request)
    name = handle.operation_id
    detail = await until_answered(lambda: stage.client.get(name), lambda one: bool(waiting(one)), "the approval")
    assert detail.progress is not None
    assert detail.progress.rollout is not None
    shown = detail.progress.rollout
    assert (shown.step, shown.steps, shown.doing, shown.weight) == (2, 4, "approval", 10)
    await until_answered(  # Temporal lists from its visibility store: a moment later.
        lambda: stage.client.list(account=stage.account),
        lambda found: found[0].paused.endswith("canaryApproval"),
        "the approval in the list",
    )
    assert {group: one.request_percent for group, one in stage.groups().items()} == {"web-v000": None, "web-v001": 10}
    await stage.restart_worker()
    record = await stage.client.steer(name, Verb.APPROVE, requested_by="ada", reason="looks good")
    assert (record.by, record.reason, record.accepted) == ("ada", "looks good", True)
    await until_answered(lambda: stage.client.get(name), lambda one: waiting(one) == "canaryApproval", "the pause")
    with pytest.raises(SteeringRefused, match="is over"):
        await stage.client.steer(name, Verb.APPROVE, step=record.step, attempt=1)
    await stage.client.steer(name, Verb.PROMOTE, requested_by="ada")
    result = await stage.client.result(name)
    assert result.ok, result.errors
    assert stage.serving() == ["web-v001"]
    assert stage.groups()["web-v001"].request_percent is None
    await replays(await stage.history(request, name))


async def test_an_abort_ends_a_long_pause_at_once_and_gives_every_request_back(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    handle = await stage.client.start(canary(stage, {"setWeight": 50}, {"pause": {"duration": 3600}}))

    def paused(detail: OperationDetail) -> bool:
        return any(step.name == "canaryPause" for step in detail.progress.steps) if detail.progress else False

    await until_answered(lambda: stage.client.get(handle.operation_id), paused, "the pause")
    await stage.client.steer(handle.operation_id, Verb.ABORT, requested_by="ada", reason="wrong image")
    result = await stage.client.result(handle.operation_id)
    assert [(error.kind, error.message) for error in result.errors] == [("Aborted", "aborted by ada: wrong image")]
    assert result.rolled_back
    assert {name: group.count(Health.UP) for name, group in stage.groups().items()} == {"web-v000": 2}


async def test_a_check_is_tried_again_where_it_cannot_be_made_and_fails_the_canary_where_it_says_so(
    stage: Stage,
) -> None:
    assert (await stage.deploy("v1")).ok
    good, bad = (json.dumps({"data": {"rates": [rate]}}) for rate in (0.999, 0.5))
    with metrics("", good, bad) as (url, asked):
        web = {"url": f"{url}/{{canary}}/{{weight}}", "jsonPath": "data.rates[0]"}
        analysis = {"name": "rate", "web": web, "successCondition": ">= 0.99", "count": 3, "interval": 0.2}
        request = canary(stage, {"setWeight": 50}, {"analysis": analysis})
        handle = await stage.client.start(request)
        result = await stage.client.result(handle.operation_id)
    assert asked == ["/web-v001/50"] * 3
    assert [error.kind for error in result.errors] == ["AnalysisFailed"]
    assert "rate failed: 0.5; 1 of 2 measurements failed, and 0 may" in result.errors[0].message
    assert result.rolled_back
    assert list(stage.groups()) == ["web-v000"]
    await replays(await stage.history(request, handle.operation_id))


async def test_a_program_is_run_only_for_accounts_of_this_machine(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    handle = await stage.client.start(
        canary(stage, {"setWeight": 50}, {"analysis": {"command": {"command": ["true"]}}})
    )
    result = await stage.client.result(handle.operation_id)
    assert [error.kind for error in result.errors] == ["CheckImpossible"]
    assert "use web or prometheus" in result.errors[0].message
    assert result.rolled_back
