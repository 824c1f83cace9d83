"""What DescribeTaskQueue tells of workers and of what waits for them."""

from typing import Any

from temporalio.api.enums.v1 import DescribeTaskQueueMode, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    ShutdownWorkerRequest,
)

from stormsail.engine.shell.pollers import RateMeter

WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY


def describe(world: Any, **fields: Any) -> Any:
    fields.setdefault("task_queue_type", WORKFLOW)
    request = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"), **fields)
    return world.engine.describe_task_queue(request)


async def test_a_described_queue_names_its_recent_pollers(world: Any) -> None:
    assert not describe(world).pollers
    polling = world.polling()
    await world.settle()
    (poller,) = describe(world).pollers
    assert (poller.identity, poller.rate_per_second) == ("me", 100_000)
    assert poller.last_access_time.ToMilliseconds() == world.clock.now_ms()
    assert not describe(world, task_queue_type=ACTIVITY).pollers
    polling.cancel()
    await world.clock.advance(300_001)
    assert not describe(world).pollers


async def test_a_described_queue_tells_its_backlog_and_its_age(world: Any) -> None:
    for number in range(3):
        await world.start(f"w{number}")
    await world.clock.advance(1_500)
    described = describe(world, report_stats=True, include_task_queue_status=True)
    assert described.stats.approximate_backlog_count == 3
    assert described.stats.approximate_backlog_age.ToMilliseconds() == 1_500
    assert described.stats.tasks_add_rate > 0
    assert described.stats_by_priority_key[3] == described.stats
    assert described.task_queue_status.backlog_count_hint == 3
    assert not describe(world).HasField("stats")
    await world.poll()
    assert describe(world, report_stats=True).stats.approximate_backlog_count == 2


async def test_the_older_enhanced_mode_answers_for_both_kinds(world: Any) -> None:
    await world.start()
    described = describe(
        world,
        api_mode=DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED,
        report_stats=True,
        report_pollers=True,
    )
    types = described.versions_info[""].types_info
    assert types[WORKFLOW].stats.approximate_backlog_count == 1
    assert types[ACTIVITY].stats.approximate_backlog_count == 0


async def test_a_worker_that_shut_down_is_no_poller_any_more(world: Any) -> None:
    polling = world.polling(worker="key")
    await world.settle()
    request = ShutdownWorkerRequest(
        namespace="default", identity="me", worker_instance_key="key", task_queue="q", task_queue_types=[WORKFLOW]
    )
    await world.engine.shutdown_worker(request)
    await world.soon(polling)
    assert not describe(world).pollers


async def test_a_task_handed_out_of_an_old_backlog_asks_for_more_polls_and_an_idle_poll_for_fewer(world: Any) -> None:
    await world.start("a")
    await world.start("b")
    await world.clock.advance(1_000)
    assert (await world.poll()).poller_scaling_decision.poll_request_delta_suggestion == 1
    await world.poll()
    polling = world.polling()
    await world.clock.advance(2_000)
    await world.start("c")
    assert (await world.soon(polling)).poller_scaling_decision.poll_request_delta_suggestion == -1


def test_a_rate_is_of_the_last_half_minute() -> None:
    meter = RateMeter()
    for at_ms in range(1_000_000, 1_030_000, 100):
        meter.count(at_ms)
    assert 9 <= meter.per_second(1_030_000) <= 11
    assert meter.per_second(1_120_000) == 0
