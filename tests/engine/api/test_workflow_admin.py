"""What people do to whole runs, over gRPC."""

from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    DeleteWorkflowExecutionRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ResetWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
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
]


@pytest.mark.parametrize(("request_", "text"), REFUSED)
async def test_what_breaks_a_rule_is_refused(rpc: Rpc, request_: Message, text: str) -> None:
    refusal = await rpc.refused(request_)
    assert (refusal.code, refusal.text) == ("INVALID_ARGUMENT", text)
