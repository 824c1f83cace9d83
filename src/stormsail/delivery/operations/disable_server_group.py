"""disableServerGroup: take traffic away from a server group; its instances keep running."""

from pydantic import Field

from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import OperationOutput, ServerGroupInput, check_server_group_name, found
from stormsail.delivery.operations.undo import CANCEL_ONLY, Ending, Undo
from stormsail.delivery.providers.provider import DisableServerGroup, EnableServerGroup


class DisableServerGroupInput(ServerGroupInput):
    """Which group, and what share of its instances loses traffic."""

    desired_percentage: int = Field(default=100, ge=1, le=100)


class DisableServerGroupOperation:
    """Disable, then wait until no more than the remaining share takes traffic."""

    async def operate(self, conduct: Conduct, wanted: DisableServerGroupInput) -> OperationOutput:
        """Do it. A cancel enables a group that was enabled before, to the share that it had."""
        name = wanted.server_group_name
        check_server_group_name(name, conduct.application)
        async with conduct.step("determineServerGroup", name):
            before = found(await conduct.observe(), name)

        async def former(_: Ending) -> bool:
            change = EnableServerGroup(name=name, percent=max(1, before.weight_percent))
            await conduct.change("enableServerGroup", change)
            return True

        if before.enabled:
            conduct.undo(Undo(f"enable {name} again", former, CANCEL_ONLY, gives_traffic=True))
        percent = wanted.desired_percentage
        await conduct.change("disableServerGroup", DisableServerGroup(name=name, percent=percent))
        await conduct.wait_for_down("waitForDownInstances", name, percent=percent)
        return OperationOutput(server_group=name)
