"""What every page route takes: the sources, the rendering, and what the viewer may do."""

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, Request

from stormsail.delivery.records.keys import Role
from stormsail.web.guard.principals import Principal
from stormsail.web.pages.rendering import Rendering
from stormsail.web.sources.sources import Sources
from stormsail.web.state import principal_of


@dataclass(frozen=True, slots=True)
class May:
    """What the viewer may do here, so that a page offers nothing that would be turned down."""

    write: bool
    """Start operations."""
    execute: bool
    """Steer what runs."""


def may(who: Principal, application: str = "*", account: str = "*") -> May:
    """Return what somebody may do to a thing."""
    return May(who.may(Role.WRITE, application, account), who.may(Role.EXECUTE, application, account))


def sources_of(request: Request) -> Sources:
    """Return the process's sources."""
    sources: Sources = request.app.state.sources
    return sources


def rendering_of(request: Request) -> Rendering:
    """Return the process's templates."""
    rendering: Rendering = request.app.state.rendering
    return rendering


Asked = Annotated[Sources, Depends(sources_of)]
Pages = Annotated[Rendering, Depends(rendering_of)]
Viewer = Annotated[Principal, Depends(principal_of)]


def here_with(request: Request, **changed: str) -> str:
    """Return this page's address with some of its query changed; an empty value takes a field away."""
    query = {**request.query_params, **changed}
    left = {name: value for name, value in query.items() if value}
    return f"{request.url.path}?{urlencode(left)}" if left else request.url.path
