"""Applications, their clusters and their server groups, as each account's cloud shows them."""

import asyncio
from dataclasses import dataclass

from stormsail.delivery.client_types import ApplicationNotFound
from stormsail.delivery.model.server_group import Health, Observation, ServerGroup
from stormsail.delivery.providers.sharing import Part, request_shares
from stormsail.web.sources.held import Reading, Source
from stormsail.web.sources.sources import Sources
from stormsail.web.views.access import Sees, sees_all
from stormsail.web.views.operations import OperationRow, read_operations

FRESH_MS = 2_000
"""Reading a cloud costs it calls; this young a reading is shown again."""

OPERATIONS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class InstanceView:
    """One instance."""

    id: str
    health: str
    address: str
    launched_at_ms: int
    detail: str


@dataclass(frozen=True, slots=True)
class ServerGroupView:
    """One version of a cluster."""

    name: str
    account: str
    location: str
    application: str
    cluster: str
    version: str
    image: str
    command: tuple[str, ...]
    enabled: bool
    weight_percent: int
    """The share of its instances that take traffic while it is enabled."""
    request_percent: int | None
    """The share of its cluster's requests that it was given; null: its part by its instances."""
    traffic_percent: int
    """The share of its cluster's requests that it gets."""
    min: int
    desired: int
    max: int
    up: int
    down: int
    starting: int
    out_of_service: int
    unknown: int
    instances: tuple[InstanceView, ...]
    created_at_ms: int
    enabled_at_ms: int
    degraded: bool
    """Whether it takes traffic with fewer healthy instances than are desired."""


@dataclass(frozen=True, slots=True)
class ClusterView:
    """All versions of one `app[-stack[-detail]]` in one account, newest first."""

    name: str
    account: str
    stack: str
    detail: str
    serving: tuple[str, ...]
    versions: tuple[str, ...]
    """What the serving groups are labelled."""
    up: int
    desired: int
    degraded: bool
    server_groups: tuple[ServerGroupView, ...]


@dataclass(frozen=True, slots=True)
class ApplicationView:
    """One application in all accounts, and its newest operations."""

    sources: tuple[Source, ...]
    name: str
    addresses: tuple[str, ...]
    clusters: tuple[ClusterView, ...]
    operations: tuple[OperationRow, ...]


@dataclass(frozen=True, slots=True)
class ApplicationRow:
    """One application in a list."""

    name: str
    accounts: tuple[str, ...]
    clusters: int
    server_groups: int
    versions: tuple[str, ...]
    up: int
    desired: int
    degraded: bool


@dataclass(frozen=True, slots=True)
class ApplicationsView:
    """Every application of every account that answers."""

    sources: tuple[Source, ...]
    applications: tuple[ApplicationRow, ...]


async def read_applications(sources: Sources, *, sees: Sees = sees_all, for_viewer: bool = True) -> ApplicationsView:
    """Read all applications. An account that fails is named in `sources` and leaves the others."""
    if for_viewer:
        sources.clouds_read_at_ms.value = sources.now_ms()
    names = await asyncio.gather(*(_names(sources, account) for account in sources.accounts))
    wanted = [
        (account, name)
        for account, reading in zip(sources.accounts, names, strict=True)
        for name in reading.value or ()
        if sees(name, account)
    ]
    seen = await asyncio.gather(*(_observed(sources, account, name) for account, name in wanted))
    rows: dict[str, list[ClusterView]] = {}
    for (_, name), reading in zip(wanted, seen, strict=True):
        if reading.value is not None:
            rows.setdefault(name, []).extend(clusters_of(reading.value))
    asked = _worst([*(reading.source for reading in names), *(reading.source for reading in seen)])
    return ApplicationsView(asked, tuple(_row(name, rows[name]) for name in sorted(rows)))


async def read_application(sources: Sources, name: str, *, sees: Sees = sees_all) -> ApplicationView | None:
    """Read one application in all accounts that may be seen; None when every account answered and none has it."""
    sources.clouds_read_at_ms.value = sources.now_ms()
    accounts = [account for account in sources.accounts if sees(name, account)]
    readings = await asyncio.gather(*(_observed(sources, account, name) for account in accounts))
    clusters = [cluster for reading in readings if reading.value for cluster in clusters_of(reading.value)]
    asked = _worst([reading.source for reading in readings])
    if not clusters and not any(source.error for source in asked):
        return None
    operations = await read_operations(sources, application=name, limit=500, sees=sees)
    return ApplicationView(
        sources=(*asked, *operations.sources),
        name=name,
        addresses=tuple(reading.value.address for reading in readings if reading.value and reading.value.address),
        clusters=tuple(clusters),
        operations=operations.operations[:OPERATIONS_SHOWN],
    )


def clusters_of(seen: Observation) -> list[ClusterView]:
    """Return an observation's clusters by name, each with its newest version first."""
    return [_cluster(seen, name) for name in sorted({group.cluster for group in seen.server_groups})]


async def _names(sources: Sources, account: str) -> "Reading[list[str]]":
    delivery = sources.engine.delivery
    return await sources.accounts[account].read(
        "applications", lambda: sources.engine.asked(lambda: delivery.applications(account)), fresh_ms=FRESH_MS
    )


async def _observed(sources: Sources, account: str, name: str) -> "Reading[Observation]":
    async def observe() -> Observation:
        try:
            return await sources.engine.delivery.observe(account, name)
        except ApplicationNotFound:
            # The account answered: it has nothing of this application.
            return Observation(account=account, application=name, as_of_ms=sources.now_ms(), server_groups=())

    return await sources.accounts[account].read(
        ("application", name), lambda: sources.engine.asked(observe), fresh_ms=FRESH_MS
    )


def _worst(asked: list[Source]) -> tuple[Source, ...]:
    """Return one source an account: the one that is worst off, of equals the oldest."""
    found: dict[str, Source] = {}
    for source in asked:
        other = found.get(source.name)
        if other is None or _badness(source) > _badness(other):
            found[source.name] = source
    return tuple(found.values())


def _badness(source: Source) -> tuple[int, int]:
    return ["ok", "stale", "failed"].index(source.status.value), source.age_ms or 0


def _row(name: str, clusters: list[ClusterView]) -> ApplicationRow:
    return ApplicationRow(
        name=name,
        accounts=tuple(sorted({cluster.account for cluster in clusters})),
        clusters=len(clusters),
        server_groups=sum(len(cluster.server_groups) for cluster in clusters),
        versions=tuple(dict.fromkeys(version for cluster in clusters for version in cluster.versions)),
        up=sum(cluster.up for cluster in clusters),
        desired=sum(cluster.desired for cluster in clusters),
        degraded=any(cluster.degraded for cluster in clusters),
    )


def _cluster(seen: Observation, name: str) -> ClusterView:
    groups = seen.cluster(name)
    serving = [group for group in groups if group.enabled]
    shares = request_shares([Part(group.name, group.count(Health.UP), group.request_percent) for group in serving])
    views = tuple(_group(group, seen.application, shares.get(group.name, 0.0)) for group in reversed(groups))
    moniker = groups[0].moniker
    return ClusterView(
        name=name,
        account=seen.account,
        stack=moniker.stack,
        detail=moniker.detail,
        serving=tuple(group.name for group in serving),
        versions=tuple(group.launch.version for group in serving if group.launch.version),
        up=sum(group.count(Health.UP) for group in serving),
        desired=sum(group.capacity.desired for group in serving),
        degraded=any(view.degraded for view in views),
        server_groups=views,
    )


def _group(group: ServerGroup, application: str, share: float) -> ServerGroupView:
    up = group.count(Health.UP)
    # One that was given no requests at all has its instances out of service, and nothing is the matter with it.
    able = up + (group.count(Health.OUT_OF_SERVICE) if group.request_percent == 0 else 0)
    return ServerGroupView(
        name=group.name,
        account=group.account,
        location=group.location,
        application=application,
        cluster=group.cluster,
        version=group.launch.version,
        image=group.launch.image,
        command=group.launch.command,
        enabled=group.enabled,
        weight_percent=group.weight_percent,
        request_percent=group.request_percent,
        traffic_percent=round(100 * share),
        min=group.capacity.min,
        desired=group.capacity.desired,
        max=group.capacity.max,
        up=up,
        down=group.count(Health.DOWN),
        starting=group.count(Health.STARTING),
        out_of_service=group.count(Health.OUT_OF_SERVICE),
        unknown=group.count(Health.UNKNOWN),
        instances=tuple(
            InstanceView(one.id, one.health.value, one.address, one.launched_at_ms, one.detail)
            for one in group.instances
        ),
        created_at_ms=group.created_at_ms,
        enabled_at_ms=group.enabled_at_ms,
        degraded=group.enabled and able < group.capacity.desired * group.weight_percent / 100,
    )
