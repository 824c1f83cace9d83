"""The strategy `redblack`: the older server groups stop serving once the new one was seen good.

The order is Spinnaker's: shrink, wait, disable, wait, scale down. Shrinking comes before disabling and never
destroys a group that serves. Every decision to destroy, disable or scale down reads the cloud at that moment, and each
of these changes looks again, in the same activity, whether the new group is good.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from stormsail.delivery.model.server_group import ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.orders import HealthGuard
from stormsail.delivery.providers.provider import DisableServerGroup
from stormsail.delivery.strategies.cluster_steps import (
    enable_again,
    note_groups,
    scale_down_cluster,
    shrink_cluster,
)
from stormsail.delivery.strategies.selection import to_disable
from stormsail.delivery.strategies.strategy import Finished, Rollout

REMAINING_ENABLED: Final = 1


class Phase(StrEnum):
    """What redblack does after the new group is good, in this order."""

    SHRINK = "shrinkCluster"
    WAIT_BEFORE_CLEANUP = "waitBeforeCleanup"
    DISABLE = "disableCluster"
    WAIT_BEFORE_SCALE_DOWN = "waitBeforeScaleDown"
    SCALE_DOWN = "scaleDownCluster"


def phases(rollout: Rollout) -> tuple[Phase, ...]:
    """Return what is to be done, in order; nothing when no group served before."""
    if rollout.source is None:
        return ()
    wanted = {
        Phase.SHRINK: rollout.max_remaining > 0,
        Phase.WAIT_BEFORE_CLEANUP: rollout.delay_before_cleanup_s > 0,
        Phase.DISABLE: True,
        Phase.WAIT_BEFORE_SCALE_DOWN: rollout.scale_down and rollout.delay_before_scale_down_s > 0,
        Phase.SCALE_DOWN: rollout.scale_down,
    }
    return tuple(phase for phase in Phase if wanted[phase])


class RedBlack:
    """Replace the groups that served by the new one."""

    replaces_source = True
    pins_source = True
    rolls_back = True
    starts_empty = False
    destroys_failed = False

    def objection(self, groups: Sequence[ServerGroup], initial_max: int) -> str:  # noqa: ARG002
        """Suit any cluster."""
        return ""

    async def finish(self, conduct: Conduct, rollout: Rollout) -> Finished:
        """Go through the phases. Failing to tidy up keeps the new group; a new group gone bad does not."""
        destroyed: tuple[str, ...] = ()
        disabled: tuple[str, ...] = ()
        scaled_down: tuple[str, ...] = ()
        good = HealthGuard(server_group=rollout.server_group, up_at_least=rollout.up_at_least)
        with tidying_up():
            for phase in phases(rollout):
                match phase:
                    case Phase.SHRINK:
                        destroyed = await shrink_cluster(conduct, rollout.cluster, rollout.max_remaining, good)
                    case Phase.WAIT_BEFORE_CLEANUP:
                        await conduct.wait(phase, rollout.delay_before_cleanup_s)
                    case Phase.DISABLE:
                        disabled = await _disable(conduct, rollout, good)
                    case Phase.WAIT_BEFORE_SCALE_DOWN:
                        await conduct.wait(phase, rollout.delay_before_scale_down_s)
                    case Phase.SCALE_DOWN:
                        scaled_down = await scale_down_cluster(conduct, rollout.cluster, good)
        return Finished(destroyed=destroyed, disabled=disabled, scaled_down=scaled_down)


async def _disable(conduct: Conduct, rollout: Rollout, good: HealthGuard) -> tuple[str, ...]:
    async with conduct.step(Phase.DISABLE, rollout.cluster):
        groups = (await conduct.observe(good)).cluster(rollout.cluster)
        doomed = to_disable(groups, REMAINING_ENABLED, keep={rollout.server_group})
        note_groups(conduct, "disables", doomed)
    for group in doomed:
        conduct.undo(enable_again(conduct, group))
        await conduct.change("disableServerGroup", DisableServerGroup(name=group.name), good)
        await conduct.wait_for_down("waitForDownInstances", group.name)
    return tuple(group.name for group in doomed)


@contextmanager
def tidying_up() -> Iterator[None]:
    """Mark failures that leave a good new group as ones to keep it after. An abort is none: somebody wants it gone."""
    try:
        yield
    except OperationFailure as failure:
        if failure.kind in ("Unhealthy", "Aborted"):
            raise
        raise OperationFailure(failure.kind, str(failure), keep=True) from failure
