"""What is deployed: server groups, their instances and their capacity, as observed in a cloud."""

from enum import StrEnum
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

from stormsail.delivery.model.names import Moniker, parse_name


class Health(StrEnum):
    """One instance's state, Spinnaker's words."""

    UP = "Up"
    DOWN = "Down"
    STARTING = "Starting"
    OUT_OF_SERVICE = "OutOfService"
    """Healthy, but takes no traffic because its group is disabled, or was given no share of the requests."""
    UNKNOWN = "Unknown"


class Capacity(BaseModel):
    """Counts of instances; min <= desired <= max."""

    model_config = ConfigDict(frozen=True)

    min: int = Field(ge=0)
    desired: int = Field(ge=0)
    max: int = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> "Capacity":
        if not self.min <= self.desired <= self.max:
            raise ValueError(f"capacity must have min <= desired <= max, got {self.min}/{self.desired}/{self.max}")
        return self

    @classmethod
    def fixed(cls, count: int) -> "Capacity":
        """Return min = desired = max = count."""
        return cls(min=count, desired=count, max=count)


class Instance(BaseModel):
    """One instance of a server group. `address` is host:port where the provider can tell, else empty."""

    model_config = ConfigDict(frozen=True)

    id: str
    health: Health
    address: str = ""
    launched_at_ms: int = 0
    detail: str = ""
    """Why the instance is in this state, in words for a person: an exit code, the last health check."""


class LaunchSpec(BaseModel):
    """What a server group runs. The provider reads `settings`; unknown keys there are its to refuse.

    For the local provider: `command` is an argument list, run with `{port}` and `{host}` filled in;
    for clouds `image` names what to boot.
    """

    model_config = ConfigDict(frozen=True)

    version: str = ""
    """The label a person knows this release by, for example `v2`."""
    image: str = ""
    command: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    health_path: str = Field(default="/health", validation_alias=AliasChoices("health_path", "healthPath"))
    settings: dict[str, Any] = Field(default_factory=dict)


class ServerGroup(BaseModel):
    """One version of a cluster, as observed."""

    model_config = ConfigDict(frozen=True)

    name: str
    account: str
    location: str
    capacity: Capacity
    enabled: bool
    """Whether the load balancer sends it traffic."""
    weight_percent: int = Field(default=100, ge=0, le=100)
    """The share of its instances that take traffic while it is enabled."""
    request_percent: int | None = Field(default=None, ge=0, le=100)
    """The share of its cluster's requests that it was given by weight; None: its part by its instances."""
    instances: tuple[Instance, ...] = ()
    launch: LaunchSpec
    created_at_ms: int
    enabled_at_ms: int = 0
    """When it was last given traffic; 0 when it never was. Rollback restores only what once took traffic."""
    token: str = ""
    """The operation token that created it."""

    @property
    def moniker(self) -> Moniker:
        """The name taken apart."""
        return parse_name(self.name)

    @property
    def cluster(self) -> str:
        """The cluster's name."""
        return self.moniker.cluster

    def count(self, health: Health) -> int:
        """Count the instances in a state."""
        return sum(instance.health is health for instance in self.instances)


class Observation(BaseModel):
    """What a provider saw of one application, read from the cloud itself at `as_of_ms`.

    It is whole or it is not returned: a provider that could read only a part raises instead.
    """

    model_config = ConfigDict(frozen=True)

    account: str
    application: str
    as_of_ms: int
    server_groups: tuple[ServerGroup, ...]
    """All server groups of the application, oldest first by creation time."""
    address: str = ""
    """Where the application's traffic enters (the load balancer), or empty."""

    def cluster(self, name: str) -> tuple[ServerGroup, ...]:
        """Return one cluster's server groups, oldest first."""
        return tuple(group for group in self.server_groups if group.cluster == name)

    def find(self, name: str) -> ServerGroup | None:
        """Return the server group of a name, or None."""
        return next((group for group in self.server_groups if group.name == name), None)
