"""What people do to whole runs, over gRPC."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from temporalio.api.common.v1 import Priority, TimeSkippingConfig, WorkflowExecution, WorkflowType
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DeleteWorkflowExecutionRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
    PauseWorkflowExecutionRequest,
    QueryWorkflowRequest,
    ResetWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)

from engine.api.rpc import Rpc

QUEUE = TaskQueue(name="q")
EXECUTION = WorkflowExecution(workflow_id="w")


async def start(rpc: Rpc, workflow_id: str = "w", **more: Any) -> str:
    """Start a workflow; return its run id."""
    request = StartWorkflowExecutionRequest(
        namespace="default",
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name="T"),
        task_queue=QUEUE,
        request_id=workflow_id,
        **more,
    )
    run_id = (await rpc.call(request)).run_id
    assert isinstance(run_id, str)
    return run_id


async def test_a_deleted_run_is_gone_when_the_call_returns(rpc: Rpc) -> None:
    await start(rpc)
    await rpc.call(DeleteWorkflowExecutionRequest(namespace="default", workflow_execution=EXECUTION))
    assert (await rpc.call(CountWorkflowExecutionsRequest(namespace="default"))).count == 0
    for request in (
        DescribeWorkflowExecutionRequest(namespace="default", execution=EXECUTION),
        GetWorkflowExecutionHistoryRequest(namespace="default", execution=EXECUTION),
        DeleteWorkflowExecutionRequest(namespace="default", workflow_execution=EXECUTION),
    ):
        assert (await rpc.refused(request)).code == "NOT_FOUND"
    assert await start(rpc)


async def test_a_run_is_reset_and_says_so(rpc: Rpc) -> None:
    old = await start(rpc)
    await rpc.call(SignalWorkflowExecutionRequest(namespace="default", workflow_execution=EXECUTION, signal_name="s"))
    request = reset(workflow_task_finish_event_id=3, reason="why")
    new = (await rpc.call(request)).run_id
    assert (await rpc.call(request)).run_id == new != old
    base = WorkflowExecution(workflow_id="w", run_id=old)
    described = await rpc.call(DescribeWorkflowExecutionRequest(namespace="default", execution=base))
    assert described.workflow_extended_info.reset_run_id == new
    assert (await rpc.refused(reset(request_id="2", workflow_task_finish_event_id=99))).code == "INVALID_ARGUMENT"


async def test_a_paused_run_says_so_wherever_it_is_shown_and_answers_no_query(rpc: Rpc) -> None:
    await start(rpc)
    pause = PauseWorkflowExecutionRequest(namespace="default", workflow_id="w", identity="ann", reason="why")
    await rpc.call(pause)
    described = await rpc.call(DescribeWorkflowExecutionRequest(namespace="default", execution=EXECUTION))
    assert described.workflow_execution_info.status == 8
    pause_info = described.workflow_extended_info.pause_info
    assert (pause_info.identity, pause_info.reason) == ("ann", "why")
    query = QueryWorkflowRequest(namespace="default", execution=EXECUTION, query=WorkflowQuery(query_type="q"))
    assert (await rpc.call(query)).query_rejected.status == 8
    listed = ListWorkflowExecutionsRequest(namespace="default", query="ExecutionStatus = 'Paused'")
    assert [one.execution.workflow_id for one in (await rpc.call(listed)).executions] == ["w"]
    again = StartWorkflowExecutionRequest(
        namespace="default", workflow_id="w", workflow_type=WorkflowType(name="T"), task_queue=QUEUE
    )
    assert (await rpc.refused(again)).code == "ALREADY_EXISTS"
    await rpc.call(UnpauseWorkflowExecutionRequest(namespace="default", workflow_id="w"))
    assert (await rpc.call(listed)).executions == []
    await rpc.call(pause)
    await rpc.call(DeleteWorkflowExecutionRequest(namespace="default", workflow_execution=EXECUTION))


async def test_options_of_a_run_are_changed_and_told(rpc: Rpc) -> None:
    await start(rpc)
    answer = await rpc.call(options(WorkflowExecutionOptions(priority=Priority(priority_key=3)), "priority"))
    assert answer.workflow_execution_options.priority.priority_key == 3
    described = await rpc.call(DescribeWorkflowExecutionRequest(namespace="default", execution=EXECUTION))
    assert described.workflow_execution_info.priority.priority_key == 3


def options(wanted: WorkflowExecutionOptions, *paths: str) -> UpdateWorkflowExecutionOptionsRequest:
    return UpdateWorkflowExecutionOptionsRequest(
        namespace="default",
        workflow_execution=EXECUTION,
        workflow_execution_options=wanted,
        update_mask=FieldMask(paths=paths),
    )


def reset(**more: Any) -> ResetWorkflowExecutionRequest:
    return ResetWorkflowExecutionRequest(
        **{"namespace": "default", "workflow_execution": EXECUTION, "request_id": "r", **more}
    )


REFUSED: list[tuple[Message, str]] = [
    (reset(request_id=""), "RequestId is not set on request."),
    (reset(request_id="x" * 1_001), "RequestId length exceeds limit."),
    (ResetWorkflowExecutionRequest(namespace="default", request_id="r"), "Execution is not set on request."),
    (reset(workflow_execution=WorkflowExecution(workflow_id="w", run_id="x")), "Invalid RunId."),
    (DeleteWorkflowExecutionRequest(namespace="default"), "Execution is not set on request."),
    (
        DeleteWorkflowExecutionRequest(namespace="default", workflow_execution=WorkflowExecution()),
        "WorkflowId is not set on request.",
    ),
    (
        DeleteWorkflowExecutionRequest(
            namespace="default", workflow_execution=WorkflowExecution(workflow_id="w", run_id="x")
        ),
        "Invalid RunId.",
    ),
    (PauseWorkflowExecutionRequest(namespace="default"), "Can't load workflow execution.  WorkflowId not set."),
    (PauseWorkflowExecutionRequest(namespace="default", workflow_id="w", run_id="x"), "RunId is not valid UUID."),
    (
        PauseWorkflowExecutionRequest(namespace="default", workflow_id="w", reason="x" * 1_001),
        "reason is too long.",
    ),
    (
        UnpauseWorkflowExecutionRequest(namespace="default", workflow_id="w", request_id="x" * 1_001),
        "request id is too long.",
    ),
    (
        UnpauseWorkflowExecutionRequest(namespace="default", workflow_id="w", identity="x" * 1_001),
        "identity is too long.",
    ),
    (UpdateWorkflowExecutionOptionsRequest(namespace="default"), "WorkflowId is not set on request."),
    (
        UpdateWorkflowExecutionOptionsRequest(namespace="default", workflow_execution=EXECUTION),
        "UpdateMask is required",
    ),
    (
        UpdateWorkflowExecutionOptionsRequest(
            namespace="default", workflow_execution=EXECUTION, update_mask=FieldMask()
        ),
        "WorkflowExecutionOptions is required",
    ),
    (
        options(WorkflowExecutionOptions(), "priority.nope"),
        'error parsing UpdateMask: proto: invalid path "priority.nope" for message '
        '"temporal.api.workflow.v1.WorkflowExecutionOptions"',
    ),
    (options(WorkflowExecutionOptions(priority=Priority(priority_key=-1))), "priority key can't be negative"),
]


async def test_time_is_not_skipped(rpc: Rpc) -> None:
    refusal = await rpc.refused(options(WorkflowExecutionOptions(time_skipping_config=TimeSkippingConfig())))
    assert (refusal.code, refusal.text) == ("UNIMPLEMENTED", "The Time-Skipping feature is not enabled for namespace.")


@pytest.mark.parametrize(("request_", "text"), REFUSED)
async def test_what_breaks_a_rule_is_refused(rpc: Rpc, request_: Message, text: str) -> None:
    refusal = await rpc.refused(request_)
    assert (refusal.code, refusal.text) == ("INVALID_ARGUMENT", text)
