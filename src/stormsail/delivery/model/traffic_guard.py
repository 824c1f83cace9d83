"""Traffic guards: which clusters must not be left without a serving instance. Where they are kept is not known here.

Every cluster is guarded unless a rule says otherwise. A rule that was written down holds for everybody; the guard that
is there without one gives way to a request that asks for the outage by name.
"""

from fnmatch import fnmatchcase
from typing import Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from stormsail.delivery.model.names import Moniker

ANY: Final = "*"


class TrafficGuard(BaseModel):
    """One rule. Each part is a name or a pattern with `*`; an empty stack or detail means a cluster without one."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    application: str = ANY
    account: str = ANY
    location: str = Field(default=ANY, validation_alias=AliasChoices("location", "region"))
    stack: str = ANY
    detail: str = ANY
    scope: Literal["cluster", "application"] = "cluster"
    """What must not be left without a serving instance: the cluster, or the application with all its clusters."""
    enabled: bool = True

    def matches(self, account: str, location: str, cluster: Moniker) -> bool:
        """Tell whether the rule speaks of a cluster in a place."""
        there = (cluster.app, account, location, cluster.stack, cluster.detail)
        return all(fnmatchcase(part, pattern) for part, pattern in zip(there, self.parts, strict=True))

    @property
    def parts(self) -> tuple[str, str, str, str, str]:
        """The patterns, the weightiest first."""
        return (self.application, self.account, self.location, self.stack, self.detail)

    @property
    def weight(self) -> tuple[int, ...]:
        """How exactly the rule speaks: of two that match, the heavier one holds."""
        return tuple(0 if part == ANY else 1 if ANY in part else 2 for part in self.parts)

    def __str__(self) -> str:
        """Name the rule for a person: the parts that it restricts."""
        names = ("application", "account", "location", "stack", "detail")
        said = [f"{name} {part or '(none)'}" for name, part in zip(names, self.parts, strict=True) if part != ANY]
        return ", ".join(said) or "every cluster"


class TrafficGuards(BaseModel):
    """The rules of an installation, and how much of a cluster's serving instances must remain."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    traffic_guards: tuple[TrafficGuard, ...] = ()
    min_capacity_ratio: float = Field(default=0.0, ge=0.0, lt=0.5)
    """A change that leaves this share of the serving instances or less is refused; 0 refuses to leave none."""

    def rule_for(self, account: str, location: str, cluster: Moniker) -> TrafficGuard | None:
        """Return the rule that holds for a cluster: the most exact one, of equals the one that guards; else None."""
        matching = [rule for rule in self.traffic_guards if rule.matches(account, location, cluster)]
        return max(matching, key=lambda rule: (rule.weight, rule.enabled), default=None)
