"""Schedules: what starts by itself, and when next."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from stormsail.delivery.records.keys import Role
from stormsail.web.pages.asking import Asked, Pages, Viewer, here_with, may
from stormsail.web.pages.problems import PageRoute
from stormsail.web.sources.held import SourceFailed
from stormsail.web.views.schedules import read_schedule, read_schedules

router = APIRouter(route_class=PageRoute)

TOPICS = ("schedules", "workflows", "engine")


@router.get("/schedules")
async def schedules(request: Request, sources: Asked, pages: Pages, who: Viewer, cursor: str = "") -> Response:
    """List schedules."""
    who.must(Role.READ)
    view = await read_schedules(sources, cursor=cursor)
    return pages.page(
        request,
        "schedules.html",
        title="Schedules",
        section="schedules",
        topics=TOPICS,
        sources=view.sources,
        view=view,
        may=may(who),
        first_href=here_with(request, cursor="") if cursor else "",
        next_href=here_with(request, cursor=view.next_cursor) if view.next_cursor else "",
    )


@router.get("/schedules/{schedule_id:path}")
async def schedule(request: Request, schedule_id: str, sources: Asked, pages: Pages, who: Viewer) -> Response:
    """Show one schedule."""
    who.must(Role.READ)
    view = await read_schedule(sources, schedule_id)
    if view is None:
        raise SourceFailed("The engine does not answer, and this schedule was not looked at before.")
    return pages.page(
        request,
        "schedule.html",
        title=schedule_id,
        section="schedules",
        topics=TOPICS,
        sources=view.sources,
        view=view,
        may=may(who),
    )
