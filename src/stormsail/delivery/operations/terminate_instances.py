"""terminateInstances and terminateInstanceAndDecrementServerGroup: end single instances of a server group."""

from collections.abc import Sequence

from pydantic import AliasChoices, Field

from stormsail.delivery.model.server_group import Capacity, Health, ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import (
    OperationInput,
    OperationOutput,
    check_server_group_name,
    found,
    invalid,
)
from stormsail.delivery.operations.undo import CANCEL_ONLY, Ending, Undo
from stormsail.delivery.providers.provider import ResizeServerGroup, TerminateInstances

_NAME = AliasChoices("serverGroupName", "server_group_name", "asgName")


class TerminateInstancesInput(OperationInput):
    """Which instances of which group."""

    server_group_name: str = Field(min_length=1, validation_alias=_NAME)
    instance_ids: tuple[str, ...] = Field(min_length=1, max_length=1000)


class TerminateAndDecrementInput(OperationInput):
    """Which instance of which group; and what becomes of the group's minimum and maximum."""

    server_group_name: str = Field(min_length=1, validation_alias=_NAME)
    instance: str = Field(min_length=1)
    adjust_min_if_necessary: bool = False
    set_max_to_new_desired: bool = False


class TerminateInstancesOutput(OperationOutput):
    """What was ended, and the capacity that the group has now."""

    terminated: tuple[str, ...]
    capacity: Capacity


class TerminateInstancesOperation:
    """Terminate, then wait until the group is whole again with others in their place."""

    async def operate(self, conduct: Conduct, wanted: TerminateInstancesInput) -> TerminateInstancesOutput:
        """Do it. What was terminated does not come back, so a cancel only says so."""
        name, instances = wanted.server_group_name, tuple(dict.fromkeys(wanted.instance_ids))
        check_server_group_name(name, conduct.application)
        before = await _terminated(conduct, name, instances, shrink=False)
        desired = before.capacity.desired
        # The ones that stay need not be well: only what was replaced is answered for.
        sick = sum(one.health not in _WELL for one in before.instances if one.id not in instances)
        await conduct.wait_for_up(name, max(0, desired - sick), serving=before.enabled, exactly=desired)
        return TerminateInstancesOutput(server_group=name, terminated=instances, capacity=before.capacity)


class TerminateAndDecrementOperation:
    """Terminate one instance and let the group be smaller by one."""

    async def operate(self, conduct: Conduct, wanted: TerminateAndDecrementInput) -> TerminateInstancesOutput:
        """Do it. A group at its minimum is left alone unless the minimum may be lowered with it."""
        name = wanted.server_group_name
        check_server_group_name(name, conduct.application)
        before = await _terminated(conduct, name, (wanted.instance,), shrink=True, below=wanted.adjust_min_if_necessary)
        desired = before.capacity.desired - 1
        most = desired if wanted.set_max_to_new_desired else before.capacity.max
        capacity = Capacity(min=min(before.capacity.min, desired), desired=desired, max=most)
        if most != before.capacity.max:
            await conduct.change("resizeServerGroup", ResizeServerGroup(name=name, capacity=capacity))
        return TerminateInstancesOutput(server_group=name, terminated=(wanted.instance,), capacity=capacity)


_WELL = (Health.UP, Health.OUT_OF_SERVICE)


async def _terminated(
    conduct: Conduct, name: str, instances: tuple[str, ...], *, shrink: bool, below: bool = True
) -> ServerGroup:
    """Terminate and return the group as it was before."""
    async with conduct.step("determineServerGroup", name):
        group = found(await conduct.observe(), name)
        check_instances(group, instances)
        if shrink and not below and group.capacity.desired - len(instances) < group.capacity.min:
            raise invalid(
                (
                    "adjustMinIfNecessary",
                    f"{name} has its minimum of {group.capacity.min} instances: say true to lower that too",
                )
            )

    async def gone(_: Ending) -> bool:
        now = (await conduct.observe()).find(name)
        left = {one.id for one in now.instances} if now is not None else set()
        if lost := [instance for instance in instances if instance not in left]:
            raise OperationFailure("Terminated", f"{', '.join(lost)} ended; what was terminated does not come back")
        return False

    conduct.undo(Undo(f"keep {', '.join(instances)}", gone, CANCEL_ONLY))
    change = TerminateInstances(name=name, instances=instances, shrink=shrink)
    await conduct.change("terminateInstances", change)
    return group


def check_instances(group: ServerGroup, instances: Sequence[str], field: str = "instanceIds") -> None:
    """Raise NotFound for an instance that the group does not have, naming those that it has."""
    there = [one.id for one in group.instances]
    for instance in instances:
        if instance not in there:
            raise OperationFailure(
                "NotFound",
                f"{group.name} has no instance {instance!r}; it has {', '.join(there) or 'none'}",
                field=field,
            )
