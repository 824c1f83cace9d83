"""The state of the model cloud, shared by every provider that is opened on it, as a real cloud is by its workers.

Nothing here awaits, so each verb is one atomic step. Instances change with the clock alone: they become healthy,
or not, as the launch's settings say.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

from stormsail.delivery.model.names import parse_name
from stormsail.delivery.model.network import LoadBalancer, Network, SecurityGroup
from stormsail.delivery.model.server_group import Capacity, Health, Instance, LaunchSpec, ServerGroup
from stormsail.delivery.providers.errors import Conflict, InvalidLaunch, NotFound, Permanent
from stormsail.delivery.providers.provider import (
    Change,
    CreateServerGroup,
    DeleteLoadBalancer,
    DeleteSecurityGroup,
    DeregisterInstances,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    Progress,
    RegisterInstances,
    ResizeServerGroup,
    ShiftTraffic,
    TerminateInstances,
    UpsertLoadBalancer,
    UpsertSecurityGroup,
)
from stormsail.delivery.providers.sharing import Part, request_shares

ADDRESS: Final = "model:80"
SETTINGS: Final = frozenset({"healthy_after_ms", "never_healthy", "not_launchable", "sick_under_traffic"})
"""What a launch may set here: how its instances turn out."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect that the cloud had, for tests to compare."""

    kind: str
    name: str
    detail: str = ""


@dataclass
class _Group:
    name: str
    capacity: Capacity
    launch: LaunchSpec
    created_at_ms: int
    token: str
    enabled: bool = False
    enabled_at_ms: int = 0
    weight_percent: int = 100
    request_percent: int | None = None
    launched: list[tuple[str, int, int]] = field(default_factory=list)
    """(instance id, launched at, healthy after so many milliseconds), oldest first."""
    ever_launched: int = 0
    out: frozenset[str] = frozenset()
    """Instances that were taken out of traffic one by one."""

    def in_traffic(self, position: int) -> bool:
        """Tell whether an instance takes its part of the group's traffic."""
        share = _share(len(self.launched), self.weight_percent) if self.enabled else 0
        return position < share and self.launched[position][0] not in self.out


@dataclass
class _Begun:
    change: Change
    resumes_left: int
    before: "_Group | None"
    """The group as it was, for a cancel to put back."""
    done: bool = False
    cancelled: bool = False


class ModelCloud:
    """One account's cloud. `changes_take` is how often a change must be resumed before it is done."""

    def __init__(
        self,
        clock_ms: Callable[[], int],
        *,
        changes_take: int = 1,
        capacity_limit: int = 1000,
        after: Callable[[Effect], None] | None = None,
        boots_ms: Callable[[str], int] = lambda _: 0,
    ) -> None:
        """Open an empty cloud. `boots_ms` says how long an instance takes to start beyond what its launch says."""
        self.effects: list[Effect] = []
        self._clock_ms = clock_ms
        self._changes_take = changes_take
        self._capacity_limit = capacity_limit
        self._after = after
        self._boots_ms = boots_ms
        self._groups: dict[str, _Group] = {}
        self._begun: dict[str, _Begun] = {}
        self._balancers: dict[str, LoadBalancer] = {}
        self._firewalls: dict[str, SecurityGroup] = {}

    def begin(self, token: str, change: Change) -> Progress:
        """Start a change, or find it begun."""
        known = self._begun.get(token)
        if known is None:
            before = self._groups.get(change.name)
            known = _Begun(change, self._changes_take, None if before is None else replace(before))
            known.done = self._gone_already(change)
            self._effect_of(change, token)
            self._begun[token] = known
        elif known.change != change:
            raise Conflict(f"token {token} was begun as {known.change.kind} of {known.change.name}")
        return self._standing(known)

    def resume(self, token: str, change: Change) -> Progress:
        """Carry a change further."""
        if token not in self._begun:
            return self.begin(token, change)
        begun = self._begun[token]
        if begun.change != change:
            raise Conflict(f"token {token} was begun as {begun.change.kind} of {begun.change.name}")
        begun.resumes_left = max(0, begun.resumes_left - 1)
        return self._standing(begun)

    def cancel(self, token: str, change: Change) -> Progress:
        """Stop a change; a half made server group is taken away again, a half enabled one is as it was."""
        begun = self._begun.get(token)
        if begun is None or begun.done:
            return Progress(done=True)
        if isinstance(change, TerminateInstances):
            begun.done = True  # It cannot be undone, so it is carried to its end.
            return Progress(done=True)
        begun.cancelled = begun.done = True
        group = self._groups.get(change.name)
        if (
            isinstance(change, RegisterInstances | DeregisterInstances)
            and group is not None
            and begun.before is not None
        ):
            group.out = begun.before.out
            self._happened(f"cancel {change.kind.removesuffix('Instances')}", change.name)
        if isinstance(change, CreateServerGroup) and group is not None:
            del self._groups[change.name]
            self._happened("cancel create", change.name)
        if isinstance(change, ShiftTraffic) and group is not None and begun.before is not None:
            group.request_percent = begun.before.request_percent
            self._happened("cancel shift", change.name)
        if (
            isinstance(change, EnableServerGroup | DisableServerGroup)
            and group is not None
            and begun.before is not None
        ):
            group.enabled, group.weight_percent = begun.before.enabled, begun.before.weight_percent
            group.enabled_at_ms, group.out = begun.before.enabled_at_ms, begun.before.out
            self._happened(f"cancel {change.kind.removesuffix('ServerGroup')}", change.name)
        return Progress(done=True)

    def _gone_already(self, change: Change) -> bool:
        match change:
            case DestroyServerGroup(name=name):
                return name not in self._groups
            case DeleteLoadBalancer(name=name):
                return name not in self._balancers
            case DeleteSecurityGroup(name=name):
                return name not in self._firewalls
        return False

    def network(self, application: str) -> Network:
        """Read the load balancers and security groups of an application."""
        balancers = [one for name, one in sorted(self._balancers.items()) if parse_name(name).app == application]
        groups = [one for one in self._groups.values() if parse_name(one.name).app == application]
        firewalls = [one for name, one in sorted(self._firewalls.items()) if parse_name(name).app == application]
        address = {"address": ADDRESS, "serves": tuple(one.name for one in groups if one.enabled)}
        return Network(
            load_balancers=tuple(one.model_copy(update=address) for one in balancers), security_groups=tuple(firewalls)
        )

    def server_groups(self, account: str, application: str) -> tuple[ServerGroup, ...]:
        """Read an application, oldest first."""
        groups = [group for group in self._groups.values() if parse_name(group.name).app == application]
        return tuple(self._observed(group, account) for group in groups)

    def applications(self) -> tuple[str, ...]:
        """Read the applications that have server groups."""
        return tuple(sorted({parse_name(name).app for name in self._groups}))

    def put_capacity(self, name: str, capacity: Capacity) -> None:
        """Change a capacity behind everybody's back, as an autoscaler does."""
        self._sized(self._groups[name], capacity)

    def break_group(self, name: str) -> None:
        """Make all instances of a group sick from now on."""
        group = self._groups[name]
        group.launch = group.launch.model_copy(update={"settings": {"never_healthy": True}})

    def _standing(self, begun: _Begun) -> Progress:
        if begun.cancelled:
            raise Conflict(f"{begun.change.kind} of {begun.change.name} was cancelled")
        detail = f"{begun.change.kind} {begun.change.name}"
        if not begun.done and isinstance(begun.change, EnableServerGroup):
            group = self._group(begun.change.name)
            # One that was given no share of the requests is ready for them all the same.
            gets = self._gets_requests(group)
            ready = {Health.UP} if gets else {Health.UP, Health.OUT_OF_SERVICE}
            up = sum(instance.health in ready for instance in self._observed(group, "").instances)
            wanted = _share(len(group.launched), group.weight_percent)
            if up < wanted:
                return Progress(done=False, detail=f"{up} of {wanted} instances are healthy and take traffic")
        if not begun.done and isinstance(begun.change, RegisterInstances):
            group = self._group(begun.change.name)
            waiting = [
                one.id
                for position, one in enumerate(self._observed(group, "").instances)
                if one.id in begun.change.instances and group.in_traffic(position) and one.health is not Health.UP
            ]
            if waiting and self._gets_requests(group):
                return Progress(done=False, detail=f"{', '.join(waiting)} not healthy yet")
        begun.done = begun.done or begun.resumes_left == 0
        return Progress(done=begun.done, detail=detail)

    def _effect_of(self, change: Change, token: str) -> None:
        match change:
            case CreateServerGroup():
                self._create(change, token)
            case ResizeServerGroup():
                group = self._group(change.name)
                if change.expected is not None and change.expected != group.capacity:
                    there, expected = _sizes(group.capacity), _sizes(change.expected)
                    raise Conflict(f"{change.name} has capacity {there}, not {expected} as expected")
                self._limit(change.capacity.desired - len(group.launched))
                self._sized(group, change.capacity)
                self._happened("resize", change.name, _sizes(change.capacity))
            case EnableServerGroup():
                group = self._group(change.name)
                group.weight_percent = max(change.percent, group.weight_percent if group.enabled else 0)
                group.enabled, group.out = True, frozenset()
                group.enabled_at_ms = self._clock_ms()
                self._happened("enable", change.name, f"{change.percent}%")
            case DisableServerGroup():
                group = self._group(change.name)
                left = min(100 - change.percent, group.weight_percent if group.enabled else 0)
                group.enabled, group.weight_percent = left > 0, left or 100
                self._happened("disable", change.name, f"{change.percent}%")
            case ShiftTraffic():
                self._group(change.name).request_percent = change.percent
                self._happened("shift", change.name, "by instances" if change.percent is None else f"{change.percent}%")
            case DestroyServerGroup():
                if self._groups.pop(change.name, None) is not None:
                    self._happened("destroy", change.name)
            case UpsertLoadBalancer():
                self._balancers[change.name] = _merged(self._balancers.get(change.name), change.load_balancer)
                self._happened("upsert load balancer", change.name)
            case DeleteLoadBalancer():
                if self._balancers.pop(change.name, None) is not None:
                    self._happened("delete load balancer", change.name)
            case UpsertSecurityGroup():
                before = self._firewalls.get(change.name)
                kept = before.ingress if before is not None and change.append_only else ()
                ingress = tuple(dict.fromkeys((*kept, *change.security_group.ingress)))
                self._firewalls[change.name] = change.security_group.model_copy(update={"ingress": ingress})
                self._happened("upsert security group", change.name)
            case DeleteSecurityGroup():
                if self._firewalls.pop(change.name, None) is not None:
                    self._happened("delete security group", change.name)
            case TerminateInstances():
                self._terminate(self._group(change.name), change)
            case RegisterInstances():
                group = self._group(change.name)
                self._known(group, change.instances, there=True)
                group.out -= set(change.instances)
                self._happened("register", change.name, " ".join(change.instances))
            case DeregisterInstances():
                group = self._group(change.name)
                self._known(group, change.instances)
                group.out |= set(change.instances)
                self._happened("deregister", change.name, " ".join(change.instances))

    def _terminate(self, group: _Group, change: TerminateInstances) -> None:
        self._known(group, change.instances)
        kept = [one for one in group.launched if one[0] not in change.instances]
        gone, group.launched = len(group.launched) - len(kept), kept
        capacity = group.capacity
        if change.shrink:
            desired = max(0, capacity.desired - gone)
            capacity = Capacity(min=min(capacity.min, desired), desired=desired, max=capacity.max)
        self._sized(group, capacity)
        self._happened("terminate", change.name, " ".join(change.instances))

    def _known(self, group: _Group, instances: tuple[str, ...], *, there: bool = False) -> None:
        """Raise NotFound for an instance that the group never had, or that it has no more where that matters."""
        running = [instance_id for instance_id, *_ in group.launched]
        for instance in instances:
            number = instance.removeprefix(f"{group.name}-")
            ever = number.isdecimal() and 0 < int(number) <= group.ever_launched
            if instance not in running and (there or not ever):
                raise NotFound(f"{group.name} has no instance {instance!r}; it has {', '.join(running) or 'none'}")

    def request_shares(self, cluster: str) -> dict[str, float]:
        """Return which share of a cluster's requests each of its groups gets."""
        groups = [group for group in self._groups.values() if parse_name(group.name).cluster == cluster]
        parts = [
            Part(one.name, sum(map(one.in_traffic, range(len(one.launched)))), one.request_percent) for one in groups
        ]
        return dict(request_shares(parts))

    def _gets_requests(self, group: _Group) -> bool:
        return self.request_shares(parse_name(group.name).cluster).get(group.name, 0) > 0

    def _create(self, change: CreateServerGroup, token: str) -> None:
        if change.name in self._groups:
            raise Conflict(f"server group {change.name} is there already")
        unknown = sorted(set(change.launch.settings) - SETTINGS)
        if unknown:
            raise InvalidLaunch(f"unknown setting {unknown[0]!r}: the model cloud knows {', '.join(sorted(SETTINGS))}")
        if change.launch.settings.get("not_launchable"):
            raise InvalidLaunch(f"{change.name}: no such command {' '.join(change.launch.command)!r}")
        self._limit(change.capacity.desired)
        now = self._clock_ms()
        group = _Group(change.name, change.capacity, change.launch, now, token)
        if change.enabled:
            group.enabled, group.enabled_at_ms = True, now
        self._groups[change.name] = group
        self._sized(group, change.capacity)
        self._happened("create", change.name, _sizes(change.capacity))

    def _limit(self, more: int) -> None:
        there = sum(len(group.launched) for group in self._groups.values())
        if there + more > self._capacity_limit:
            raise Permanent(
                f"the account may run {self._capacity_limit} instances, {there} run and {more} more are asked"
            )

    def _sized(self, group: _Group, capacity: Capacity) -> None:
        group.capacity = capacity
        del group.launched[capacity.desired :]
        while len(group.launched) < capacity.desired:
            group.ever_launched += 1
            instance_id = f"{group.name}-{group.ever_launched}"
            healthy_after_ms = int(group.launch.settings.get("healthy_after_ms", 0)) + self._boots_ms(instance_id)
            group.launched.append((instance_id, self._clock_ms(), healthy_after_ms))

    def _group(self, name: str) -> _Group:
        group = self._groups.get(name)
        if group is None:
            raise NotFound(f"there is no server group {name!r}")
        return group

    def _happened(self, kind: str, name: str, detail: str = "") -> None:
        effect = Effect(kind, name, detail)
        self.effects.append(effect)
        if self._after is not None:
            self._after(effect)

    def _observed(self, group: _Group, account: str) -> ServerGroup:
        gets_requests = self._gets_requests(group)
        instances = tuple(
            Instance(
                id=instance_id,
                health=self._health(
                    group.launch.settings,
                    launched_at_ms + healthy_after_ms,
                    serving=gets_requests and group.in_traffic(position),
                ),
                launched_at_ms=launched_at_ms,
                detail="the model's launch settings say so" if group.launch.settings else "",
            )
            for position, (instance_id, launched_at_ms, healthy_after_ms) in enumerate(group.launched)
        )
        return ServerGroup(
            name=group.name,
            account=account,
            location="model",
            capacity=group.capacity,
            enabled=group.enabled,
            weight_percent=group.weight_percent,
            request_percent=group.request_percent,
            instances=instances,
            launch=group.launch,
            created_at_ms=group.created_at_ms,
            enabled_at_ms=group.enabled_at_ms,
            token=group.token,
        )

    def _health(self, settings: dict[str, Any], healthy_at_ms: int, *, serving: bool) -> Health:
        if self._clock_ms() < healthy_at_ms:
            return Health.STARTING
        if settings.get("never_healthy") or (serving and settings.get("sick_under_traffic")):
            return Health.DOWN
        return Health.UP if serving else Health.OUT_OF_SERVICE


def _merged(before: LoadBalancer | None, wished: LoadBalancer) -> LoadBalancer:
    """Return what is wished, with the weights of pools that a listener sent to already."""
    had = {(one.port, route.pool): route for one in (before.listeners if before else ()) for route in one.routes}
    listeners = tuple(
        one.model_copy(update={"routes": tuple(had.get((one.port, route.pool), route) for route in one.routes)})
        for one in wished.listeners
    )
    return wished.wished.model_copy(update={"listeners": listeners})


def _share(count: int, percent: int) -> int:
    return math.ceil(count * percent / 100)


def _sizes(capacity: Capacity) -> str:
    return f"{capacity.min}/{capacity.desired}/{capacity.max}"
