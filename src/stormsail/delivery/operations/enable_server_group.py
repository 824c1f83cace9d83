"""enableServerGroup: send traffic to a server group."""

from pydantic import Field

from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import (
    OperationOutput,
    ServerGroupInput,
    check_server_group_name,
    found,
    share,
)
from stormsail.delivery.operations.undo import CANCEL_ONLY, Ending, Undo
from stormsail.delivery.providers.provider import DisableServerGroup, EnableServerGroup


class EnableServerGroupInput(ServerGroupInput):
    """Which group, and what share of its instances takes traffic."""

    desired_percentage: int = Field(default=100, ge=1, le=100)


class EnableServerGroupOperation:
    """Enable, then wait until the wanted share takes traffic and is healthy."""

    async def operate(self, conduct: Conduct, wanted: EnableServerGroupInput) -> OperationOutput:
        """Do it. A cancel disables a group that was disabled before."""
        name = wanted.server_group_name
        check_server_group_name(name, conduct.application)
        async with conduct.step("determineServerGroup", name):
            observation = await conduct.observe()
            before = found(observation, name)
            none_served = not any(group.enabled for group in observation.cluster(before.cluster))

        async def former(_: Ending) -> bool:
            await conduct.change("disableServerGroup", DisableServerGroup(name=name), as_before=none_served)
            return True

        if not before.enabled:
            conduct.undo(Undo(f"disable {name} again", former, CANCEL_ONLY, takes_traffic=True))
        percent = wanted.desired_percentage
        await conduct.change("enableServerGroup", EnableServerGroup(name=name, percent=percent))
        await conduct.wait_for_up(name, share(before.capacity.desired, percent), serving=True)
        return OperationOutput(server_group=name)
