"""What a reader of histories sees: all of it, in order, of one run, as soon as it is there."""

import asyncio
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType, HistoryEventFilterType
from temporalio.api.workflowservice.v1 import (
    GetWorkflowExecutionHistoryReverseRequest,
    GetWorkflowExecutionHistoryReverseResponse,
)

from stormsail.engine.core.errors import InvalidArgument, NotFound
from stormsail.engine.core.ids import RunKey

CLOSE = HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT


def ids(page: Any) -> list[int]:
    return [event.event_id for event in page.history.events]


def reading(world: Any, **fields: Any) -> "asyncio.Task[Any]":
    return asyncio.create_task(world.history(**fields))


async def reverse(world: Any, **fields: Any) -> Any:
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace="default", execution=WorkflowExecution(workflow_id="w"), **fields
    )
    return GetWorkflowExecutionHistoryReverseResponse.FromString(await world.engine.history_reverse(request))


async def test_a_history_is_read_in_pages_without_gap_or_repetition(world: Any) -> None:
    await world.start()
    for _ in range(10):
        await world.signal()
    seen: list[int] = []
    token = b""
    while True:
        page = await world.history(maximum_page_size=3, next_page_token=token)
        assert len(page.history.events) <= 3
        seen += ids(page)
        token = page.next_page_token
        if not token:
            break
    assert seen == list(range(1, 13))


async def test_a_history_is_read_backwards_in_pages(world: Any) -> None:
    await world.start()
    for _ in range(5):
        await world.signal()
    seen: list[int] = []
    token = b""
    while True:
        page = await reverse(world, maximum_page_size=3, next_page_token=token)
        seen += ids(page)
        token = page.next_page_token
        if not token:
            break
    assert seen == list(range(7, 0, -1))


async def test_the_rest_of_a_history_that_is_deleted_meanwhile_is_not_found_and_never_shorter(world: Any) -> None:
    run_id = await world.start()
    for _ in range(5):
        await world.signal()
    await world.complete(await world.poll(), [world.complete_workflow()])
    await world.close()  # what was written last is still in memory before, and is read from there
    await world.open()
    first = await world.history(maximum_page_size=3)
    last = await reverse(world, maximum_page_size=3)
    # The moment inside a deletion when the rows are gone and the state is still in memory.
    assert await world.store.delete(RunKey("default", "w", run_id))
    with pytest.raises(NotFound, match="workflow execution not found"):
        await world.history(maximum_page_size=3, next_page_token=first.next_page_token)
    with pytest.raises(NotFound, match="workflow execution not found"):
        await reverse(world, maximum_page_size=3, next_page_token=last.next_page_token)


async def test_waiting_for_news_ends_with_the_news(world: Any) -> None:
    await world.start()
    first = await world.history(wait_new_event=True)
    assert ids(first) == [1, 2]
    waiting = reading(world, wait_new_event=True, next_page_token=first.next_page_token)
    await world.settle()
    assert not waiting.done()
    await world.signal()
    second = await world.soon(waiting)
    assert ids(second) == [3]
    assert second.next_page_token


async def test_waiting_for_news_ends_empty_and_can_go_on(world: Any) -> None:
    await world.start()
    token = (await world.history(wait_new_event=True)).next_page_token
    waiting = reading(world, wait_new_event=True, next_page_token=token)
    await world.clock.advance(world.limits.history_long_poll_ms + 1)
    page = await world.soon(waiting)
    assert ids(page) == [] and page.next_page_token
    waiting = reading(world, wait_new_event=True, next_page_token=page.next_page_token, deadline_s=5)
    await world.clock.advance(4_001)
    page = await world.soon(waiting)
    assert ids(page) == [] and page.next_page_token
    await world.signal()
    assert ids(await world.history(wait_new_event=True, next_page_token=page.next_page_token)) == [3]


async def test_a_reader_who_waits_sees_the_end_and_is_told_that_it_is_the_end(world: Any) -> None:
    await world.start()
    token = (await world.history(wait_new_event=True)).next_page_token
    waiting = reading(world, wait_new_event=True, next_page_token=token)
    await world.settle()
    await world.terminate()
    page = await world.soon(waiting)
    assert page.history.events[-1].HasField("workflow_execution_terminated_event_attributes")
    assert not page.next_page_token


async def test_the_closing_event_alone_is_waited_for(world: Any) -> None:
    await world.start()
    waiting = reading(world, wait_new_event=True, history_event_filter_type=CLOSE)
    await world.settle()
    await world.signal()
    await world.settle()
    assert not waiting.done()
    await world.complete(await world.poll(), [world.complete_workflow()])
    page = await world.soon(waiting)
    (event,) = page.history.events
    assert event.workflow_execution_completed_event_attributes.result == world.payloads("out")
    assert not page.next_page_token
    assert (await world.history(history_event_filter_type=CLOSE)).history == page.history


async def test_the_closing_event_of_an_open_run_is_not_there_yet(world: Any) -> None:
    await world.start()
    waiting = reading(world, wait_new_event=True, history_event_filter_type=CLOSE, deadline_s=5)
    await world.clock.advance(4_001)
    page = await world.soon(waiting)
    assert ids(page) == [] and page.next_page_token
    waiting = reading(world, wait_new_event=True, history_event_filter_type=CLOSE, next_page_token=page.next_page_token)
    await world.settle()
    await world.terminate()
    assert len((await world.soon(waiting)).history.events) == 1
    # GetWorkflowExecutionHistory waits for it even where it was not asked to; then there is no token to go on with.
    await world.start()
    waiting = reading(world, history_event_filter_type=CLOSE)
    await world.clock.advance(world.limits.history_long_poll_ms + 1)
    page = await world.soon(waiting)
    assert ids(page) == [] and not page.next_page_token


async def test_a_page_token_stays_with_its_run_when_the_workflow_goes_on_as_another(world: Any) -> None:
    first_run = await world.start()
    token = (await world.history(wait_new_event=True)).next_page_token
    command = Command(command_type=CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION)
    attributes = command.continue_as_new_workflow_execution_command_attributes
    attributes.workflow_type.CopyFrom(WorkflowType(name="T"))
    attributes.task_queue.name = "q"
    await world.complete(await world.poll(), [command])
    page = await world.history(wait_new_event=True, next_page_token=token)
    continued = page.history.events[-1].workflow_execution_continued_as_new_event_attributes
    assert continued.new_execution_run_id == world.engine.read("default", "w", "").key.run_id != first_run
    assert not page.next_page_token
    newest = await world.history()
    started = newest.history.events[0].workflow_execution_started_event_attributes
    assert started.continued_execution_run_id == first_run


async def test_a_token_that_is_not_ours_or_of_another_run_is_refused(world: Any) -> None:
    await world.start()
    token = (await world.history(wait_new_event=True)).next_page_token
    with pytest.raises(InvalidArgument, match="Invalid NextPageToken"):
        await world.history(next_page_token=b"xx")
    with pytest.raises(InvalidArgument, match="does not match the NextPageToken"):
        await world.history(run_id="another", next_page_token=token)
    with pytest.raises(NotFound):
        await world.history("another", next_page_token=token)


async def test_a_history_read_while_it_grows_only_ever_gets_longer(world: Any) -> None:
    await world.start()
    before: list[bytes] = []
    for _ in range(5):
        await world.signal()
        now = [event.SerializeToString() for event in (await world.history()).history.events]
        assert now[: len(before)] == before
        before = now


async def test_many_readers_of_one_run_are_woken_together_and_leave_nothing_behind(world: Any) -> None:
    await world.start()
    token = (await world.history(wait_new_event=True)).next_page_token
    readers = [reading(world, wait_new_event=True, next_page_token=token) for _ in range(50)]
    gone = reading(world, wait_new_event=True, next_page_token=token)
    await world.settle()
    gone.cancel()
    await world.signal()
    assert all(ids(page) == [3] for page in await world.soon(asyncio.gather(*readers)))
    assert len(world.engine.waiters) == 0
    assert world.engine.admission.waiting == 0
