"""What a strategy is given and what it answers."""

from dataclasses import dataclass
from typing import Protocol

from stormsail.delivery.model.server_group import ServerGroup
from stormsail.delivery.operations.conduct import Conduct


@dataclass(frozen=True, slots=True)
class Rollout:
    """A new server group that is healthy and takes traffic, and what to do about the older ones."""

    cluster: str
    server_group: str
    """The new group."""
    up_at_least: int
    """How many of its instances must be up for it to be called good."""
    source: ServerGroup | None
    """The group that served before, as it was observed before anything was changed."""
    max_remaining: int = 0
    """How many groups of the cluster remain; 0 keeps all."""
    delay_before_cleanup_s: float = 0.0
    delay_before_scale_down_s: float = 0.0
    scale_down: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """What a strategy did to the older groups."""

    destroyed: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()
    scaled_down: tuple[str, ...] = ()


class Strategy(Protocol):
    """What happens to the older server groups once the new one is good."""

    @property
    def replaces_source(self) -> bool:
        """Whether the group that served before is to be replaced, so that its capacity must hold meanwhile."""
        ...

    async def finish(self, conduct: Conduct, rollout: Rollout) -> Finished:
        """Deal with the older groups. A failure with `keep` leaves the new group serving."""
        ...
