"""A strategy of one's own: both versions serve until a person approves, then the older one leaves as in red/black."""

from collections.abc import Sequence

from stormsail.delivery.model.server_group import ServerGroup
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.strategies.redblack import RedBlack
from stormsail.delivery.strategies.strategy import Finished, Rollout


class ApprovedRedBlack:
    """Wait for a person while both versions serve."""

    replaces_source = True
    pins_source = True
    rolls_back = True
    starts_empty = False
    destroys_failed = True

    def objection(self, groups: Sequence[ServerGroup], initial_max: int) -> str:  # noqa: ARG002
        """Refuse a cluster in which something else than one version serves."""
        serving = [group.name for group in groups if group.enabled]
        return f"{', '.join(serving)} serve: disable all but one first" if len(serving) > 1 else ""

    async def finish(self, conduct: Conduct, rollout: Rollout) -> Finished:
        """Ask, then do what red/black does."""
        if rollout.source is not None:
            conduct.set_out(1).begin(1, "waits for an approval")
            message = f"{rollout.server_group} and {rollout.source.name} both serve: which one is to stay?"
            await conduct.approval("approveTakeOver", rollout.server_group, message)
        return await RedBlack().finish(conduct, rollout)


APPROVED = ApprovedRedBlack()
