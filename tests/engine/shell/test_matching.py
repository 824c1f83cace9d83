"""Task queues, without an engine."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueueConfig

from stormsail.engine.core.errors import ResourceExhausted
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.priority import TaskPriority
from stormsail.engine.core.work import Task, TaskKind
from stormsail.engine.shell.backlog import QueueName, WaitingTask
from stormsail.engine.shell.matching import Matching
from stormsail.engine.shell.task_queue import QueryTask, Undelivered

KEY = RunKey("default", "w", "r")
Q = QueueName("default", TaskKind.ACTIVITY, "q")


def task(event_id: int, queue: str = "q", attempt: int = 1, ready_at_ms: int = 0) -> Task:
    return Task(TaskKind.ACTIVITY, queue, event_id, attempt, ready_at_ms=ready_at_ms)


@pytest.fixture
def matching(clock: Any) -> Matching:
    return Matching(clock, DEFAULT_LIMITS)


async def take(matching: Matching, name: QueueName = Q, timeout_ms: float = 0) -> Any:
    return await matching.take(name, timeout_ms)


async def test_a_task_of_the_same_name_replaces_the_older_one_in_whatever_queue(matching: Matching) -> None:
    matching.add(KEY, task(5))
    matching.add(KEY, task(5, "other", attempt=2))
    assert await take(matching) is None
    found = await take(matching, Q._replace(name="other"))
    assert found.task.attempt == 2


async def test_a_dropped_task_is_not_given_out(matching: Matching) -> None:
    matching.add(KEY, task(5))
    matching.drop((KEY, TaskKind.ACTIVITY, 5))
    assert await take(matching) is None


async def test_a_task_put_back_is_the_first_again(matching: Matching) -> None:
    matching.add(KEY, task(5))
    matching.add(KEY, task(6))
    found = await take(matching)
    matching.put_back(found)
    assert (await take(matching)).task.scheduled_event_id == 5


async def test_a_task_that_was_dropped_or_replaced_while_in_hand_is_not_put_back(matching: Matching) -> None:
    matching.add(KEY, task(5))
    dropped = await take(matching)
    matching.drop((KEY, TaskKind.ACTIVITY, 5))
    matching.put_back(dropped)
    assert await take(matching) is None
    matching.add(KEY, task(6))
    replaced = await take(matching)
    matching.add(KEY, task(6, attempt=2))
    matching.put_back(replaced)
    matching.done(replaced)
    assert (await take(matching)).task.attempt == 2
    assert await take(matching) is None


async def test_the_poller_that_has_waited_longest_gets_the_task(matching: Matching) -> None:
    first, second = (asyncio.create_task(take(matching, timeout_ms=1_000)) for _ in range(2))
    await asyncio.sleep(0)
    matching.add(KEY, task(5))
    found = await asyncio.wait_for(first, 30)
    assert isinstance(found, WaitingTask) and not found.backlog
    assert not second.done()
    matching.add(KEY, task(6))
    await asyncio.wait_for(second, 30)


async def test_an_undelivered_response_is_given_only_while_it_counts(matching: Matching) -> None:
    matching.put_back(Undelivered(b"old", Q, lambda: False))
    assert await take(matching) is None
    counts = True
    matching.put_back(Undelivered(b"older", Q, lambda: counts))
    matching.put_back(Undelivered(b"newer", Q, lambda: True))
    counts = False
    assert (await take(matching)).response == b"newer"
    assert await take(matching) is None


async def test_a_queue_has_a_bounded_number_of_pollers(clock: Any) -> None:
    matching = Matching(clock, replace(DEFAULT_LIMITS, pollers_per_queue_max=1))
    first = asyncio.create_task(take(matching, timeout_ms=1_000))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted, match="Task queue q has 1 pollers"):
        await take(matching, timeout_ms=1_000)
    first.cancel()


async def test_responses_kept_for_the_next_poller_are_bounded_and_stale_ones_make_room(clock: Any) -> None:
    matching = Matching(clock, replace(DEFAULT_LIMITS, undelivered_bytes_max=10))
    counts = True
    matching.put_back(Undelivered(b"aaaaaa", Q, lambda: counts))
    matching.put_back(Undelivered(b"bbbbb", Q, lambda: True))
    assert matching._undelivered_bytes == 6, "there was no room for the second"
    counts = False
    await clock.advance(1_000)
    matching.put_back(Undelivered(b"ccccc", Q, lambda: True))
    matching.put_back(Undelivered(b"ddddd", Q, lambda: True))
    assert [(await take(matching)).response for _ in range(2)] == [b"ccccc", b"ddddd"]
    assert (matching._undelivered_bytes, await take(matching)) == (0, None)


async def test_polls_make_a_bounded_number_of_queues_and_tasks_are_never_turned_away(clock: Any) -> None:
    matching = Matching(clock, replace(DEFAULT_LIMITS, task_queues_max=2))
    matching.seen_polling(Q)
    matching.add(KEY, task(5, "with a task"))
    with pytest.raises(ResourceExhausted, match="2 task queues, which is the limit: task queue one more"):
        matching.seen_polling(Q._replace(name="one more"))
    with pytest.raises(ResourceExhausted):
        matching.limit(Q._replace(name="one more"), 1.0)
    matching.add(KEY, task(6, "another task"))
    assert matching.seen_polling(Q)
    await clock.advance(301_000)
    with pytest.raises(ResourceExhausted):
        matching.seen_polling(Q._replace(name="one more"))
    assert await take(matching, Q._replace(name="another task"))
    matching.drop((KEY, TaskKind.ACTIVITY, 6))
    await clock.advance(301_000)
    assert matching.seen_polling(Q._replace(name="one more"))


async def test_backlog_counts_from_when_a_task_became_ready(matching: Matching, clock: Any) -> None:
    assert matching.backlog(Q) == (0, 0)
    matching.add(KEY, task(5, ready_at_ms=clock.now_ms() - 700))
    matching.add(KEY, task(6, ready_at_ms=clock.now_ms()))
    assert matching.backlog(Q) == (2, 700)


async def test_queues_that_nobody_uses_any_more_are_forgotten(matching: Matching, clock: Any) -> None:
    for number in range(999):
        await take(matching, Q._replace(name=f"sticky-{number}"))
    clock._now_ms += 600_000
    await take(matching, Q._replace(name="kept"))
    await take(matching, Q._replace(name="kept too"))
    assert len(matching._queues) <= 2


async def test_tasks_of_one_namespace_are_not_given_to_another(matching: Matching) -> None:
    matching.add(KEY, task(5))
    assert await take(matching, Q._replace(namespace="another")) is None
    assert await take(matching, Q._replace(kind=TaskKind.WORKFLOW)) is None


async def hand_out(matching: Matching, clock: Any, polls: int) -> list["asyncio.Task[Any]"]:
    """Open that many polls at once."""
    opened = [asyncio.create_task(take(matching, timeout_ms=300_000)) for _ in range(polls)]
    await clock.advance(0)
    return opened


def done(polls: list["asyncio.Task[Any]"]) -> int:
    return sum(poll.done() for poll in polls)


async def test_a_limited_queue_hands_out_a_seconds_worth_at_once_and_the_rest_in_time(
    matching: Matching, clock: Any
) -> None:
    matching.limit(Q, 2)
    for event_id in range(5):
        matching.add(KEY, task(event_id))
    polls = await hand_out(matching, clock, 6)
    assert done(polls) == 3
    await clock.advance(499)
    assert done(polls) == 3
    await clock.advance(1)
    assert done(polls) == 4
    await clock.advance(1_000)
    assert [poll.result().task.scheduled_event_id for poll in polls[:5]] == [0, 1, 2, 3, 4]
    polls[5].cancel()


async def test_a_queue_limited_to_nothing_hands_out_nothing_until_the_limit_is_raised(
    matching: Matching, clock: Any
) -> None:
    matching.limit(Q, 0)
    matching.add(KEY, task(5))
    (poll,) = await hand_out(matching, clock, 1)
    await clock.advance(200_000)
    assert not poll.done()
    matching.limit(Q, 10)
    await clock.advance(1_100)
    assert (await asyncio.wait_for(poll, 30)).task.scheduled_event_id == 5


async def test_a_poll_that_asks_for_no_limit_ends_the_limit(matching: Matching, clock: Any) -> None:
    matching.limit(Q, 0)
    matching.add(KEY, task(5))
    (poll,) = await hand_out(matching, clock, 1)
    matching.limit(Q, None)
    assert (await asyncio.wait_for(poll, 30)).task.scheduled_event_id == 5


async def test_what_went_out_in_vain_does_not_count_against_the_limit(matching: Matching, clock: Any) -> None:
    matching.limit(Q, 0.5)
    for event_id in range(3):
        matching.add(KEY, task(event_id))
    first = await take(matching)
    assert await take(matching) is None
    (poll,) = await hand_out(matching, clock, 1)
    matching.in_vain(first)
    await clock.advance(0)
    assert poll.result().task.scheduled_event_id == 1


def limited_keys(per_second: float, **weights: float) -> TaskQueueConfig:
    config = TaskQueueConfig(fairness_weight_overrides=weights)
    config.fairness_keys_rate_limit_default.rate_limit.requests_per_second = per_second
    return config


def keyed(event_id: int, key: str, priority: int = 0) -> Task:
    return replace(task(event_id), priority=TaskPriority(priority, key))


async def test_a_key_at_its_limit_does_not_hold_up_the_others(clock: Any) -> None:
    matching = Matching(clock, DEFAULT_LIMITS, configured=lambda _: limited_keys(1, heavy=2))
    for event_id in range(10):
        matching.add(KEY, keyed(event_id, "busy", priority=1))
    matching.add(KEY, keyed(10, "other"))
    for event_id in range(11, 16):
        matching.add(KEY, keyed(event_id, "heavy"))
    polls = await hand_out(matching, clock, 16)
    # A second's worth and one more of each key: two of a common one, three of one with twice the weight.
    taken = [poll.result().task.scheduled_event_id for poll in polls if poll.done()]
    assert taken == [0, 1, 11, 10, 12, 13]
    await clock.advance(1_000)
    taken = [poll.result().task.scheduled_event_id for poll in polls if poll.done()]
    assert taken[6:] == [14, 2, 15]
    for poll in polls:
        poll.cancel()


async def test_a_new_configuration_counts_at_once(clock: Any) -> None:
    configs = [limited_keys(0.001)]
    matching = Matching(clock, DEFAULT_LIMITS, configured=lambda _: configs[-1])
    for event_id in range(4):
        matching.add(KEY, keyed(event_id, "k"))
    polls = await hand_out(matching, clock, 4)
    assert done(polls) == 1
    configs.append(TaskQueueConfig())
    matching.configure(Q)
    await clock.advance(0)
    assert done(polls) == 4


async def test_the_configured_limit_counts_and_not_what_workers_ask_for(clock: Any) -> None:
    config = TaskQueueConfig()
    config.queue_rate_limit.rate_limit.requests_per_second = 1
    matching = Matching(clock, DEFAULT_LIMITS, configured=lambda _: config)
    matching.limit(Q, 1_000)
    for event_id in range(10):
        matching.add(KEY, task(event_id))
    polls = await hand_out(matching, clock, 10)
    assert done(polls) == 2
    for poll in polls:
        poll.cancel()


async def test_a_query_goes_before_tasks_of_its_priority_and_after_more_urgent_ones(matching: Matching) -> None:
    queue = Q._replace(kind=TaskKind.WORKFLOW)
    loop = asyncio.get_running_loop()
    for name, level in (("late", 5), ("soon", 2)):
        query = QueryTask(name, KEY, WorkflowQuery(), queue, loop.create_future(), TaskPriority(level))
        matching.offer_query(query)
    for event_id, level in ((1, 1), (2, 2), (3, 3)):
        matching.add(KEY, replace(task(event_id), kind=TaskKind.WORKFLOW, priority=TaskPriority(level)))
    found = [await take(matching, queue) for _ in range(5)]
    names = [one.query_id if isinstance(one, QueryTask) else one.task.scheduled_event_id for one in found]
    assert names == [1, "soon", 2, 3, "late"]
