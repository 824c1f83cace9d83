"""Configurations of task queues over gRPC: what they may say, and how they are shown."""

import asyncio
from typing import Any

from temporalio.api.enums.v1 import (
    BuildIdTaskReachability,
    DescribeTaskQueueMode,
    RateLimitSource,
    TaskQueueKind,
    TaskQueueType,
)
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueVersionSelection
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest,
    PollActivityTaskQueueRequest,
    UpdateTaskQueueConfigRequest,
)

from engine.api.bad_queues import rate, update
from engine.api.rpc import Rpc

WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
ENHANCED = DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED
STICKY = TaskQueue(name="s", kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY)
Update = UpdateTaskQueueConfigRequest.RateLimitUpdate


def describe(**fields: Any) -> DescribeTaskQueueRequest:
    named: dict[str, Any] = {"namespace": "default", "task_queue": TaskQueue(name="q"), "task_queue_type": ACTIVITY}
    return DescribeTaskQueueRequest(**{**named, **fields})


async def test_a_configuration_is_shown_as_it_was_made_with_who_made_it(rpc: Rpc) -> None:
    await rpc.call(update(update_queue_rate_limit=rate(5), set_fairness_weight_overrides={"a": 2, "b": 0.5}))
    made = (await rpc.call(update(update_fairness_key_rate_limit_default=rate(2, "each")))).config
    assert made.queue_rate_limit.rate_limit.requests_per_second == 5
    told = made.queue_rate_limit.metadata
    assert (told.reason, told.update_identity, told.HasField("update_time")) == ("why", "ann", True)
    assert made.fairness_keys_rate_limit_default.rate_limit.requests_per_second == 2
    assert made.fairness_keys_rate_limit_default.metadata.reason == "each"
    assert dict(made.fairness_weight_overrides) == {"a": 2, "b": 0.5}
    described = await rpc.call(describe(report_config=True))
    assert described.config == made
    assert described.effective_rate_limit.requests_per_second == 5
    assert described.effective_rate_limit.rate_limit_source == RateLimitSource.RATE_LIMIT_SOURCE_API
    assert not (await rpc.call(describe())).HasField("config")
    assert not (await rpc.call(describe(report_config=True, task_queue_type=WORKFLOW))).HasField("config")


async def test_what_is_unset_is_gone_and_says_why(rpc: Rpc) -> None:
    await rpc.call(update(update_queue_rate_limit=rate(5), set_fairness_weight_overrides={"a": 2, "b": 3}))
    unset = update(update_queue_rate_limit=Update(reason="gone"), unset_fairness_weight_overrides=["a", "nothing"])
    left = (await rpc.call(unset)).config
    assert not left.queue_rate_limit.HasField("rate_limit")
    assert left.queue_rate_limit.metadata.reason == "gone"
    assert dict(left.fairness_weight_overrides) == {"b": 3}
    described = await rpc.call(describe())
    assert described.effective_rate_limit.rate_limit_source == RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM


async def test_the_limit_that_a_worker_asks_for_is_shown_until_a_configuration_overrides_it(rpc: Rpc) -> None:
    poll = PollActivityTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"), identity="worker")
    poll.task_queue_metadata.max_tasks_per_second.value = 7
    polling = asyncio.ensure_future(rpc.call(poll, timeout=60))
    async with asyncio.timeout(60):
        while not (await rpc.call(describe())).pollers:  # noqa: ASYNC110 - it is the server that knows
            await asyncio.sleep(0.01)
    shown = (await rpc.call(describe())).effective_rate_limit
    assert (shown.requests_per_second, shown.rate_limit_source) == (7, RateLimitSource.RATE_LIMIT_SOURCE_WORKER)
    await rpc.call(update(update_queue_rate_limit=rate(3)))
    shown = (await rpc.call(describe())).effective_rate_limit
    assert (shown.requests_per_second, shown.rate_limit_source) == (3, RateLimitSource.RATE_LIMIT_SOURCE_API)
    polling.cancel()


async def test_weights_are_bounded_over_all_requests(rpc: Rpc) -> None:
    await rpc.call(update(set_fairness_weight_overrides={str(number): 1 for number in range(999)}))
    await rpc.call(update(set_fairness_weight_overrides={"a": 1}))
    refusal = await rpc.refused(update(set_fairness_weight_overrides={"b": 1}))
    assert refusal.text == "fairness weight overrides update rejected: exceeding maximum key size"


async def test_a_queue_is_its_only_partition(rpc: Rpc) -> None:
    named = ListTaskQueuePartitionsRequest(namespace="default", task_queue=TaskQueue(name="q"))
    listed = await rpc.call(named)
    for partitions in (listed.activity_task_queue_partitions, listed.workflow_task_queue_partitions):
        assert [partition.key for partition in partitions] == ["q"]
    refusal = await rpc.refused(ListTaskQueuePartitionsRequest(namespace="default"))
    assert refusal.text == "taskQueue is not set"


async def test_sticky_queues_have_no_stats(rpc: Rpc) -> None:
    refusal = await rpc.refused(describe(task_queue=STICKY, task_queue_type=WORKFLOW, report_stats=True))
    assert refusal.text == "DescribeTaskQueue stats are only supported for the root partition"
    refusal = await rpc.refused(describe(task_queue=STICKY, api_mode=ENHANCED))
    assert refusal.text.startswith("Enhanced DescribeTaskQueue is not valid for a sticky queue")


async def test_the_older_mode_tells_of_the_build_ids_that_are_asked_for(rpc: Rpc) -> None:
    versions = TaskQueueVersionSelection(build_ids=["never"], unversioned=True)
    described = await rpc.call(describe(api_mode=ENHANCED, versions=versions, report_task_reachability=True))
    reachable = {name: version.task_reachability for name, version in described.versions_info.items()}
    assert reachable == {
        "": BuildIdTaskReachability.BUILD_ID_TASK_REACHABILITY_REACHABLE,
        "never": BuildIdTaskReachability.BUILD_ID_TASK_REACHABILITY_UNREACHABLE,
    }
