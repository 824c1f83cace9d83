"""Giving a share of a group's instances to its target groups, and taking the others away.

Below 100 percent the group's own process that registers new instances is suspended, as Spinnaker does, and instances
are registered one by one. At 100 percent the process runs, so that instances which an autoscaler adds serve as well.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from stormsail.delivery.providers.aws.calls import Calls
from stormsail.delivery.providers.aws.ledger import Traffic
from stormsail.delivery.providers.aws.reading import Reading
from stormsail.delivery.providers.aws.view import (
    ADD_TO_LOAD_BALANCER,
    Group,
    Member,
    Targets,
    healthy_everywhere,
    serving,
)

TARGETS_AT_ONCE_MAX: Final = 100
"""Targets that one call registers or takes away."""


@dataclass(frozen=True, slots=True)
class Steered:
    """How a group's traffic stood when it was read, and whether anything had to be changed since."""

    wanted: int
    up: int
    waiting: frozenset[str]
    """Instances that are to take traffic and are not known as healthy."""
    ending: int
    """Instances that are to take no traffic and still have some."""
    changed: bool


async def keep_new_instances_out(calls: Calls, group: Group, *, out: bool) -> bool:
    """Suspend or resume the registering of new instances; return whether that had to be done."""
    if group.suspended == out:
        return False
    operation = "suspend_processes" if out else "resume_processes"
    await calls.write(
        "autoscaling", operation, AutoScalingGroupName=group.name, ScalingProcesses=[ADD_TO_LOAD_BALANCER]
    )
    return True


async def steer(calls: Calls, reading: Reading, group: Group, traffic: Traffic) -> Steered:
    """Make one pass: register what is missing, take away what is too much. Gives before it takes."""
    changed = await keep_new_instances_out(calls, group, out=traffic.share < 100)
    targets = await reading.targets(group.target_groups)
    wanted = math.ceil(group.capacity.desired * traffic.share / 100)
    chosen = _chosen(group, targets, wanted if traffic.share < 100 else len(group.staying))
    others = [member for member in group.staying if member not in chosen]
    for arn in group.target_groups:
        known = targets[arn]
        missing = [one.id for one in chosen if one.id not in known or known[one.id].draining]
        for some in _some(missing):
            await calls.write("elbv2", "register_targets", TargetGroupArn=arn, Targets=[{"Id": one} for one in some])
            changed = True
    for arn in group.target_groups:
        known = targets[arn]
        surplus = [one.id for one in others if one.id in known and not known[one.id].draining]
        for some in _some(surplus):
            await calls.write("elbv2", "deregister_targets", TargetGroupArn=arn, Targets=[{"Id": one} for one in some])
            changed = True
    waiting = frozenset(one.id for one in chosen if not healthy_everywhere(group, one, targets))
    return Steered(
        wanted=wanted,
        up=len(chosen) - len(waiting),
        waiting=waiting,
        ending=sum(any(one.id in targets[arn] for arn in group.target_groups) for one in others),
        changed=changed,
    )


def _chosen(group: Group, targets: Targets, count: int) -> list[Member]:
    """Return who is to take traffic: those that do already, then the oldest; never who is kept out."""
    have = set(serving(group, targets))
    ready = [member for member in group.staying if member.in_service and member.id not in group.out]
    return sorted(ready, key=lambda member: member not in have)[:count]


def _some(ids: list[str]) -> Iterator[list[str]]:
    return (ids[at : at + TARGETS_AT_ONCE_MAX] for at in range(0, len(ids), TARGETS_AT_ONCE_MAX))
