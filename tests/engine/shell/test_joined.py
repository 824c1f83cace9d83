"""Many requests of one run at once: one commit, in order, all of them or none."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import SignalWorkflowExecutionRequest

from stormsail.engine.core.errors import NotFound, Refused, ResourceExhausted
from stormsail.engine.core.requests import SignalWorkflow
from stormsail.engine.store.errors import StorageFull


def signal(world: Any, name: str, run_id: str = "") -> "asyncio.Task[Any]":
    execution = WorkflowExecution(workflow_id="w", run_id=run_id)
    request = SignalWorkflowExecutionRequest(namespace="default", workflow_execution=execution, signal_name=name)
    return asyncio.create_task(world.engine.execute("default", "w", run_id, SignalWorkflow(request)))


async def held_up(world: Any, count: int) -> tuple[Any, list["asyncio.Task[Any]"]]:
    """Send signals while a commit of the run is held up: the first is in it, the others wait."""
    store = await world.open_gated()
    await world.start()
    store.open.clear()
    store.arrived = 0
    calls = [signal(world, f"s{number}") for number in range(count)]
    await world.settle()
    return store, calls


async def signals_of(world: Any) -> list[str]:
    page = await world.history()
    return [
        event.workflow_execution_signaled_event_attributes.signal_name
        for event in page.history.events
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]


async def test_what_waits_for_a_run_is_written_in_one_commit_in_order(closed_world: Any) -> None:
    world = closed_world
    store, calls = await held_up(world, 51)
    assert store.arrived == 1
    store.open.set()
    await world.soon(asyncio.gather(*calls))
    assert store.arrived == 2
    assert await signals_of(world) == [f"s{number}" for number in range(51)]
    assert world.engine.read("default", "w", "").signals == 51
    assert world.engine.admission.turns == 0
    await world.restart()
    assert world.engine.read("default", "w", "").signals == 51


async def test_when_the_common_commit_fails_none_of_it_is_there_and_all_are_told(closed_world: Any) -> None:
    world = closed_world
    store, calls = await held_up(world, 10)
    store.failure = StorageFull(world.directory)
    store.open.set()
    outcomes = await world.soon(asyncio.gather(*calls, return_exceptions=True))
    assert all(isinstance(outcome, ResourceExhausted) for outcome in outcomes)
    assert world.engine.read("default", "w", "").signals == 0
    store.failure = None
    await world.soon(signal(world, "after"))
    assert await signals_of(world) == ["after"]
    assert world.engine.admission.turns == 0


async def test_one_that_is_refused_hinders_no_other(closed_world: Any) -> None:
    world = closed_world
    store = await world.open_gated()
    await world.start()
    store.open.clear()
    first = signal(world, "first")
    await world.settle()
    calls = [
        signal(world, "second"),
        signal(world, "nobody", "00000000-0000-4000-8000-00000000dead"),
        signal(world, "third"),
    ]
    await world.settle()
    assert not any(call.done() for call in calls)
    store.open.set()
    await world.soon(first)
    outcomes = await world.soon(asyncio.gather(*calls, return_exceptions=True))
    assert [isinstance(outcome, NotFound) for outcome in outcomes] == [False, True, False]
    assert await signals_of(world) == ["first", "second", "third"]


async def test_nobody_is_refused_because_of_what_is_not_on_disk(closed_world: Any) -> None:
    world = closed_world
    world.limits = replace(world.limits, signals_max=2)
    store, calls = await held_up(world, 4)
    store.open.set()
    done, _ = await asyncio.wait(calls, timeout=60, return_when=asyncio.FIRST_COMPLETED)
    assert calls[0] in done
    outcomes = await world.soon(asyncio.gather(*calls, return_exceptions=True))
    assert [isinstance(outcome, Refused) for outcome in outcomes] == [False, False, True, True]
    assert await signals_of(world) == ["s0", "s1"]


async def test_a_stop_ends_those_that_wait(closed_world: Any) -> None:
    world = closed_world
    store, calls = await held_up(world, 5)
    closing = asyncio.ensure_future(world.engine.close())
    await world.settle()
    store.open.set()
    await world.soon(closing)
    outcomes = await world.soon(asyncio.gather(*calls, return_exceptions=True))
    assert [isinstance(outcome, Refused) for outcome in outcomes] == [False, True, True, True, True]
    with pytest.raises(Refused):
        await world.soon(signal(world, "late"))
