"""What can be read over the API: each read model as JSON."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request

from stormsail.web.sources.sources import Sources
from stormsail.web.views.applications import ApplicationsView, read_applications
from stormsail.web.views.overview import OverviewView, read_overview

router = APIRouter(prefix="/api/v1")


def sources_of(request: Request) -> Sources:
    """Return the process's sources."""
    sources: Sources = request.app.state.sources
    return sources


Asked = Annotated[Sources, Depends(sources_of)]


@router.get("/overview")
async def overview(sources: Asked) -> OverviewView:
    """Show what needs a person, what runs, and what was done."""
    return await read_overview(sources)


@router.get("/applications")
async def applications(sources: Asked) -> ApplicationsView:
    """List every application of every account."""
    return await read_applications(sources)


@router.get("/healthz", include_in_schema=False)
async def healthz() -> dict[str, Any]:
    """Say that this process answers; what its sources are worth, each view says."""
    return {"ok": True}
