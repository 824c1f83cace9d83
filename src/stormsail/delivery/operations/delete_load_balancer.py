"""deleteLoadBalancer: remove a load balancer with its listeners and pools."""

from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import NamedInput, check_named
from stormsail.delivery.operations.orders import Outage
from stormsail.delivery.operations.undo import CANCEL_ONLY, Ending, Undo
from stormsail.delivery.operations.upsert_load_balancer import LoadBalancerOutput
from stormsail.delivery.providers.provider import DeleteLoadBalancer


class DeleteLoadBalancerInput(NamedInput):
    """Which one. `allowOutage` says that what takes traffic through it may lose that."""


class DeleteLoadBalancerOperation:
    """Look what takes traffic through it, delete it. What was deleted does not come back."""

    async def operate(self, conduct: Conduct, wanted: DeleteLoadBalancerInput) -> LoadBalancerOutput:
        """Do it."""
        name = wanted.name
        check_named(name, conduct.application)
        async with conduct.step("determineLoadBalancer", name):
            before = (await conduct.network()).load_balancer(name)
            if before is not None and before.serves and conduct.outage is not Outage.ASKED_FOR:
                raise OperationFailure(
                    "TrafficGuard",
                    f"{', '.join(before.serves)} take traffic through {name}: disable them first, or ask for the "
                    "outage with allowOutage",
                )

        async def gone(_: Ending) -> bool:
            if before is not None and (await conduct.network()).load_balancer(name) != before:
                raise OperationFailure("Deleted", f"{name} was being deleted; upsert it again to have it back")
            return False

        conduct.undo(Undo(f"keep load balancer {name}", gone, CANCEL_ONLY))
        await conduct.change("deleteLoadBalancer", DeleteLoadBalancer(name=name))
        return LoadBalancerOutput(load_balancer=name)
