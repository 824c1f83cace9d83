"""Addresses that lead nowhere. Comes last of all routes."""

from fastapi import APIRouter, HTTPException
from starlette.responses import Response

from stormsail.web.pages.problems import PageRoute
from stormsail.web.sources.engine import NotThere

router = APIRouter(route_class=PageRoute)


@router.get("/{path:path}")
async def nowhere(path: str) -> Response:
    """Say so, as a page; below /api/ as the API does."""
    if path == "api" or path.startswith(("api/", "static/")):
        raise HTTPException(status_code=404)
    raise NotThere(f"This page has no address /{path[:200]}.")
