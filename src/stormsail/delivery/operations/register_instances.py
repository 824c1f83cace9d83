"""registerInstances and deregisterInstances: give single instances traffic, or take it from them."""

from pydantic import AliasChoices, Field

from stormsail.delivery.model.server_group import Health
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import OperationInput, OperationOutput, check_server_group_name, found
from stormsail.delivery.operations.terminate_instances import check_instances
from stormsail.delivery.operations.undo import CANCEL_ONLY, Ending, Undo
from stormsail.delivery.providers.provider import DeregisterInstances, RegisterInstances


class RegisterInstancesInput(OperationInput):
    """Which instances of which group."""

    server_group_name: str = Field(
        min_length=1, validation_alias=AliasChoices("serverGroupName", "server_group_name", "asgName")
    )
    instance_ids: tuple[str, ...] = Field(min_length=1, max_length=1000)


class RegisterInstancesOutput(OperationOutput):
    """The instances that were registered or deregistered."""

    instances: tuple[str, ...]


class RegisterInstancesOperation:
    """Register, and have it done once they are healthy and take traffic."""

    async def operate(self, conduct: Conduct, wanted: RegisterInstancesInput) -> RegisterInstancesOutput:
        """Do it. A cancel takes the traffic again from those that had none."""
        name, instances, serving = await _looked_at(conduct, wanted)
        idle = tuple(one for one in instances if one not in serving)

        async def out_again(_: Ending) -> bool:
            await conduct.change("deregisterInstances", DeregisterInstances(name=name, instances=idle))
            return True

        if idle:
            conduct.undo(Undo(f"deregister {', '.join(idle)} again", out_again, CANCEL_ONLY, takes_traffic=True))
        await conduct.change("registerInstances", RegisterInstances(name=name, instances=instances))
        return RegisterInstancesOutput(server_group=name, instances=instances)


class DeregisterInstancesOperation:
    """Deregister, and have it done once requests in flight have ended."""

    async def operate(self, conduct: Conduct, wanted: RegisterInstancesInput) -> RegisterInstancesOutput:
        """Do it. A cancel gives the traffic back to those that had it."""
        name, instances, serving = await _looked_at(conduct, wanted)

        async def in_again(_: Ending) -> bool:
            await conduct.change("registerInstances", RegisterInstances(name=name, instances=serving))
            return True

        if serving:
            conduct.undo(Undo(f"register {', '.join(serving)} again", in_again, CANCEL_ONLY, gives_traffic=True))
        await conduct.change("deregisterInstances", DeregisterInstances(name=name, instances=instances))
        return RegisterInstancesOutput(server_group=name, instances=instances)


async def _looked_at(conduct: Conduct, wanted: RegisterInstancesInput) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Return the group, the instances without doubles, and those of them that take traffic now."""
    name, instances = wanted.server_group_name, tuple(dict.fromkeys(wanted.instance_ids))
    check_server_group_name(name, conduct.application)
    async with conduct.step("determineServerGroup", name):
        group = found(await conduct.observe(), name)
        check_instances(group, instances)
    up = {one.id for one in group.instances if one.health is Health.UP}
    return name, instances, tuple(one for one in instances if one in up)
