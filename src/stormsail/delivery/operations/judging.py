"""Judging one observation: is what was awaited there? Pure, so that every way of waiting judges alike."""

from typing import Final

from stormsail.delivery.model.server_group import Health, Observation, ServerGroup
from stormsail.delivery.operations.orders import DownOrder, HealthGuard, UpOrder, WaitOutcome

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


def healthy(group: ServerGroup) -> int:
    """Count the instances that are healthy, whether or not they take traffic."""
    return group.count(Health.UP) + group.count(Health.OUT_OF_SERVICE)
