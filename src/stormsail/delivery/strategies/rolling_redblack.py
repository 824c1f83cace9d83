"""The strategy `rollingredblack`: the new group takes the traffic over in shares.

It is made empty. For each share it grows to that share of the older group's size, is seen good under traffic, may be
validated, and only then does the older group lose as much. How large the older one is is read from the cloud again for
each share, because an autoscaler may have grown it; it never shrinks meanwhile, because its minimum is pinned.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from stormsail.delivery.model.server_group import Capacity, ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import share
from stormsail.delivery.operations.orders import HealthGuard
from stormsail.delivery.providers.provider import DisableServerGroup, EnableServerGroup, ResizeServerGroup
from stormsail.delivery.strategies.cluster_steps import enable_again, scale_down_cluster
from stormsail.delivery.strategies.strategy import Finished, Rollout

WHOLE = 100


@dataclass(frozen=True, slots=True)
class Validation:
    """What a validation is told: which groups, and how much the new one has taken over."""

    deployed_server_group: str
    source_server_group: str
    """Empty when no group served before."""
    percentage_complete: int


Validate = Callable[[Conduct, Validation], Awaitable[None]]
"""Judges the new group at a share; raises OperationFailure to roll back. Runs inside the operation's workflow."""


@dataclass(frozen=True, slots=True)
class Share:
    """One share of the way: the new group's capacity, and how many of its instances must be up."""

    percent: int
    capacity: Capacity
    up_at_least: int


def percentages(targets: Sequence[int]) -> tuple[int, ...]:
    """Return the shares in order; 100 comes last, said or not."""
    return tuple(targets) if targets and targets[-1] == WHOLE else (*targets, WHOLE)


def share_of(percent: int, whole: Capacity, healthy_percent: int) -> Share:
    """Return a share of a capacity: held at exactly its size until it is the whole, which may scale freely."""
    size = share(whole.desired, percent)
    capacity = whole if percent == WHOLE else Capacity.fixed(size)
    return Share(percent, capacity, share(size, healthy_percent))


def whole_of(asked: Capacity, before: ServerGroup | None, now: ServerGroup | None) -> Capacity:
    """Return what the new group grows to: the older group's size as it is now, or what was asked where there is none.

    `before` is the older group as it was before its minimum was pinned.
    """
    if before is None or before.capacity.desired == 0:
        return asked
    size = before.capacity if now is None else now.capacity
    return size.model_copy(update={"min": min(before.capacity.min, size.desired)})


async def grow_to(conduct: Conduct, rollout: Rollout, percent: int) -> tuple[ServerGroup, Share]:
    """Grow the new group to a share of the older one as that is now. Returns what the group was before, and the share.

    Raises OperationFailure when the new group is gone.
    """
    name, before = rollout.server_group, rollout.source
    async with conduct.step("determineShare", f"{percent}%"):
        observation = await conduct.observe()
        group = observation.find(name)
        if group is None:
            raise OperationFailure("NotFound", f"{name} went away while it was taking over")
        now = observation.find(before.name) if before is not None else None
        whole = whole_of(rollout.capacity, before, now)
        step = share_of(percent, whole, rollout.healthy_percent)
        conduct.note(f"{name} grows to {step.capacity.desired} of {whole.desired} instances")
    await conduct.change("resizeServerGroup", ResizeServerGroup(name=name, capacity=step.capacity))
    return group, step


class RollingRedBlack:
    """Replace the group that served share by share; with a `validate`, each share must pass it."""

    replaces_source = True
    pins_source = True
    rolls_back = True
    starts_empty = True
    destroys_failed = False

    def __init__(self, validate: Validate | None = None) -> None:
        self._validate = validate

    def objection(self, groups: Sequence[ServerGroup], initial_max: int) -> str:
        """Refuse a cluster in which more groups serve than shares of traffic can be reckoned for."""
        enabled = [group.name for group in groups if group.enabled]
        if initial_max < 0 or len(enabled) <= initial_max:
            return ""
        return (
            f"{len(enabled)} server groups serve ({', '.join(enabled)}) and at most {initial_max} may: "
            "disable the others first, or raise maxInitialAsgs (-1 allows any number)"
        )

    async def finish(self, conduct: Conduct, rollout: Rollout) -> Finished:
        """Go through the shares. Any failure puts the older group back to all of its traffic."""
        source = rollout.source if rollout.source is not None and rollout.source.enabled else None
        returns = False
        for percent in percentages(rollout.target_percentages):
            step = await self._grow(conduct, rollout, percent)
            good = HealthGuard(server_group=rollout.server_group, up_at_least=step.up_at_least)
            await conduct.wait("waitBeforeCleanup", rollout.delay_before_cleanup_s)
            await self._validated(conduct, rollout, percent)
            if source is not None:
                if not returns:
                    conduct.undo(enable_again(conduct, source))
                    returns = True
                change = DisableServerGroup(name=source.name, percent=percent)
                await conduct.change("disableServerGroup", change, good)
                await conduct.wait_for_down("waitForDownInstances", source.name, percent=percent)
        scaled_down: tuple[str, ...] = ()
        if rollout.source is not None and rollout.scale_down:
            await conduct.wait("waitBeforeScaleDown", rollout.delay_before_scale_down_s)
            scaled_down = await scale_down_cluster(conduct, rollout.cluster, good)
        disabled = (source.name,) if source is not None else ()
        return Finished(disabled=disabled, scaled_down=scaled_down, capacity=step.capacity)

    async def _grow(self, conduct: Conduct, rollout: Rollout, percent: int) -> Share:
        """Grow the new group to a share and see it good under traffic."""
        name = rollout.server_group
        group, step = await grow_to(conduct, rollout, percent)
        if not group.enabled:
            await conduct.wait_for_up(name, step.up_at_least)
            healthy = HealthGuard(server_group=name, up_at_least=step.up_at_least, serving=False)
            await conduct.change("enableServerGroup", EnableServerGroup(name=name), healthy)
        await conduct.wait_for_up(name, step.up_at_least, serving=True)
        return step

    async def _validated(self, conduct: Conduct, rollout: Rollout, percent: int) -> None:
        if self._validate is None:
            return
        source = rollout.source.name if rollout.source is not None else ""
        async with conduct.step("runValidation", f"{percent}%"):
            await self._validate(conduct, Validation(rollout.server_group, source, percent))
