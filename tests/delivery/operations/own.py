"""The smallest operation of one's own."""

from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import OperationInput, OperationOutput, Registered


class Touch:
    """Look at the application."""

    async def operate(self, conduct: Conduct, wanted: OperationInput) -> OperationOutput:
        """Do it."""
        async with conduct.step("look", conduct.application):
            await conduct.observe()
        return OperationOutput(server_group="")


MINE = Registered(OperationInput, Touch())
OTHER = Registered(OperationInput, Touch())
