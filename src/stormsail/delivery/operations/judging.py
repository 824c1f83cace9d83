"""Judging one observation: is what was awaited there? Pure, so that every way of waiting judges alike."""

from typing import Final

from stormsail.delivery.model.server_group import Health, Observation, ServerGroup
from stormsail.delivery.model.traffic_guard import TrafficGuards
from stormsail.delivery.operations.orders import (
    ChangeOrder,
    ChangeOutcome,
    DownOrder,
    HealthGuard,
    Outage,
    UpOrder,
    WaitOutcome,
)
from stormsail.delivery.providers.provider import (
    DeregisterInstances,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    ResizeServerGroup,
    ShiftTraffic,
    TerminateInstances,
)
from stormsail.delivery.providers.sharing import WHOLE

TRAFFIC_GUARD: Final = "TrafficGuard"
SICK_SHOWN_MAX: Final = 3
"""How many unhealthy instances a message describes."""


def up_outcome(order: UpOrder, group: ServerGroup) -> WaitOutcome:
    """Judge one observation of a server group whose instances are to come up."""
    up = group.count(Health.UP) if order.serving else healthy(group)
    there = len(group.instances)
    reached = up >= order.up_at_least and (not order.serving or group.enabled) and order.exactly in (None, there)
    sick = [
        f"{instance.id} is {instance.health.value}{': ' if instance.detail else ''}{instance.detail}"
        for instance in group.instances
        if instance.health not in (Health.UP, Health.OUT_OF_SERVICE)
    ]
    more = f" and {len(sick) - SICK_SHOWN_MAX} more" if len(sick) > SICK_SHOWN_MAX else ""
    described = f" ({'; '.join(sick[:SICK_SHOWN_MAX])}{more})" if sick else ""
    return WaitOutcome(reached=reached, detail=f"{up} of {group.capacity.desired} healthy{described}")


def down_outcome(order: DownOrder, group: ServerGroup | None) -> WaitOutcome:
    """Judge one observation of a server group that is to stop serving or to be gone."""
    if group is None:
        return WaitOutcome(reached=True, detail="gone")
    weight = group.weight_percent if group.enabled else 0
    detail = f"{group.count(Health.UP)} instances take traffic" if weight else "takes no traffic"
    if order.gone:
        return WaitOutcome(reached=False, detail=f"{len(group.instances)} instances are left")
    return WaitOutcome(reached=weight <= order.weight_percent_max, detail=detail)


def guard_broken(guard: HealthGuard, observation: Observation) -> str:
    """Return why a guard does not hold in an observation, or an empty text."""
    group = observation.find(guard.server_group)
    if group is None:
        return f"{guard.server_group} is not there"
    if guard.serving and not group.enabled:
        return f"{guard.server_group} is disabled"
    up = group.count(Health.UP) if guard.serving else healthy(group)
    if up < guard.up_at_least:
        return f"{guard.server_group} has {up} healthy instances of the {guard.up_at_least} it must have"
    return ""


def refusal(order: ChangeOrder, observation: Observation, guards: TrafficGuards) -> ChangeOutcome | None:
    """Return why a change may not begin as the cloud stands, by its own guard or by a traffic guard; or None."""
    if order.guard is not None and not begun(order, observation) and (broken := guard_broken(order.guard, observation)):
        return ChangeOutcome(done=False, refused=broken)
    if order.outage is not Outage.AS_BEFORE and (broken := traffic_broken(order, observation, guards)):
        return ChangeOutcome(done=False, refused=broken, refused_by=TRAFFIC_GUARD)
    return None


def begun(order: ChangeOrder, observation: Observation) -> bool:
    """Tell whether a group that is to be healthy before it is enabled is enabled already.

    Then an earlier attempt has begun, and its instances may be on their way into the load balancer: not healthy yet,
    because of that very change.
    """
    if not isinstance(order.change, EnableServerGroup) or order.guard is None:
        return False
    group = observation.find(order.change.name)
    return order.guard.server_group == order.change.name and group is not None and group.enabled


def is_watched(order: ChangeOrder) -> bool:
    """Tell whether a change must look at the cloud before it begins."""
    return order.guard is not None or (order.outage is not Outage.AS_BEFORE and takes_traffic(order))


def takes_traffic(order: ChangeOrder) -> bool:
    """Tell whether a change takes all traffic from what it is about. A share may go unguarded, as in Spinnaker."""
    match order.change:
        case DisableServerGroup(percent=percent):
            return percent == 100
        case ResizeServerGroup(capacity=capacity):
            return capacity.desired == 0
        case ShiftTraffic(percent=percent):
            return percent in (0, 100)
        case DestroyServerGroup() | TerminateInstances() | DeregisterInstances():
            return True
    return False


def traffic_broken(order: ChangeOrder, observation: Observation, guards: TrafficGuards) -> str:
    """Return why a traffic guard forbids a change, or an empty text. What does not serve takes nothing away."""
    group = observation.find(order.change.name)
    if not takes_traffic(order) or group is None:
        return ""
    rule = guards.rule_for(order.account, group.location, group.moniker)
    whole = rule is not None and rule.scope == "application"
    serving = {
        other.name: other.count(Health.UP)
        for other in (observation.server_groups if whole else observation.cluster(group.cluster))
        if other.enabled and other.location == group.location
    }
    now = sum(serving.values())
    lost = serving.get(group.name, 0)
    if isinstance(order.change, TerminateInstances | DeregisterInstances):
        named = order.change.instances
        lost = sum(one.health is Health.UP and one.id in named for one in group.instances) if group.enabled else 0
    after = now - lost
    if isinstance(order.change, ShiftTraffic):
        # The requests of other clusters are not moved.
        others = sum(
            up for name, up in serving.items() if observation.find(name) not in observation.cluster(group.cluster)
        )
        after = others + _after_shift(order.change, group, observation)
    if after >= now or after / now > guards.min_capacity_ratio:
        return ""
    if order.outage is Outage.ASKED_FOR if rule is None else not rule.enabled:
        return ""
    of = f"application {group.moniker.app}" if whole else f"cluster {group.cluster}"
    left = f"{after} of {now} serving instances of {of}" if after else "nothing"
    where = f"{order.change.kind} of {group.name} would leave {left} to answer in {group.location}"
    if rule is None:
        return f"{where}: enable another server group first, or ask for the outage with allowOutage"
    return f"{where}, which the traffic guard of {rule} forbids: enable another server group first"


def _after_shift(change: ShiftTraffic, group: ServerGroup, observation: Observation) -> int:
    """Count who would take the requests that are moved: the group itself, or the others that are enabled."""
    others = [one for one in observation.cluster(group.cluster) if one.enabled and one.name != group.name]
    if not group.enabled:
        return sum(healthy(one) for one in others)  # What is said beforehand takes nothing.
    if change.percent == WHOLE or not others:
        return healthy(group)
    return sum(healthy(one) for one in others)


def healthy(group: ServerGroup) -> int:
    """Count the instances that are healthy, whether or not they take traffic."""
    return group.count(Health.UP) + group.count(Health.OUT_OF_SERVICE)
