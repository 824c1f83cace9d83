"""An operation of one's own: replace the instances of a server group one by one, each healthy before the next goes."""

from pydantic import Field

from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import (
    OperationOutput,
    Registered,
    ServerGroupInput,
    check_server_group_name,
    found,
)
from stormsail.delivery.providers.provider import TerminateInstances


class RestartInput(ServerGroupInput):
    """Which group, and how long to let it settle between two instances."""

    pause: float = Field(default=0, ge=0, le=3600)


class RestartOutput(OperationOutput):
    """The instances that were replaced."""

    replaced: tuple[str, ...]


class RestartServerGroup:
    """Replace every instance."""

    async def operate(self, conduct: Conduct, wanted: RestartInput) -> RestartOutput:
        """Do it. Stopped in between, the group is whole: some of its instances are new and some are old."""
        name = wanted.server_group_name
        check_server_group_name(name, conduct.application)
        async with conduct.step("determineInstances", name):
            group = found(await conduct.observe(), name)
        replaced = []
        for instance in group.instances:
            await conduct.change("terminateInstance", TerminateInstances(name=name, instances=(instance.id,)))
            await conduct.wait_for_up(name, group.capacity.desired, serving=group.enabled)
            await conduct.wait("settle", wanted.pause)
            replaced.append(instance.id)
        return RestartOutput(server_group=name, replaced=tuple(replaced))


RESTART = Registered(RestartInput, RestartServerGroup())
