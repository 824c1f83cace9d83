"""shiftTraffic: give a server group a share of its cluster's requests by hand."""

from pydantic import Field

from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import OperationOutput, ServerGroupInput, check_server_group_name, found
from stormsail.delivery.operations.orders import HealthGuard
from stormsail.delivery.operations.undo import CANCEL_ONLY, Ending, Undo
from stormsail.delivery.providers.provider import ShiftTraffic


class ShiftTrafficInput(ServerGroupInput):
    """Which group, and what share of the requests it takes; null gives it its part by its instances again."""

    percent: int | None = Field(ge=0, le=100)


class ShiftTrafficOutput(OperationOutput):
    """The share before and after; null where it takes its part by its instances."""

    before: int | None
    after: int | None


class ShiftTrafficOperation:
    """Shift, if the group that gets requests is healthy and the cluster is left with somebody to answer the others."""

    async def operate(self, conduct: Conduct, wanted: ShiftTrafficInput) -> ShiftTrafficOutput:
        """Do it. A cancel gives the group the share back that it had."""
        name, percent = wanted.server_group_name, wanted.percent
        check_server_group_name(name, conduct.application)
        async with conduct.step("determineServerGroup", name):
            observation = await conduct.observe()
            before = found(observation, name)
            if not before.enabled:
                raise OperationFailure(
                    "Disabled",
                    f"{name} takes no traffic, so it has no share to change: enable it first",
                    field="serverGroupName",
                )
            others = [one.name for one in observation.cluster(before.cluster) if one.enabled and one.name != name]
            if percent is not None and percent < 100 and not others:
                raise OperationFailure(
                    "NobodyElse",
                    f"{name} is the only one that serves {before.cluster}: enable another server group, or leave it",
                    field="percent",
                )

        async def former(_: Ending) -> bool:
            await conduct.change("shiftTraffic", ShiftTraffic(name=name, percent=before.request_percent))
            return True

        said = "its part by its instances" if before.request_percent is None else f"{before.request_percent} %"
        conduct.undo(Undo(f"give {name} {said} of the requests again", former, CANCEL_ONLY, gives_traffic=True))
        able = HealthGuard(server_group=name, up_at_least=1, serving=False) if percent else None
        await conduct.change("shiftTraffic", ShiftTraffic(name=name, percent=percent), able)
        return ShiftTrafficOutput(server_group=name, before=before.request_percent, after=percent)
