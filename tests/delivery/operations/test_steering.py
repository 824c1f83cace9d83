"""People steer steps of a running operation: on real engines, with everything they ask kept."""

import asyncio
from typing import Any

import pytest

from delivery.stage import Stage, replays, until_answered
from stormsail.delivery.client import OperationCanceled, OperationDetail, OperationEnded, SteeringRefused
from stormsail.delivery.model.operation import OperationRequest, OperationStatus, Step, StepStatus
from stormsail.delivery.model.steering import SteeringRecord, Verb
from stormsail.delivery.providers.model.faults import Fault, ScriptedFaults

CAPACITY = {"min": 2, "desired": 2, "max": 2}


class Outage:
    """Every call of a kind is refused for now, until the outage ends."""

    def __init__(self, verb: str, kind: str) -> None:
        self._call = (verb, kind)
        self.over = False

    def next(self, verb: str, kind: str) -> Fault | None:
        return Fault.TRANSIENT if (verb, kind) == self._call and not self.over else None


async def begin(stage: Stage, settings: dict[str, Any] | None = None, **payload: Any) -> tuple[OperationRequest, str]:
    """Start a deployment that waits for a person where it fails."""
    launch = {"version": "v", "command": ["serve"], "settings": settings or {}}
    defaults = {"capacity": CAPACITY, "strategy": "redblack", "launch": launch, "onFailure": "pause"}
    request = stage.request("createServerGroup", **{**defaults, **payload})
    return request, (await stage.client.start(request)).operation_id


async def paused(stage: Stage, operation_id: str, name: str) -> Step:
    """Wait until a step waits for a person."""

    async def look() -> Step | None:
        progress = (await stage.client.get(operation_id)).progress
        newest = progress.steps[-1] if progress is not None and progress.steps else None
        return newest if newest is not None and (newest.name, newest.status) == (name, StepStatus.PAUSED) else None

    step = await until_answered(look, lambda step: step is not None, f"a pause at {name}")
    assert step is not None
    return step


async def ask(stage: Stage, operation_id: str, verb: Verb, **more: Any) -> SteeringRecord:
    return await stage.client.steer(operation_id, verb, requested_by="ada", reason="because", **more)


async def test_a_step_that_failed_for_good_waits_and_is_retried_without_running_the_others_again(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    stage.faults = ScriptedFaults({"begin enableServerGroup": [Fault.PERMANENT]})
    await stage.restart_worker()
    request, operation_id = await begin(stage)
    step = await paused(stage, operation_id, "enableServerGroup")
    assert "the model cloud refuses" in step.error
    assert (step.attempt, step.input["kind"]) == (1, "enableServerGroup")

    async def listed() -> list[str]:  # Temporal lists from its visibility store: a moment later.
        found = await stage.client.list(status=OperationStatus.RUNNING, account=stage.account)
        return [summary.paused for summary in found]

    await until_answered(listed, lambda told: told == [step.call], "the pause in the list")
    assert stage.serving() == ["web-v000"]

    await stage.restart_worker()  # Whoever carries it on knows that it waits.
    record = await ask(stage, operation_id, Verb.RETRY)
    result = await stage.client.result(operation_id)
    assert result.ok, result.errors
    assert stage.effects()[2:] == ["create web-v001 2/2/2", "enable web-v001 100%", "disable web-v000 100%"]
    assert [step.attempt for step in result.steps if step.name == "enableServerGroup"] == [2]
    detail = await stage.client.get(operation_id)
    assert detail.steering == (record,)
    assert detail.summary.paused == ""
    assert (record.verb, record.step, record.by, record.reason, record.accepted) == (
        Verb.RETRY,
        step.call,
        "ada",
        "because",
        True,
    )
    assert record.at_ms > 0
    await replays(await stage.history(request, operation_id))


async def test_of_two_retries_at_once_one_is_taken_and_the_other_is_told_who_was_first(stage: Stage) -> None:
    stage.faults = ScriptedFaults({"begin createServerGroup": [Fault.PERMANENT] * 2})
    await stage.restart_worker()
    request, operation_id = await begin(stage)
    step = await paused(stage, operation_id, "createServerGroup")
    asked = [ask(stage, operation_id, Verb.RETRY, step=step.call, attempt=step.attempt) for _ in range(2)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, SteeringRefused)]
    assert len(refusals) == 1, answers
    assert "ada" in str(refusals[0])
    # The second permanent failure shows that one attempt was made, and only one.
    again = await paused(stage, operation_id, "createServerGroup")
    assert again.attempt == 2
    assert [record.accepted for record in (await stage.client.get(operation_id)).steering] == [True, False]
    await ask(stage, operation_id, Verb.RETRY)
    assert (await stage.client.result(operation_id)).ok
    assert stage.effects() == ["create web-v000 2/2/2", "enable web-v000 100%"]
    await replays(await stage.history(request, operation_id))


async def test_a_call_that_backs_off_is_tried_now(stage: Stage) -> None:
    outage = Outage("begin", "createServerGroup")
    stage.faults = outage
    await stage.restart_worker()
    request, operation_id = await begin(stage, onFailure="rollback")

    async def look() -> OperationDetail:
        return await stage.client.get(operation_id)

    # 0.5, 1, 2, 4 and then 8 seconds between attempts.
    backing_off = await until_answered(
        look, lambda detail: any(one.attempt >= 5 and one.next_retry_at_ms for one in detail.pending), "a long wait"
    )
    assert len(backing_off.pending) == 1
    await ask(stage, operation_id, Verb.RETRY)
    # The call that backed off is not waited for: another one is made, which counts its attempts anew.
    await until_answered(look, lambda detail: any(one.attempt < 5 for one in detail.pending), "a new call")
    outage.over = True
    result = await stage.client.result(operation_id)
    assert result.ok, result.errors
    assert [step.attempt for step in result.steps if step.name == "createServerGroup"] == [2]
    assert stage.effects() == ["create web-v000 2/2/2", "enable web-v000 100%"]
    await replays(await stage.history(request, operation_id))


async def test_a_step_is_skipped_with_a_reason_only(stage: Stage) -> None:
    _, operation_id = await begin(stage, {"never_healthy": True}, strategy="none", healthTimeout=1)
    await paused(stage, operation_id, "waitForUpInstances")
    with pytest.raises(SteeringRefused, match="needs a reason"):
        await stage.client.steer(operation_id, Verb.SKIP, requested_by="ada")
    await ask(stage, operation_id, Verb.SKIP)
    # The guard of enabling looks by itself, and is no step to be talked out of health; skipped, nothing is enabled.
    step = await paused(stage, operation_id, "enableServerGroup")
    assert "healthy instances" in step.error
    await ask(stage, operation_id, Verb.SKIP, step="enableServerGroup")
    await paused(stage, operation_id, "waitForUpInstances")
    await ask(stage, operation_id, Verb.SKIP)
    result = await stage.client.result(operation_id)
    assert result.ok, result.errors
    assert [(step.name, step.status, step.detail) for step in result.steps[2:]] == [
        ("waitForUpInstances", StepStatus.SKIPPED, "skipped by ada: because"),
        ("enableServerGroup", StepStatus.SKIPPED, "skipped by ada: because"),
        ("waitForUpInstances", StepStatus.SKIPPED, "skipped by ada: because"),
    ]
    assert stage.effects() == ["create web-v000 2/2/2"]


async def test_a_wait_is_cut_short(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    _, operation_id = await begin(stage, onFailure="rollback", delayBeforeCleanup=3600)

    async def look() -> str:
        progress = (await stage.client.get(operation_id)).progress
        return progress.steps[-1].name if progress is not None and progress.steps else ""

    await until_answered(look, lambda name: name == "waitBeforeCleanup", "the wait")
    with pytest.raises(SteeringRefused, match="takes skip then, not retry"):
        await ask(stage, operation_id, Verb.RETRY)
    await ask(stage, operation_id, Verb.SKIP)
    assert (await stage.client.result(operation_id)).ok
    assert stage.serving() == ["web-v001"]


async def test_a_step_is_rerun_with_another_input_and_what_it_made_is_known_as_ours(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    request, operation_id = await begin(stage, {"not_launchable": True}, delayBeforeCleanup=3600)
    await paused(stage, operation_id, "createServerGroup")
    for changes, says in (
        ({"name": "web-v007"}, "'name' cannot be changed; capacity, enabled, launch can"),
        ({"capacity": {"min": 9}}, "capacity: .*min <= desired <= max"),
        ({}, "name at least one field"),
    ):
        with pytest.raises(SteeringRefused, match=says):
            await ask(stage, operation_id, Verb.RERUN, changes=changes)
    record = await ask(stage, operation_id, Verb.RERUN, changes={"launch": {"settings": {}}})
    assert record.before["launch"]["settings"] == {"not_launchable": True}
    assert record.after["launch"]["settings"] == {}

    async def look() -> list[str]:
        return stage.serving()

    await until_answered(look, lambda serving: "web-v001" in serving, "the new group")
    await stage.client.cancel(operation_id, "wrong day", "ada")
    with pytest.raises(OperationCanceled) as canceled:
        await stage.client.result(operation_id)
    assert canceled.value.left_behind == ()
    assert set(stage.groups()) == {"web-v000"}, "made by the second token, and taken away all the same"
    asked = (await stage.client.get(operation_id)).steering
    assert [(record.verb, record.by, record.reason) for record in asked if record.accepted] == [
        (Verb.RERUN, "ada", "because"),
        (Verb.CANCEL, "ada", "wrong day"),
    ]
    await replays(await stage.history(request, operation_id))


async def test_a_paused_operation_is_cancelled_and_puts_the_previous_state_back(stage: Stage) -> None:
    roomy = {"min": 1, "desired": 2, "max": 2}
    assert (await stage.deploy("v1", capacity=roomy)).ok
    _, operation_id = await begin(stage, {"never_healthy": True}, capacity=roomy, healthTimeout=1)
    await paused(stage, operation_id, "waitForUpInstances")
    await stage.client.cancel(operation_id, "no good", "ada")
    with pytest.raises(OperationCanceled):
        await stage.client.result(operation_id)
    assert {name: group.capacity.min for name, group in stage.groups().items()} == {"web-v000": 1}
    assert stage.serving() == ["web-v000"]
    with pytest.raises(OperationEnded):
        await ask(stage, operation_id, Verb.RETRY, attempt=1)


async def test_what_nobody_waits_for_is_refused_by_name(stage: Stage) -> None:
    _, operation_id = await begin(stage, {"never_healthy": True}, healthTimeout=1)
    await paused(stage, operation_id, "waitForUpInstances")
    with pytest.raises(SteeringRefused, match=r"no step 'enableServerGroup' runs or waits.*003-waitForUpInstances"):
        await ask(stage, operation_id, Verb.RETRY, step="enableServerGroup")
    await stage.client.cancel(operation_id, "done")
    with pytest.raises(OperationCanceled):
        await stage.client.result(operation_id)
