"""Updates over gRPC: what a request must say, and how an update-with-start tells which half failed."""

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.api.errordetails.v1 import MultiOperationExecutionFailure
from temporalio.api.workflowservice.v1 import (
    ExecuteMultiOperationRequest,
    PollWorkflowExecutionUpdateRequest,
    StartWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)

from engine.api.rpc import Rpc
from engine.core.updating import asked

Change = Callable[[Any], object]


def update(**fields: Any) -> UpdateWorkflowExecutionRequest:
    request = asked("u", **fields)
    request.workflow_execution.workflow_id = "w"
    return request


def start(**fields: Any) -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(namespace="default", workflow_id="w", request_id="r", **fields)
    request.workflow_type.name, request.task_queue.name = "T", "q"
    return request


def both(first: StartWorkflowExecutionRequest, second: UpdateWorkflowExecutionRequest) -> ExecuteMultiOperationRequest:
    request = ExecuteMultiOperationRequest(namespace="default")
    request.operations.add(start_workflow=first)
    request.operations.add(update_workflow=second)
    return request


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        (lambda r: r.ClearField("workflow_execution"), "INVALID_ARGUMENT", "Execution is not set on request."),
        (lambda r: r.request.ClearField("meta"), "INVALID_ARGUMENT", "Update meta is not set on request."),
        (lambda r: r.request.ClearField("input"), "INVALID_ARGUMENT", "Update input is not set on request."),
        (lambda r: r.request.input.ClearField("name"), "INVALID_ARGUMENT", "Update name is not set on request."),
        (
            lambda r: setattr(r.request.meta, "update_id", "u" * 1_001),
            "INVALID_ARGUMENT",
            "UpdateId length exceeds limit.",
        ),
        (
            lambda r: setattr(r.wait_policy, "lifecycle_stage", 1),
            "PERMISSION_DENIED",
            "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported.",
        ),
        (lambda r: r.request.completion_callbacks.add(), "UNIMPLEMENTED", "completion_callbacks of an update"),
        (lambda r: setattr(r.request.meta, "update_id", "u" * 1_000), "NOT_FOUND", "workflow not found for ID: w"),
        (lambda _: None, "NOT_FOUND", "workflow not found for ID: w"),
    ],
)
async def test_an_update_that_breaks_a_rule_is_refused(rpc: Rpc, change: Change, code: str, text: str) -> None:
    request = update()
    change(request)
    refusal = await rpc.refused(request)
    assert (refusal.code, refusal.text[: len(text)]) == (code, text)


async def test_a_poll_names_its_update(rpc: Rpc) -> None:
    refusal = await rpc.refused(PollWorkflowExecutionUpdateRequest(namespace="default"))
    assert (refusal.code, refusal.text) == ("INVALID_ARGUMENT", "UpdateRef is not set on request.")
    await rpc.call(start())
    request = PollWorkflowExecutionUpdateRequest(namespace="default")
    request.update_ref.workflow_execution.workflow_id, request.update_ref.update_id = "w", "absent"
    refusal = await rpc.refused(request)
    assert (refusal.code, refusal.text) == ("NOT_FOUND", 'update "absent" not found')


@pytest.mark.parametrize(
    ("first", "second", "codes", "text"),
    [
        (start(cron_schedule="* * * * *"), update(), [3, 10], "CronSchedule is not allowed."),
        (start(request_eager_execution=True), update(), [3, 10], "RequestEagerExecution is not supported."),
        (start(), update(first_execution_run_id="x"), [10, 3], "FirstExecutionRunId is not allowed."),
        (start(workflow_id_reuse_policy=3, workflow_id_conflict_policy=3), update(), [3, 10], None),
    ],
)
async def test_a_refused_update_with_start_says_which_half_it_was(
    rpc: Rpc, first: Any, second: Any, codes: list[int], text: str | None
) -> None:
    refusal = await rpc.refused(both(first, second))
    assert (refusal.code, refusal.text) == ("INVALID_ARGUMENT", "Update-with-Start could not be executed.")
    detail = MultiOperationExecutionFailure()
    assert refusal.details[0].Unpack(detail)
    assert [one.code for one in detail.statuses] == codes
    assert text is None or text in {one.message for one in detail.statuses}


async def test_only_a_start_with_an_update_is_a_multi_operation(rpc: Rpc) -> None:
    request = ExecuteMultiOperationRequest(namespace="default")
    request.operations.add(update_workflow=update())
    request.operations.add(start_workflow=start())
    refusal = await rpc.refused(request)
    assert (refusal.code, refusal.text) == ("INVALID_ARGUMENT", "Operations have to be exactly [Start, Update].")
