"""What a timeline asks for: a history's pages in their order, or only what came after the last event it has."""

import asyncio
import json
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request
from starlette.responses import JSONResponse, Response
from temporalio.api.history.v1 import HistoryEvent

from stormsail.delivery.records.keys import Role
from stormsail.web.etags import matches, tag_of
from stormsail.web.guard.principals import Principal
from stormsail.web.pages.asking import Asked, Viewer
from stormsail.web.pages.timeline import is_the_last, operations_of
from stormsail.web.sources.engine import NotThere, Refused
from stormsail.web.sources.held import SourceFailed
from stormsail.web.sources.sources import Sources
from stormsail.web.views.paging import BadCursor, cursor_of, token_of
from stormsail.web.views.workflow import read_workflow

router = APIRouter()

FIRST_PAGE: Final = 200
"""More rows than any screen has room for: the first are drawn while the rest is on its way."""

SOON_S: Final = 0.25
"""How long a page waits for a timeline's first rows before it goes out without them."""

PAGE: Final = 1000
NEWS_PAGE: Final = 200
NEWS_EVENTS_MAX: Final = 10_000
"""A page that has been away for more events than this is told to begin again."""

_KIND: Final = "timeline"


@router.get("/workflows/{workflow_id:path}/{run_id}/timeline.json")
async def timeline(
    request: Request,
    workflow_id: str,
    run_id: str,
    sources: Asked,
    who: Viewer,
    token: str = "",
    after: int | None = None,
) -> Response:
    """Return rows' changes, the newest event's number, and the token of the next page."""
    _must_see(who, workflow_id)
    try:
        if after is not None:
            events = await _since(sources, workflow_id, run_id, after)
            answer = _answer(events, "")
            view = await read_workflow(sources, workflow_id, run_id)
            answer |= {
                "close": view.workflow.closed_at_ms if view else None,
                "pending": [
                    {"key": one.activity_id, "attempt": one.attempt, "failure": one.last_failure[:300]}
                    for one in view.pending_activities
                ]
                if view
                else [],
            }
            return JSONResponse(answer)
        # Also what is kept is told only while the run is there: it may have been deleted since.
        _, body = await asyncio.gather(
            read_workflow(sources, workflow_id, run_id), _page_of(sources, workflow_id, run_id, token)
        )
        etag = tag_of(body)
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if matches(request.headers.get("If-None-Match", ""), etag):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type="application/json", headers=headers)
    except NotThere as missing:
        raise HTTPException(404, str(missing)) from missing
    except (BadCursor, Refused) as refused:
        raise HTTPException(400, str(refused) or "not a page of this timeline") from refused
    except SourceFailed as failed:
        raise HTTPException(503, str(failed)) from failed


async def first_rows(sources: Sources, workflow_id: str, run_id: str) -> str:
    """Return the timeline's first page as JSON, to stand in the page itself: the first paint then asks for nothing.

    Returns nothing when it is not there soon, or not to be had: the timeline then asks, and says why if it cannot.
    """
    try:
        async with asyncio.timeout(SOON_S):
            return (await _page_of(sources, workflow_id, run_id, "")).decode()
    except (TimeoutError, NotThere, Refused, SourceFailed):
        return ""


async def _page_of(sources: Sources, workflow_id: str, run_id: str, token: str) -> bytes:
    """Return one page as JSON. Histories only grow, so a page that another one follows, or a run's last, is kept."""
    key = (workflow_id, run_id, token)
    kept = sources.timelines.get(key)
    if kept is not None:
        return kept
    page = await sources.engine.history_page(workflow_id, run_id, PAGE if token else FIRST_PAGE, token_of(_KIND, token))
    events, following = page.history.events, page.next_page_token
    answer = _answer(events, cursor_of(_KIND, following))
    body = json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()
    if following or (events and is_the_last(events[-1])):
        sources.timelines.keep(key, body)
    return body


def _must_see(who: Principal, workflow_id: str) -> None:
    """An operation's timeline is for whoever sees its application; any other for whoever sees everything."""
    kind, _, rest = workflow_id.partition("/")
    account, _, cluster = rest.partition("/")
    if kind == "operation" and cluster and who.sees(cluster.partition("-")[0], account):
        return
    who.must(Role.READ)


async def _since(sources: Sources, workflow_id: str, run_id: str, after: int) -> list[HistoryEvent]:
    """Read the events after one, oldest first, from the newest back: that costs what is new, not what is there."""
    events: list[HistoryEvent] = []
    token = b""
    while len(events) < NEWS_EVENTS_MAX:
        page = await sources.engine.history_page_newest_first(workflow_id, run_id, NEWS_PAGE, token)
        new = [event for event in page.history.events if event.event_id > after]
        events += new
        token = page.next_page_token
        if not token or len(new) < len(page.history.events):
            break
    return events[::-1]


def _answer(events: Any, token: str) -> dict[str, Any]:
    return {"ops": operations_of(events), "last": events[-1].event_id if events else 0, "next": token}
