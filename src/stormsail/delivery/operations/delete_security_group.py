"""deleteSecurityGroup: remove a security group that nothing uses."""

from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import NamedInput, check_named
from stormsail.delivery.operations.undo import CANCEL_ONLY, Ending, Undo
from stormsail.delivery.operations.upsert_security_group import SecurityGroupOutput
from stormsail.delivery.providers.provider import DeleteSecurityGroup


class DeleteSecurityGroupInput(NamedInput):
    """Which one."""


class DeleteSecurityGroupOperation:
    """Delete it; the cloud refuses while something uses it."""

    async def operate(self, conduct: Conduct, wanted: DeleteSecurityGroupInput) -> SecurityGroupOutput:
        """Do it."""
        name = wanted.name
        check_named(name, conduct.application)
        async with conduct.step("determineSecurityGroup", name):
            before = (await conduct.network()).security_group(name)

        async def gone(_: Ending) -> bool:
            if before is not None and (await conduct.network()).security_group(name) is None:
                raise OperationFailure("Deleted", f"{name} was deleted; upsert it again to have it back")
            return False

        conduct.undo(Undo(f"keep security group {name}", gone, CANCEL_ONLY))
        await conduct.change("deleteSecurityGroup", DeleteSecurityGroup(name=name))
        return SecurityGroupOutput(security_group=name)
