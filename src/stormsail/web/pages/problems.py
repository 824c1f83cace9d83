"""What a page shows when there is nothing to show: in the same frame, with where to go on."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import Request
from fastapi.routing import APIRoute
from starlette.responses import Response

from stormsail.delivery.records.database import RecordsUnavailable
from stormsail.web.pages.asking import rendering_of
from stormsail.web.pages.rendering import Link
from stormsail.web.problems import Problem
from stormsail.web.sources.engine import NotThere, Refused
from stormsail.web.sources.held import SourceFailed
from stormsail.web.views.paging import BadCursor

_LINKS: Final = (
    Link("overview", "/", "Overview"),
    Link("operations", "/operations", "Operations"),
    Link("workflows", "/workflows", "Workflows"),
)
_SAID: Final[dict[type[Exception], tuple[int, str]]] = {
    NotThere: (404, "Not there"),
    Refused: (400, "The engine turned it down"),
    SourceFailed: (503, "Not known for now"),
    BadCursor: (400, "Not a page of this list"),
    RecordsUnavailable: (503, "The records do not answer"),
}


class PageRoute(APIRoute):
    """A route whose refusals are told as a page. The API tells the same ones as JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's handler."""
        handle = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handle(request)
            except Problem as problem:
                return _page(request, problem.status, problem.view.title, f"{problem.detail}. {problem.next}".strip())
            except tuple(_SAID) as refusal:
                status_code, title = _SAID[type(refusal)]
                return _page(request, status_code, title, str(refusal) or title)

        return told


def _page(request: Request, status_code: int, title: str, message: str) -> Response:
    return rendering_of(request).page(
        request,
        "problem.html",
        title=title,
        section="",
        topics=("engine",) if status_code == 503 else (),
        status_code=status_code,
        message=message,
        links=_LINKS,
    )
