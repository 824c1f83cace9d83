"""What a strategy is given and what it answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from stormsail.delivery.model.canary import CanaryStep
from stormsail.delivery.model.server_group import Capacity, ServerGroup
from stormsail.delivery.operations.conduct import Conduct


@dataclass(frozen=True, slots=True)
class Rollout:
    """A new server group, and what to do about the older ones.

    It is healthy and takes traffic already. Where the strategy `starts_empty` it is disabled and has no instance.
    """

    cluster: str
    server_group: str
    """The new group."""
    up_at_least: int
    """How many of its instances must be up for it to be called good."""
    source: ServerGroup | None
    """The group that served before, as it was observed before anything was changed."""
    capacity: Capacity
    """What was asked for the new group."""
    healthy_percent: int = 100
    """The share of its instances that must be up for it to be called good."""
    target_percentages: tuple[int, ...] = ()
    """The shares of the traffic that it takes over one after the other; 100 comes last, said or not."""
    max_remaining: int = 0
    """How many groups of the cluster remain; 0 keeps all."""
    delay_before_cleanup_s: float = 0.0
    delay_before_scale_down_s: float = 0.0
    scale_down: bool = False
    steps: tuple[CanaryStep, ...] = ()
    """What a canary goes through on its way."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a strategy did to the older groups, and the capacity that it gave the new one where it did."""

    destroyed: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    scaled_down: tuple[str, ...] = ()
    capacity: Capacity | None = None


class Strategy(Protocol):
    """What happens to the older server groups once the new one is good."""

    @property
    def replaces_source(self) -> bool:
        """Whether the group that served before stops serving, so that the new one must not be empty."""
        ...

    @property
    def pins_source(self) -> bool:
        """Whether the minimum of the group that served before is held at its size meanwhile."""
        ...

    @property
    def rolls_back(self) -> bool:
        """Whether a failure puts the previous state back, where the deployment asks for that."""
        ...

    @property
    def starts_empty(self) -> bool:
        """Whether the new group is made without instances, to be grown and enabled by the strategy."""
        ...

    @property
    def destroys_failed(self) -> bool:
        """Whether a new group that failed is destroyed in any case, and not only where the deployment asks for that."""
        ...

    def objection(self, groups: Sequence[ServerGroup], initial_max: int) -> str:
        """Return why the cluster, as it stands before anything is changed, does not suit; or an empty text.

        `initial_max` is how many enabled groups there may be, -1 for any number.
        """
        ...

    async def finish(self, conduct: Conduct, rollout: Rollout) -> Finished:
        """Deal with the older groups. A failure with `keep` leaves the new group serving."""
        ...
