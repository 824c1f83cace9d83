"""Workflows: the list with a filter that is kept in the address, and one run with its history window by window."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from stormsail.delivery.model.operation import RUNNER
from stormsail.delivery.records.keys import Role
from stormsail.web.pages.asking import Asked, Pages, Viewer, here_with, may
from stormsail.web.pages.gist import ROUTINE, gist_of
from stormsail.web.pages.problems import PageRoute
from stormsail.web.pages.rendering import FRAGMENT
from stormsail.web.pages.timelines import first_rows
from stormsail.web.pages.words import segment, timeline_address
from stormsail.web.sources.engine import Refused
from stormsail.web.sources.held import Source, SourceFailed
from stormsail.web.views.retrying import looked_at, read_retrying
from stormsail.web.views.workflow import EventView, HistoryView, WorkflowView, read_history, read_workflow
from stormsail.web.views.workflows import QUERY_MAX, WorkflowsView, read_workflows

router = APIRouter(route_class=PageRoute)

STATUSES: Final = ("Running", "Completed", "Failed", "Canceled", "Terminated", "ContinuedAsNew", "TimedOut")
WINDOW: Final = 200
"""How many events a page of history shows: as many as a browser lays out without a pause."""

READINGS: Final = ("ObserveApplication", "ListApplications")
"""The workflows with which pages and commands read clouds: many, short, and seldom what anybody looks for."""

SHOWS: Final = {"compact": "Compact", "all": "All events", "json": "JSON"}


@dataclass(frozen=True, slots=True)
class Tab:
    """One way to show the history."""

    key: str
    href: str
    label: str


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """One event with what it says in a few words."""

    event_id: int
    type: str
    at_ms: int
    attributes: dict[str, Any]
    gist: str


@router.get("/workflows")
async def workflows(
    request: Request,
    sources: Asked,
    pages: Pages,
    who: Viewer,
    query: str = "",
    status: str = "",
    retrying: str = "",
    readings: str = "",
    cursor: str = "",
) -> Response:
    """List runs. Filter, status and the choice of retrying ones alone are in the address."""
    who.must(Role.READ)
    query, status = query.strip()[:QUERY_MAX], status if status in STATUSES else ""
    shown: dict[str, Any] = {"refused": "", "rows": (), "failures": {}, "looked_at": None, "counts": {}}
    asked: tuple[Source, ...] = ()
    next_cursor = ""
    try:
        if retrying:
            found = await read_retrying(sources, query, cursor)
            asked, next_cursor = found.sources, found.next_cursor
            shown |= {
                "rows": [row.workflow for row in found.rows],
                "failures": {row.workflow.run_id: row.activity for row in found.rows},
                "looked_at": looked_at(found),
            }
        else:
            whole = _joined(query, status, readings=bool(readings))
            view: WorkflowsView = await read_workflows(sources, query=whole, cursor=cursor)
            asked, next_cursor = view.sources, view.next_cursor
            shown |= {"rows": view.workflows, "counts": view.counts}
    except Refused as refused:
        shown["refused"] = f"The engine cannot read this filter: {refused}"
    return pages.page(
        request,
        "workflows.html",
        title="Workflows",
        section="workflows",
        topics=("workflows", "engine"),
        sources=asked,
        status_code=400 if shown["refused"] else 200,
        query=query,
        status_word=status,
        retrying=bool(retrying),
        readings=bool(readings),
        statuses=STATUSES,
        status_href=_status_href(request),
        first_href=here_with(request, cursor="") if cursor else "",
        next_href=here_with(request, cursor=next_cursor) if next_cursor else "",
        **shown,
    )


@router.get("/workflows/{workflow_id:path}/{run_id}")
async def workflow(
    request: Request,
    workflow_id: str,
    run_id: str,
    sources: Asked,
    pages: Pages,
    who: Viewer,
    show: str = "compact",
    order: str = "",
    cursor: str = "",
    whole: str = "",
) -> Response:
    """Show one run: timeline, what it waits for, history. The last comes with the live part, or with `whole`."""
    who.must(Role.READ)
    # Events take most of a page's time, here and in the browser, and what people wait for is the timeline above them.
    partial = not whole and FRAGMENT not in request.headers
    view, first = await asyncio.gather(
        read_workflow(sources, workflow_id, run_id), first_rows(sources, workflow_id, run_id) if partial else _none()
    )
    if view is None:
        raise SourceFailed("The engine does not answer, and this run was not looked at before.")
    show = show if show in SHOWS else "compact"
    newest_first = order == "newest"
    history = (
        None
        if partial
        else await read_history(sources, workflow_id, run_id, limit=WINDOW, cursor=cursor, newest_first=newest_first)
    )
    return pages.page(
        request,
        "workflow.html",
        title=workflow_id,
        section="workflows",
        topics=("workflows", f"workflow:{workflow_id}", "engine"),
        sources=view.sources,
        timeline=True,
        preload="" if first else timeline_address(workflow_id, run_id),
        first_rows=first,
        view=view,
        may=may(who),
        history=history,
        events=_shown_events(history, show) if history else (),
        partial=partial,
        whole_href=here_with(request, whole="1"),
        show=show,
        tabs=[Tab(key, here_with(request, show=key), label) for key, label in SHOWS.items()],
        newest_first=newest_first,
        order_href=here_with(request, order="" if newest_first else "newest", cursor=""),
        first_href=here_with(request, cursor="") if cursor else "",
        next_href=here_with(request, cursor=history.next_cursor) if history and history.next_cursor else "",
        retrying=any(one.attempt > 1 for one in view.pending_activities),
        operation_href=_operation_href(view),
    )


async def _none() -> str:
    return ""


def _joined(query: str, status: str, *, readings: bool) -> str:
    """Return the filter with what was picked beside it. What somebody wrote is never narrowed behind their back."""
    parts = [f"({query})"] if query else []
    if status:
        parts.append(f"ExecutionStatus = '{status}'")
    if not query and not readings:
        parts += [f"WorkflowType != '{name}'" for name in READINGS]
    return " AND ".join(parts)


def _status_href(request: Request) -> Callable[[str], str]:
    return lambda word: here_with(request, status=word, cursor="")


def _shown_events(history: HistoryView, show: str) -> list[Any]:
    if show == "json":
        return [{"event_id": e.event_id, "type": e.type, "at_ms": e.at_ms, **e.attributes} for e in history.events]
    kept = [event for event in history.events if show == "all" or event.type not in ROUTINE]
    return [_shown(event) for event in kept]


def _shown(event: EventView) -> ShownEvent:
    return ShownEvent(event.event_id, event.type, event.at_ms, event.attributes, gist_of(event))


def _operation_href(view: WorkflowView) -> str:
    is_operation = view.workflow.workflow_type == RUNNER
    return f"/operations/{segment(view.workflow.run_id)}" if is_operation else ""
