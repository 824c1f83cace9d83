"""The strategy `highlander`: there can be only one. Once the new group was seen good, every other one is destroyed.

It has no way back: a failure keeps the new group, as Spinnaker's does, and what was destroyed stays so.
"""

from collections.abc import Sequence
from typing import Final

from stormsail.delivery.model.server_group import ServerGroup
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.orders import HealthGuard
from stormsail.delivery.strategies.cluster_steps import shrink_cluster
from stormsail.delivery.strategies.strategy import Finished, Rollout

REMAINING: Final = 1


class Highlander:
    """Leave the new group as the cluster's only one."""

    replaces_source = True
    pins_source = False
    rolls_back = False
    starts_empty = False
    destroys_failed = False

    def objection(self, groups: Sequence[ServerGroup], initial_max: int) -> str:  # noqa: ARG002
        """Suit any cluster."""
        return ""

    async def finish(self, conduct: Conduct, rollout: Rollout) -> Finished:
        """Shrink the cluster to the new group, those that serve included."""
        good = HealthGuard(server_group=rollout.server_group, up_at_least=rollout.up_at_least)
        destroyed = await shrink_cluster(conduct, rollout.cluster, REMAINING, good, allow_delete_active=True)
        return Finished(destroyed=destroyed)
