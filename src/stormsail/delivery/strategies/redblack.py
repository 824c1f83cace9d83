"""The strategy `redblack`: the older server groups stop serving once the new one was seen good.

The order is Spinnaker's: shrink, wait, disable, wait, scale down. Shrinking comes before disabling and never
destroys a group that serves. Every decision to destroy, disable or scale down reads the cloud at that moment, and each
of these changes looks again, in the same activity, whether the new group is good.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from stormsail.delivery.model.server_group import Capacity, Health, Observation, ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import CANCEL_ONLY, Conduct, Ending, Undo
from stormsail.delivery.operations.judging import guard_broken
from stormsail.delivery.operations.orders import HealthGuard
from stormsail.delivery.providers.provider import (
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    ResizeServerGroup,
)
from stormsail.delivery.strategies.selection import to_disable, to_scale_down, to_shrink
from stormsail.delivery.strategies.strategy import Finished, Rollout

REMAINING_ENABLED: Final = 1
REMAINING_FULL_SIZE: Final = 1
NOTHING: Final = Capacity.fixed(0)


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

    async def finish(self, conduct: Conduct, rollout: Rollout) -> Finished:
        """Go through the phases. Failing to tidy up keeps the new group; a new group gone bad does not."""
        destroyed: tuple[str, ...] = ()
        disabled: tuple[str, ...] = ()
        scaled_down: tuple[str, ...] = ()
        with _tidying_up():
            for phase in phases(rollout):
                match phase:
                    case Phase.SHRINK:
                        destroyed = await _shrink(conduct, rollout)
                    case Phase.WAIT_BEFORE_CLEANUP:
                        await conduct.wait(phase, rollout.delay_before_cleanup_s)
                    case Phase.DISABLE:
                        disabled = await _disable(conduct, rollout)
                    case Phase.WAIT_BEFORE_SCALE_DOWN:
                        await conduct.wait(phase, rollout.delay_before_scale_down_s)
                    case Phase.SCALE_DOWN:
                        scaled_down = await _scale_down(conduct, rollout)
        return Finished(destroyed=destroyed, disabled=disabled, scaled_down=scaled_down)


async def _shrink(conduct: Conduct, rollout: Rollout) -> tuple[str, ...]:
    async with conduct.step(Phase.SHRINK, rollout.cluster):
        observation = await _good(conduct, rollout)
        doomed = to_shrink(observation.cluster(rollout.cluster), rollout.max_remaining)
        _note(conduct, "destroys", doomed)
    for group in doomed:
        conduct.undo(Undo(f"bring {group.name} back", _gone_for_good, CANCEL_ONLY))
        await conduct.change("destroyServerGroup", DestroyServerGroup(name=group.name), _guard(rollout))
    return tuple(group.name for group in doomed)


async def _disable(conduct: Conduct, rollout: Rollout) -> tuple[str, ...]:
    async with conduct.step(Phase.DISABLE, rollout.cluster):
        observation = await _good(conduct, rollout)
        groups = observation.cluster(rollout.cluster)
        doomed = to_disable(groups, REMAINING_ENABLED, keep={rollout.server_group})
        _note(conduct, "disables", doomed)
    for group in doomed:
        conduct.undo(_enable_again(conduct, group))
        await conduct.change("disableServerGroup", DisableServerGroup(name=group.name), _guard(rollout))
        await conduct.wait_for_down("waitForDownInstances", group.name)
    return tuple(group.name for group in doomed)


async def _scale_down(conduct: Conduct, rollout: Rollout) -> tuple[str, ...]:
    async with conduct.step(Phase.SCALE_DOWN, rollout.cluster):
        observation = await _good(conduct, rollout)
        doomed = to_scale_down(observation.cluster(rollout.cluster), REMAINING_FULL_SIZE)
        _note(conduct, "scales down", doomed)
    for group in doomed:
        conduct.undo(_full_size_again(conduct, group))
        change = ResizeServerGroup(name=group.name, capacity=NOTHING)
        await conduct.change("resizeServerGroup", change, _guard(rollout))
    return tuple(group.name for group in doomed)


async def _good(conduct: Conduct, rollout: Rollout) -> Observation:
    """Read the cloud and raise unless the new group is good in that very observation."""
    observation = await conduct.observe()
    if reason := guard_broken(_guard(rollout), observation):
        raise OperationFailure("Unhealthy", f"the older server groups are left serving: {reason}")
    return observation


def _guard(rollout: Rollout) -> HealthGuard:
    return HealthGuard(server_group=rollout.server_group, up_at_least=rollout.up_at_least)


def _enable_again(conduct: Conduct, group: ServerGroup) -> Undo:
    async def action(_: Ending) -> bool:
        await conduct.change(
            "enableServerGroup", EnableServerGroup(name=group.name, percent=max(1, group.weight_percent))
        )
        # What was up before is what it must come back with: a group may have served with an instance missing.
        await conduct.wait_for_up(group.name, min(group.count(Health.UP), group.capacity.desired), serving=True)
        return True

    return Undo(f"enable {group.name} again", action, gives_traffic=True)


def _full_size_again(conduct: Conduct, group: ServerGroup) -> Undo:
    async def action(_: Ending) -> bool:
        await conduct.change("resizeServerGroup", ResizeServerGroup(name=group.name, capacity=group.capacity))
        await conduct.wait_for_up(group.name, group.capacity.desired)
        return True

    return Undo(f"resize {group.name} back to {group.capacity.desired}", action, gives_traffic=True)


async def _gone_for_good(_: Ending) -> bool:
    raise OperationFailure("Destroyed", "shrinkCluster destroyed it; what was destroyed does not come back")


def _note(conduct: Conduct, verb: str, groups: tuple[ServerGroup, ...]) -> None:
    conduct.note(f"{verb} {', '.join(group.name for group in groups) or 'nothing'}")


@contextmanager
def _tidying_up() -> Iterator[None]:
    """Mark failures that leave a good new group as ones to keep it after."""
    try:
        yield
    except OperationFailure as failure:
        if failure.kind == "Unhealthy":
            raise
        raise OperationFailure(failure.kind, str(failure), keep=True) from failure
