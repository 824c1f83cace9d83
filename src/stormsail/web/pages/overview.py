"""The overview: where an operator begins."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from stormsail.delivery.model.operation import RUNNER
from stormsail.web.pages.asking import Asked, Pages, Viewer, may
from stormsail.web.pages.problems import PageRoute
from stormsail.web.views.overview import read_overview
from stormsail.web.views.retrying import RetryingRow, RetryingView, looked_at, read_retrying

router = APIRouter(route_class=PageRoute)

_OPERATIONS = f"WorkflowType = '{RUNNER}'"


@dataclass(frozen=True, slots=True)
class BackingOff:
    """One operation that fails and is tried again."""

    run_id: str
    title: str
    application: str
    account: str
    cluster: str
    activity_id: str
    attempt: int
    last_failure: str
    next_retry_at_ms: int | None


@router.get("/")
async def overview(request: Request, sources: Asked, pages: Pages, who: Viewer) -> Response:
    """Show what needs a person first."""
    view, retrying = await asyncio.gather(read_overview(sources, sees=who.sees), read_retrying(sources, _OPERATIONS))
    backing_off = [row for row in map(_backing_off, retrying.rows) if who.sees(row.application, row.account)]
    return pages.page(
        request,
        "overview.html",
        title="Overview",
        section="overview",
        topics=("operations", "applications", "engine", "workers"),
        sources=view.sources,
        view=view,
        may=may(who),
        looked=looked_at(retrying),
        more_to_look_at=_next_ones(retrying),
        backing_off=backing_off,
        running=[row for row in view.running if row.operation_id not in {one.run_id for one in backing_off}],
    )


def _next_ones(retrying: RetryingView) -> str:
    """Return where operations that were not looked at are, or nothing where there are none."""
    if not retrying.next_cursor:
        return ""
    return "/workflows?" + urlencode({"query": _OPERATIONS, "retrying": "1", "cursor": retrying.next_cursor})


def _backing_off(row: RetryingRow) -> BackingOff:
    operation = row.workflow.memo.get("operation")
    memo = operation if isinstance(operation, dict) else {}
    return BackingOff(
        run_id=row.workflow.run_id,
        title=str(memo.get("operation_type") or row.workflow.workflow_type),
        application=str(memo.get("application") or ""),
        account=str(memo.get("account") or ""),
        cluster=str(memo.get("cluster") or row.workflow.workflow_id),
        activity_id=row.activity.activity_id,
        attempt=row.activity.attempt,
        last_failure=row.activity.last_failure,
        next_retry_at_ms=row.activity.next_retry_at_ms,
    )
