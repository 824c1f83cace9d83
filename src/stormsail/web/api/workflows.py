"""Workflows over the API, with Temporal's own verbs.

They need a grant on everything, because a workflow names no application.
"""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from stormsail.delivery.records.keys import Role
from stormsail.web.api.context import (
    CHANGE,
    LIMIT,
    READ,
    READ_ONE,
    Asker,
    Cursor,
    Here,
    Limit,
    Who,
    answered,
    changed,
    sorted_failures,
)
from stormsail.web.api.operations import Body, Name
from stormsail.web.changes.workflows import (
    AnswerView,
    AskedView,
    ResetTo,
    ResetView,
    cancel_workflow,
    query_workflow,
    reset_workflow,
    signal_workflow,
    terminate_workflow,
    update_workflow,
)
from stormsail.web.views.retrying import RetryingView, read_retrying
from stormsail.web.views.workflow import HISTORY_LIMIT_MAX, HistoryView, WorkflowView, read_history, read_workflow
from stormsail.web.views.workflows import QUERY_MAX, WorkflowsView, read_workflows

router = APIRouter(prefix="/workflows", tags=["workflows"])

RunId = Annotated[str, Query(max_length=200, description="The run; left out, the newest run of the workflow id.")]
WorkflowId = Annotated[str, Query(min_length=1, max_length=1000)]
ListFilter = Annotated[
    str, Query(max_length=QUERY_MAX, description="Temporal's list filter.", examples=["ExecutionStatus = 'Running'"])
]


class CallBody(Body):
    """A signal, query or update by name, with its arguments."""

    name: Name
    arguments: Annotated[list[Any], Field(max_length=100)] = Field(default_factory=list)


class ResetBody(Body):
    """Where the new run begins: an event id of the end of a workflow task, or a word."""

    to: ResetTo = ResetTo.LAST
    event_id: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Goes before `to` where it is not 0."""


@router.get("", response_model=WorkflowsView, responses=READ)
async def list_workflows(
    request: Request, web: Here, who: Who, query: ListFilter = "", limit: Limit = LIMIT, cursor: Cursor = ""
) -> Response:
    """List the runs that a list filter matches, with counts by status."""
    who.must(Role.READ)
    with sorted_failures():
        view = await read_workflows(web.sources, query=query, limit=limit, cursor=cursor)
    return answered(request, view)


@router.get("/retrying", response_model=RetryingView, responses=READ)
async def list_retrying(request: Request, web: Here, who: Who, query: ListFilter = "", cursor: Cursor = "") -> Response:
    """List the running runs with an activity between two attempts, among a hundred a page: see `looked_at`."""
    who.must(Role.READ)
    with sorted_failures():
        view = await read_retrying(web.sources, query, cursor)
    return answered(request, view)


@router.get("/describe", response_model=WorkflowView, responses=READ_ONE)
async def get_workflow(request: Request, web: Here, who: Who, workflow_id: WorkflowId, run_id: RunId = "") -> Response:
    """Describe a run: what it is, what it waits for, its children."""
    who.must(Role.READ)
    with sorted_failures():
        view = await read_workflow(web.sources, workflow_id, run_id)
    return answered(request, view)


@router.get("/history", response_model=HistoryView, responses=READ_ONE)
async def get_history(
    request: Request,
    web: Here,
    who: Who,
    workflow_id: WorkflowId,
    run_id: Annotated[str, Query(min_length=1, max_length=200)],
    limit: Annotated[int, Query(ge=1, le=HISTORY_LIMIT_MAX)] = 200,
    cursor: Cursor = "",
    order: Literal["oldest", "newest"] = "oldest",
) -> Response:
    """Read a page of a run's history."""
    who.must(Role.READ)
    with sorted_failures():
        view = await read_history(
            web.sources, workflow_id, run_id, limit=limit, cursor=cursor, newest_first=order == "newest"
        )
    return answered(request, view)


@router.post("/signal", response_model=AskedView, responses=CHANGE)
async def post_signal(body: CallBody, asker: Asker, workflow_id: WorkflowId, run_id: RunId = "") -> Response:
    """Signal an open run."""
    return changed(await signal_workflow(asker.because(body.reason), workflow_id, run_id, body.name, body.arguments))


@router.post("/update", response_model=AnswerView, responses=CHANGE)
async def post_update(body: CallBody, asker: Asker, workflow_id: WorkflowId, run_id: RunId = "") -> Response:
    """Have an open run updated and wait for its answer."""
    return changed(await update_workflow(asker.because(body.reason), workflow_id, run_id, body.name, body.arguments))


@router.post("/query", response_model=AnswerView, responses=CHANGE)
async def post_query(
    request: Request, body: CallBody, asker: Asker, workflow_id: WorkflowId, run_id: RunId = ""
) -> Response:
    """Ask a run something; a worker answers."""
    return answered(
        request, await query_workflow(asker.because(body.reason), workflow_id, run_id, body.name, body.arguments)
    )


@router.post("/cancel", response_model=AskedView, responses=CHANGE)
async def post_cancel(body: Body, asker: Asker, workflow_id: WorkflowId, run_id: RunId = "") -> Response:
    """Ask an open run to cancel itself."""
    return changed(await cancel_workflow(asker.because(body.reason), workflow_id, run_id))


@router.post("/terminate", response_model=AskedView, responses=CHANGE)
async def post_terminate(body: Body, asker: Asker, workflow_id: WorkflowId, run_id: RunId = "") -> Response:
    """End an open run now; its worker is not asked."""
    return changed(await terminate_workflow(asker.because(body.reason), workflow_id, run_id))


@router.post("/reset", response_model=ResetView, responses=CHANGE)
async def post_reset(
    body: ResetBody,
    asker: Asker,
    workflow_id: WorkflowId,
    run_id: Annotated[str, Query(min_length=1, max_length=200)],
) -> Response:
    """Begin a new run with a run's history up to a workflow task."""
    return changed(await reset_workflow(asker.because(body.reason), workflow_id, run_id, body.event_id or body.to))
