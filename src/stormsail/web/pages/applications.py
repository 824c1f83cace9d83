"""Applications and what they consist of, as the clouds show it."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from stormsail.web.pages.asking import Asked, Pages, Viewer, may
from stormsail.web.pages.problems import PageRoute
from stormsail.web.sources.engine import NotThere
from stormsail.web.views.applications import read_application, read_applications

router = APIRouter(route_class=PageRoute)

TOPICS = ("applications", "operations", "engine", "workers")


@router.get("/applications")
async def applications(request: Request, sources: Asked, pages: Pages, who: Viewer) -> Response:
    """List every application of every account."""
    view = await read_applications(sources, sees=who.sees)
    return pages.page(
        request,
        "applications.html",
        title="Applications",
        section="applications",
        topics=TOPICS,
        sources=view.sources,
        view=view,
    )


@router.get("/applications/{name}")
async def application(request: Request, name: str, sources: Asked, pages: Pages, who: Viewer) -> Response:
    """Show one application: clusters, their versions, who takes the traffic."""
    view = await read_application(sources, name, sees=who.sees)
    if view is None:
        raise NotThere(f"No account has an application {name!r}.")
    return pages.page(
        request,
        "application.html",
        title=name,
        section="applications",
        topics=TOPICS,
        sources=view.sources,
        view=view,
        may=may(who, name, view.clusters[0].account if view.clusters else "*"),
    )
