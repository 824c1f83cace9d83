"""What was read of AWS, as values of ours: groups, their instances, their targets and the records of their making."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from stormsail.delivery.model.server_group import Capacity, Health, Instance, LaunchSpec
from stormsail.delivery.providers.aws import ledger
from stormsail.delivery.providers.aws.ledger import Entry, Traffic

ADD_TO_LOAD_BALANCER: Final = "AddToLoadBalancer"
"""The process of an auto scaling group that gives new instances to its target groups; suspended while disabled."""

_LEAVING: Final = ("Terminat", "Detach")
_TARGETS: Final[Mapping[str, Health]] = {
    "healthy": Health.UP,
    "initial": Health.STARTING,
    "unhealthy": Health.DOWN,
    "unavailable": Health.UNKNOWN,
    "unused": Health.UNKNOWN,
}
_WORST_FIRST: Final = (Health.DOWN, Health.UNKNOWN, Health.STARTING, Health.OUT_OF_SERVICE, Health.UP)


@dataclass(frozen=True, slots=True)
class Facts:
    """What never changes about an instance."""

    launched_at_ms: int
    address: str


@dataclass(frozen=True, slots=True)
class Member:
    """One instance of an auto scaling group."""

    id: str
    lifecycle: str
    healthy: bool
    protected: bool
    facts: Facts

    @property
    def leaving(self) -> bool:
        """Whether it is on its way out."""
        return self.lifecycle.startswith(_LEAVING)

    @property
    def in_service(self) -> bool:
        """Whether it runs and has passed AWS's own checks."""
        return self.lifecycle == "InService" and self.healthy


@dataclass(frozen=True, slots=True)
class Target:
    """One instance as a target group knows it."""

    state: str
    detail: str

    @property
    def draining(self) -> bool:
        """Whether it takes no new requests and ends those it has."""
        return self.state.endswith("draining")


Targets = Mapping[str, Mapping[str, Target]]
"""By ARN of the target group, then by instance."""


@dataclass(frozen=True, slots=True)
class Group:
    """One auto scaling group. Members are sorted, oldest first."""

    name: str
    capacity: Capacity
    members: tuple[Member, ...]
    suspended: bool
    """Whether new instances are kept out of the target groups."""
    target_groups: tuple[str, ...]
    tags: Mapping[str, str]
    created_at_ms: int
    deleting: bool

    @property
    def token(self) -> str:
        """The token that made it; empty for a group that is not ours."""
        return self.tags.get(ledger.TOKEN, "")

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What tokens did to it, oldest first."""
        return ledger.entries(self.tags)

    @property
    def traffic(self) -> Traffic:
        """What share is meant to take traffic."""
        return ledger.traffic_of(self.tags.get(ledger.TRAFFIC, ""))

    @property
    def request_percent(self) -> int | None:
        """The percentage of its cluster's requests that it was given, if it was."""
        said = self.tags.get(ledger.REQUESTS, "")
        return int(said) if said.isdecimal() else None

    @property
    def out(self) -> frozenset[str]:
        """The instances that are kept out of traffic one by one."""
        return frozenset(self.tags.get(ledger.OUT, "").split())

    @property
    def staying(self) -> tuple[Member, ...]:
        """The members that are not on their way out."""
        return tuple(member for member in self.members if not member.leaving)

    def entry(self, token: str) -> Entry | None:
        """Return what a token did to it."""
        key = ledger.token_key(token)
        return next((entry for entry in self.entries if entry.key == key), None)

    def overruled(self, entry: Entry) -> bool:
        """Whether a later change decides about what this one decided."""
        return any(entry.overruled_by(other) for other in self.entries)


class Ended(StrEnum):
    """Why a token that made a group makes none any more."""

    NOT = ""
    DESTROYED = "destroyed"
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Record:
    """What a token was to make: a launch template while it may be made, and one more that says that it was ended."""

    server_group: str
    digest: str
    launch: LaunchSpec
    ended: Ended
    reason: str
    template_id: str
    """The template to launch from; empty once it was removed."""
    sealed: bool
    """Whether it ended and nothing can be launched from it."""


def serving(group: Group, targets: Targets) -> tuple[Member, ...]:
    """Return the members that any target group still gives new requests to."""
    return tuple(
        member
        for member in group.staying
        if any((target := targets[arn].get(member.id)) and not target.draining for arn in group.target_groups)
    )


def healthy_everywhere(group: Group, member: Member, targets: Targets) -> bool:
    """Whether every target group of the group knows the member as healthy."""
    return all((target := targets[arn].get(member.id)) and target.state == "healthy" for arn in group.target_groups)


def instance_of(group: Group, member: Member, targets: Targets, silent: frozenset[str] = frozenset()) -> Instance:
    """Return a member as the contract tells of instances. No request goes to the `silent` target groups."""
    health, detail = _health(group, member, targets)
    if health is Health.UP and group.target_groups and silent.issuperset(group.target_groups):
        health, detail = Health.OUT_OF_SERVICE, "healthy; its listener gives its target groups no requests"
    return Instance(
        id=member.id,
        health=health,
        address=member.facts.address,
        launched_at_ms=member.facts.launched_at_ms,
        detail=detail,
    )


def _health(group: Group, member: Member, targets: Targets) -> tuple[Health, str]:
    if member.leaving:
        return Health.DOWN, f"is on its way out ({member.lifecycle})"
    if member.lifecycle != "InService":
        health = Health.STARTING if member.lifecycle.startswith("Pending") else Health.UNKNOWN
        return health, f"its lifecycle state is {member.lifecycle}"
    if not member.healthy:
        return Health.DOWN, "the auto scaling group takes it for unhealthy and replaces it"
    if not group.target_groups:
        serves = group.traffic.enabled and member.id not in group.out
        health = Health.UP if serves else Health.OUT_OF_SERVICE
        return health, "in service; the group has no target groups"
    known = [targets[arn].get(member.id) for arn in group.target_groups]
    if not any(known) and group.traffic.share == 100 and member.id not in group.out:
        return Health.STARTING, "in service; is about to be given to its target groups"
    found = [_target_health(target) for target in known]
    if len({health for health, _ in found} & {Health.UP, Health.OUT_OF_SERVICE}) == 2:
        return Health.STARTING, "only some of its target groups know it"
    return min(found, key=lambda one: _WORST_FIRST.index(one[0]))


def _target_health(target: Target | None) -> tuple[Health, str]:
    if target is None:
        return Health.OUT_OF_SERVICE, "in service; takes no traffic"
    if target.draining:
        return Health.OUT_OF_SERVICE, target.detail or "ends the requests that it has"
    return _TARGETS.get(target.state, Health.UNKNOWN), target.detail or f"the target group says {target.state}"


def milliseconds(instant: Any) -> int:
    """Return an instant of AWS's as milliseconds; 0 for none."""
    return int(instant.timestamp() * 1000) if isinstance(instant, datetime) else 0
