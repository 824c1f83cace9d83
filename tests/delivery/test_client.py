"""The client: starting once, finding, listing, following, and saying what is wrong."""

import asyncio
import uuid

import pytest

from delivery.engines import EngineProcess
from delivery.stage import Stage, until, until_answered
from ports import free_port
from stormsail.delivery.client import (
    AmbiguousOperation,
    ApplicationNotFound,
    DeliveryClient,
    EngineUnreachable,
    IdempotencyKeyReused,
    NamespaceNotFound,
    NoWorker,
    ObservationFailed,
    OperationConflict,
    OperationNotFound,
    OperationSummary,
)
from stormsail.delivery.model.operation import OperationProgress, OperationRequest, OperationStatus, StepStatus
from stormsail.delivery.model.steering import Verb
from stormsail.delivery.providers.model.faults import Fault, ScriptedFaults

CAPACITY = {"min": 1, "desired": 1, "max": 1}
SLOW = {"version": "v1", "command": ["serve"], "settings": {"healthy_after_ms": 600_000}}
QUICK = {"version": "v1", "command": ["serve"]}


def deployment(stage: Stage, launch: dict[str, object], key: str = "") -> OperationRequest:
    request = stage.request("createServerGroup", capacity=CAPACITY, launch=launch)
    return request.model_copy(update={"idempotency_key": key})


async def test_a_second_operation_on_a_cluster_is_a_conflict_that_names_the_first(stage: Stage) -> None:
    first = await stage.client.start(deployment(stage, SLOW))
    with pytest.raises(OperationConflict) as caught:
        await stage.client.start(stage.request("destroyServerGroup", serverGroupName="web-v000"))
    assert caught.value.running.operation_id == first.operation_id
    assert caught.value.running.operation_type == "createServerGroup"
    assert "is changing cluster web" in str(caught.value)
    other = await stage.client.start(stage.request("createServerGroup", stack="two", capacity=CAPACITY, launch=QUICK))
    assert (await stage.client.result(other.operation_id)).ok
    await stage.client.cancel(first.operation_id, "done looking")


async def test_one_idempotency_key_starts_one_operation_running_or_finished(stage: Stage) -> None:
    request = deployment(stage, QUICK, "release-7")
    first, again = await asyncio.gather(stage.client.start(request), stage.client.start(request))
    assert {first.attached, again.attached} == {False, True}
    assert first.operation_id == again.operation_id
    assert (await stage.client.result(first.operation_id)).ok
    finished = await stage.client.start(request)
    assert (finished.operation_id, finished.attached) == (first.operation_id, True)
    other = await stage.client.start(stage.request("disableServerGroup", serverGroupName="web-v000", allowOutage=True))
    await stage.client.result(other.operation_id)
    much_later = await stage.client.start(request)
    assert (much_later.operation_id, much_later.attached) == (first.operation_id, True)
    assert stage.effects() == ["create web-v000 1/1/1", "enable web-v000 100%", "disable web-v000 100%"]


async def test_an_idempotency_key_with_another_request_is_refused(stage: Stage) -> None:
    handle = await stage.client.start(deployment(stage, QUICK, "release-7"))
    with pytest.raises(IdempotencyKeyReused, match="asked for something else"):
        await stage.client.start(deployment(stage, SLOW, "release-7"))
    await stage.client.result(handle.operation_id)


async def test_an_idempotency_key_repeated_by_a_colleague_for_another_reason_attaches(stage: Stage) -> None:
    request = deployment(stage, QUICK, "release-7")
    handle = await stage.client.start(request)
    again = await stage.client.start(request.model_copy(update={"reason": "did it go out?", "requested_by": "mae"}))
    assert (again.operation_id, again.attached) == (handle.operation_id, True)
    await stage.client.result(handle.operation_id)


async def test_operations_are_listed_with_what_was_asked_and_how_they_ended(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    assert not (await stage.run("frobnicate")).ok
    running = await stage.client.start(deployment(stage, SLOW))

    async def listed() -> list[OperationSummary]:
        return await stage.client.list(application="web", account=stage.account)

    def complete(found: list[OperationSummary]) -> bool:
        return [one.status for one in found] == [
            OperationStatus.RUNNING,
            OperationStatus.TERMINAL,
            OperationStatus.SUCCEEDED,
        ]

    found = await until_answered(listed, complete, "the list")
    newest = found[0]
    assert newest.operation_id == running.operation_id
    assert newest.workflow_id == f"operation/{stage.account}/web"
    assert (newest.operation_type, newest.application, newest.cluster) == ("createServerGroup", "web", "web")
    assert (newest.reason, newest.requested_by, newest.closed_at_ms) == ("a test", "pytest", None)
    for status in (OperationStatus.RUNNING, OperationStatus.TERMINAL, OperationStatus.SUCCEEDED):
        mine = await stage.client.list(application="web", account=stage.account, status=status)
        assert [one.status for one in mine] == [status]
    assert await stage.client.list(application="we", account=stage.account) == []
    assert len(await stage.client.list(limit=1)) == 1
    await stage.client.cancel(running.operation_id, "done looking")


async def test_an_operation_is_found_by_a_prefix_of_its_id(stage: Stage) -> None:
    handle = await stage.client.start(deployment(stage, QUICK))
    await stage.client.result(handle.operation_id)
    other = await DeliveryClient.connect(stage.address, task_queue=stage.account)
    # Progress is asked of a worker, and left out where that takes longer than five seconds.
    detail = await until_answered(
        lambda: other.get(handle.operation_id), lambda one: one.progress is not None, "it all"
    )
    assert detail.summary.status is OperationStatus.SUCCEEDED
    assert detail.result is not None
    assert detail.progress is not None
    assert detail.progress.steps == detail.result.steps
    # Enough characters to be unique: engines number runs by time, so near ones share their beginning.
    assert (await other.get(handle.operation_id[:30])).summary == detail.summary
    with pytest.raises(OperationNotFound, match="operation list"):
        await other.get(str(uuid.uuid4()))
    with pytest.raises(OperationNotFound):
        await other.get("zzzzzz")
    with pytest.raises(AmbiguousOperation, match="at least 4"):
        await other.get("abc")


async def test_a_running_operation_shows_what_it_waits_for(stage: Stage) -> None:
    handle = await stage.client.start(deployment(stage, SLOW))
    await until(lambda: "web-v000" in stage.groups(), "the new group")

    async def pending() -> tuple[str, ...]:
        detail = await stage.client.get(handle.operation_id)
        return tuple(f"{call.step} {call.detail}" for call in detail.pending)

    shown = await until_answered(pending, lambda lines: "waitForUpInstances" in " ".join(lines), "the waiting")
    assert any("waitForUpInstances" in line for line in shown)
    await stage.client.cancel(handle.operation_id, "done looking")


async def test_watching_shows_each_change_and_ends_with_the_operation(stage: Stage) -> None:
    stage.faults = ScriptedFaults({"begin enableServerGroup": [Fault.PERMANENT]})
    await stage.restart_worker()
    request = stage.request("createServerGroup", capacity=CAPACITY, launch=QUICK, onFailure="pause")
    handle = await stage.client.start(request)
    seen: list[OperationProgress] = []
    waited = False
    async for progress in stage.client.watch(handle.operation_id):
        seen.append(progress)
        if not waited and progress.steps and progress.steps[-1].status is StepStatus.PAUSED:
            waited = True
            await stage.client.steer(handle.operation_id, Verb.RETRY, requested_by="pytest", reason="a test")
    assert waited
    assert seen[-1].status is OperationStatus.SUCCEEDED
    assert all(step.status is StepStatus.SUCCEEDED for step in seen[-1].steps)
    assert [len(progress.steps) for progress in seen] == sorted(len(progress.steps) for progress in seen)


async def test_the_cloud_is_read_through_a_worker(stage: Stage) -> None:
    assert (await stage.deploy("v1")).ok
    observation = await stage.observe()
    assert [group.name for group in observation.server_groups] == ["web-v000"]
    assert observation.as_of_ms > 0
    assert await stage.client.applications(stage.account) == ["web"]
    with pytest.raises(ApplicationNotFound, match="no application 'wbe'; it has web"):
        await stage.client.observe(stage.account, "wbe")
    with pytest.raises(ObservationFailed, match="serves no account 'elsewhere'"):
        await stage.client.observe("elsewhere", "web")


async def test_nobody_at_the_task_queue_is_said_soon(engine: EngineProcess) -> None:
    nobody = f"nobody-{uuid.uuid4().hex[:8]}"
    client = await DeliveryClient.connect(engine.address, task_queue=nobody, no_worker_wait_s=0.5)
    with pytest.raises(NoWorker, match="stormsail worker start"):
        await client.applications("local")


async def test_a_worker_that_is_only_starting_is_waited_for(stage: Stage) -> None:
    await stage.stop_workers()
    client = await DeliveryClient.connect(stage.address, task_queue=stage.account)
    reading = asyncio.create_task(client.applications(stage.account))

    async def asked() -> list[str]:
        listed = stage.temporal.list_workflows(f"WorkflowId STARTS_WITH 'observe/{stage.account}/'")
        return [one.id async for one in listed]

    await until_answered(asked, bool, "the question")
    assert not reading.done()
    await stage.start_worker()
    assert await reading == []
    await client.close()


async def test_an_engine_that_is_not_there_is_named() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(EngineUnreachable, match=f"no engine answers at {address}"):
        await DeliveryClient.connect(address)


async def test_a_namespace_that_is_not_there_is_named(engine: EngineProcess) -> None:
    with pytest.raises(NamespaceNotFound, match="no namespace 'nowhere'"):
        await DeliveryClient.connect(engine.address, "nowhere")
