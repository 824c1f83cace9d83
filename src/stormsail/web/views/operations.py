"""Operations as lists show them."""

from dataclasses import dataclass
from typing import Final

from stormsail.delivery.client_types import OperationSummary
from stormsail.delivery.engine_link import quoted
from stormsail.delivery.model.operation import RUNNER, OperationStatus
from stormsail.web.sources.held import Source
from stormsail.web.sources.operations import operations_page
from stormsail.web.sources.sources import Sources
from stormsail.web.views.access import Sees, sees_all
from stormsail.web.views.paging import LIMIT_DEFAULT, cursor_of, token_of

STATES: Final = {
    "open": "ExecutionStatus = 'Running'",
    "ended": "ExecutionStatus != 'Running'",
    "running": "ExecutionStatus = 'Running'",
    "waiting": "ExecutionStatus = 'Running'",
    "succeeded": "ExecutionStatus = 'Completed'",
    "failed": "ExecutionStatus IN ('Completed', 'Failed', 'TimedOut')",
    "cancelled": "ExecutionStatus IN ('Canceled', 'Terminated')",
}
"""The words that a list may be narrowed to, each with what the engine can filter of it."""

_WORDS: Final = {
    OperationStatus.RUNNING: "running",
    OperationStatus.SUCCEEDED: "succeeded",
    OperationStatus.TERMINAL: "failed",
    OperationStatus.CANCELED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class OperationRow:
    """One operation in a list."""

    operation_id: str
    workflow_id: str
    operation_type: str
    application: str
    account: str
    cluster: str
    state: str
    """`running`, `waiting` (for a person), `succeeded`, `failed` or `cancelled`."""
    started_at_ms: int
    closed_at_ms: int | None
    reason: str
    requested_by: str
    paused_step: str
    """The step that failed for good and waits for a person, or empty."""
    left_behind: tuple[str, ...]
    """What a cancelled or failed operation could not put back."""


@dataclass(frozen=True, slots=True)
class OperationsView:
    """One page of operations, newest first within it. It may hold fewer than asked for; the cursor tells the end."""

    sources: tuple[Source, ...]
    operations: tuple[OperationRow, ...]
    next_cursor: str


def row_of(summary: OperationSummary) -> OperationRow:
    """Return the row of an operation."""
    return OperationRow(
        operation_id=summary.operation_id,
        workflow_id=summary.workflow_id,
        operation_type=summary.operation_type,
        application=summary.application,
        account=summary.account,
        cluster=summary.cluster,
        state="waiting" if summary.paused else _WORDS[summary.status],
        started_at_ms=summary.started_at_ms,
        closed_at_ms=summary.closed_at_ms,
        reason=summary.reason,
        requested_by=summary.requested_by,
        paused_step=summary.paused,
        left_behind=summary.left_behind,
    )


def _is(row: OperationRow, state: str) -> bool:
    match state:
        case "":
            return True
        case "open" | "ended":
            return (row.state in ("running", "waiting")) is (state == "open")
        case _:
            return row.state == state


async def read_operations(
    sources: Sources,
    *,
    application: str = "",
    account: str = "",
    state: str = "",
    limit: int = LIMIT_DEFAULT,
    cursor: str = "",
    sees: Sees = sees_all,
) -> OperationsView:
    """Read a page. `state` is one of STATES. Raises BadCursor."""
    clauses = [f"WorkflowType = '{RUNNER}'"]
    if state:
        clauses.append(STATES[state])
    if account:
        clauses.append(f"WorkflowId STARTS_WITH {quoted(f'operation/{account}/')}")
    query, token = " AND ".join(clauses), token_of("operations", cursor)
    reading = await sources.held.read(
        ("operations", query, limit, token), lambda: operations_page(sources.engine, query, limit, token)
    )
    found, next_token = reading.value or ([], b"")
    rows = [row_of(summary) for summary in found if sees(summary.application, summary.account)]
    shown = [
        row for row in rows if application in ("", row.application) and account in ("", row.account) and _is(row, state)
    ]
    shown.sort(key=lambda row: row.started_at_ms, reverse=True)
    return OperationsView((reading.source,), tuple(shown), cursor_of("operations", next_token))
