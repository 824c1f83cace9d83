"""Pending activities over gRPC: what people do to them, how it is shown, and what workers hear of it."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.command.v1 import Command, ScheduleActivityTaskCommandAttributes
from temporalio.api.common.v1 import ActivityType, Priority, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import CommandType, PendingActivityState
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeWorkflowExecutionRequest,
    PauseActivityRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RecordActivityTaskHeartbeatRequest,
    ResetActivityRequest,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)

from engine.api.rpc import Rpc

QUEUE = TaskQueue(name="q")
EXECUTION = WorkflowExecution(workflow_id="w")
NAMED: dict[str, Any] = {"namespace": "default", "execution": EXECUTION, "id": "a"}


async def with_activity(rpc: Rpc) -> None:
    """Start a workflow and have it schedule activity `a`."""
    start = StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id="w",
        workflow_type=WorkflowType(name="T"),
        task_queue=QUEUE,
        request_id="r",
    )
    await rpc.call(start)
    task = await rpc.call(PollWorkflowTaskQueueRequest(namespace="default", task_queue=QUEUE))
    attributes = ScheduleActivityTaskCommandAttributes(
        activity_id="a", activity_type=ActivityType(name="A"), task_queue=QUEUE
    )
    attributes.start_to_close_timeout.FromSeconds(60)
    command = Command(
        command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
        schedule_activity_task_command_attributes=attributes,
    )
    await rpc.call(RespondWorkflowTaskCompletedRequest(task_token=task.task_token, commands=[command]))


async def shown(rpc: Rpc) -> Any:
    described = await rpc.call(DescribeWorkflowExecutionRequest(namespace="default", execution=EXECUTION))
    return described.pending_activities[0]


async def test_a_pause_is_shown_heard_of_by_the_worker_and_found(rpc: Rpc) -> None:
    await with_activity(rpc)
    await rpc.call(PauseActivityRequest(**NAMED, identity="ann", reason="why"))
    activity = await shown(rpc)
    assert activity.paused
    assert activity.state == PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED
    assert (activity.pause_info.manual.identity, activity.pause_info.manual.reason) == ("ann", "why")
    query = "TemporalPauseInfo = 'property:activityType=A'"
    assert (await rpc.call(CountWorkflowExecutionsRequest(namespace="default", query=query))).count == 1
    await rpc.call(UnpauseActivityRequest(**NAMED))
    assert (await rpc.call(CountWorkflowExecutionsRequest(namespace="default", query=query))).count == 0
    task = await rpc.call(PollActivityTaskQueueRequest(namespace="default", task_queue=QUEUE, identity="worker"))
    await rpc.call(PauseActivityRequest(**NAMED))
    assert (await shown(rpc)).state == PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED
    beat = RecordActivityTaskHeartbeatRequest(namespace="default", task_token=task.task_token)
    told = await rpc.call(beat)
    assert (told.activity_paused, told.activity_reset, told.cancel_requested) == (True, False, False)
    await rpc.call(ResetActivityRequest(**NAMED))
    told = await rpc.call(beat)
    assert (told.activity_paused, told.activity_reset) == (False, True)
    assert not (await shown(rpc)).paused


async def test_options_are_changed_and_shown(rpc: Rpc) -> None:
    await with_activity(rpc)
    options = ActivityOptions(task_queue=TaskQueue(name="other"))
    options.heartbeat_timeout.FromSeconds(5)
    mask = FieldMask(paths=["task_queue.name", "heartbeat_timeout"])
    request = UpdateActivityOptionsRequest(**NAMED, activity_options=options, update_mask=mask)
    changed = (await rpc.call(request)).activity_options
    assert (changed.task_queue.name, changed.heartbeat_timeout.seconds) == ("other", 5)
    assert (await shown(rpc)).activity_options.task_queue.name == "other"
    other = PollActivityTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="other"))
    assert (await rpc.call(other)).heartbeat_timeout.seconds == 5


LOST: dict[str, Any] = {"namespace": "default", "execution": WorkflowExecution(workflow_id="lost"), "id": "a"}
UNNAMED: dict[str, Any] = {"namespace": "default", "execution": EXECUTION}
KINDS = (PauseActivityRequest, UnpauseActivityRequest, ResetActivityRequest, UpdateActivityOptionsRequest)
REFUSED: list[tuple[Message, str, str]] = [
    *((kind(**UNNAMED), "INVALID_ARGUMENT", "Either Activity.Id or Activity.Type should be set") for kind in KINDS),
    *((kind(namespace="default", id="a"), "INVALID_ARGUMENT", "WorkflowId is not set on request.") for kind in KINDS),
    (PauseActivityRequest(**LOST), "NOT_FOUND", "workflow not found for ID: lost"),
    (PauseActivityRequest(**{**NAMED, "id": "b"}), "NOT_FOUND", "Can't find pending activity with such ID."),
    (PauseActivityRequest(**NAMED, request_id="x" * 1_001), "INVALID_ARGUMENT", "RequestId length exceeds limit."),
    (UnpauseActivityRequest(**NAMED, jitter={"seconds": -1}), "INVALID_ARGUMENT", "Jitter is not a valid duration"),
    (
        UpdateActivityOptionsRequest(**NAMED, activity_options=ActivityOptions(priority=Priority(priority_key=-1))),
        "INVALID_ARGUMENT",
        "priority key can't be negative",
    ),
]


@pytest.mark.parametrize(("request_", "code", "text"), REFUSED)
async def test_what_breaks_a_rule_is_refused(rpc: Rpc, request_: Message, code: str, text: str) -> None:
    if code == "NOT_FOUND":
        await with_activity(rpc)
    refusal = await rpc.refused(request_)
    assert refusal.code == code
    assert refusal.text.startswith(text)
