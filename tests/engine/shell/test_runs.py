"""A turn happens once or not at all, in its order, whoever goes away and whatever breaks."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest

from stormsail.engine.core.decide import decide
from stormsail.engine.core.errors import InvalidTransition, NotFound, ResourceExhausted, Unavailable
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.requests import SignalWorkflow
from stormsail.engine.core.work import TaskKind
from stormsail.engine.shell.backlog import QueueName
from stormsail.engine.shell.joined import RunQuarantined
from stormsail.engine.shell.overload import Admission
from stormsail.engine.shell.runs import Core
from stormsail.engine.shell.turn_order import TurnOrder
from stormsail.engine.store.errors import StorageFailed, StorageFull

QUEUE = QueueName("default", TaskKind.WORKFLOW, "q")


def signal(world: Any, name: str, workflow_id: str = "w") -> "asyncio.Task[Any]":
    execution = WorkflowExecution(workflow_id=workflow_id)
    request = SignalWorkflowExecutionRequest(namespace="default", workflow_execution=execution, signal_name=name)
    return asyncio.create_task(world.engine.execute("default", workflow_id, "", SignalWorkflow(request)))


async def signals_of(world: Any, workflow_id: str = "w") -> list[str]:
    page = await world.history(workflow_id)
    return [
        event.workflow_execution_signaled_event_attributes.signal_name
        for event in page.history.events
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]


async def gated(world: Any) -> Any:
    store = await world.open_gated()
    await world.start()
    return store


async def test_turns_of_one_workflow_happen_in_the_order_in_which_they_were_asked_for(world: Any) -> None:
    await world.start()
    await asyncio.gather(*[signal(world, f"s{number}") for number in range(20)])
    assert await signals_of(world) == [f"s{number}" for number in range(20)]


async def test_turns_of_different_workflows_are_written_together(closed_world: Any) -> None:
    store = await gated(closed_world)
    await closed_world.start("v")
    store.open.clear()
    store.arrived = 0
    both = [signal(closed_world, "s", "w"), signal(closed_world, "s", "v"), signal(closed_world, "t", "w")]
    await closed_world.settle()
    assert store.arrived == 2
    store.open.set()
    await closed_world.soon(asyncio.gather(*both))


async def test_nobody_hears_of_a_turn_before_it_is_on_disk(closed_world: Any) -> None:
    store = await gated(closed_world)
    store.open.clear()
    asked = signal(closed_world, "s")
    news = asyncio.create_task(
        closed_world.history(
            wait_new_event=True, next_page_token=(await closed_world.history(wait_new_event=True)).next_page_token
        )
    )
    await closed_world.settle()
    assert not asked.done() and not news.done()
    assert closed_world.engine.read("default", "w", "").signals == 0
    store.open.set()
    await closed_world.soon(asked)
    assert len((await closed_world.soon(news)).history.events) == 1


async def test_a_caller_who_leaves_while_its_turn_is_written_does_not_undo_it(closed_world: Any) -> None:
    store = await gated(closed_world)
    store.open.clear()
    first, second = signal(closed_world, "first"), signal(closed_world, "second")
    await closed_world.settle()
    first.cancel()
    await closed_world.settle()
    store.open.set()
    await closed_world.soon(second)
    assert first.cancelled()
    assert await signals_of(closed_world) == ["first", "second"]


async def test_a_caller_who_leaves_while_waiting_for_its_turn_leaves_no_trace(closed_world: Any) -> None:
    store = await gated(closed_world)
    store.open.clear()
    calls = [signal(closed_world, name) for name in ("first", "second", "third")]
    await closed_world.settle()
    calls[1].cancel()
    store.open.set()
    await closed_world.soon(asyncio.gather(calls[0], calls[2]))
    assert await signals_of(closed_world) == ["first", "third"]
    assert closed_world.engine.admission.turns == 0


@pytest.mark.parametrize("moments", range(10))
async def test_cancelling_a_call_at_any_moment_loses_nothing_and_doubles_nothing(
    closed_world: Any, moments: int
) -> None:
    """What the cancelled call did is there once or not at all, and the next call of the workflow is not held up."""
    store = await gated(closed_world)
    store.open.clear()
    calls = [signal(closed_world, name) for name in ("first", "second", "third")]
    asyncio.get_running_loop().call_soon(store.open.set)
    for _ in range(moments):
        await asyncio.sleep(0)
    calls[1].cancel()
    outcome = (await closed_world.soon(asyncio.gather(*calls, return_exceptions=True)))[1]
    seen = await signals_of(closed_world)
    if outcome is None or not isinstance(outcome, BaseException):
        assert seen == ["first", "second", "third"]
    else:
        assert seen in (["first", "second", "third"], ["first", "third"])
    assert closed_world.engine.admission.turns == 0
    await closed_world.restart()
    assert await signals_of(closed_world) == seen


async def test_a_place_in_the_order_passed_to_a_call_that_is_just_being_cancelled_is_passed_on() -> None:
    order = TurnOrder()
    workflow = ("default", "w")
    await order.acquire(workflow)
    cancelled, next_one = (asyncio.create_task(order.acquire(workflow)) for _ in range(2))
    await asyncio.sleep(0)
    order.release(workflow)
    cancelled.cancel()
    await asyncio.wait_for(next_one, 30)
    order.release(workflow)
    await asyncio.wait_for(order.acquire(workflow), 30)


async def test_a_full_disk_refuses_the_turn_and_leaves_the_run_as_it_was(closed_world: Any) -> None:
    store = await gated(closed_world)
    store.failure = StorageFull(closed_world.directory)
    with pytest.raises(ResourceExhausted, match="No space is left"):
        await closed_world.soon(signal(closed_world, "lost"))
    store.failure = None
    await closed_world.soon(signal(closed_world, "kept"))
    assert await signals_of(closed_world) == ["kept"]


async def test_a_failed_disk_stops_everything_and_says_so(closed_world: Any) -> None:
    store = await gated(closed_world)
    engine = closed_world.engine
    polling = closed_world.polling("other")
    token = (await closed_world.history(wait_new_event=True)).next_page_token
    news = asyncio.create_task(closed_world.history(wait_new_event=True, next_page_token=token))
    await closed_world.settle()
    store.failure = StorageFailed("the disk answered EIO")
    with pytest.raises(Unavailable, match="storage failed"):
        await closed_world.soon(signal(closed_world, "lost"))
    assert engine.failed.is_set()
    for waiting in (polling, news):
        with pytest.raises(Unavailable):
            await closed_world.soon(waiting)
    store.failure = None
    with pytest.raises(Unavailable):
        await closed_world.soon(signal(closed_world, "also lost"))


@pytest.mark.parametrize("written", [True, False])
async def test_a_commit_that_fails_in_an_unknown_way_makes_the_engine_believe_the_disk(
    closed_world: Any, written: bool
) -> None:
    store = await gated(closed_world)
    if written:
        store.failure_after = RuntimeError("nobody knows")
    else:
        store.failure = RuntimeError("nobody knows")
    with pytest.raises(RuntimeError):
        await closed_world.soon(signal(closed_world, "unknown"))
    store.failure = store.failure_after = None
    await closed_world.soon(signal(closed_world, "kept"))
    assert await signals_of(closed_world) == (["unknown", "kept"] if written else ["kept"])


async def test_a_broken_invariant_quarantines_that_run_only(closed_world: Any) -> None:
    def breaking(state: Any, request: Any, *rest: Any) -> Any:
        if isinstance(request, SignalWorkflow) and request.request.signal_name == "break":
            raise InvalidTransition("event 4 may not follow event 3")
        return decide(state, request, *rest)

    world = closed_world
    world.core = Core(decide=breaking)
    await world.open()
    run_id = await world.start("broken")
    await world.start("sound")
    for name in ("break", "harmless"):
        with pytest.raises(RunQuarantined, match=run_id) as refusal:
            await world.soon(signal(world, name, "broken"))
        assert refusal.value.status == "INTERNAL"
    await world.soon(signal(world, "s", "sound"))
    assert world.engine.runs.broken == 1
    task = await world.poll()  # the broken run's task is passed over
    assert task.workflow_execution.workflow_id == "sound"
    assert world.engine.matching.backlog(QUEUE) == (0, 0)
    await world.restart()
    await world.soon(signal(world, "harmless", "broken"))


async def test_of_the_runs_put_aside_so_many_are_remembered_and_the_others_looked_at_again(closed_world: Any) -> None:
    def breaking(state: Any, request: Any, *rest: Any) -> Any:
        if isinstance(request, SignalWorkflow) and request.request.signal_name == "break":
            raise InvalidTransition("event 4 may not follow event 3")
        return decide(state, request, *rest)

    world = closed_world
    world.core = Core(decide=breaking)
    world.limits = replace(world.limits, quarantined_max=2)
    await world.open()
    for name in ("a", "b", "c"):
        await world.start(name)
        with pytest.raises(RunQuarantined):
            await world.soon(signal(world, "break", name))
    await world.soon(signal(world, "harmless", "a"))
    for name in ("b", "c"):
        with pytest.raises(RunQuarantined):
            await world.soon(signal(world, "harmless", name))


async def test_when_too_many_tasks_wait_no_run_is_started_and_what_runs_goes_on(closed_world: Any) -> None:
    world = closed_world
    world.limits = replace(world.limits, waiting_tasks_max=2)
    await world.open()
    await world.start("a")
    await world.start("b")
    with pytest.raises(ResourceExhausted, match="2 tasks wait for workers, which is the limit"):
        await world.start("c")
    await world.soon(signal(world, "s", "a"))
    task = await world.poll()
    await world.complete(task, [world.schedule_activity(), world.schedule_activity("b"), world.schedule_activity("c")])
    assert (await world.soon(world.polling_activity())).task_token
    assert (await world.soon(world.polling_activity())).task_token
    await world.terminate("b")
    await world.start("c")


async def test_states_are_forgotten_beyond_the_limit_and_read_again(closed_world: Any) -> None:
    world = closed_world
    world.limits = replace(world.limits, open_runs_cached_max=2)
    await world.open()
    for number in range(6):
        await world.start(f"w{number}")
    for number in range(6):
        await world.soon(signal(world, "s", f"w{number}"))
        assert world.engine.read("default", f"w{number}", "").signals == 1
    assert len(world.engine.runs._states) == 2


async def test_too_many_turns_are_refused_and_starts_first(closed_world: Any) -> None:
    world = closed_world
    world.limits = replace(world.limits, commit_queue_max=4)
    store = await gated(world)
    store.open.clear()
    calls = [signal(world, f"s{number}") for number in range(3)]
    await world.settle()
    with pytest.raises(ResourceExhausted, match="overloaded"):
        await world.start("new")
    calls.append(signal(world, "s3"))
    await world.settle()
    with pytest.raises(ResourceExhausted, match="overloaded"):
        await world.soon(signal(world, "s4"))
    store.open.set()
    await world.soon(asyncio.gather(*calls))
    await world.start("new")


async def test_an_unknown_workflow_and_an_unknown_run_are_not_found(world: Any) -> None:
    with pytest.raises(NotFound, match="workflow not found for ID: w"):
        world.engine.read("default", "w", "")
    with pytest.raises(NotFound, match='workflow execution not found for workflow ID "w" and run ID "r"'):
        world.engine.read("default", "w", "r")
    await world.start()
    with pytest.raises(NotFound):
        world.engine.read("another", "w", "")


async def test_an_empty_run_id_means_the_newest_run(world: Any) -> None:
    first = await world.start()
    await world.terminate()
    assert world.engine.read("default", "w", "").key == RunKey("default", "w", first)
    second = await world.start()
    assert world.engine.read("default", "w", "").key.run_id == second
    assert world.engine.read("default", "w", first).status != world.engine.read("default", "w", second).status
    await world.restart()
    assert world.engine.read("default", "w", "").key.run_id == second


async def test_closing_lets_what_is_being_written_finish_and_refuses_the_rest(closed_world: Any) -> None:
    store = await gated(closed_world)
    store.open.clear()
    polling = closed_world.polling("other")
    written = signal(closed_world, "written")
    await closed_world.settle()
    closing = asyncio.create_task(closed_world.engine.close())
    await closed_world.settle()
    with pytest.raises(Unavailable, match="stopping"):
        await signal(closed_world, "refused")
    assert not closing.done()
    store.open.set()
    await closed_world.soon(written)
    await closed_world.soon(closing)
    assert not (await closed_world.soon(polling)).task_token


def test_long_polls_are_counted_and_bounded() -> None:
    admission = Admission(10, waiting_max=1)
    admission.enter_wait()
    with pytest.raises(ResourceExhausted, match="limit"):
        admission.enter_wait()
    admission.leave_wait()
    admission.enter_wait()
