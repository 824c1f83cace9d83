"""What is deployed: the overview, applications, clusters and server groups."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from stormsail.delivery.records.keys import Role
from stormsail.web.api.context import READ, READ_ONE, Here, Who, answered
from stormsail.web.problems import Problem
from stormsail.web.views.applications import (
    ApplicationsView,
    ApplicationView,
    ClusterView,
    ServerGroupView,
    read_application,
    read_applications,
)
from stormsail.web.views.overview import OverviewView, read_overview

router = APIRouter(tags=["deployed"])


@router.get("/overview", response_model=OverviewView, responses=READ)
async def get_overview(request: Request, web: Here, who: Who) -> Response:
    """Show what needs a person first, then what runs, then what was done."""
    return answered(request, await read_overview(web.sources, sees=who.sees))


@router.get("/applications", response_model=ApplicationsView, responses=READ)
async def list_applications(request: Request, web: Here, who: Who) -> Response:
    """List the applications of every account; an account that fails is told in `sources`."""
    return answered(request, await read_applications(web.sources, sees=who.sees))


@router.get("/applications/{application}", response_model=ApplicationView, responses=READ_ONE)
async def get_application(request: Request, application: str, web: Here, who: Who) -> Response:
    """Show one application: its clusters, their server groups with instances, and its newest operations."""
    return answered(request, await _application(web, who, application))


@router.get("/applications/{application}/clusters/{account}/{cluster}", response_model=ClusterView, responses=READ_ONE)
async def get_cluster(request: Request, application: str, account: str, cluster: str, web: Here, who: Who) -> Response:
    """Show one cluster."""
    seen = await _application(web, who, application)
    found = next((one for one in seen.clusters if one.account == account and one.name == cluster), None)
    if found is None:
        raise _absent(seen, f"cluster {cluster!r} in account {account!r}")
    return answered(request, found)


@router.get(
    "/applications/{application}/server-groups/{account}/{server_group}",
    response_model=ServerGroupView,
    responses=READ_ONE,
)
async def get_server_group(
    request: Request, application: str, account: str, server_group: str, web: Here, who: Who
) -> Response:
    """Show one server group with its instances."""
    seen = await _application(web, who, application)
    found = next(
        (
            group
            for cluster in seen.clusters
            if cluster.account == account
            for group in cluster.server_groups
            if group.name == server_group
        ),
        None,
    )
    if found is None:
        raise _absent(seen, f"server group {server_group!r} in account {account!r}")
    return answered(request, found)


async def _application(web: Here, who: Who, name: str) -> ApplicationView:
    seen = await read_application(web.sources, name, sees=who.sees)
    if seen is None:
        if not any(who.may(Role.READ, name, account) for account in web.sources.accounts):
            who.must(Role.READ, name)
        raise Problem("not-found", f"no account has an application {name!r}", "GET /api/v1/applications lists them")
    return seen


def _absent(seen: ApplicationView, what: str) -> Problem:
    failing = [source for source in seen.sources if source.error]
    if failing:
        return Problem("source-away", f"{failing[0].name}: {failing[0].error}", "come again", retry_after_s=2)
    return Problem("not-found", f"application {seen.name!r} has no {what}", "read the application: it names them all")
