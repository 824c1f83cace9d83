"""resizeServerGroup: change how many instances a server group has."""

from pydantic import BaseModel, ConfigDict, Field

from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import OperationOutput, ServerGroupInput, check_server_group_name, found
from stormsail.delivery.operations.undo import CANCEL_ONLY, Ending, Undo
from stormsail.delivery.providers.provider import ResizeServerGroup


class ResizeConstraints(BaseModel):
    """What must still be true when the resize begins."""

    model_config = ConfigDict(frozen=True, extra="allow")

    capacity: Capacity | None = None
    """The capacity that the caller believes the group has; anything else is a Conflict."""


class ResizeServerGroupInput(ServerGroupInput):
    """Which group, and its new capacity."""

    capacity: Capacity
    constraints: ResizeConstraints = Field(default_factory=ResizeConstraints)


class ResizeServerGroupOutput(OperationOutput):
    """The capacity before and after."""

    before: Capacity
    after: Capacity


class ResizeServerGroupOperation:
    """Resize, then wait until exactly so many instances are there and healthy."""

    async def operate(self, conduct: Conduct, wanted: ResizeServerGroupInput) -> ResizeServerGroupOutput:
        """Do it. A cancel puts the former capacity back; a group that cannot grow healthy is left to look at."""
        name = wanted.server_group_name
        check_server_group_name(name, conduct.application)
        async with conduct.step("determineServerGroup", name):
            before = found(await conduct.observe(), name).capacity

        async def former(_: Ending) -> bool:
            await conduct.change("resizeServerGroup", ResizeServerGroup(name=name, capacity=before))
            return True

        conduct.undo(Undo(f"resize {name} back to {before.desired}", former, CANCEL_ONLY, gives_traffic=True))
        await conduct.change(
            "resizeServerGroup",
            ResizeServerGroup(name=name, capacity=wanted.capacity, expected=wanted.constraints.capacity),
        )
        desired = wanted.capacity.desired
        await conduct.wait_for_up(name, desired, exactly=desired, step="waitForCapacityMatch")
        return ResizeServerGroupOutput(server_group=name, before=before, after=wanted.capacity)
