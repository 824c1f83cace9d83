"""RPCs that list and count runs. The older ones ask with fields what a query says now."""

from typing import Final, Literal

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.filter.v1 import StartTimeFilter
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    CountWorkflowExecutionsResponse,
    ListArchivedWorkflowExecutionsRequest,
    ListClosedWorkflowExecutionsRequest,
    ListClosedWorkflowExecutionsResponse,
    ListOpenWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsResponse,
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
    ScanWorkflowExecutionsRequest,
    ScanWorkflowExecutionsResponse,
)

from stormsail.engine.api.describe import execution_info
from stormsail.engine.api.transport import Call
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.shell.engine import Engine
from stormsail.engine.store.visibility import VisibilityPage

ARCHIVE_PAGE_MAX: Final = 10_000
_STATUS_PREFIX: Final = "WORKFLOW_EXECUTION_STATUS_"
_RUNNING: Final = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
_INT64: Final = 1 << 63
_ZERO_TIME: Final = Timestamp(seconds=-62_135_596_800)
"""The first instant of the year 1: no time at all to the language of that server."""


async def list_workflow_executions(engine: Engine, _: Call, request: ListWorkflowExecutionsRequest) -> Message:
    """List the runs that a filter matches."""
    page = _page(engine, request)
    return ListWorkflowExecutionsResponse(
        executions=[execution_info(row) for row in page.rows], next_page_token=page.next_token
    )


async def list_open_workflow_executions(engine: Engine, _: Call, request: ListOpenWorkflowExecutionsRequest) -> Message:
    """List running runs of a time, of a workflow id or of a type; paused ones are not among them."""
    conditions = ["ExecutionStatus = 'Running'", *_times("StartTime", request.start_time_filter), *_named(request)]
    page = _listed(engine, request, " AND ".join(conditions))
    return ListOpenWorkflowExecutionsResponse(
        executions=[execution_info(row) for row in page.rows], next_page_token=page.next_token
    )


async def list_closed_workflow_executions(
    engine: Engine, _: Call, request: ListClosedWorkflowExecutionsRequest
) -> Message:
    """List runs that are not running, closed at a time, of a workflow id, of a type or of a status."""
    conditions = ["ExecutionStatus != 'Running'", *_times("CloseTime", request.start_time_filter), *_named(request)]
    if request.WhichOneof("filters") == "status_filter":
        status = request.status_filter.status
        if status in (WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED, _RUNNING):
            raise InvalidArgument("StatusFilter must be specified and must be not Running.")
        conditions.append(f"ExecutionStatus = {status:d}")
    page = _listed(engine, request, " AND ".join(conditions))
    return ListClosedWorkflowExecutionsResponse(
        executions=[execution_info(row) for row in page.rows], next_page_token=page.next_token
    )


async def list_archived_workflow_executions(
    _engine: Engine, _: Call, request: ListArchivedWorkflowExecutionsRequest
) -> Message:
    """Refuse, as a server without an archive does."""
    if request.page_size > ARCHIVE_PAGE_MAX:
        raise InvalidArgument(f"PageSize is larger than allowed {ARCHIVE_PAGE_MAX}.")
    raise InvalidArgument("Cluster is not configured for visibility archival.")


async def scan_workflow_executions(engine: Engine, _: Call, request: ScanWorkflowExecutionsRequest) -> Message:
    """List, by the name that it once had for large results."""
    page = _page(engine, request)
    return ScanWorkflowExecutionsResponse(
        executions=[execution_info(row) for row in page.rows], next_page_token=page.next_token
    )


async def count_workflow_executions(engine: Engine, _: Call, request: CountWorkflowExecutionsRequest) -> Message:
    """Count the runs that a filter matches, by status where it says GROUP BY ExecutionStatus."""
    counted = engine.store.visibility.count(request.namespace, request.query)
    response = CountWorkflowExecutionsResponse(count=counted.total)
    for status, count in counted.groups:
        name = WorkflowExecutionStatus.Name(status).removeprefix(_STATUS_PREFIX).title().replace("_", "")  # type: ignore[arg-type]
        value = Payload(metadata={"encoding": b"json/plain", "type": b"Keyword"}, data=f'"{name}"'.encode())
        response.groups.add(count=count, group_values=[value])
    return response


def _page(engine: Engine, request: ListWorkflowExecutionsRequest | ScanWorkflowExecutionsRequest) -> VisibilityPage:
    size_max = engine.limits.visibility_page_max
    size = request.page_size if 0 < request.page_size <= size_max else size_max
    return engine.store.visibility.list(request.namespace, request.query, size, request.next_page_token)


def _listed(
    engine: Engine, request: ListOpenWorkflowExecutionsRequest | ListClosedWorkflowExecutionsRequest, query: str
) -> VisibilityPage:
    size_max = engine.limits.visibility_page_max
    size = request.maximum_page_size if 0 < request.maximum_page_size <= size_max else size_max
    return engine.store.visibility.list(request.namespace, query, size, request.next_page_token)


def _times(column: str, between: StartTimeFilter) -> list[str]:
    """Say in the filter language between which instants a time lies; either may be left out."""
    earliest = between.earliest_time if _is_set(between, "earliest_time") else None
    latest = between.latest_time if _is_set(between, "latest_time") else None
    if earliest is not None and latest is not None and earliest.ToNanoseconds() > latest.ToNanoseconds():
        raise InvalidArgument("EarliestTime in StartTimeFilter should not be larger than LatestTime.")
    ends = ((">=", earliest), ("<=", latest))
    return [f"{column} {sign} {_nanoseconds(end)}" for sign, end in ends if end is not None]


def _is_set(between: StartTimeFilter, name: Literal["earliest_time", "latest_time"]) -> bool:
    return between.HasField(name) and getattr(between, name) != _ZERO_TIME


def _nanoseconds(instant: Timestamp) -> int:
    """Return an instant as the filter language counts it, held inside 64 bits."""
    return max(1 - _INT64, min(_INT64 - 1, instant.ToNanoseconds()))


def _named(request: ListOpenWorkflowExecutionsRequest | ListClosedWorkflowExecutionsRequest) -> list[str]:
    match request.WhichOneof("filters"):
        case "execution_filter":
            return [f"WorkflowId = {_quoted(request.execution_filter.workflow_id)}"]
        case "type_filter":
            return [f"WorkflowType = {_quoted(request.type_filter.name)}"]
    return []


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
