"""Workers and task queues: who takes the work, and what waits."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from stormsail.delivery.records.keys import Role
from stormsail.web.pages.asking import Asked, Pages, Viewer
from stormsail.web.pages.problems import PageRoute
from stormsail.web.views.task_queues import read_task_queues

router = APIRouter(route_class=PageRoute)


@router.get("/task-queues")
async def task_queues(request: Request, sources: Asked, pages: Pages, who: Viewer) -> Response:
    """Show every task queue that is known of."""
    who.must(Role.READ)
    view = await read_task_queues(sources)
    return pages.page(
        request,
        "task_queues.html",
        title="Workers and task queues",
        section="workers",
        topics=("workers", "workflows", "engine"),
        sources=view.sources,
        view=view,
    )
