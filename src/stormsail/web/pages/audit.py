"""The audit: who changed what, when and why."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from stormsail.web.pages.asking import Pages, here_with
from stormsail.web.pages.problems import PageRoute
from stormsail.web.pages.words import segment
from stormsail.web.state import principal_of, web_of
from stormsail.web.views.audit import AuditEntry, read_audit

router = APIRouter(route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is narrowed to."""

    principal: str
    verb: str
    application: str
    target: str

    @property
    def any(self) -> bool:
        """Whether it is narrowed at all."""
        return any((self.principal, self.verb, self.application, self.target))


@router.get("/audit")
async def audit(
    request: Request,
    pages: Pages,
    principal: str = "",
    verb: str = "",
    application: str = "",
    target: str = "",
    cursor: str = "",
) -> Response:
    """List changes; the filters are in the address."""
    web = web_of(request)
    filters = Filters(principal.strip(), verb.strip(), application.strip(), target.strip())
    view = await read_audit(
        web.sources,
        web.trail,
        principal=filters.principal,
        verb=filters.verb,
        application=filters.application,
        target=filters.target,
        cursor=cursor,
        sees=principal_of(request).sees,
    )
    return pages.page(
        request,
        "audit.html",
        title="Audit",
        section="audit",
        topics=("audit", "operations", "engine"),
        sources=view.sources,
        view=view,
        filters=filters,
        target_href=_target_href,
        first_href=here_with(request, cursor="") if cursor else "",
        next_href=here_with(request, cursor=view.next_cursor) if view.next_cursor else "",
    )


def _target_href(entry: AuditEntry) -> str:
    """Return where the thing that was changed is shown, or nothing where it is on no page of its own."""
    kind, _, name = entry.target.partition("/")
    shown: dict[str, Callable[[], str]] = {
        "operation": lambda: f"/operations/{segment(name)}",
        "schedule": lambda: f"/schedules/{segment(name)}",
        "cluster": lambda: f"/applications/{segment(entry.application)}" if entry.application else "",
        "workflow": lambda: _workflow_href(name),
    }
    return shown[kind]() if kind in shown else ""


def _workflow_href(name: str) -> str:
    workflow_id, slash, run_id = name.rpartition("/")
    return f"/workflows/{segment(workflow_id)}/{segment(run_id)}" if slash else ""
