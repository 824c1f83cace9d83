"""Operations: the list, and one whole with its cause first."""

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from stormsail.web.pages.asking import Asked, Pages, Viewer, here_with, may
from stormsail.web.pages.problems import PageRoute
from stormsail.web.pages.words import timeline_address
from stormsail.web.sources.engine import NotThere
from stormsail.web.sources.held import SourceFailed
from stormsail.web.views.operation import OperationView, read_operation
from stormsail.web.views.operations import read_operations

router = APIRouter(route_class=PageRoute)

STATES = ("running", "waiting", "succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is narrowed to."""

    state: str
    application: str
    account: str


@router.get("/operations")
async def operations(
    request: Request,
    sources: Asked,
    pages: Pages,
    who: Viewer,
    state: str = "",
    application: str = "",
    account: str = "",
    cursor: str = "",
) -> Response:
    """List operations; the filters are in the address."""
    filters = Filters(state if state in STATES else "", application.strip(), account)
    view = await read_operations(
        sources,
        application=filters.application,
        account=account,
        state=filters.state,
        cursor=cursor,
        sees=who.sees,
    )
    return pages.page(
        request,
        "operations.html",
        title="Operations",
        section="operations",
        topics=("operations", "engine"),
        sources=view.sources,
        view=view,
        may=may(who),
        filters=filters,
        states=STATES,
        accounts=sorted(sources.accounts),
        first_href=here_with(request, cursor="") if cursor else "",
        next_href=here_with(request, cursor=view.next_cursor) if view.next_cursor else "",
    )


@router.get("/operations/{operation_id}")
async def operation(request: Request, operation_id: str, sources: Asked, pages: Pages, who: Viewer) -> Response:
    """Show one operation: why first, then what it did."""
    view = await read_operation(sources, operation_id)
    if view is None:
        raise SourceFailed("The engine does not answer, and this operation was not looked at before.")
    row = view.operation
    if not who.sees(row.application, row.account):
        raise NotThere(f"No operation {operation_id!r} is known.")
    return pages.page(
        request,
        "operation.html",
        title=f"{view.operation.operation_type or 'Operation'} {view.operation.cluster}",
        section="operations",
        topics=("operations", f"operation:{view.operation.operation_id}", "engine"),
        sources=view.sources,
        timeline=True,
        first_rows="",
        preload=timeline_address(row.workflow_id, row.operation_id),
        view=view,
        may=may(who, row.application, row.account),
        roll_back=_roll_back(view),
    )


def _roll_back(view: OperationView) -> dict[str, str]:
    """Return what a rollback of this deployment would take back, or nothing where it deployed nothing."""
    made = view.output.get("server_group")
    if view.operation.operation_type not in ("createServerGroup", "cloneServerGroup") or not isinstance(made, str):
        return {}
    return {"application": view.operation.application, "account": view.operation.account, "server_group": made}
