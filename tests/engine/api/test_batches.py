"""Operations on many runs, over gRPC."""

import asyncio
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.batch.v1 import (
    BatchOperationCancellation,
    BatchOperationDeletion,
    BatchOperationReset,
    BatchOperationSignal,
    BatchOperationTermination,
)
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import ResetOptions, WorkerVersionStamp, WorkflowExecution
from temporalio.api.enums.v1 import BatchOperationState, BatchOperationType, CommandType, EventType
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DescribeBatchOperationRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListBatchOperationsRequest,
    PauseActivityRequest,
    PollWorkflowTaskQueueRequest,
    RespondWorkflowTaskCompletedRequest,
    StartBatchOperationRequest,
    StopBatchOperationRequest,
    TerminateWorkflowExecutionRequest,
)

from engine.api.rpc import Rpc
from engine.api.test_workflow_admin import QUEUE, start

COMPLETED = BatchOperationState.BATCH_OPERATION_STATE_COMPLETED
RUNNING = BatchOperationState.BATCH_OPERATION_STATE_RUNNING
FAILED = BatchOperationState.BATCH_OPERATION_STATE_FAILED
OPEN = "ExecutionStatus = 'Running'"


def batch(**more: Any) -> StartBatchOperationRequest:
    asked: dict[str, Any] = {"namespace": "default", "job_id": "job", "reason": "why", "visibility_query": OPEN}
    return StartBatchOperationRequest(**{**asked, **more})


TERMINATE: dict[str, Any] = {"termination_operation": BatchOperationTermination(identity="ann")}


async def described(rpc: Rpc, job_id: str = "job") -> Any:
    return await rpc.call(DescribeBatchOperationRequest(namespace="default", job_id=job_id))


async def ended(rpc: Rpc, job_id: str = "job") -> Any:
    async with asyncio.timeout(60):
        while (found := await described(rpc, job_id)).state == RUNNING:  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.02)
    return found


async def count(rpc: Rpc, query: str) -> int:
    return int((await rpc.call(CountWorkflowExecutionsRequest(namespace="default", query=query))).count)


async def events(rpc: Rpc, workflow_id: str) -> list[int]:
    execution = WorkflowExecution(workflow_id=workflow_id)
    answer = await rpc.call(GetWorkflowExecutionHistoryRequest(namespace="default", execution=execution))
    return [event.event_type for event in answer.history.events]


async def test_a_batch_ends_all_that_its_query_finds_and_says_how_far_it_got(rpc: Rpc) -> None:
    for n in range(12):
        await start(rpc, f"w{n}")
    await rpc.call(batch(**TERMINATE))
    found = await ended(rpc)
    assert (found.state, found.total_operation_count, found.complete_operation_count) == (COMPLETED, 12, 12)
    assert (found.failure_operation_count, found.identity, found.reason, found.query) == (0, "ann", "why", OPEN)
    assert found.operation_type == BatchOperationType.BATCH_OPERATION_TYPE_TERMINATE_WORKFLOW
    assert found.close_time.ToMilliseconds() >= found.start_time.ToMilliseconds()
    assert await count(rpc, "ExecutionStatus = 'Terminated'") == 12
    await start(rpc, "later")
    assert await count(rpc, OPEN) == 1, "what began later is not concerned"


async def test_a_batch_signals_cancels_and_deletes_runs_named_one_by_one(rpc: Rpc) -> None:
    await start(rpc, "a")
    named = {"visibility_query": "", "executions": [WorkflowExecution(workflow_id=name) for name in ("a", "gone")]}
    for job, operation, told in (
        ("s", {"signal_operation": BatchOperationSignal(signal="s")}, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED),
        (
            "c",
            {"cancellation_operation": BatchOperationCancellation()},
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED,
        ),
    ):
        await rpc.call(batch(job_id=job, **named, **operation))
        found = await ended(rpc, job)
        assert (found.complete_operation_count, found.failure_operation_count) == (2, 0), "one that is gone is done"
        assert (await events(rpc, "a")).count(told) == 1
    await rpc.call(batch(job_id="d", **named, deletion_operation=BatchOperationDeletion()))
    await ended(rpc, "d")
    assert await count(rpc, "") == 0
    listed = await rpc.call(ListBatchOperationsRequest(namespace="default", page_size=2))
    rest = await rpc.call(ListBatchOperationsRequest(namespace="default", next_page_token=listed.next_page_token))
    assert sorted(one.job_id for one in (*listed.operation_info, *rest.operation_info)) == ["c", "d", "s"]
    assert not rest.next_page_token


@pytest.mark.parametrize(
    ("options", "point"),
    [
        ({"first_workflow_task": {}}, 4),
        ({"last_workflow_task": {}}, 7),
        ({"workflow_task_id": 4}, 4),
    ],
)
async def test_a_batch_resets_runs(rpc: Rpc, options: dict[str, Any], point: int) -> None:
    await start(rpc)
    for _ in range(2):
        task = await rpc.call(PollWorkflowTaskQueueRequest(namespace="default", task_queue=QUEUE))
        await rpc.call(
            RespondWorkflowTaskCompletedRequest(task_token=task.task_token, force_create_new_workflow_task=True)
        )
    await rpc.call(batch(reset_operation=BatchOperationReset(options=ResetOptions(**options))))
    found = await ended(rpc)
    assert (found.complete_operation_count, found.failure_operation_count) == (1, 0)
    assert (await events(rpc, "w")).index(EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED) == point - 1


async def test_a_batch_resets_runs_to_where_a_build_began(rpc: Rpc) -> None:
    await start(rpc)
    for build_id in ("one", "two"):
        task = await rpc.call(PollWorkflowTaskQueueRequest(namespace="default", task_queue=QUEUE))
        await rpc.call(
            RespondWorkflowTaskCompletedRequest(
                task_token=task.task_token,
                worker_version_stamp=WorkerVersionStamp(build_id=build_id),
                force_create_new_workflow_task=True,
            )
        )
    described = await rpc.call(
        DescribeWorkflowExecutionRequest(namespace="default", execution=WorkflowExecution(workflow_id="w"))
    )
    points = described.workflow_execution_info.auto_reset_points.points
    assert [(point.build_id, point.first_workflow_task_completed_id) for point in points] == [("one", 4), ("two", 7)]
    for job, build_id, went_well in (("j1", "none", 0), ("j2", "two", 1)):
        await rpc.call(batch(job_id=job, reset_operation=BatchOperationReset(options=ResetOptions(build_id=build_id))))
        assert (await ended(rpc, job)).complete_operation_count == went_well
    assert (await events(rpc, "w")).index(EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED) == 6


async def test_a_batch_acts_on_pending_activities_of_a_type(rpc: Rpc) -> None:
    named: dict[str, Any] = {"namespace": "default", "execution": WorkflowExecution(workflow_id="w")}
    await start(rpc)
    task = await rpc.call(PollWorkflowTaskQueueRequest(namespace="default", task_queue=QUEUE))
    command = Command(
        command_type=CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
        schedule_activity_task_command_attributes={
            "activity_id": "a",
            "activity_type": {"name": "A"},
            "task_queue": {"name": "nobody"},
            "start_to_close_timeout": {"seconds": 60},
        },
    )
    await rpc.call(RespondWorkflowTaskCompletedRequest(task_token=task.task_token, commands=[command]))

    async def pending() -> Any:
        described = await rpc.call(DescribeWorkflowExecutionRequest(**named))
        return described.pending_activities[0]

    async def done(job: str, **operation: Any) -> None:
        await rpc.call(batch(job_id=job, **operation))
        found = await ended(rpc, job)
        assert (found.complete_operation_count, found.failure_operation_count) == (1, 0)

    await rpc.call(PauseActivityRequest(**named, type="A"))
    await done("j1", reset_activities_operation={"type": "A", "keep_paused": True})
    assert (await pending()).paused
    await done("j2", unpause_activities_operation={"type": "A"})
    assert not (await pending()).paused
    options = {"start_to_close_timeout": {"seconds": 5}}
    mask = {"paths": ["start_to_close_timeout"]}
    await done(
        "j3", update_activity_options_operation={"match_all": True, "activity_options": options, "update_mask": mask}
    )
    assert (await pending()).activity_options.start_to_close_timeout.seconds == 5
    await done("j4", update_activity_options_operation={"match_all": True, "restore_original": True})
    assert (await pending()).activity_options.start_to_close_timeout.seconds == 60


async def test_a_batch_changes_options_of_the_open_runs_that_it_finds(rpc: Rpc) -> None:
    for name in ("open", "closed"):
        await start(rpc, name)
    closed = WorkflowExecution(workflow_id="closed")
    await rpc.call(TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=closed))
    update = {"workflow_execution_options": {"priority": {"priority_key": 2}}, "update_mask": {"paths": ["priority"]}}
    await rpc.call(batch(visibility_query="WorkflowType = 'T'", update_workflow_options_operation=update))
    assert (await ended(rpc)).total_operation_count == 1
    assert EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED in await events(rpc, "open")


async def test_one_batch_runs_at_a_time_no_faster_than_told_and_may_be_stopped(rpc: Rpc) -> None:
    for n in range(4):
        await start(rpc, f"w{n}")
    await rpc.call(batch(**TERMINATE, max_operations_per_second=0.01))
    refusal = await rpc.refused(batch(job_id="other", **TERMINATE))
    assert (refusal.code, refusal.text) == ("RESOURCE_EXHAUSTED", "Max concurrent batch operations is reached")
    async with asyncio.timeout(60):
        while await count(rpc, OPEN) != 3 or (await described(rpc)).complete_operation_count != 1:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await rpc.call(StopBatchOperationRequest(namespace="default", job_id="job", reason="enough"))
    found = await described(rpc)
    assert (found.state, found.complete_operation_count, found.total_operation_count) == (FAILED, 1, 4)
    assert await count(rpc, OPEN) == 3
    stop = StopBatchOperationRequest(namespace="default", job_id="job", reason="enough")
    assert (await rpc.refused(stop)).text == "workflow execution already completed"
    assert (await rpc.refused(batch(**TERMINATE))).code == "ALREADY_EXISTS"
    await rpc.call(batch(job_id="other", **TERMINATE))
    await ended(rpc, "other")
    assert await count(rpc, OPEN) == 0


TYPE_OR_ALL = "Either activity type must be set, or match all should be set to true"
NEEDED = "must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR Executions OR"
UNKNOWN = DescribeBatchOperationRequest(namespace="default", job_id="unknown")
REFUSED: list[tuple[Message, str, str]] = [
    (batch(), "INVALID_ARGUMENT", NEEDED),
    (batch(**TERMINATE, reason=""), "INVALID_ARGUMENT", NEEDED),
    (batch(**TERMINATE, visibility_query=""), "INVALID_ARGUMENT", NEEDED),
    (batch(**TERMINATE, job_id=""), "INVALID_ARGUMENT", "JobId is not set on request."),
    (
        batch(**TERMINATE, executions=[WorkflowExecution(workflow_id="w")]),
        "INVALID_ARGUMENT",
        "visibility query, executions, and target executions are mutually exclusive",
    ),
    (
        batch(**TERMINATE, visibility_query="", executions=[WorkflowExecution(workflow_id="w")] * 1_001),
        "INVALID_ARGUMENT",
        "1001 executions are more than the 1000",
    ),
    (batch(**TERMINATE, visibility_query="("), "INVALID_ARGUMENT", "invalid query: malformed SQL query"),
    (batch(signal_operation=BatchOperationSignal()), "INVALID_ARGUMENT", "must provide signal name"),
    (batch(reset_operation=BatchOperationReset()), "INVALID_ARGUMENT", "unknown batch reset type Unspecified"),
    (batch(reset_operation=BatchOperationReset(options={})), "INVALID_ARGUMENT", "batch reset missing target"),
    (batch(unpause_activities_operation={}), "INVALID_ARGUMENT", "activity filter must be set"),
    (batch(unpause_activities_operation={"type": ""}), "INVALID_ARGUMENT", TYPE_OR_ALL),
    (batch(reset_activities_operation={}), "INVALID_ARGUMENT", "must provide ActivityType or MatchAll"),
    (batch(reset_activities_operation={"match_all": False}), "INVALID_ARGUMENT", TYPE_OR_ALL),
    (
        batch(reset_activities_operation={"match_all": True, "jitter": {"seconds": -1}}),
        "INVALID_ARGUMENT",
        "Jitter is not a valid duration: negative duration",
    ),
    (
        batch(update_activity_options_operation={"type": "A", "activity_options": {}, "restore_original": True}),
        "INVALID_ARGUMENT",
        "cannot set both activity options and restore original",
    ),
    (
        batch(update_activity_options_operation={"type": "A"}),
        "INVALID_ARGUMENT",
        "Either activity type must be set, or restore original should be set to true",
    ),
    (batch(update_workflow_options_operation={}), "INVALID_ARGUMENT", "must provide UpdateOptions"),
    (
        batch(update_workflow_options_operation={"workflow_execution_options": {}}),
        "INVALID_ARGUMENT",
        "must provide UpdateMask",
    ),
    (
        batch(terminate_activities_operation={}),
        "INVALID_ARGUMENT",
        "The operation type terminate_activities_operation is not supported for this namespace",
    ),
    (UNKNOWN, "NOT_FOUND", "workflow not found for ID: unknown"),
    (
        StopBatchOperationRequest(namespace="default", job_id="unknown", reason="r"),
        "NOT_FOUND",
        "workflow not found for ID: unknown",
    ),
    (
        StopBatchOperationRequest(namespace="default", job_id="job"),
        "INVALID_ARGUMENT",
        "Reason is not set on request.",
    ),
]


@pytest.mark.parametrize(("request_", "code", "text"), REFUSED)
async def test_what_breaks_a_rule_is_refused(rpc: Rpc, request_: Message, code: str, text: str) -> None:
    refusal = await rpc.refused(request_)
    assert refusal.code == code
    assert refusal.text.startswith(text)
