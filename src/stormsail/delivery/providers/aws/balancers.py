"""Load balancers with their listeners and target groups, made and kept as described."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from stormsail.delivery.model.names import parse_name
from stormsail.delivery.model.network import Listener, LoadBalancer, Pool, PoolHealth, Route
from stormsail.delivery.providers.aws import launch, ledger, owning
from stormsail.delivery.providers.aws.calls import Answer, Calls
from stormsail.delivery.providers.aws.creating import done
from stormsail.delivery.providers.aws.ledger import Entry
from stormsail.delivery.providers.aws.reading import Reading
from stormsail.delivery.providers.aws.settings import described
from stormsail.delivery.providers.aws.weights import named
from stormsail.delivery.providers.errors import Conflict, InvalidLaunch, NotFound
from stormsail.delivery.providers.provider import DeleteLoadBalancer, Progress, UpsertLoadBalancer

POOL: Final = "stormsail:pool:"
"""A tag for each target group that was made for a load balancer: it is found again when no listener names it."""
OF: Final = "stormsail:load-balancer"
"""The tag of a target group that says which load balancer it was made for."""
NAME_MAX: Final = 32
TAGGED_AT_ONCE_MAX: Final = 20
_HEALTH: Final = {
    "path": "HealthCheckPath",
    "interval": "HealthCheckIntervalSeconds",
    "timeout": "HealthCheckTimeoutSeconds",
    "healthy_threshold": "HealthyThresholdCount",
    "unhealthy_threshold": "UnhealthyThresholdCount",
}


class BalancerSettings(BaseModel):
    """The `settings` of a load balancer on AWS."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    subnets: tuple[str, ...] = Field(min_length=1)
    security_groups: tuple[str, ...] = ()
    """Ids; for application load balancers."""


@dataclass(frozen=True, slots=True)
class There:
    """One load balancer as it was read."""

    arn: str
    answer: Answer
    tags: Mapping[str, str]
    listeners: Sequence[Answer]
    pools: Mapping[str, Answer]
    """By name: those that a listener names, and those that the tags name."""
    owned: frozenset[str]
    """The names of those that were made for it."""


class Balancers:
    """The load balancers of one account in one region."""

    def __init__(self, calls: Calls, reading: Reading) -> None:
        self._calls = calls
        self._reading = reading

    async def carry(self, token: str, change: UpsertLoadBalancer | DeleteLoadBalancer) -> Progress:
        """Begin the change unless it was, and mend what differs from what is wished."""
        if isinstance(change, UpsertLoadBalancer):
            _check(change.load_balancer)
        there = await self._read(change.name)
        if there is None:
            if isinstance(change, DeleteLoadBalancer):
                return done(change.name, change.kind)
            await self._make(token, change)
            return Progress(done=False, detail=f"load balancer {change.name} was made")
        entry = owning.entry_of(token, change, there.tags)
        if entry is None:
            entry = owning.new_entry(token, change, there.tags)
            if isinstance(change, UpsertLoadBalancer):
                await self._check_leaving(there, change.load_balancer)
            await self._tag(there.arn, dict([entry.tag]), ledger.superfluous(ledger.entries(there.tags)))
            return Progress(done=False, detail=f"{change.kind} of {change.name} was begun")
        ended = owning.answer(entry, change, there.tags)
        if ended is not None:
            return ended
        if isinstance(change, DeleteLoadBalancer):
            return await self._delete(there, change)
        mended = await self._mend(there, change.load_balancer)
        if mended or there.answer.get("State", {}).get("Code") == "provisioning":
            return Progress(done=False, detail=mended or "AWS is still setting it up")
        await self._tag(there.arn, owning.ended(entry))
        return done(change.name, change.kind)

    async def cancel(self, token: str, change: UpsertLoadBalancer | DeleteLoadBalancer) -> Progress:
        """Let nobody carry the change on; what was reached stays for the operation to put back."""
        there = await self._read(change.name)
        entry = owning.entry_of(token, change, there.tags) if there is not None else None
        if there is not None and entry is not None and owning.answer(entry, change, there.tags) is None:
            await self._tag(there.arn, owning.cancelled(entry))
        return Progress(done=True, detail=f"{change.kind} of {change.name} goes no further")

    async def observe(self, application: str) -> tuple[LoadBalancer, ...]:
        """Read an application's load balancers, sorted by name."""
        answers = await self._calls.pages("elbv2", "describe_load_balancers", "LoadBalancers")
        near = [one for one in answers if str(one["LoadBalancerName"]).partition("-")[0] == application]
        tags = await self._tags([str(one["LoadBalancerArn"]) for one in near])
        ours = sorted(
            str(one["LoadBalancerName"])
            for one in near
            if tags.get(str(one["LoadBalancerArn"]), {}).get(ledger.APPLICATION) == application
        )
        groups = await self._reading.groups(application) if ours else ()
        serving = {arn: group.name for group in groups if group.traffic.share for arn in group.target_groups}
        found = [there for name in ours if (there := await self._read(name)) is not None]
        return tuple(_observed(there, serving) for there in found)

    async def _read(self, name: str) -> There | None:
        try:
            answers = await self._calls.pages("elbv2", "describe_load_balancers", "LoadBalancers", Names=[name])
        except NotFound:
            return None
        if not answers:
            return None
        arn = str(answers[0]["LoadBalancerArn"])
        tags = (await self._tags([arn])).get(arn, {})
        listeners = await self._calls.pages("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=arn)
        arns = sorted({one for listener in listeners for one in _weights(listener)})
        pools: dict[str, Answer] = {}
        if arns:
            said = await self._calls.pages("elbv2", "describe_target_groups", "TargetGroups", TargetGroupArns=arns)
            pools |= {str(one["TargetGroupName"]): one for one in said}
        for pool in (key.removeprefix(POOL) for key in tags if key.startswith(POOL)):
            if pool not in pools and (answer := await self._pool(pool)) is not None:
                pools[pool] = answer
        said_of = await self._tags([str(one["TargetGroupArn"]) for one in pools.values()])
        owned = {pool for pool, one in pools.items() if said_of.get(str(one["TargetGroupArn"]), {}).get(OF) == name}
        return There(arn, answers[0], tags, listeners, pools, frozenset(owned))

    async def _make(self, token: str, change: UpsertLoadBalancer) -> None:
        wished, settings = change.load_balancer, _check(change.load_balancer)
        groups = {"SecurityGroups": list(settings.security_groups)} if settings.security_groups else {}
        tags = owning.own(parse_name(change.name).app, owning.new_entry(token, change, {}))
        try:
            await self._calls.write(
                "elbv2",
                "create_load_balancer",
                Name=change.name,
                Type=wished.kind,
                Scheme="internal" if wished.internal else "internet-facing",
                Subnets=list(settings.subnets),
                Tags=launch.tag_list(tags),
                **groups,
            )
        except Conflict:
            return  # Another worker was faster; the next look finds what it made, or what is not ours.

    async def _mend(self, there: There, wished: LoadBalancer) -> str:
        """Take the next step towards what is wished; say which, or an empty text when there is none."""
        settings = _check(wished)
        _check_kept(there, wished)
        if set(settings.security_groups) != set(there.answer.get("SecurityGroups", [])):
            groups = list(settings.security_groups)
            await self._calls.write("elbv2", "set_security_groups", LoadBalancerArn=there.arn, SecurityGroups=groups)
            return "its security groups were set"
        for pool in wished.pools:
            if step := await self._mend_pool(there, pool):
                return step
        if step := await self._mend_listeners(there, wished):
            return step
        for name in sorted(there.owned - {pool.name for pool in wished.pools}):
            await self._remove_pool(there, name)
            return f"pool {name} was removed"
        return ""

    async def _mend_pool(self, there: There, pool: Pool) -> str:
        known = there.pools.get(pool.name)
        tag = POOL + pool.name
        if known is None:
            if tag not in there.tags:
                await self._tag(there.arn, {tag: ""})
            try:
                await self._calls.write(
                    "elbv2",
                    "create_target_group",
                    Name=pool.name,
                    Protocol=pool.protocol,
                    Port=pool.port,
                    VpcId=there.answer["VpcId"],
                    TargetType="instance",
                    Tags=launch.tag_list({OF: str(there.answer["LoadBalancerName"])}),
                    **_health(pool),
                )
            except Conflict:
                return f"pool {pool.name} exists already"  # The next look finds whose it is.
            return f"pool {pool.name} was made"
        if pool.name not in there.owned:
            raise Conflict(f"target group {pool.name} exists and was not made for this load balancer: use another name")
        if (str(known["Protocol"]), int(known["Port"])) != (pool.protocol, pool.port):
            raise Conflict(
                f"pool {pool.name} has {known['Protocol']} on port {known['Port']}, which AWS cannot change: "
                "describe a pool of another name instead"
            )
        wanted = _health(pool)
        if any(known.get(key) != value for key, value in wanted.items()):
            arn = known["TargetGroupArn"]
            await self._calls.write("elbv2", "modify_target_group", TargetGroupArn=arn, **wanted)
            return f"the health check of pool {pool.name} was changed"
        return ""

    async def _mend_listeners(self, there: There, wished: LoadBalancer) -> str:
        known = {int(one["Port"]): one for one in there.listeners}
        arns = {name: str(pool["TargetGroupArn"]) for name, pool in there.pools.items()}
        for listener in wished.listeners:
            now = known.pop(listener.port, None)
            had = _weights(now) if now is not None else {}
            action = _action(listener, arns, had)
            certificates = [{"CertificateArn": arn} for arn in listener.certificates[:1]]
            asked: dict[str, Any] = {"Protocol": listener.protocol, "Port": listener.port, "DefaultActions": [action]}
            if certificates:
                asked["Certificates"] = certificates
            if now is None:
                with contextlib.suppress(Conflict):  # Another worker was faster.
                    await self._calls.write("elbv2", "create_listener", LoadBalancerArn=there.arn, **asked)
                return f"the listener on port {listener.port} was made"
            same = str(now["Protocol"]) == listener.protocol and had == _weights({"DefaultActions": [action]})
            held = [{"CertificateArn": one["CertificateArn"]} for one in now.get("Certificates", [])][:1]
            if not same or (certificates and certificates != held):
                await self._calls.write("elbv2", "modify_listener", ListenerArn=now["ListenerArn"], **asked)
                return f"the listener on port {listener.port} was changed"
        for port, left in known.items():
            await self._calls.write("elbv2", "delete_listener", ListenerArn=left["ListenerArn"])
            return f"the listener on port {port} was removed"
        return ""

    async def _delete(self, there: There, change: DeleteLoadBalancer) -> Progress:
        """Listeners first, so that the target groups can go; the load balancer last, because its tags name them."""
        for listener in there.listeners:
            await self._calls.write("elbv2", "delete_listener", ListenerArn=listener["ListenerArn"])
        for name in sorted(there.owned):
            await self._remove_pool(there, name)
        try:
            await self._calls.write("elbv2", "delete_load_balancer", LoadBalancerArn=there.arn)
        except NotFound:
            return done(change.name, change.kind)
        return Progress(done=False, detail=f"load balancer {change.name} is being removed")

    async def _remove_pool(self, there: There, name: str) -> None:
        try:
            arn = there.pools[name]["TargetGroupArn"]
            await self._calls.write("elbv2", "delete_target_group", TargetGroupArn=arn)
        except NotFound:
            pass  # Somebody removed it; what is left to do is the tag.
        await self._calls.write("elbv2", "remove_tags", ResourceArns=[there.arn], TagKeys=[POOL + name])

    async def _check_leaving(self, there: There, wished: LoadBalancer) -> None:
        """Raise Conflict where a pool is to go that still has instances, before anything is changed."""
        for name in sorted(there.owned - {pool.name for pool in wished.pools}):
            arn = str(there.pools[name]["TargetGroupArn"])
            if (await self._reading.targets([arn]))[arn]:
                raise Conflict(f"pool {name} still has instances: disable or destroy their server groups first")

    async def _pool(self, name: str) -> Answer | None:
        try:
            found = await self._calls.pages("elbv2", "describe_target_groups", "TargetGroups", Names=[name])
        except NotFound:
            return None
        return next(iter(found), None)

    async def _tags(self, arns: Sequence[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for at in range(0, len(arns), TAGGED_AT_ONCE_MAX):
            some = list(arns[at : at + TAGGED_AT_ONCE_MAX])
            answer = await self._calls.read("elbv2", "describe_tags", ResourceArns=some)
            listed = answer.get("TagDescriptions", [])
            found |= {str(one["ResourceArn"]): launch.read_tags(one.get("Tags", [])) for one in listed}
        return found

    async def _tag(self, arn: str, tags: dict[str, str], old: Sequence[Entry] = ()) -> None:
        if old:
            keys = [one.tag[0] for one in old]
            await self._calls.write("elbv2", "remove_tags", ResourceArns=[arn], TagKeys=keys)
        await self._calls.write("elbv2", "add_tags", ResourceArns=[arn], Tags=launch.tag_list(tags))


def _check(wished: LoadBalancer) -> BalancerSettings:
    """Read the settings. Raises InvalidLaunch naming what AWS would not take."""
    try:
        settings = BalancerSettings.model_validate(wished.settings)
    except ValidationError as error:
        raise InvalidLaunch(f"settings: {described(error, 'a load balancer on AWS')}") from None
    for field, name in [("name", wished.name), *((f"pools.{n}.name", one.name) for n, one in enumerate(wished.pools))]:
        if len(name) > NAME_MAX or not name.replace("-", "").isalnum() or name.startswith("internal-"):
            raise InvalidLaunch(f"{field}: {name!r}: AWS takes up to {NAME_MAX} letters, digits and hyphens")
    protocols = {one.protocol for one in wished.listeners} | {one.protocol for one in wished.pools}
    if wished.kind == "network" and protocols - {"TCP"}:
        raise InvalidLaunch("listeners: a network load balancer has TCP listeners and pools alone")
    if wished.kind == "application" and "TCP" in protocols:
        raise InvalidLaunch("listeners: an application load balancer has HTTP and HTTPS listeners and pools alone")
    if empty := next((one.port for one in wished.listeners if not one.routes), None):
        raise InvalidLaunch(f"listeners: the one on port {empty} needs a route to a pool")
    return settings


def _check_kept(there: There, wished: LoadBalancer) -> None:
    scheme = "internal" if wished.internal else "internet-facing"
    for what, now, then in (
        ("loadBalancerType", there.answer.get("Type"), wished.kind),
        ("isInternal", there.answer.get("Scheme"), scheme),
    ):
        if now != then:
            raise Conflict(f"{wished.name} is {now}, which AWS cannot change ({what}): make one of another name")


def _health(pool: Pool) -> dict[str, Any]:
    said = {key: getattr(pool.health, name) for name, key in _HEALTH.items()}
    if pool.protocol == "TCP":
        said.pop("HealthCheckPath")
        return {**said, "HealthCheckProtocol": "TCP"}
    return {**said, "HealthCheckProtocol": pool.protocol}


def _action(listener: Listener, arns: Mapping[str, str], had: Mapping[str, int]) -> dict[str, Any]:
    """Return what a listener is to do. Weights of pools that it sends to already are those that they have."""
    routes = [(arns[route.pool], had.get(arns[route.pool], route.weight)) for route in listener.routes]
    if len(routes) == 1:
        routes = [(routes[0][0], routes[0][1] or 1)]
    groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in routes]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}


def _weights(listener: Mapping[str, Any]) -> dict[str, int]:
    """Return the target groups that a listener sends to by default, with their weights."""
    for action in listener.get("DefaultActions", []):
        tuples = action.get("ForwardConfig", {}).get("TargetGroups", [])
        if tuples:
            return {str(one["TargetGroupArn"]): int(one.get("Weight", 1)) for one in tuples}
        if "TargetGroupArn" in action:
            return {str(action["TargetGroupArn"]): 1}
    return {}


def _observed(there: There, serving: Mapping[str, str]) -> LoadBalancer:
    answer = there.answer
    listeners = [
        Listener(
            port=int(one["Port"]),
            protocol=one["Protocol"],
            certificates=tuple(str(held["CertificateArn"]) for held in one.get("Certificates", [])),
            routes=tuple(Route(pool=named(arn), weight=weight) for arn, weight in _weights(one).items()),
        )
        for one in there.listeners
    ]
    pools = [
        Pool(
            name=name,
            protocol=one["Protocol"],
            port=int(one["Port"]),
            health=PoolHealth.model_construct(
                **{field: one[key] for field, key in _HEALTH.items() if one.get(key) is not None}
            ),
        )
        for name, one in there.pools.items()
    ]
    zones = answer.get("AvailabilityZones", [])
    settings: dict[str, Any] = {"subnets": sorted(str(zone["SubnetId"]) for zone in zones if zone.get("SubnetId"))}
    if answer.get("SecurityGroups"):
        settings["security_groups"] = sorted(str(one) for one in answer["SecurityGroups"])
    port = f":{listeners[0].port}" if listeners else ""
    arns = {str(one["TargetGroupArn"]) for one in there.pools.values()}
    return LoadBalancer.model_construct(
        name=str(answer["LoadBalancerName"]),
        kind=str(answer.get("Type", "application")),
        internal=answer.get("Scheme") == "internal",
        listeners=tuple(sorted(listeners, key=lambda one: one.port)),
        pools=tuple(sorted(pools, key=lambda one: one.name)),
        settings=settings,
        address=f"{answer['DNSName']}{port}",
        serves=tuple(sorted({group for arn, group in serving.items() if arn in arns})),
    )
