"""What DescribeWorkflowExecution, lists and counts show, field by field. The test plays client and worker."""

import json
from typing import Any

from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import (
    CommandType,
    EventType,
    PendingActivityState,
    PendingWorkflowTaskState,
    WorkflowExecutionStatus,
)
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    RecordActivityTaskHeartbeatRequest,
    RequestCancelWorkflowExecutionRequest,
    RespondActivityTaskFailedRequest,
    RespondWorkflowTaskCompletedRequest,
    ScanWorkflowExecutionsRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from engine.api.rpc import Rpc

QUEUE = TaskQueue(name="q")


async def start(rpc: Rpc, workflow_id: str = "w", **fields: Any) -> str:
    request = StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name="t"),
        task_queue=QUEUE,
        identity="client",
        request_id=f"request of {workflow_id}",
        **fields,
    )
    run_id: str = (await rpc.call(request)).run_id
    return run_id


async def describe(rpc: Rpc, workflow_id: str = "w") -> Any:
    execution = WorkflowExecution(workflow_id=workflow_id)
    return await rpc.call(DescribeWorkflowExecutionRequest(namespace="default", execution=execution))


async def answer_task(rpc: Rpc, *commands: Command) -> None:
    task = await rpc.call(PollWorkflowTaskQueueRequest(namespace="default", task_queue=QUEUE, identity="worker"))
    await rpc.call(
        RespondWorkflowTaskCompletedRequest(
            namespace="default", task_token=task.task_token, commands=commands, identity="worker"
        )
    )


def schedule_activity() -> Command:
    command = Command(command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK)
    attributes = command.schedule_activity_task_command_attributes
    attributes.activity_id, attributes.activity_type.name, attributes.task_queue.name = "a", "act", "q"
    attributes.start_to_close_timeout.FromSeconds(60)
    attributes.schedule_to_close_timeout.FromSeconds(600)
    attributes.heartbeat_timeout.FromSeconds(30)
    attributes.retry_policy.initial_interval.FromSeconds(60)
    attributes.retry_policy.maximum_attempts = 3
    return command


async def test_a_run_just_started_is_shown_whole(rpc: Rpc) -> None:
    request: dict[str, Any] = {"memo": {"fields": {"m": Payload(data=b"1")}}}
    run_id = await start(rpc, **request)
    shown = await describe(rpc)
    info, config, extended = shown.workflow_execution_info, shown.execution_config, shown.workflow_extended_info
    assert (info.execution.workflow_id, info.execution.run_id) == ("w", run_id)
    assert (info.type.name, info.task_queue, config.task_queue.name) == ("t", "q", "q")
    assert info.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
    assert (info.history_length, info.state_transition_count, info.history_size_bytes > 0) == (2, 1, True)
    assert info.start_time == info.execution_time == extended.original_start_time
    assert not info.HasField("close_time")
    assert not info.HasField("execution_duration")
    assert (info.root_execution, info.first_run_id) == (info.execution, run_id)
    assert info.memo.fields["m"].data == b"1"
    assert config.default_workflow_task_timeout.seconds == 10
    assert shown.pending_workflow_task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
    assert shown.pending_workflow_task.attempt == 1
    known = extended.request_id_infos["request of w"]
    assert (known.event_type, known.event_id) == (EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 1)
    assert not extended.HasField("run_expiration_time")


async def test_timeouts_are_shown_with_the_time_they_run_out(rpc: Rpc) -> None:
    await start(rpc, workflow_run_timeout={"seconds": 60}, workflow_execution_timeout={"seconds": 600})
    shown = await describe(rpc)
    extended, begun = shown.workflow_extended_info, shown.workflow_execution_info.start_time
    assert shown.execution_config.workflow_run_timeout.seconds == 60
    assert shown.execution_config.workflow_execution_timeout.seconds == 600
    assert extended.run_expiration_time.ToMilliseconds() == begun.ToMilliseconds() + 60_000
    assert extended.execution_expiration_time.ToMilliseconds() == begun.ToMilliseconds() + 600_000


async def test_what_the_user_said_of_the_run_is_shown(rpc: Rpc) -> None:
    await start(rpc, user_metadata={"summary": Payload(data=b'"s"')})
    assert (await describe(rpc)).execution_config.user_metadata.summary.data == b'"s"'


async def test_a_started_workflow_task_is_shown(rpc: Rpc) -> None:
    await start(rpc)
    await rpc.call(PollWorkflowTaskQueueRequest(namespace="default", task_queue=QUEUE, identity="worker"))
    pending = (await describe(rpc)).pending_workflow_task
    assert pending.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
    assert pending.started_time.ToMilliseconds() >= pending.scheduled_time.ToMilliseconds() > 0


async def test_a_pending_activity_is_shown_through_its_life(rpc: Rpc) -> None:
    await start(rpc)
    await answer_task(rpc, schedule_activity())
    shown = await describe(rpc)
    assert not shown.HasField("pending_workflow_task")
    (pending,) = shown.pending_activities
    assert (pending.activity_id, pending.activity_type.name) == ("a", "act")
    assert pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    assert (pending.attempt, pending.maximum_attempts) == (1, 3)
    scheduled_ms = pending.scheduled_time.ToMilliseconds()
    assert pending.expiration_time.ToMilliseconds() == scheduled_ms + 600_000
    assert not pending.HasField("next_attempt_schedule_time")
    assert pending.activity_options.heartbeat_timeout.seconds == 30
    assert pending.activity_options.task_queue.name == "q"

    task = await rpc.call(PollActivityTaskQueueRequest(namespace="default", task_queue=QUEUE, identity="worker 1"))
    beat = RecordActivityTaskHeartbeatRequest(namespace="default", task_token=task.task_token)
    beat.details.payloads.add(data=b"half")
    assert not (await rpc.call(beat)).cancel_requested
    (pending,) = (await describe(rpc)).pending_activities
    assert pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    assert pending.last_worker_identity == "worker 1"
    assert pending.heartbeat_details == Payloads(payloads=[Payload(data=b"half")])
    assert pending.last_heartbeat_time.ToMilliseconds() >= pending.last_started_time.ToMilliseconds() > 0

    failure = Failure(message="boom", application_failure_info=ApplicationFailureInfo(type="Boom"))
    await rpc.call(RespondActivityTaskFailedRequest(namespace="default", task_token=task.task_token, failure=failure))
    (pending,) = (await describe(rpc)).pending_activities
    assert pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
    assert (pending.attempt, pending.last_failure) == (2, failure)
    assert pending.current_retry_interval.seconds == 60
    ended_ms = pending.last_attempt_complete_time.ToMilliseconds()
    assert pending.next_attempt_schedule_time.ToMilliseconds() == ended_ms + 60_000


async def test_a_cancel_requested_is_shown(rpc: Rpc) -> None:
    await start(rpc)
    execution = WorkflowExecution(workflow_id="w")
    await rpc.call(RequestCancelWorkflowExecutionRequest(namespace="default", workflow_execution=execution))
    assert (await describe(rpc)).workflow_extended_info.cancel_requested


async def test_a_closed_run_is_shown_with_its_end(rpc: Rpc) -> None:
    await start(rpc)
    command = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
    command.complete_workflow_execution_command_attributes.SetInParent()
    await answer_task(rpc, command)
    shown = await describe(rpc)
    info = shown.workflow_execution_info
    assert info.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED
    assert info.history_length == 5
    duration_ms = info.close_time.ToMilliseconds() - info.execution_time.ToMilliseconds()
    assert info.execution_duration.ToMilliseconds() == duration_ms >= 0
    assert not shown.HasField("pending_workflow_task")
    listed = (await rpc.call(ListWorkflowExecutionsRequest(namespace="default"))).executions[0]
    assert listed.history_length == 5
    assert (listed.close_time, listed.status, listed.root_execution) == (info.close_time, info.status, info.execution)


async def test_lists_page_and_filter(rpc: Rpc) -> None:
    for number in range(5):
        await start(rpc, f"w{number}")
    ended = WorkflowExecution(workflow_id="w3")
    await rpc.call(TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=ended))
    for kind in (ListWorkflowExecutionsRequest, ScanWorkflowExecutionsRequest):
        ids: list[str] = []
        token = b""
        while True:
            page = await rpc.call(kind(namespace="default", page_size=2, next_page_token=token))
            ids += [each.execution.workflow_id for each in page.executions]
            token = page.next_page_token
            if not token:
                break
        assert sorted(ids) == ["w0", "w1", "w2", "w3", "w4"]
        query = "ExecutionStatus = 'Terminated' AND WorkflowId = 'w3'"
        (only,) = (await rpc.call(kind(namespace="default", query=query))).executions
        assert only.execution.workflow_id == "w3"


async def test_counts_group_by_status(rpc: Rpc) -> None:
    await start(rpc, "w0")
    await start(rpc, "w1")
    ended = WorkflowExecution(workflow_id="w1")
    await rpc.call(TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=ended))
    counted = await rpc.call(CountWorkflowExecutionsRequest(namespace="default", query="GROUP BY ExecutionStatus"))
    assert counted.count == 2
    groups = {json.loads(group.group_values[0].data): group.count for group in counted.groups}
    assert groups == {"Running": 1, "Terminated": 1}
    assert dict(counted.groups[0].group_values[0].metadata) == {"encoding": b"json/plain", "type": b"Keyword"}


async def test_a_bad_query_is_refused(rpc: Rpc) -> None:
    for request in (
        ListWorkflowExecutionsRequest(namespace="default", query="WorkflowId ="),
        CountWorkflowExecutionsRequest(namespace="default", query="Colour = 'red'"),
    ):
        refusal = await rpc.refused(request)
        assert refusal.code == "INVALID_ARGUMENT"
        assert refusal.text.startswith("invalid query")
