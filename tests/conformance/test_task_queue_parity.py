"""Task queues order, limit and tell of their tasks as on Temporal's dev server, told to heed fairness keys and to keep
each queue in one partition: with more of them its order is only nearly so."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Priority, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType, TaskQueueType, WorkerStatus
from temporalio.api.taskqueue.v1 import RateLimit, TaskQueue
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerHostInfo
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    CountWorkersRequest,
    DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest,
    ListWorkersRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RecordWorkerHeartbeatRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
    UpdateTaskQueueConfigRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.client import Client

from conformance.histories import comparable_message
from conformance.reference import alike
from conformance.servers import both_servers

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
LONG = Duration(seconds=120)
"""No task is to come a second time, however long it takes to take all of them."""
SETTINGS = (
    "matching.enableFairness=true",
    "matching.numTaskqueueReadPartitions=1",
    "matching.numTaskqueueWritePartitions=1",
    'matching.TaskQueueInfoByBuildIdTTL="1ms"',  # stats are told as they are, not as they were seconds ago
)
PRIORITIES: list[dict[str, Any]] = [
    {},
    {"priority_key": 5},
    {"priority_key": 1},
    {"priority_key": 3},
    {"priority_key": 2},
    {"priority_key": 9},
    {"priority_key": 4},
    *[{"priority_key": 1, "fairness_key": "a"}] * 3,
    {"priority_key": 1, "fairness_key": "b"},
    *[{"priority_key": 1, "fairness_key": "c", "fairness_weight": 3}] * 4,
    *[{"fairness_key": "light", "fairness_weight": 0.25}] * 3,
    *[{"fairness_key": "heavy", "fairness_weight": 0.25}] * 3,
]
"""`heavy` and `light` are told apart by what the queue's configuration says of them."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Client, Client]]:
    """Clients of both servers."""
    async with both_servers(tmp_path_factory.mktemp("task-queues"), *SETTINGS) as (ours, temporals):
        yield await temporals.connect(), await ours.connect()


async def until_waiting(client: Client, queue: str, tasks: int) -> Any:
    """Wait until that many tasks wait; return what is described then."""
    request = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue), report_stats=True)
    deadline = time.monotonic() + 30
    while True:
        described = await client.workflow_service.describe_task_queue(request)
        if described.stats.approximate_backlog_count == tasks:
            return described
        assert time.monotonic() < deadline, f"{described.stats.approximate_backlog_count} of {tasks} tasks wait"
        await asyncio.sleep(0.02)


async def order_and_stats(client: Client, queue: str) -> Any:
    weights = {"heavy": 4.0}
    config = UpdateTaskQueueConfigRequest(
        namespace="default", task_queue=queue, task_queue_type=1, set_fairness_weight_overrides=weights
    )
    await client.workflow_service.update_task_queue_config(config)
    for number, priority in enumerate(PRIORITIES):
        await start(client, f"{queue} {number}", queue, Priority(**priority))
        # Temporal's server writes tasks to a queue beside the start; the order of arrival is the order of age.
        described = await until_waiting(client, queue, number + 1)
    # Told by the level that it counts for: Temporal's tells what came by the key that was asked for, 9 too.
    counts = {
        level: stats.approximate_backlog_count
        for level, stats in described.stats_by_priority_key.items()
        if stats.approximate_backlog_count
    }
    taken = []
    for _ in PRIORITIES:
        task = await polled(client, queue)
        taken.append(int(task.workflow_execution.workflow_id.rsplit(" ", 1)[1]))
    return {"counts": counts, "taken": taken}


async def start(client: Client, workflow_id: str, queue: str, priority: Priority | None = None) -> None:
    request = StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name="T"),
        task_queue=TaskQueue(name=queue),
        request_id=str(uuid.uuid4()),
        priority=priority,
        workflow_task_timeout=LONG,
    )
    await client.workflow_service.start_workflow_execution(request)


async def polled(client: Client, queue: str) -> Any:
    poll = PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue), identity="me")
    task = await client.workflow_service.poll_workflow_task_queue(poll)
    assert task.task_token, "a task that waited is not handed out"
    return task


async def until_at(client: Client, queue: str, level: int, task_queue_type: TaskQueueType.ValueType) -> None:
    """Wait until a task of that priority waits."""
    request = DescribeTaskQueueRequest(
        namespace="default", task_queue=TaskQueue(name=queue), task_queue_type=task_queue_type, report_stats=True
    )
    deadline = time.monotonic() + 30
    while True:
        stats = (await client.workflow_service.describe_task_queue(request)).stats_by_priority_key
        if stats[level].approximate_backlog_count:
            return
        assert time.monotonic() < deadline, f"no task of priority {level} comes to wait"
        await asyncio.sleep(0.02)


async def new_options(client: Client, queue: str) -> Any:
    """Workflows whose priority changes while their tasks, and those of their activities, wait."""

    async def change(name: str, **priority: Any) -> None:
        options = WorkflowExecutionOptions(priority=Priority(**priority))
        request = UpdateWorkflowExecutionOptionsRequest(
            namespace="default",
            workflow_execution=WorkflowExecution(workflow_id=f"{queue} {name}"),
            workflow_execution_options=options,
            update_mask=FieldMask(paths=["priority"]),
        )
        await client.workflow_service.update_workflow_execution_options(request)

    for number, name in enumerate("ab", 1):
        await start(client, f"{queue} {name}", queue)
        await until_waiting(client, queue, number)
    await change("b", priority_key=1)
    await until_at(client, queue, 1, WORKFLOW)
    shown = []
    for _ in range(2):
        task = await polled(client, queue)
        name = task.workflow_execution.workflow_id[-1]
        shown.append(name)
        command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
        activity = command.schedule_activity_task_command_attributes
        activity.activity_id, activity.activity_type.name, activity.task_queue.name = name, "A", queue
        activity.start_to_close_timeout.FromSeconds(60)
        done = RespondWorkflowTaskCompletedRequest(
            namespace="default", task_token=task.task_token, identity="me", commands=[command]
        )
        await client.workflow_service.respond_workflow_task_completed(done)
    await change("b", priority_key=5)
    await until_at(client, queue, 5, ACTIVITY)
    await change("a", priority_key=1, fairness_key="z")
    await until_at(client, queue, 1, ACTIVITY)
    for _ in range(2):
        poll = PollActivityTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=queue), identity="me")
        given = await client.workflow_service.poll_activity_task_queue(poll)
        assert given.task_token, "an activity that waited is not handed out"
        shown.append((given.activity_id, str(given.priority)))
    return shown


async def a_configuration(client: Client, queue: str) -> Any:
    service = client.workflow_service
    named: dict[str, Any] = {"namespace": "default", "task_queue": queue, "task_queue_type": ACTIVITY, "identity": "me"}
    rate = UpdateTaskQueueConfigRequest.RateLimitUpdate
    five = rate(rate_limit=RateLimit(requests_per_second=5), reason="why")
    shown = []
    for fields in (
        {},
        {"update_queue_rate_limit": five},
        {"update_fairness_key_rate_limit_default": five, "set_fairness_weight_overrides": {"a": 2.0, "b": 0.5}},
        {"update_queue_rate_limit": rate(reason="gone"), "unset_fairness_weight_overrides": ["a", "nothing"]},
        {"set_fairness_weight_overrides": {"c": 3.0}},
    ):
        updated = await service.update_task_queue_config(UpdateTaskQueueConfigRequest(**named, **fields))
        shown.append(comparable_message(updated))
    describe = DescribeTaskQueueRequest(
        namespace="default", task_queue=TaskQueue(name=queue), task_queue_type=ACTIVITY, report_config=True
    )
    described = await service.describe_task_queue(describe)
    shown.append(comparable_message(described.config))
    partitions = await service.list_task_queue_partitions(
        ListTaskQueuePartitionsRequest(namespace="default", task_queue=TaskQueue(name=queue))
    )
    keys = [partition.key for partition in partitions.workflow_task_queue_partitions]
    shown.append([key.replace(queue, "<queue>") for key in keys])
    return shown


def heartbeat(key: str, queue: str, status: str = "RUNNING") -> WorkerHeartbeat:
    return WorkerHeartbeat(
        worker_instance_key=key,
        worker_identity=f"id-{key}",
        task_queue=queue,
        sdk_name="sdk",
        sdk_version="1",
        status=WorkerStatus.Value(f"WORKER_STATUS_{status}"),
        host_info=WorkerHostInfo(host_name="h", process_id="7"),
    )


async def workers(client: Client, queue: str) -> Any:
    service = client.workflow_service
    told = [heartbeat("a", queue), heartbeat("b", queue, "SHUTTING_DOWN"), heartbeat("c", f"{queue} other")]
    told += [heartbeat("gone", queue), heartbeat("gone", queue, "SHUTDOWN")]
    told[0].start_time.FromSeconds(100)
    await service.record_worker_heartbeat(RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=told))
    found = {}
    for query in (
        f"TaskQueue = '{queue}'",
        f"TaskQueue STARTS_WITH '{queue}'",
        f"TaskQueue = '{queue}' AND Status = 'ShuttingDown'",
        f"TaskQueue STARTS_WITH '{queue}' AND (WorkerInstanceKey = 'a' OR WorkerIdentity = 'id-c')",
        f"TaskQueue STARTS_WITH '{queue}' AND StartTime IS NULL",
        f"TaskQueue STARTS_WITH '{queue}' AND StartTime > '1970-01-01T00:00:01Z' AND StartTime != 5",
        f"TaskQueue STARTS_WITH '{queue}' AND StartTime BETWEEN '1970-01-01T00:00:00Z' AND '1971-01-01T00:00:00Z'",
        f"TaskQueue STARTS_WITH '{queue}' AND HostName != 'h'",
        f"TaskQueue STARTS_WITH '{queue}' AND BuildId IS NOT NULL",
    ):
        listed = await service.list_workers(ListWorkersRequest(namespace="default", query=query))
        counted = await service.count_workers(CountWorkersRequest(namespace="default", query=query))
        keys = sorted(worker.worker_instance_key for worker in listed.workers)
        found[query.replace(queue, "<queue>")] = (keys, counted.count)
    request = ListWorkersRequest(namespace="default", query=f"TaskQueue STARTS_WITH '{queue}'", page_size=2)
    page = await service.list_workers(request)
    shown = [str(each).replace(queue, "<queue>") for each in (*page.workers, *page.workers_info)]
    return found, shown, page.next_page_token


Scenario = Callable[[Client, str], Awaitable[Any]]
SCENARIOS: dict[str, Scenario] = {
    each.__name__: each for each in (order_and_stats, new_options, a_configuration, workers)
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_servers_do_the_same(pair: tuple[Client, Client], name: str) -> None:
    async def told(client: Client) -> Any:
        return await SCENARIOS[name](client, f"{name} {uuid.uuid4()}")

    temporals, ours = pair
    await alike(lambda: told(temporals), told(ours))
