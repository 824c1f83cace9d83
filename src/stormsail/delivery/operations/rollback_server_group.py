"""rollbackServerGroup: give traffic back to the version before; the current one stops serving once that one is good."""

from typing import Literal

from pydantic import Field

from stormsail.delivery.model.names import parse_name
from stormsail.delivery.model.server_group import Capacity, Observation, ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.create_server_group import (
    CreateServerGroupInput,
    CreateServerGroupOperation,
    RollbackSettings,
    Source,
)
from stormsail.delivery.operations.operation import (
    ClusterInput,
    OperationOutput,
    check_cluster,
    check_server_group_name,
    found,
    invalid,
    share,
)
from stormsail.delivery.operations.orders import HealthGuard
from stormsail.delivery.operations.undo import Ending, Undo
from stormsail.delivery.providers.provider import DisableServerGroup, EnableServerGroup, ResizeServerGroup
from stormsail.delivery.strategies.selection import serving, to_restore

DAY_S = 86_400


class RollbackServerGroupInput(ClusterInput):
    """Which cluster; and, to overrule what would be chosen, which group to go back to and which to leave."""

    restore_server_group_name: str = ""
    rollback_server_group_name: str = ""
    target_healthy_rollback_percentage: int = Field(default=100, ge=1, le=100)
    delay_before_disable: float = Field(default=0, ge=0, le=DAY_S)
    rollback_type: Literal["EXPLICIT", "PREVIOUS_IMAGE"] = "EXPLICIT"
    """EXPLICIT enables the older group again. PREVIOUS_IMAGE makes one like the current with the older's image."""
    image: str = ""
    """PREVIOUS_IMAGE: which image; else that of the older group."""


class RollbackServerGroupOutput(OperationOutput):
    """`server_group` serves again; `rolled_back` does not any more."""

    rolled_back: str
    capacity: Capacity


class RollbackServerGroupOperation:
    """Go back in one of two ways, as the request says."""

    async def operate(self, conduct: Conduct, wanted: RollbackServerGroupInput) -> RollbackServerGroupOutput:
        """Do it."""
        way = PreviousImage() if wanted.rollback_type == "PREVIOUS_IMAGE" else ExplicitRollback()
        return await way.operate(conduct, wanted)


class PreviousImage:
    """Make a new group like the current one with what an earlier one ran, and have it take over by redblack."""

    async def operate(self, conduct: Conduct, wanted: RollbackServerGroupInput) -> RollbackServerGroupOutput:
        """Do it. It fails and is cancelled like the deployment that it is: the current group goes on serving."""
        cluster = _checked_cluster(conduct, wanted)
        async with conduct.step("determineRollbackServerGroups", cluster):
            observation = await conduct.observe()
            groups = observation.cluster(cluster)
            if wanted.image:
                current, launch = _current(observation, groups, cluster, wanted), {"image": wanted.image, "version": ""}
            else:
                current, old = _pair(observation, cluster, wanted)
                launch = {name: getattr(old.launch, name) for name in ("image", "command", "version")}
            conduct.note(f"from {current.name} back to {launch['image'] or launch['version'] or 'the earlier command'}")
        deployment = CreateServerGroupInput(
            application=wanted.application,
            stack=wanted.stack,
            detail=wanted.detail,
            capacity=current.capacity,
            launch=current.launch.model_copy(update=launch),
            strategy="redblack",
            source=Source(server_group_name=current.name),
            delay_before_cleanup=wanted.delay_before_disable,
            target_healthy_deploy_percentage=wanted.target_healthy_rollback_percentage,
            rollback=RollbackSettings(destroy_latest=True),
        )
        made = await CreateServerGroupOperation().operate(conduct, deployment)
        return RollbackServerGroupOutput(
            server_group=made.server_group, rolled_back=current.name, capacity=made.capacity
        )


class ExplicitRollback:
    """Enable the old, size it like the current, wait for health, wait, disable the current, give the minimum back."""

    async def operate(self, conduct: Conduct, wanted: RollbackServerGroupInput) -> RollbackServerGroupOutput:
        """Do it. When the old one does not get healthy, it is disabled again and the current one goes on serving."""
        conduct.rolls_back = True
        cluster = _checked_cluster(conduct, wanted)
        async with conduct.step("determineRollbackServerGroups", cluster):
            observation = await conduct.observe()
            current, old = _pair(observation, cluster, wanted)
            conduct.note(f"from {current.name} back to {old.name}")
        desired = max(old.capacity.desired, current.capacity.desired)
        largest = max(old.capacity.max, current.capacity.max)
        pinned = Capacity(min=desired, desired=desired, max=largest)
        up_at_least = share(desired, wanted.target_healthy_rollback_percentage)

        await _enable(conduct, old)
        if old.capacity != pinned:
            await _resize(conduct, old, pinned)
        await conduct.wait_for_up(old.name, up_at_least, serving=True)
        await conduct.wait("waitBeforeDisable", wanted.delay_before_disable)
        await _disable(conduct, current, HealthGuard(server_group=old.name, up_at_least=up_at_least))
        final = Capacity(min=min(max(old.capacity.min, current.capacity.min), desired), desired=desired, max=largest)
        if final != pinned:
            await conduct.change("restoreMinCapacity", ResizeServerGroup(name=old.name, capacity=final))
        return RollbackServerGroupOutput(server_group=old.name, rolled_back=current.name, capacity=final)


async def _enable(conduct: Conduct, old: ServerGroup) -> None:
    async def disable_again(_: Ending) -> bool:
        await conduct.change("disableServerGroup", DisableServerGroup(name=old.name))
        return True

    if not old.enabled:
        conduct.undo(Undo(f"disable {old.name} again", disable_again, takes_traffic=True))
    await conduct.change("enableServerGroup", EnableServerGroup(name=old.name))


async def _resize(conduct: Conduct, old: ServerGroup, capacity: Capacity) -> None:
    async def former_size(_: Ending) -> bool:
        await conduct.change("resizeServerGroup", ResizeServerGroup(name=old.name, capacity=old.capacity))
        return True

    conduct.undo(Undo(f"resize {old.name} back to {old.capacity.desired}", former_size, takes_traffic=True))
    await conduct.change("resizeServerGroup", ResizeServerGroup(name=old.name, capacity=capacity))


async def _disable(conduct: Conduct, current: ServerGroup, guard: HealthGuard) -> None:
    async def enable_again(_: Ending) -> bool:
        change = EnableServerGroup(name=current.name, percent=max(1, current.weight_percent))
        await conduct.change("enableServerGroup", change)
        return True

    conduct.undo(Undo(f"enable {current.name} again", enable_again, gives_traffic=True))
    await conduct.change("disableServerGroup", DisableServerGroup(name=current.name), guard)
    await conduct.wait_for_down("waitForDownInstances", current.name)


def _checked_cluster(conduct: Conduct, wanted: RollbackServerGroupInput) -> str:
    moniker = wanted.moniker
    check_cluster(moniker, conduct.application)
    for field, name in (
        ("restoreServerGroupName", wanted.restore_server_group_name),
        ("rollbackServerGroupName", wanted.rollback_server_group_name),
    ):
        if name:
            check_server_group_name(name, conduct.application, field)
            if parse_name(name).cluster != moniker.cluster:
                raise invalid((field, f"{name!r} is not of cluster {moniker.cluster!r}"))
    return moniker.cluster


def _pair(
    observation: Observation,
    cluster: str,
    wanted: RollbackServerGroupInput,
) -> tuple[ServerGroup, ServerGroup]:
    """Return the group to leave and the group to go back to."""
    groups = observation.cluster(cluster)
    current = _current(observation, groups, cluster, wanted)
    if wanted.restore_server_group_name:
        old = found(observation, wanted.restore_server_group_name, "restoreServerGroupName")
    else:
        earlier = to_restore(groups, current)
        if earlier is None:
            raise OperationFailure(
                "NothingToRestore",
                f"cluster {cluster!r} has no server group older than {current.name} that ever served: "
                "name one with restoreServerGroupName, or deploy the version that you want",
            )
        old = earlier
    if old == current:
        raise invalid(("restoreServerGroupName", f"{old.name} is the one to roll back; name another"))
    return current, old


def _current(
    observation: Observation, groups: tuple[ServerGroup, ...], cluster: str, wanted: RollbackServerGroupInput
) -> ServerGroup:
    """Return the group to leave."""
    if wanted.rollback_server_group_name:
        return found(observation, wanted.rollback_server_group_name, "rollbackServerGroupName")
    newest = serving(groups)
    if newest is None:
        raise OperationFailure("NothingServing", f"no server group of cluster {cluster!r} serves: enable one instead")
    return newest
