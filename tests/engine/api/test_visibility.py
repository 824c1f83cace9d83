"""The older RPCs that list runs, over gRPC."""

from typing import Any

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.filter.v1 import StartTimeFilter, StatusFilter, WorkflowExecutionFilter, WorkflowTypeFilter
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountWorkflowExecutionsRequest,
    ListArchivedWorkflowExecutionsRequest,
    ListClosedWorkflowExecutionsRequest,
    ListOpenWorkflowExecutionsRequest,
    PauseWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from engine.api.rpc import Rpc

LONG_AGO = Timestamp(seconds=100)
NEVER = Timestamp(seconds=-62_135_596_800)
OPEN, CLOSED, PAUSED, QUOTED = "open", "closed", "paused", "o'clock \\ "


async def fill(rpc: Rpc) -> None:
    """A running run, a terminated one, a paused one, and one whose id has a quote in it."""
    for workflow_id in (OPEN, CLOSED, PAUSED, QUOTED):
        await rpc.call(
            StartWorkflowExecutionRequest(
                namespace="default",
                workflow_id=workflow_id,
                workflow_type=WorkflowType(name=f"T-{workflow_id}"),
                task_queue=TaskQueue(name="q"),
            )
        )
    await rpc.call(PauseWorkflowExecutionRequest(namespace="default", workflow_id=PAUSED))
    closed = WorkflowExecution(workflow_id=CLOSED)
    await rpc.call(TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=closed))


async def test_open_and_closed_runs_are_listed_by_time_id_type_and_status(rpc: Rpc) -> None:
    await fill(rpc)

    async def found(request_type: Any, **filters: Any) -> set[str]:
        answer = await rpc.call(request_type(namespace="default", **filters))
        return {one.execution.workflow_id for one in answer.executions}

    def between(earliest: Timestamp | None, latest: Timestamp | None) -> dict[str, Any]:
        return {"start_time_filter": StartTimeFilter(earliest_time=earliest, latest_time=latest)}

    of_open, of_closed = ListOpenWorkflowExecutionsRequest, ListClosedWorkflowExecutionsRequest
    assert await found(of_open) == {OPEN, QUOTED}
    assert await found(of_closed) == {CLOSED, PAUSED}
    assert await found(of_open, execution_filter=WorkflowExecutionFilter(workflow_id=QUOTED)) == {QUOTED}
    assert await found(of_open, type_filter=WorkflowTypeFilter(name=f"T-{QUOTED}")) == {QUOTED}
    assert await found(of_open, execution_filter=WorkflowExecutionFilter(workflow_id=CLOSED)) == set()
    assert await found(of_closed, status_filter=StatusFilter(status=5)) == {CLOSED}  # type: ignore[arg-type]
    assert await found(of_closed, status_filter=StatusFilter(status=8)) == {PAUSED}  # type: ignore[arg-type]
    assert await found(of_open, **between(LONG_AGO, None)) == {OPEN, QUOTED}
    assert await found(of_open, **between(None, LONG_AGO)) == set()
    assert await found(of_open, **between(LONG_AGO, NEVER)) == {OPEN, QUOTED}
    assert await found(of_closed, **between(LONG_AGO, None)) == {CLOSED}, "a paused run has not closed"


async def test_open_runs_are_listed_page_by_page(rpc: Rpc) -> None:
    await fill(rpc)
    request = ListOpenWorkflowExecutionsRequest(namespace="default", maximum_page_size=1)
    seen = []
    while True:
        page = await rpc.call(request)
        seen += [one.execution.workflow_id for one in page.executions]
        if not page.next_page_token:
            break
        request.next_page_token = page.next_page_token
    assert sorted(seen) == sorted([OPEN, QUOTED])


LATE = Timestamp(seconds=200)
REFUSED: list[tuple[Message, str]] = [
    (
        ListOpenWorkflowExecutionsRequest(start_time_filter=StartTimeFilter(earliest_time=LATE, latest_time=LONG_AGO)),
        "EarliestTime in StartTimeFilter should not be larger than LatestTime.",
    ),
    (
        ListClosedWorkflowExecutionsRequest(status_filter=StatusFilter(status=1)),  # type: ignore[arg-type]
        "StatusFilter must be specified and must be not Running.",
    ),
    (
        ListClosedWorkflowExecutionsRequest(status_filter=StatusFilter()),
        "StatusFilter must be specified and must be not Running.",
    ),
    (ListArchivedWorkflowExecutionsRequest(), "Cluster is not configured for visibility archival."),
    (ListArchivedWorkflowExecutionsRequest(page_size=10_001), "PageSize is larger than allowed 10000."),
    (
        CountWorkflowExecutionsRequest(query="ORDER BY StartTime"),
        "invalid query: operation is not supported: 'ORDER BY' clause",
    ),
]


@pytest.mark.parametrize(("request_", "text"), REFUSED)
async def test_what_breaks_a_rule_is_refused(rpc: Rpc, request_: Any, text: str) -> None:
    request_.namespace = "default"
    refusal = await rpc.refused(request_)
    assert (refusal.code, refusal.text) == ("INVALID_ARGUMENT", text)
