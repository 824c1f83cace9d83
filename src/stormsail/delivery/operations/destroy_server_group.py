"""destroyServerGroup: disable a server group and remove all of it."""

from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import OperationOutput, ServerGroupInput, check_server_group_name, found
from stormsail.delivery.operations.undo import CANCEL_ONLY, Ending, Undo
from stormsail.delivery.providers.provider import DestroyServerGroup, DisableServerGroup, EnableServerGroup


class DestroyServerGroupInput(ServerGroupInput):
    """Which group."""


class DestroyServerGroupOperation:
    """Disable, wait until it takes no traffic, destroy, wait until it is gone."""

    async def operate(self, conduct: Conduct, wanted: DestroyServerGroupInput) -> OperationOutput:
        """Do it. A cancel before the destroying enables the group again; after that nothing brings it back."""
        name = wanted.server_group_name
        check_server_group_name(name, conduct.application)
        async with conduct.step("determineServerGroup", name):
            before = found(await conduct.observe(), name)

        async def former(_: Ending) -> bool:
            group = (await conduct.observe()).find(name)
            if group is None or len(group.instances) < len(before.instances):
                there = 0 if group is None else len(group.instances)
                raise OperationFailure(
                    "Destroyed",
                    f"{there} of its {len(before.instances)} instances are left; what was destroyed does not come back",
                )
            if before.enabled:
                change = EnableServerGroup(name=name, percent=max(1, before.weight_percent))
                await conduct.change("enableServerGroup", change)
            return before.enabled

        conduct.undo(Undo(f"keep {name}", former, CANCEL_ONLY, gives_traffic=True))
        if before.enabled:
            await conduct.change("disableServerGroup", DisableServerGroup(name=name))
            await conduct.wait_for_down("waitForDownInstances", name)
        await conduct.change("destroyServerGroup", DestroyServerGroup(name=name))
        await conduct.wait_for_down("waitForDestroyedServerGroup", name, gone=True)
        return OperationOutput(server_group=name)
