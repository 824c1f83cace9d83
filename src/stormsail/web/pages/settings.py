"""Settings: the viewer's own in this browser, and what the server was told."""

from importlib.metadata import version

from fastapi import APIRouter, Request
from starlette.responses import Response

from stormsail.web.pages.asking import Pages
from stormsail.web.pages.problems import PageRoute
from stormsail.web.state import principal_of, web_of

router = APIRouter(route_class=PageRoute)


@router.get("/settings")
async def settings(request: Request, pages: Pages) -> Response:
    """Show them. Nothing secret is among them."""
    told = web_of(request).settings
    facts = (
        ("Version", version("stormsail")),
        ("Engine", f"{told.engine.address}, namespace {told.engine.namespace}"),
        ("Task queue of operations", told.engine.task_queue),
        ("Accounts", ", ".join(told.accounts)),
        ("Listens on", f"{told.host}{' with TLS' if told.tls_cert else ''}"),
        ("Sign-in", "with an API key" if told.sign_in or not told.is_local else "not needed on this machine"),
        ("Audit kept for", f"{told.audit_days} days"),
    )
    return pages.page(
        request, "settings.html", title="Settings", section="settings", facts=facts, principal=principal_of(request)
    )
