"""All pages on an application: static files, and the routes that read and those that change."""

from typing import Final

from fastapi import FastAPI, Request
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from stormsail.web.pages import (
    applications,
    audit,
    nowhere,
    operations,
    overview,
    schedules,
    settings,
    task_queues,
    timelines,
    workflows,
)
from stormsail.web.pages.changes import routes as changes
from stormsail.web.pages.rendering import STATIC, Rendering
from stormsail.web.state import principal_of, web_of

_FOR_GOOD: Final = "public, max-age=31536000, immutable"


def install_pages(app: FastAPI, *, stream: str, footer: tuple[str, ...]) -> None:
    """Add the pages to an application that has its sources in `app.state`."""
    rendering = Rendering(stream=stream, footer=footer, csrf_token=_csrf_token)
    app.state.rendering = rendering
    app.mount(f"/static/{rendering.digest}", _Unchanging(directory=STATIC), name="static")
    # Timelines first: their addresses end where a workflow's address would go on.
    rooms = (overview, applications, operations, timelines, changes, workflows, schedules, task_queues, audit, settings)
    for room in (*rooms, nowhere):
        app.include_router(room.router, include_in_schema=False)


def _csrf_token(request: Request) -> str:
    """Return the token that this viewer's changes must carry, or nothing for a viewer who has no session."""
    session = principal_of(request).session
    return web_of(request).sessions.csrf_token(session) if session else ""


class _Unchanging(StaticFiles):
    """Files below a digest of their contents."""

    async def get_response(self, path: str, scope: Scope):  # type: ignore[no-untyped-def]
        """Let browsers keep what they got."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = _FOR_GOOD
        return response
