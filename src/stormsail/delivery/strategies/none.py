"""The strategy `none`: older server groups stay as they are."""

from collections.abc import Sequence

from stormsail.delivery.model.server_group import ServerGroup
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.strategies.strategy import Finished, Rollout


class KeepAll:
    """Leave every older server group alone."""

    replaces_source = False
    pins_source = False
    rolls_back = False
    starts_empty = False
    destroys_failed = False

    def objection(self, groups: Sequence[ServerGroup], initial_max: int) -> str:  # noqa: ARG002
        """Suit any cluster."""
        return ""

    async def finish(self, conduct: Conduct, rollout: Rollout) -> Finished:  # noqa: ARG002
        """Do nothing."""
        return Finished()
