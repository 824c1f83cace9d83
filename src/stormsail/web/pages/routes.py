"""All pages on an application: static files, and the routes that read and those that change."""

from typing import Final

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from stormsail.web.pages import (
    applications,
    nowhere,
    operations,
    overview,
    schedules,
    task_queues,
    timelines,
    workflows,
)
from stormsail.web.pages.rendering import STATIC, Rendering

_FOR_GOOD: Final = "public, max-age=31536000, immutable"


def install_pages(app: FastAPI, *, stream: str, footer: tuple[str, ...]) -> None:
    """Add the pages to an application that has its sources in `app.state`."""
    rendering = Rendering(stream=stream, footer=footer)
    app.state.rendering = rendering
    app.mount(f"/static/{rendering.digest}", _Unchanging(directory=STATIC), name="static")
    # Timelines first: their addresses end where a workflow's address would go on.
    for room in (overview, applications, operations, timelines, workflows, schedules, task_queues, nowhere):
        app.include_router(room.router, include_in_schema=False)


class _Unchanging(StaticFiles):
    """Files below a digest of their contents."""

    async def get_response(self, path: str, scope: Scope):  # type: ignore[no-untyped-def]
        """Let browsers keep what they got."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = _FOR_GOOD
        return response
