"""The strategy `none`: older server groups stay as they are."""

from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.strategies.strategy import Finished, Rollout


class KeepAll:
    """Leave every older server group alone."""

    replaces_source = False

    async def finish(self, conduct: Conduct, rollout: Rollout) -> Finished:  # noqa: ARG002
        """Do nothing."""
        return Finished()
