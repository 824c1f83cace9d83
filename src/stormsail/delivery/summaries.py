"""Reading an operation's summary out of what an engine lists and describes."""

from typing import Any, Final

from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus

from stormsail.delivery.client_types import OperationSummary, PendingActivity
from stormsail.delivery.engine_link import EngineLink, decoded
from stormsail.delivery.model.operation import (
    MEMO_OPERATION,
    MEMO_OUTCOME,
    OperationMemo,
    OperationResult,
    OperationStatus,
    OutcomeMemo,
)
from stormsail.delivery.steer import steering_of

_STATUS: Final = {
    WorkflowExecutionStatus.FAILED: OperationStatus.TERMINAL,
    WorkflowExecutionStatus.TIMED_OUT: OperationStatus.TERMINAL,
    WorkflowExecutionStatus.CANCELED: OperationStatus.CANCELED,
    WorkflowExecutionStatus.TERMINATED: OperationStatus.CANCELED,
}


async def memo_of(link: EngineLink, execution: WorkflowExecution) -> OperationMemo:
    """Read what was asked. An operation that somebody started without our memo is named by its workflow id."""
    memo = await decoded(link, raw_memo(execution), MEMO_OPERATION, OperationMemo)
    if memo is not None:
        return memo
    _, account, cluster = (*execution.id.split("/", 2), "", "")[:3]
    return OperationMemo(operation_type="", application=cluster.split("-")[0], account=account, cluster=cluster)


async def outcome_of(link: EngineLink, execution: WorkflowExecution) -> OutcomeMemo:
    """Read how an operation stands or ended."""
    if execution.status is WorkflowExecutionStatus.RUNNING or execution.status is None:
        return OutcomeMemo(status=OperationStatus.RUNNING)
    outcome = await decoded(link, raw_memo(execution), MEMO_OUTCOME, OutcomeMemo)
    if execution.status in _STATUS:
        left_behind = outcome.left_behind if outcome is not None else ()
        return OutcomeMemo(status=_STATUS[execution.status], left_behind=left_behind)
    if outcome is not None:
        return outcome
    # An engine that drops memo updates, or a run of an older worker: its result knows.
    handle = link.client.get_workflow_handle(execution.id, run_id=execution.run_id, result_type=OperationResult)
    result = await link.ask(handle.result)
    status = OperationStatus.SUCCEEDED if result.ok else OperationStatus.TERMINAL
    return OutcomeMemo(status=status, left_behind=result.left_behind)


async def summary_of(link: EngineLink, execution: WorkflowExecution) -> OperationSummary:
    """Read one operation's summary."""
    memo = await memo_of(link, execution)
    outcome = await outcome_of(link, execution)
    steering = await steering_of(link, raw_memo(execution))
    closed_at = execution.close_time
    return OperationSummary(
        operation_id=execution.run_id,
        workflow_id=execution.id,
        operation_type=memo.operation_type,
        application=memo.application,
        account=memo.account,
        cluster=memo.cluster,
        status=outcome.status,
        started_at_ms=int(execution.start_time.timestamp() * 1000),
        closed_at_ms=None if closed_at is None else int(closed_at.timestamp() * 1000),
        reason=memo.reason,
        requested_by=memo.requested_by,
        left_behind=outcome.left_behind,
        paused=steering.paused if outcome.status is OperationStatus.RUNNING else "",
    )


async def pending_of(link: EngineLink, description: WorkflowExecutionDescription) -> tuple[PendingActivity, ...]:
    """Read the calls to the cloud that are running or waiting for their next attempt."""
    return tuple([await _pending(link, activity) for activity in description.raw_description.pending_activities])


async def _pending(link: EngineLink, activity: PendingActivityInfo) -> PendingActivity:
    details = list(activity.heartbeat_details.payloads)
    said = await link.client.data_converter.decode(details) if details else []
    waits = activity.HasField("next_attempt_schedule_time")
    return PendingActivity(
        name=activity.activity_type.name,
        step=activity.activity_id,
        attempt=activity.attempt,
        next_retry_at_ms=activity.next_attempt_schedule_time.ToMilliseconds() if waits else None,
        last_failure=activity.last_failure.message,
        detail=str(said[0]) if said else "",
    )


def raw_memo(execution: WorkflowExecution) -> Any:
    """Return the memo as the engine keeps it."""
    if isinstance(execution, WorkflowExecutionDescription):
        return execution.raw_description.workflow_execution_info.memo
    return execution.raw_info.memo
