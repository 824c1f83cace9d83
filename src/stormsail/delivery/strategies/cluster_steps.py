"""The steps that strategies are made of: shrink a cluster, scale it down, give back what was taken.

Each reads the cloud at that moment, decides by the rules of `selection`, and changes one server group after the other;
each change looks again, in the same activity, whether the new group is good.
"""

from typing import Final

from stormsail.delivery.model.server_group import Capacity, Health, ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.orders import HealthGuard
from stormsail.delivery.operations.undo import CANCEL_ONLY, ROLL_BACK_OR_CANCEL, Ending, Undo
from stormsail.delivery.providers.provider import (
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    ResizeServerGroup,
)
from stormsail.delivery.strategies.selection import to_scale_down, to_shrink

REMAINING_FULL_SIZE: Final = 1
NOTHING: Final = Capacity.fixed(0)


async def shrink_cluster(
    conduct: Conduct, cluster: str, size: int, good: HealthGuard, *, allow_delete_active: bool = False
) -> tuple[str, ...]:
    """Destroy groups until `size` remain; never the good one, and unless allowed none that serves.

    One that serves is disabled and drained first, so that a cancel up to there loses nothing.
    """
    async with conduct.step("shrinkCluster", cluster):
        groups = (await conduct.observe(good)).cluster(cluster)
        doomed = to_shrink(groups, size, keep={good.server_group}, allow_delete_active=allow_delete_active)
        note_groups(conduct, "destroys", doomed)
    for group in doomed:
        conduct.undo(_there_again(conduct, group))
        if group.enabled:
            await conduct.change("disableServerGroup", DisableServerGroup(name=group.name), good)
            await conduct.wait_for_down("waitForDownInstances", group.name)
        await conduct.change("destroyServerGroup", DestroyServerGroup(name=group.name), good)
    return tuple(group.name for group in doomed)


async def scale_down_cluster(conduct: Conduct, cluster: str, good: HealthGuard) -> tuple[str, ...]:
    """Scale groups that do not serve to 0/0/0 until one keeps its instances."""
    async with conduct.step("scaleDownCluster", cluster):
        doomed = to_scale_down((await conduct.observe(good)).cluster(cluster), REMAINING_FULL_SIZE)
        note_groups(conduct, "scales down", doomed)
    for group in doomed:
        conduct.undo(_full_size_again(conduct, group))
        await conduct.change("resizeServerGroup", ResizeServerGroup(name=group.name, capacity=NOTHING), good)
    return tuple(group.name for group in doomed)


def enable_again(conduct: Conduct, group: ServerGroup) -> Undo:
    """Return the way to give a group the traffic back that it had when it was observed."""

    async def action(_: Ending) -> bool:
        await conduct.change(
            "enableServerGroup", EnableServerGroup(name=group.name, percent=max(1, group.weight_percent))
        )
        # What was up before is what it must come back with: a group may have served with an instance missing.
        await conduct.wait_for_up(group.name, min(group.count(Health.UP), group.capacity.desired), serving=True)
        return True

    return Undo(f"enable {group.name} again", action, ROLL_BACK_OR_CANCEL, gives_traffic=True)


def note_groups(conduct: Conduct, verb: str, groups: tuple[ServerGroup, ...]) -> None:
    """Say what the newest step decided."""
    conduct.note(f"{verb} {', '.join(group.name for group in groups) or 'nothing'}")


def _full_size_again(conduct: Conduct, group: ServerGroup) -> Undo:
    async def action(_: Ending) -> bool:
        await conduct.change("resizeServerGroup", ResizeServerGroup(name=group.name, capacity=group.capacity))
        await conduct.wait_for_up(group.name, group.capacity.desired)
        return True

    return Undo(f"resize {group.name} back to {group.capacity.desired}", action, gives_traffic=True)


def _there_again(conduct: Conduct, group: ServerGroup) -> Undo:
    """Return the way back from destroying a group: there is one for as long as it was only disabled."""

    async def action(ending: Ending) -> bool:
        now = (await conduct.observe()).find(group.name)
        if now is None or len(now.instances) < len(group.instances):
            raise OperationFailure("Destroyed", "shrinkCluster destroyed it; what was destroyed does not come back")
        return await enable_again(conduct, group).action(ending) if group.enabled else False

    # Once something that served is gone, a wind-down must not take traffic from what is left.
    return Undo(f"bring {group.name} back", action, CANCEL_ONLY, gives_traffic=group.enabled)
