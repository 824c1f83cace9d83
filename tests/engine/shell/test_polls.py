"""Tasks reach exactly one living worker."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkerVersionStamp
from temporalio.api.failure.v1 import Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    ShutdownWorkerRequest,
)

from stormsail.engine.api.describe import describe
from stormsail.engine.core.errors import InvalidArgument, NotFound, ResourceExhausted
from stormsail.engine.core.requests import ActivityRef, CompleteActivity, FailWorkflowTask
from stormsail.engine.core.work import TaskKind
from stormsail.engine.shell import tokens
from stormsail.engine.shell.backlog import QueueName
from stormsail.engine.store.errors import StorageFull


async def test_a_started_workflow_reaches_a_waiting_poller_with_its_whole_history(world: Any) -> None:
    polling = world.polling()
    await world.settle()
    run_id = await world.start()
    task = await world.soon(polling)
    assert task.workflow_execution.run_id == run_id
    assert [event.event_id for event in task.history.events] == [1, 2, 3]
    assert (task.started_event_id, task.previous_started_event_id, task.attempt) == (3, 0, 1)
    assert task.workflow_type.name == "T"
    assert task.workflow_execution_task_queue.name == "q"
    assert task.scheduled_time.ToMilliseconds() == task.started_time.ToMilliseconds() == world.clock.now_ms()


async def test_tasks_are_handed_out_in_the_order_in_which_they_came(world: Any) -> None:
    for number in range(5):
        await world.start(f"w{number}")
    taken = [(await world.poll()).workflow_execution.workflow_id for _ in range(5)]
    assert taken == ["w0", "w1", "w2", "w3", "w4"]


async def test_a_poll_without_a_task_ends_empty_before_its_caller_gives_up(world: Any) -> None:
    polling = world.polling(deadline_s=10)
    await world.clock.advance(8_999)
    assert not polling.done()
    await world.clock.advance(2)
    assert not (await world.soon(polling)).task_token


async def test_a_poll_ends_empty_after_the_longest_time_whatever_its_caller_says(world: Any) -> None:
    polling = world.polling(deadline_s=3_600)
    await world.clock.advance(world.limits.long_poll_ms + 1)
    assert not (await world.soon(polling)).task_token


async def test_a_poll_with_no_time_left_ends_at_once(world: Any) -> None:
    await world.start()
    assert not (await world.soon(world.polling(deadline_s=0.5))).task_token
    assert (await world.poll()).task_token


@pytest.mark.parametrize("turns", range(6))
async def test_a_task_is_not_lost_when_its_poller_is_cancelled_in_the_same_moment(world: Any, turns: int) -> None:
    polling = world.polling()
    await world.settle()
    starting = asyncio.ensure_future(world.start())  # hands the task to the waiting poll
    await world.until(starting.done)
    for _ in range(turns):
        await asyncio.sleep(0)
    polling.cancel()
    result = (await asyncio.gather(polling, return_exceptions=True))[0]
    task = await world.poll() if isinstance(result, asyncio.CancelledError) else result
    assert task.attempt == 1


@pytest.mark.parametrize("turns", range(12))
async def test_a_poller_cancelled_at_any_moment_leaves_the_task_to_the_next(world: Any, turns: int) -> None:
    await world.start()
    polling = world.polling()
    for _ in range(turns):
        await asyncio.sleep(0)
    polling.cancel()
    result = (await asyncio.gather(polling, return_exceptions=True))[0]
    task = await world.poll() if isinstance(result, asyncio.CancelledError) else result
    assert (task.attempt, task.started_event_id) == (1, 3)
    await world.complete(task, [world.complete_workflow()])
    assert (await world.event_types()).count("WORKFLOW_TASK_STARTED") == 1


async def test_a_started_activity_whose_poller_vanished_goes_to_the_next_poller(world: Any) -> None:
    await world.start()
    await world.complete(await world.poll(), [world.schedule_activity()])
    polling = world.polling_activity()
    await world.until(lambda: bool(world.engine.read("default", "w", "").activities[5].started_at_ms) or polling.done())
    if not polling.done():
        polling.cancel()
        polling = world.polling_activity()
    task = await world.soon(polling)
    assert task.attempt == 1
    ref = ActivityRef(token=tokens.decode_activity(task.task_token, "default"))
    await world.engine.execute("default", "w", "", CompleteActivity(ref, world.payloads("r"), "me"))
    assert "ACTIVITY_TASK_COMPLETED" in await world.event_types()


async def test_an_activity_task_says_everything_its_worker_needs(world: Any) -> None:
    run_id = await world.start()
    await world.complete(await world.poll(), [world.schedule_activity("act")])
    await world.clock.advance(300)
    task = await world.soon(world.polling_activity())
    assert (task.workflow_namespace, task.workflow_type.name, task.activity_type.name) == ("default", "T", "A")
    assert (task.workflow_execution.workflow_id, task.workflow_execution.run_id) == ("w", run_id)
    assert (task.activity_id, task.attempt, task.input) == ("act", 1, world.payloads("in"))
    assert task.start_to_close_timeout.seconds == 10
    assert task.HasField("schedule_to_close_timeout") and task.HasField("retry_policy")
    assert task.started_time.ToMilliseconds() - task.scheduled_time.ToMilliseconds() == 300
    assert task.current_attempt_scheduled_time == task.scheduled_time


async def test_a_sticky_worker_gets_only_what_is_new(world: Any) -> None:
    await world.start()
    await world.complete(await world.poll(), sticky="s")
    polling = world.polling("s", sticky=True)
    await world.settle()
    await world.signal()
    task = await world.soon(polling)
    assert [event.event_id for event in task.history.events] == [4, 5, 6, 7]
    assert (task.previous_started_event_id, task.started_event_id) == (3, 7)


async def test_a_task_goes_to_the_normal_queue_at_once_when_nobody_polls_the_sticky_one(world: Any) -> None:
    await world.start()
    await world.clock.advance(11_000)  # past the grace after opening
    await world.complete(await world.poll(), sticky="s")
    await world.signal()
    task = await world.poll("q")
    assert [event.event_id for event in task.history.events] == list(range(1, 8))


async def test_a_task_waits_for_a_sticky_worker_seen_a_moment_ago_and_times_out_to_the_normal_queue(world: Any) -> None:
    await world.start()
    await world.clock.advance(11_000)
    polling = world.polling("s", sticky=True, deadline_s=5)
    await world.clock.advance(4_001)
    await world.soon(polling)
    await world.complete(await world.poll(), sticky="s")
    await world.signal()
    normal = world.polling("q")
    await world.settle()
    assert not normal.done()
    await world.clock.advance(5_001)
    assert (await world.soon(normal)).started_event_id


async def test_tasks_and_queries_of_a_worker_whose_connection_broke_go_to_its_colleagues_at_once(world: Any) -> None:
    await world.start()
    await world.complete(await world.poll(), sticky="s")
    polls = [world.polling("s", sticky=True) for _ in range(2)]
    await world.settle()
    polls[0].cancel()
    await world.settle()
    await world.signal()  # one poll is still open: the worker is there
    task = await world.soon(polls[1])
    await world.complete(task, sticky="s")
    last = world.polling("s", sticky=True)
    await world.settle()
    last.cancel()
    await world.settle()
    await world.signal()
    task = await world.poll("q")
    assert task.history.events[0].event_id == 1
    await world.complete(task, sticky="s")
    back = world.polling("s", sticky=True)
    await world.settle()
    await world.signal()
    assert (await world.soon(back)).history.events[0].event_id > 1


async def test_a_worker_that_shuts_down_frees_its_tasks_and_its_polls(world: Any) -> None:
    await world.start()
    await world.complete(await world.poll(), sticky="s")
    await world.signal()  # waits in the sticky queue, for the engine has just opened
    waiting = world.polling("other", worker="key")
    await world.settle()
    request = ShutdownWorkerRequest(
        namespace="default", sticky_task_queue="s", identity="me", worker_instance_key="key", task_queue="q"
    )
    await world.engine.shutdown_worker(request)
    assert not (await world.soon(waiting)).task_token
    assert not (await world.soon(world.polling("q", worker="key"))).task_token  # a poll that was still on its way
    task = await world.poll("q")
    assert next(event.event_id for event in task.history.events) == 1


async def test_what_nobody_took_is_there_after_a_restart_and_what_was_ended_is_not_given_again(world: Any) -> None:
    await world.start("ended")
    await world.start("waiting")
    task = await world.poll()
    assert task.workflow_execution.workflow_id == "ended"
    await world.complete(task)
    await world.restart()
    assert (await world.poll()).workflow_execution.workflow_id == "waiting"
    again = world.polling()
    await world.settle()
    assert not again.done()
    again.cancel()


async def test_a_worker_ends_the_task_that_it_had_before_the_server_restarted(world: Any) -> None:
    await world.start()
    task = await world.poll()
    await world.restart()
    await world.complete(task, [world.complete_workflow()])
    assert (await world.event_types())[1:4] == [
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_COMPLETED",
    ]


async def test_after_a_restart_a_task_that_two_workers_have_is_ended_by_the_one_that_got_it_last(world: Any) -> None:
    await world.start()
    task = await world.poll()
    await world.restart()
    again = await world.poll()
    assert (again.attempt, again.started_event_id) == (task.attempt, task.started_event_id)
    with pytest.raises(NotFound):
        await world.complete(task, [world.complete_workflow()])
    await world.complete(again, [world.complete_workflow()])
    assert (await world.event_types()).count("WORKFLOW_TASK_STARTED") == 1


async def test_a_token_of_a_task_that_was_ended_refers_to_nothing_after_a_restart(world: Any) -> None:
    await world.start()
    task = await world.poll()
    await world.complete(task)
    await world.signal()
    await world.restart()
    with pytest.raises(NotFound):
        await world.complete(task, [world.complete_workflow()])


async def test_a_started_task_nobody_answers_is_given_again_after_its_timeout_even_over_a_restart(world: Any) -> None:
    await world.start()
    task = await world.poll()
    polling = world.polling()
    await world.clock.advance(10_001)
    again = await world.soon(polling)
    assert again.attempt == 2
    with pytest.raises(NotFound):
        await world.complete(task, [world.complete_workflow()])
    await world.restart()
    third = world.polling()
    await world.clock.advance(10_001)
    assert (await world.soon(third)).attempt == 3


async def test_a_start_that_is_in_memory_alone_is_written_before_what_happens_next(world: Any) -> None:
    await world.start()
    task = await world.poll()
    assert (await world.event_types())[-1] == "WORKFLOW_TASK_STARTED"
    assert world.engine.read("default", "w", "").last_event_id == 2
    await world.signal()
    assert world.engine.read("default", "w", "").last_event_id == 3
    await world.restart()
    polling = world.polling()
    await world.settle()
    assert not polling.done()
    polling.cancel()
    await world.complete(task, [world.schedule_activity()])
    assert (await world.event_types())[2:5] == [
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_COMPLETED",
        "ACTIVITY_TASK_SCHEDULED",
    ]


async def test_a_start_in_memory_alone_outlives_a_full_cache(closed_world: Any) -> None:
    world = closed_world
    world.limits = replace(world.limits, open_runs_cached_max=2)
    await world.open()
    await world.start("w")
    task = await world.poll()
    for number in range(5):
        await world.start(f"w{number}")
    await world.complete(task, [world.complete_workflow()])
    assert (await world.event_types())[-1] == "WORKFLOW_EXECUTION_COMPLETED"


async def test_a_transient_task_ends_with_events_that_are_not_in_the_history_yet(world: Any) -> None:
    await world.start()
    await world.poll()
    polling = world.polling()
    await world.clock.advance(10_001)
    task = await world.soon(polling)
    assert [event.event_id for event in task.history.events] == [1, 2, 3, 4, 5, 6]
    assert (task.started_event_id, task.attempt) == (6, 2)
    shown = (await world.history()).history.events
    assert [event.event_id for event in shown] == [1, 2, 3, 4, 5, 6]
    assert shown[-1].workflow_task_started_event_attributes.identity == ""
    assert len((await world.history(wait_new_event=True)).history.events) == 4


async def test_eager_activities_and_the_next_task_come_with_the_reply(world: Any) -> None:
    await world.start()
    first = await world.poll()
    await world.signal()
    commands = [world.schedule_activity(request_eager_execution=True)]
    reply = await world.complete(first, commands, sticky="s", return_new_workflow_task=True)
    assert [task.activity_id for task in reply.activity_tasks] == ["a"]
    assert reply.workflow_task.previous_started_event_id == 3
    assert reply.workflow_task.history.events[0].event_id == 4
    await world.complete(reply.workflow_task, [world.complete_workflow()])


async def test_bad_commands_are_refused_after_the_tasks_failure_is_on_disk(world: Any) -> None:
    await world.start()
    with pytest.raises(InvalidArgument):
        await world.complete(await world.poll(), [world.schedule_activity(activity_id="")])
    assert "WORKFLOW_TASK_FAILED" in await world.event_types()


async def test_a_long_history_comes_in_pages_that_end_where_the_task_ends(closed_world: Any) -> None:
    world = closed_world
    world.limits = replace(world.limits, history_page_events_max=4)
    await world.open()
    await world.start()
    for _ in range(7):
        await world.signal()
    task = await world.poll()
    assert [event.event_id for event in task.history.events] == [1, 2, 3, 4]
    await world.signal()  # buffered now, and later than the task
    ids, token = [1, 2, 3, 4], task.next_page_token
    while token:
        page = await world.history(next_page_token=token, run_id=task.workflow_execution.run_id)
        ids += [event.event_id for event in page.history.events]
        token = page.next_page_token
    assert ids == list(range(1, task.started_event_id + 1))


async def test_pages_of_a_task_end_where_the_task_ends_although_the_history_went_on(closed_world: Any) -> None:
    world = closed_world
    world.limits = replace(world.limits, history_page_events_max=2)
    await world.open()
    await world.start()
    await world.complete(await world.poll())
    await world.signal()
    task = await world.poll()
    token = tokens.decode_workflow_task(task.task_token)
    fail = FailWorkflowTask(token, 1, Failure(message="no"), "me")  # type: ignore[arg-type]
    await world.engine.execute("default", "w", "", fail)
    seen, next_page = list(task.history.events), task.next_page_token
    while next_page:
        page = await world.history(next_page_token=next_page)
        seen, next_page = [*seen, *page.history.events], page.next_page_token
    assert [event.event_id for event in seen] == list(range(1, 8))


async def test_a_task_that_could_not_be_started_for_want_of_space_is_there_for_the_next_poll(closed_world: Any) -> None:
    world = closed_world
    store = await world.open_gated()
    await world.start()
    await world.complete(await world.poll(), [world.schedule_activity()])
    store.failure = StorageFull(world.directory)
    with pytest.raises(ResourceExhausted, match="No space is left"):
        await world.soon(world.polling_activity())
    store.failure = None
    assert (await world.soon(world.polling_activity())).attempt == 1


async def test_a_started_task_that_timed_out_before_anybody_got_it_is_not_given_to_the_next_poller(
    closed_world: Any,
) -> None:
    world = closed_world
    await started_but_undelivered(world)
    await world.clock.advance(10_001)
    await world.until(lambda: world.engine.read("default", "w", "").workflow_task.attempt == 3)
    assert (await world.poll()).attempt == 3


async def test_a_started_task_that_nobody_got_goes_to_the_next_poller_as_it_is(closed_world: Any) -> None:
    world = closed_world
    await started_but_undelivered(world)
    task = await world.poll()
    assert (task.attempt, task.started_event_id) == (2, 6)
    await world.complete(task, [world.complete_workflow()])


async def started_but_undelivered(world: Any) -> None:
    """Start a workflow task whose poller goes away while the start is being written, as that of a second attempt is."""
    store = await world.open_gated()
    await world.start()
    await world.poll()
    await world.clock.advance(10_001)
    await world.until(lambda: world.engine.read("default", "w", "").workflow_task.attempt == 2)
    store.open.clear()
    polling = world.polling()
    await world.settle()
    polling.cancel()
    await world.settle()
    store.open.set()
    await world.until(lambda: world.engine.read("default", "w", "").workflow_task.started_at_ms > 0)
    await world.settle()


async def test_what_a_vanished_worker_was_to_get_in_its_reply_goes_to_those_that_poll(closed_world: Any) -> None:
    world = closed_world
    store = await world.open_gated()
    await world.start()
    task = await world.poll()
    await world.signal()
    store.open.clear()
    commands = [world.schedule_activity(request_eager_execution=True)]
    completing = asyncio.create_task(world.complete(task, commands, sticky="s", return_new_workflow_task=True))
    await world.settle()
    completing.cancel()
    await world.settle()
    store.open.set()
    await world.until(lambda: world.engine.read("default", "w", "").workflow_tasks_completed == 1)
    assert (await world.soon(world.polling_activity())).activity_id == "a"
    again = await world.poll("s", sticky=True)
    assert again.history.events[0].event_id == 4
    await world.complete(again, [world.complete_workflow()])


async def test_a_task_of_a_terminated_run_is_in_no_queue_any_more(world: Any) -> None:
    await world.start()
    queue = QueueName("default", TaskKind.WORKFLOW, "q")
    assert world.engine.matching.backlog(queue)[0] == 1
    await world.terminate()
    assert world.engine.matching.backlog(queue)[0] == 0


async def test_a_workflow_tasks_start_and_completion_tell_the_build_of_their_worker(world: Any) -> None:
    await world.start()
    request = PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"), identity="me")
    request.worker_version_capabilities.build_id = "b1"
    response = await world.soon(world.engine.poll_workflow_task(request, None))
    task = PollWorkflowTaskQueueResponse.FromString(response)
    await world.complete(task, worker_version_stamp=WorkerVersionStamp(build_id="b1"))
    started, completed = (await world.history()).history.events[2:4]
    assert started.workflow_task_started_event_attributes.worker_version.build_id == "b1"
    assert completed.workflow_task_completed_event_attributes.worker_version.build_id == "b1"
    described = describe(world.engine.read("default", "w", ""), world.clock.now_ms())
    assert described.workflow_execution_info.most_recent_worker_version_stamp.build_id == "b1"
