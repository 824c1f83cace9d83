"""What callers of updates are told, and when: after the disk, over restarts, and at the end of their patience."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType
from temporalio.api.enums.v1 import UpdateWorkflowExecutionLifecycleStage as Stage
from temporalio.api.workflowservice.v1 import (
    PollWorkflowExecutionUpdateRequest,
    PollWorkflowExecutionUpdateResponse,
    PollWorkflowTaskQueueResponse,
    StartWorkflowExecutionRequest,
)

from engine.core.updating import accepts, asked, outcome, rejects, responds
from stormsail.engine.core.errors import (
    DeadlineExceeded,
    MultiOperationFailed,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.requests import StartAndUpdate

ADMITTED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ADMITTED
ACCEPTED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_ACCEPTED
COMPLETED = Stage.UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_COMPLETED


def ask(
    world: Any, update_id: str, stage: int = COMPLETED, *, deadline_s: float | None = None, run_id: str = ""
) -> Any:
    """Begin to ask for an update."""
    request = asked(update_id, stage=stage)
    request.workflow_execution.workflow_id, request.workflow_execution.run_id = "w", run_id
    return asyncio.create_task(world.engine.updates.ask(request, deadline_s))


async def poll_update(world: Any, update_id: str, stage: int = COMPLETED) -> PollWorkflowExecutionUpdateResponse:
    request = PollWorkflowExecutionUpdateRequest(namespace="default")
    request.update_ref.workflow_execution.workflow_id = "w"
    request.update_ref.update_id = update_id
    request.wait_policy.lifecycle_stage = stage  # type: ignore[assignment]
    answer: PollWorkflowExecutionUpdateResponse = await world.soon(world.engine.updates.poll(request, None))
    return answer


async def idle(world: Any) -> None:
    """A run that has nothing to do."""
    await world.start()
    await world.complete(await world.poll())


async def given(world: Any, *update_ids: str) -> PollWorkflowTaskQueueResponse:
    """The workflow task that carries these updates."""
    task: PollWorkflowTaskQueueResponse = await world.poll()
    assert [message.protocol_instance_id for message in task.messages] == list(update_ids)
    return task


async def test_a_caller_hears_of_its_update_when_it_is_on_disk(closed_world: Any) -> None:
    world = closed_world
    await world.open_gated()
    await idle(world)
    answer = ask(world, "u", ACCEPTED)
    task = await given(world, "u")
    world.store.open.clear()
    arrived = world.store.arrived
    completing = asyncio.create_task(world.complete(task, messages=[accepts("u"), responds("u")]))
    await world.until(lambda: world.store.arrived > arrived)
    await world.settle()
    assert not answer.done() and not completing.done()
    with pytest.raises(NotFound):
        await poll_update(world, "absent")
    world.store.open.set()
    heard = await world.soon(answer)
    assert (heard.stage, heard.outcome) == (COMPLETED, outcome("done"))
    await world.soon(completing)


async def test_a_rejection_is_told_and_nothing_is_written(closed_world: Any) -> None:
    world = closed_world
    await world.open_gated()
    await idle(world)
    before = world.store.arrived
    answer = ask(world, "u")
    reply = await world.complete(await given(world, "u"), messages=[rejects("u")])
    assert (await world.soon(answer)).outcome.failure.message == "no"
    assert reply.reset_history_event_id == 3
    assert world.store.arrived == before
    assert len(await world.event_types()) == 4


async def test_the_outcome_of_a_completed_update_is_the_same_for_ever(world: Any) -> None:
    await idle(world)
    answer = ask(world, "u")
    await world.complete(await given(world, "u"), messages=[accepts("u"), responds("u", "first")])
    first = await world.soon(answer)
    await world.restart()
    assert await world.soon(ask(world, "u")) == first
    assert (await poll_update(world, "u")).outcome == outcome("first")
    await world.terminate()
    await world.restart()
    assert await world.soon(ask(world, "u", ACCEPTED)) == first


async def test_an_accepted_update_is_waited_for_over_a_restart(world: Any) -> None:
    await idle(world)
    answer = ask(world, "u", ACCEPTED)
    await world.complete(await given(world, "u"), messages=[accepts("u")])
    assert (await world.soon(answer)).stage == ACCEPTED
    await world.restart()
    waiting = ask(world, "u")
    await world.signal()
    await world.complete(await given(world), messages=[responds("u")])
    assert (await world.soon(waiting)).outcome == outcome("done")


async def test_an_admitted_update_is_lost_with_the_server_and_asked_for_again(world: Any) -> None:
    await idle(world)
    answer = ask(world, "u")
    task = await given(world, "u")
    await world.restart()
    with pytest.raises(Unavailable):
        await world.soon(answer)
    with pytest.raises(NotFound, match="Workflow task not found"):
        await world.complete(task, messages=[accepts("u")])
    again = ask(world, "u")
    await world.complete(await given(world, "u"), messages=[accepts("u"), responds("u")])
    assert (await world.soon(again)).outcome == outcome("done")


async def test_an_update_whose_run_left_memory_is_asked_for_again_unnoticed(closed_world: Any) -> None:
    world = closed_world
    world.limits = replace(world.limits, open_runs_cached_max=1)
    await world.open()
    await idle(world)
    answer = ask(world, "u")
    await world.settle()
    await world.start("another", queue="elsewhere")
    await world.settle()
    await world.complete(await given(world, "u"), messages=[accepts("u"), responds("u")])
    assert (await world.soon(answer)).outcome == outcome("done")


class Loads:
    """A store that counts how often a run is read from it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def load(self, key: RunKey) -> Any:
        self.count += 1
        return self._inner.load(key)


async def test_callers_who_wait_for_more_runs_than_memory_holds_do_not_read_them_again_and_again(
    closed_world: Any,
) -> None:
    world = closed_world
    world.limits = replace(world.limits, open_runs_cached_max=1)
    world.store_of = Loads
    await world.open()
    waiting = []
    for workflow_id in ("a", "b", "c"):
        await world.start(workflow_id, queue=workflow_id)
        await world.complete(await world.poll(workflow_id))
        request = asked("u")
        request.workflow_execution.workflow_id = workflow_id
        waiting.append(asyncio.create_task(world.engine.updates.ask(request, None)))
        await world.complete(await world.poll(workflow_id), messages=[accepts("u")])
    await world.settle()
    before = world.store.count
    for _ in range(300):
        await asyncio.sleep(0)
    assert world.store.count == before
    for one in waiting:
        one.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_at_the_end_of_the_servers_patience_a_caller_learns_how_far_its_update_is(world: Any) -> None:
    await idle(world)
    answer = ask(world, "u")
    await world.clock.advance(world.limits.history_long_poll_ms + 1)
    heard = await world.soon(answer)
    assert (heard.stage, heard.HasField("outcome"), heard.update_ref.update_id) == (ADMITTED, False, "u")
    answer = ask(world, "u")
    await world.complete(await given(world, "u"), messages=[accepts("u")])
    await world.clock.advance(world.limits.history_long_poll_ms + 1)
    heard = await world.soon(answer)
    assert (heard.stage, heard.HasField("outcome")) == (ACCEPTED, False)
    assert (await poll_update(world, "u", 0)).stage == ACCEPTED


async def test_at_the_end_of_its_own_patience_a_caller_is_refused(world: Any) -> None:
    await idle(world)
    answer = ask(world, "u", deadline_s=2)
    await world.clock.advance(2_001)
    with pytest.raises(DeadlineExceeded):
        await world.soon(answer)


async def test_callers_of_the_same_update_share_it(world: Any) -> None:
    await idle(world)
    answers = [ask(world, "u"), ask(world, "u"), ask(world, "u", ACCEPTED)]
    await world.settle()
    answers[0].cancel()
    await world.complete(await given(world, "u"), messages=[accepts("u"), responds("u")])
    assert await world.soon(answers[1]) == await world.soon(answers[2])
    assert not world.engine.updates._watches


@pytest.mark.parametrize("accepted", [False, True])
async def test_the_end_of_the_run_ends_its_updates(world: Any, accepted: bool) -> None:
    await idle(world)
    answer = ask(world, "u")
    task = await given(world, "u")
    if accepted:
        await world.complete(task, messages=[accepts("u")])
    await world.terminate()
    if accepted:
        failure = (await world.soon(answer)).outcome.failure
        assert failure.application_failure_info.type == "AcceptedUpdateCompletedWorkflow"
        assert (await poll_update(world, "u")).outcome.failure == failure
    else:
        with pytest.raises(NotFound, match="workflow update was aborted by closing workflow"):
            await world.soon(answer)


async def test_a_speculative_task_moves_on_when_its_sticky_worker_is_gone(world: Any) -> None:
    await world.start()
    await world.complete(await world.poll(), sticky="s")
    polling = world.polling("s", sticky=True)
    await world.settle()
    polling.cancel()
    await world.settle()
    answer = ask(world, "u")
    task = await given(world, "u")
    assert task.history.events[0].event_id == 1
    await world.complete(task, messages=[rejects("u")])
    assert (await world.soon(answer)).outcome.failure.message == "no"
    assert len(await world.event_types()) == 4


def start_and_ask(world: Any, update_id: str, conflict: int) -> Any:
    start = StartWorkflowExecutionRequest(namespace="default", workflow_id="w", request_id=world.ids.uuid())
    start.workflow_type.name, start.task_queue.name = "T", "q"
    start.workflow_id_conflict_policy = conflict  # type: ignore[assignment]
    request = asked(update_id)
    request.workflow_execution.workflow_id = "w"
    return asyncio.create_task(world.engine.updates.start_and_ask(StartAndUpdate(start, request), None))


async def test_a_workflow_is_started_and_updated_at_once(world: Any) -> None:
    answer = start_and_ask(world, "u", 1)
    await world.complete(await given(world, "u"), messages=[accepts("u"), responds("u")])
    started, updated = await world.soon(answer)
    assert started.started and updated.outcome == outcome("done")
    known, updated = await world.soon(start_and_ask(world, "u", 1))
    assert not known.started and updated.outcome == outcome("done") and known.run_id == started.run_id
    with pytest.raises(MultiOperationFailed):
        await world.soon(start_and_ask(world, "v", 1))


async def test_a_run_that_closes_in_the_face_of_an_update_with_start_is_followed_by_another(world: Any) -> None:
    await idle(world)
    answer = start_and_ask(world, "u", 2)
    await world.complete(await given(world, "u"), [world.complete_workflow()])
    await world.complete(await given(world, "u"), messages=[accepts("u"), responds("u")])
    started, updated = await world.soon(answer)
    assert started.started and updated.outcome == outcome("done")


async def test_who_is_refused_because_another_run_follows_may_try_again(world: Any) -> None:
    await idle(world)
    answer = ask(world, "u")
    await world.complete(await given(world, "u"), [continue_as_new()])
    with pytest.raises(ResourceExhausted, match="workflow is closing"):
        await world.soon(answer)
    again = ask(world, "u")
    await world.complete(await given(world, "u"), messages=[accepts("u"), responds("u")])
    assert (await world.soon(again)).outcome == outcome("done")


def continue_as_new() -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION)
    command.continue_as_new_workflow_execution_command_attributes.SetInParent()
    return command
