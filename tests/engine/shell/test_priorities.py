"""Priorities and fairness keys, from the start of a workflow to the worker that gets its tasks."""

import asyncio
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Priority, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue, TaskQueueConfig
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceResponse,
    DescribeTaskQueueRequest,
    UpdateActivityOptionsRequest,
)

from stormsail.engine.core.requests import UpdateActivityOptions
from stormsail.engine.core.work import TaskKind
from stormsail.engine.shell.backlog import QueueName
from stormsail.engine.store.namespaces import StoredNamespace

ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY


async def begin(world: Any, *asked: Priority) -> None:
    """Start workflows `w0`, `w1` and so on of these priorities."""
    for number, priority in enumerate(asked):
        await world.start(f"w{number}", priority=priority)


async def order(world: Any, tasks: int) -> list[str]:
    """Return whose workflow tasks are handed out, as they come."""
    return [(await world.poll()).workflow_execution.workflow_id for _ in range(tasks)]


async def test_urgent_workflows_go_first_and_keys_take_turns_over_a_restart_too(world: Any) -> None:
    late, soon = Priority(priority_key=4), Priority(priority_key=1)
    keyed = [Priority(fairness_key=key) for key in "aab"]
    await begin(world, late, *keyed, soon)
    for expected in ("w4", "w1"):
        task = await world.poll()
        assert task.workflow_execution.workflow_id == expected
        await world.complete(task, [world.complete_workflow()])
    await world.restart()
    assert await order(world, 3) == ["w2", "w3", "w0"]


async def test_an_activity_inherits_what_it_leaves_open(world: Any) -> None:
    await begin(world, Priority(priority_key=2, fairness_key="tenant", fairness_weight=3))
    commands = [
        world.schedule_activity("own", priority=Priority(priority_key=5, fairness_key="mine")),
        world.schedule_activity("inherits"),
        world.schedule_activity("urgent", priority=Priority(priority_key=1)),
    ]
    await world.complete(await world.poll(), commands)
    await world.restart()
    tasks = [await world.soon(world.polling_activity()) for _ in range(3)]
    assert [(task.activity_id, task.priority) for task in tasks] == [
        ("urgent", Priority(priority_key=1, fairness_key="tenant", fairness_weight=3)),
        ("inherits", Priority(priority_key=2, fairness_key="tenant", fairness_weight=3)),
        ("own", Priority(priority_key=5, fairness_key="mine", fairness_weight=3)),
    ]


async def test_a_child_inherits_what_it_leaves_open(world: Any) -> None:
    await world.store.namespaces.register(StoredNamespace("default", "id", DescribeNamespaceResponse()))
    await begin(world, Priority(priority_key=2, fairness_key="tenant"))
    command = Command(command_type=CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION)
    child = command.start_child_workflow_execution_command_attributes
    child.workflow_id = "child"
    child.workflow_type.CopyFrom(WorkflowType(name="T"))
    child.task_queue.name = "children"
    child.priority.fairness_key = "mine"
    await world.complete(await world.poll(), [command])
    children = QueueName("default", TaskKind.WORKFLOW, "children")
    await world.until(lambda: world.engine.matching.backlog(children)[0] == 1)
    started = (await world.poll("children")).history.events[0].workflow_execution_started_event_attributes
    assert started.priority == Priority(priority_key=2, fairness_key="mine")


async def test_new_options_of_an_activity_move_it_in_its_queue(world: Any) -> None:
    await world.start()
    await world.complete(await world.poll(), [world.schedule_activity("first"), world.schedule_activity("second")])
    request = UpdateActivityOptionsRequest(
        namespace="default",
        execution=WorkflowExecution(workflow_id="w"),
        id="second",
        activity_options=ActivityOptions(priority=Priority(priority_key=1)),
        update_mask=FieldMask(paths=["priority.priority_key"]),
    )
    await world.engine.execute("default", "w", "", UpdateActivityOptions(request))
    tasks = [await world.soon(world.polling_activity()) for _ in range(2)]
    assert [task.activity_id for task in tasks] == ["second", "first"]


async def test_stats_are_told_by_priority(world: Any) -> None:
    await begin(world, Priority(priority_key=1), Priority(priority_key=9), Priority())
    await world.clock.advance(2_000)
    await world.poll()
    request = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"), report_stats=True)
    described = world.engine.describe_task_queue(request)
    counts = {level: each.approximate_backlog_count for level, each in described.stats_by_priority_key.items()}
    assert counts == {1: 0, 3: 1, 5: 1}
    rates = {level: each.tasks_dispatch_rate for level, each in described.stats_by_priority_key.items()}
    assert rates[1] > 0 == rates[3] == rates[5]
    assert described.stats.approximate_backlog_count == 2
    assert described.stats.tasks_add_rate == sum(e.tasks_add_rate for e in described.stats_by_priority_key.values())


async def test_a_configured_limit_survives_a_restart(world: Any) -> None:
    def stopped(old: TaskQueueConfig) -> TaskQueueConfig:
        new = TaskQueueConfig()
        new.CopyFrom(old)
        new.queue_rate_limit.rate_limit.requests_per_second = 0
        return new

    await world.store.task_queue_configs.change(("default", "q", ACTIVITY), stopped)
    await world.restart()
    await world.start()
    await world.complete(await world.poll(), [world.schedule_activity()])
    polling = world.polling_activity()
    await world.clock.advance(10_000)
    assert not polling.done()
    await world.store.task_queue_configs.change(("default", "q", ACTIVITY), lambda _: TaskQueueConfig())
    assert (await world.soon(polling)).activity_id == "a"


async def test_changes_of_one_configuration_at_once_all_count(world: Any) -> None:
    def weighing(key: str) -> Any:
        def change(old: TaskQueueConfig) -> TaskQueueConfig:
            new = TaskQueueConfig()
            new.CopyFrom(old)
            new.fairness_weight_overrides[key] = 2
            return new

        return change

    name = ("default", "q", ACTIVITY)
    await asyncio.gather(*(world.store.task_queue_configs.change(name, weighing(key)) for key in "abc"))
    assert sorted(world.store.task_queue_configs.get(name).fairness_weight_overrides) == ["a", "b", "c"]
