"""createServerGroup: make a new version of a cluster, see it healthy, give it traffic, then replace the older ones.

The source's minimum is pinned to its desired count meanwhile, so that nothing shrinks what serves, and is given back on
every path.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from stormsail.delivery.model.canary import CanarySettings
from stormsail.delivery.model.names import InvalidName, next_sequence
from stormsail.delivery.model.server_group import Capacity, LaunchSpec, Observation, ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import (
    ClusterInput,
    OperationOutput,
    check_cluster,
    check_server_group_name,
    found,
    invalid,
    share,
)
from stormsail.delivery.operations.orders import HealthGuard
from stormsail.delivery.operations.undo import ALWAYS, Ending, Undo
from stormsail.delivery.providers.provider import (
    CreateServerGroup,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    ResizeServerGroup,
)
from stormsail.delivery.strategies.installed import installed_strategies
from stormsail.delivery.strategies.selection import serving
from stormsail.delivery.strategies.strategy import Finished, Rollout, Strategy

DAY_S: Final = 86_400
EMPTY: Final = Capacity.fixed(0)


class Source(BaseModel):
    """The group that the new one replaces."""

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)

    server_group_name: str = Field(
        default="",
        validation_alias=AliasChoices("serverGroupName", "server_group_name", "asgName"),
    )
    use_source_capacity: bool = False


class RollbackSettings(BaseModel):
    """What happens when the new group fails."""

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)

    on_failure: bool = True
    destroy_latest: bool = False


class DeployInput(ClusterInput):
    """How a new group takes over, and what to do with the groups that are there."""

    capacity: Capacity | None = None
    strategy: str = "none"
    source: Source = Field(default_factory=Source)
    max_remaining_asgs: int = Field(default=0, ge=0, le=1000)
    max_initial_asgs: int = Field(default=1, ge=-1, le=1000)
    """rollingredblack: how many groups may serve when it begins; -1 allows any number."""
    target_percentages: tuple[Annotated[int, Field(ge=1, le=100)], ...] = ()
    """rollingredblack: the shares of the traffic to take over one after the other; 100 is appended."""
    canary: CanarySettings = Field(default_factory=CanarySettings)
    """canary: what it goes through on its way to all of the requests."""
    pipeline_before_cleanup: dict[str, Any] | None = None
    """Refused where it names a pipeline: to leave a validation out silently would be no safe answer."""
    delay_before_cleanup: float = Field(
        default=0,
        ge=0,
        le=DAY_S,
        validation_alias=AliasChoices("delayBeforeCleanup", "delay_before_cleanup", "delayBeforeDisableSec"),
    )
    delay_before_scale_down: float = Field(
        default=0,
        ge=0,
        le=DAY_S,
        validation_alias=AliasChoices("delayBeforeScaleDown", "delay_before_scale_down", "delayBeforeScaleDownSec"),
    )
    scale_down: bool = False
    target_healthy_deploy_percentage: int = Field(default=100, ge=1, le=100)
    rollback: RollbackSettings = Field(default_factory=RollbackSettings)


class CreateServerGroupInput(DeployInput):
    """What to launch, and how it takes over."""

    launch: LaunchSpec


class CreateServerGroupOutput(OperationOutput):
    """What was made and what became of the others."""

    cluster: str
    capacity: Capacity
    source: str = ""
    destroyed: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    scaled_down: tuple[str, ...] = ()


class CreateServerGroupOperation:
    """Create, wait for health, enable, wait for health under traffic, then the strategy."""

    def __init__(self, strategies: Mapping[str, Strategy] | None = None) -> None:
        """Take the strategies that there are; those installed unless others are given."""
        self._given = strategies

    async def operate(self, conduct: Conduct, wanted: CreateServerGroupInput) -> CreateServerGroupOutput:
        """Do it. The new group's name is chosen once, from one recorded observation."""
        strategy = self._strategy(wanted)
        cluster = _checked_cluster(conduct, wanted)
        conduct.rolls_back = strategy.rolls_back and wanted.rollback.on_failure
        if wanted.canary.steps:
            # From the very beginning, so that a rollout can be aborted while its new group is made.
            conduct.set_out(len(wanted.canary.steps))
        async with conduct.step("determineSourceServerGroup", cluster):
            observation = await conduct.observe()
            groups = observation.cluster(cluster)
            source = _source(observation, groups, wanted)
            capacity = _capacity(wanted, source)
            name = _next_name(wanted, groups)
            conduct.note(f"makes {name}, after {source.name if source else 'no server group'}")
            if objection := strategy.objection(groups, wanted.max_initial_asgs):
                raise OperationFailure("ClusterUnsuitable", objection, field="strategy")
            if capacity.desired == 0 and source is not None and source.enabled and strategy.replaces_source:
                raise invalid(
                    ("capacity.desired", f"no instances cannot replace {source.name}, which serves: ask for 1")
                )
        pinned = source if strategy.pins_source else None
        if pinned is not None:
            await pin_minimum(conduct, pinned)
        await _create(
            conduct,
            wanted,
            name,
            EMPTY if strategy.starts_empty else capacity,
            source,
            destroys=strategy.destroys_failed or wanted.rollback.destroy_latest,
        )
        finished = await _take_over(conduct, strategy, _rollout(wanted, cluster, name, capacity, source))
        if pinned is not None:
            await restore_minimum(conduct, pinned)
        return CreateServerGroupOutput(
            server_group=name,
            cluster=cluster,
            capacity=finished.capacity or capacity,
            source=source.name if source is not None else "",
            destroyed=finished.destroyed,
            disabled=finished.disabled,
            scaled_down=finished.scaled_down,
        )

    def _strategy(self, wanted: CreateServerGroupInput) -> Strategy:
        strategies = installed_strategies() if self._given is None else self._given
        strategy = strategies.get(wanted.strategy)
        if strategy is None:
            nearest = difflib.get_close_matches(wanted.strategy, strategies, n=1)
            guess = f" Did you mean {nearest[0]}?" if nearest else ""
            known = ", ".join(strategies)
            raise invalid(("strategy", f"there is no strategy {wanted.strategy!r}.{guess} Known are {known}."))
        if wanted.pipeline_before_cleanup and wanted.pipeline_before_cleanup.get("pipelineId"):
            raise invalid(
                ("pipelineBeforeCleanup", "pipelines are not run here: register a strategy with a validation in Python")
            )
        if wanted.canary.steps and wanted.strategy != "canary":
            raise invalid(("canary.steps", f"steps are of the strategy canary, and this is {wanted.strategy}"))
        if list(wanted.target_percentages) != sorted(set(wanted.target_percentages)):
            raise invalid(("targetPercentages", "each share must be larger than the one before it"))
        return strategy


def _rollout(
    wanted: CreateServerGroupInput, cluster: str, name: str, capacity: Capacity, source: ServerGroup | None
) -> Rollout:
    return Rollout(
        cluster=cluster,
        server_group=name,
        up_at_least=share(capacity.desired, wanted.target_healthy_deploy_percentage),
        source=source,
        capacity=capacity,
        healthy_percent=wanted.target_healthy_deploy_percentage,
        target_percentages=wanted.target_percentages,
        max_remaining=wanted.max_remaining_asgs,
        delay_before_cleanup_s=wanted.delay_before_cleanup,
        delay_before_scale_down_s=wanted.delay_before_scale_down,
        scale_down=wanted.scale_down,
        steps=wanted.canary.steps,
    )


async def _take_over(conduct: Conduct, strategy: Strategy, rollout: Rollout) -> Finished:
    """See the new group good and give it traffic, unless the strategy does both; then deal with the older ones."""
    if not strategy.starts_empty:
        name = rollout.server_group
        await conduct.wait_for_up(name, rollout.up_at_least)
        good = HealthGuard(server_group=name, up_at_least=rollout.up_at_least, serving=False)
        await conduct.change("enableServerGroup", EnableServerGroup(name=name), good)
        await conduct.wait_for_up(name, rollout.up_at_least, serving=True)
    return await strategy.finish(conduct, rollout)


async def pin_minimum(conduct: Conduct, source: ServerGroup) -> None:
    """Hold the source's minimum at its desired count, to be given back however the operation ends."""
    if source.capacity.min == source.capacity.desired:
        return

    async def give_back(_: Ending) -> bool:
        return await restore_minimum(conduct, source)

    conduct.undo(Undo(f"restore the minimum of {source.name} to {source.capacity.min}", give_back, ALWAYS))
    pinned = source.capacity.model_copy(update={"min": source.capacity.desired})
    await conduct.change("pinMinimumCapacity", ResizeServerGroup(name=source.name, capacity=pinned))


async def restore_minimum(conduct: Conduct, source: ServerGroup) -> bool:
    """Give the source its minimum back, as far as its present desired count allows; return whether that was needed."""
    if source.capacity.min == source.capacity.desired:
        return False
    group = (await conduct.observe()).find(source.name)
    if group is None:
        return False
    minimum = min(source.capacity.min, group.capacity.desired)
    if group.capacity.min == minimum:
        return False
    restored = group.capacity.model_copy(update={"min": minimum})
    await conduct.change("restoreMinCapacityFromSnapshot", ResizeServerGroup(name=source.name, capacity=restored))
    return True


async def _create(
    conduct: Conduct,
    wanted: CreateServerGroupInput,
    name: str,
    capacity: Capacity,
    source: ServerGroup | None,
    *,
    destroys: bool,
) -> None:
    """Make the group, disabled, and remember how to take it away again."""
    ticket = conduct.ticket("createServerGroup")
    created = False
    none_served = source is None or not source.enabled

    async def destroy(ending: Ending) -> bool:
        if created and (ending is Ending.KEEP or (ending is Ending.ROLL_BACK and not destroys)):
            return False
        group = (await conduct.observe()).find(name)
        if group is None or group.token not in ticket.tokens:
            return False  # Never made, or somebody else made one of this name meanwhile, and it is theirs.
        await conduct.change("destroyServerGroup", DestroyServerGroup(name=name), as_before=none_served)
        return True

    async def disable(_: Ending) -> bool:
        group = (await conduct.observe()).find(name)
        if group is None or not group.enabled:
            return group is not None
        # Taking traffic from the new group is right only while the old one serves.
        guard = HealthGuard(server_group=source.name, up_at_least=1) if source is not None and source.enabled else None
        await conduct.change("disableServerGroup", DisableServerGroup(name=name), guard, as_before=none_served)
        return True

    conduct.undo(Undo(f"destroy {name}", destroy, ALWAYS, takes_traffic=True))
    change = CreateServerGroup(name=name, capacity=capacity, launch=wanted.launch)
    await conduct.change("createServerGroup", change, ticket=ticket)
    created = True
    conduct.undo(Undo(f"disable {name}", disable, takes_traffic=True))


def _checked_cluster(conduct: Conduct, wanted: CreateServerGroupInput) -> str:
    moniker = wanted.moniker
    check_cluster(moniker, conduct.application)
    if wanted.source.server_group_name:
        check_server_group_name(wanted.source.server_group_name, conduct.application, "source.serverGroupName")
    return moniker.cluster


def _source(
    observation: Observation,
    groups: tuple[ServerGroup, ...],
    wanted: CreateServerGroupInput,
) -> ServerGroup | None:
    """Return the named source, else the newest group that serves, else (for its capacity only) the newest."""
    named = wanted.source.server_group_name
    if named:
        chosen = found(observation, named, "source.serverGroupName")
        if chosen not in groups:
            raise invalid(("source.serverGroupName", f"{named!r} is not of cluster {wanted.moniker.cluster!r}"))
        return chosen
    source = serving(groups)
    if source is None and wanted.source.use_source_capacity and groups:
        return groups[-1]
    return source


def _capacity(wanted: CreateServerGroupInput, source: ServerGroup | None) -> Capacity:
    if wanted.source.use_source_capacity and source is not None:
        return source.capacity
    if wanted.capacity is None:
        raise invalid(("capacity", "say how many instances to run: there is no source server group to take it from"))
    return wanted.capacity


def _next_name(wanted: CreateServerGroupInput, groups: tuple[ServerGroup, ...]) -> str:
    sequences = [group.moniker.sequence for group in groups]
    taken = [sequence for sequence in sequences if sequence is not None]
    try:
        return wanted.moniker.with_sequence(next_sequence(taken, taken[-1] if taken else None)).name
    except InvalidName as error:
        raise OperationFailure("NoVersionLeft", str(error)) from None
