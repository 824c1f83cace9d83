"""Workflows as lists show them."""

from dataclasses import dataclass
from typing import Any, Final

from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflow.v1 import WorkflowExecutionInfo

from stormsail.web.sources.held import Source
from stormsail.web.sources.payloads import payload_json
from stormsail.web.sources.sources import Sources
from stormsail.web.views.paging import LIMIT_DEFAULT, cursor_of, token_of

QUERY_MAX: Final = 4096

STATUS_PREFIX: Final = "WORKFLOW_EXECUTION_STATUS_"


@dataclass(frozen=True, slots=True)
class WorkflowRow:
    """One run in a list."""

    workflow_id: str
    run_id: str
    workflow_type: str
    status: str
    """As filters spell it: `Running`, `Completed`, `Failed`, `Canceled`, `Terminated`, `ContinuedAsNew`, `TimedOut`."""
    task_queue: str
    started_at_ms: int
    closed_at_ms: int | None
    history_length: int
    history_size_bytes: int
    parent_workflow_id: str
    parent_run_id: str
    memo: dict[str, Any]
    search_attributes: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WorkflowsView:
    """One page of runs, as the engine orders them."""

    sources: tuple[Source, ...]
    workflows: tuple[WorkflowRow, ...]
    next_cursor: str
    counts: dict[str, int]
    """How many runs the filter matches, by status; empty where the engine does not count."""


def workflow_row(info: WorkflowExecutionInfo) -> WorkflowRow:
    """Return the row of what the engine lists."""
    return WorkflowRow(
        workflow_id=info.execution.workflow_id,
        run_id=info.execution.run_id,
        workflow_type=info.type.name,
        status=status_word(info.status),
        task_queue=info.task_queue,
        started_at_ms=info.start_time.ToMilliseconds(),
        closed_at_ms=info.close_time.ToMilliseconds() if info.HasField("close_time") else None,
        history_length=info.history_length,
        history_size_bytes=info.history_size_bytes,
        parent_workflow_id=info.parent_execution.workflow_id,
        parent_run_id=info.parent_execution.run_id,
        memo={name: payload_json(value) for name, value in info.memo.fields.items()},
        search_attributes={name: payload_json(value) for name, value in info.search_attributes.indexed_fields.items()},
    )


def status_word(status: "WorkflowExecutionStatus.ValueType") -> str:
    """Return a status as list filters spell it."""
    words = WorkflowExecutionStatus.Name(status).removeprefix(STATUS_PREFIX).split("_")
    return "".join(word.capitalize() for word in words)


async def read_workflows(
    sources: Sources, *, query: str = "", limit: int = LIMIT_DEFAULT, cursor: str = ""
) -> WorkflowsView:
    """Read a page of the runs that a list filter matches, in Temporal's filter language.

    Raises BadCursor, or Refused with the engine's words for a filter that it cannot read.
    """
    token = token_of("workflows", cursor)
    page = await sources.held.read(
        ("workflows", query, limit, token), lambda: sources.engine.list_workflows(query, limit, token)
    )
    counts = await sources.held.read(("count", query), lambda: sources.engine.count_workflows(query))
    listed = page.value
    return WorkflowsView(
        (page.source,),
        tuple(workflow_row(info) for info in listed.executions) if listed is not None else (),
        cursor_of("workflows", listed.next_page_token if listed is not None else b""),
        counts.value or {},
    )
