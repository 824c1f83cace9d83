"""What stands before server groups: load balancers with their listeners and pools, and security groups."""

from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

POOLS_MAX: Final = 15
LISTENERS_MAX: Final = 20
RULES_MAX: Final = 200
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"

Port = int


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class PoolHealth(_Part):
    """How a pool asks its instances whether they are well."""

    path: str = "/health"
    interval: int = Field(default=10, ge=5, le=300)
    timeout: int = Field(default=5, ge=2, le=120)
    healthy_threshold: int = Field(default=2, ge=2, le=10)
    unhealthy_threshold: int = Field(default=2, ge=2, le=10)


class Pool(_Part):
    """Where listeners send requests to, and server groups register their instances."""

    name: str = Field(pattern=_NAME, max_length=128)
    protocol: Literal["HTTP", "HTTPS", "TCP"] = "HTTP"
    port: Port = Field(ge=1, le=65535)
    health: PoolHealth = Field(default_factory=PoolHealth)


class Route(_Part):
    """A pool that a listener sends to. The weight counts as long as no server group was given a share."""

    pool: str
    weight: int = Field(default=1, ge=0, le=999)


class Listener(_Part):
    """A port that takes requests."""

    port: Port = Field(ge=1, le=65535)
    protocol: Literal["HTTP", "HTTPS", "TCP"] = "HTTP"
    certificates: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    """Where its requests go: nowhere else than to pools of this load balancer."""


class LoadBalancer(BaseModel):
    """A load balancer, as it is wished or as it was observed."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Literal["application", "network"] = "application"
    internal: bool = False
    listeners: tuple[Listener, ...] = Field(default=(), max_length=LISTENERS_MAX)
    pools: tuple[Pool, ...] = Field(default=(), max_length=POOLS_MAX)
    settings: dict[str, Any] = Field(default_factory=dict)
    """What only its provider knows: networks, for example."""
    address: str = ""
    """Where it answers; observed, never wished."""
    serves: tuple[str, ...] = ()
    """The server groups that take traffic through it; observed, never wished."""

    @model_validator(mode="after")
    def _whole(self) -> "LoadBalancer":
        known = [pool.name for pool in self.pools]
        if len(set(known)) < len(known):
            raise ValueError(f"pools: {_doubled(known)!r} is there twice")
        ports = [listener.port for listener in self.listeners]
        if len(set(ports)) < len(ports):
            raise ValueError(f"listeners: port {_doubled(ports)} is there twice")
        for number, listener in enumerate(self.listeners):
            routed = [route.pool for route in listener.routes]
            unknown = sorted(set(routed) - set(known))
            if unknown:
                raise ValueError(f"listeners.{number}.routes: there is no pool {unknown[0]!r} among {', '.join(known)}")
            if len(set(routed)) < len(routed):
                raise ValueError(f"listeners.{number}.routes: pool {_doubled(routed)!r} is there twice")
            if listener.protocol == "HTTPS" and not listener.certificates:
                raise ValueError(f"listeners.{number}.certificates: HTTPS needs one")
        return self

    @property
    def wished(self) -> "LoadBalancer":
        """The same without what is only observed."""
        return self.model_copy(update={"address": "", "serves": ()})


class IngressRule(_Part):
    """Who may come in: from a range of addresses, or from the members of a security group."""

    protocol: Literal["tcp", "udp", "icmp", "-1"] = Field(
        default="tcp", validation_alias=AliasChoices("protocol", "ipProtocol", "ip_protocol")
    )
    start_port: int = Field(ge=-1, le=65535)
    end_port: int = Field(ge=-1, le=65535)
    cidr: str = ""
    security_group: str = Field(
        default="", validation_alias=AliasChoices("securityGroup", "security_group", "name", "id")
    )
    """A name, or the provider's id."""

    @model_validator(mode="after")
    def _one_source(self) -> "IngressRule":
        if bool(self.cidr) == bool(self.security_group):
            raise ValueError("say who may come in: either cidr or securityGroup")
        if self.end_port < self.start_port:
            raise ValueError(f"endPort {self.end_port} is below startPort {self.start_port}")
        return self


class SecurityGroup(BaseModel):
    """A security group, as it is wished or as it was observed."""

    model_config = ConfigDict(frozen=True)

    name: str
    description: str = ""
    ingress: tuple[IngressRule, ...] = Field(default=(), max_length=RULES_MAX)
    settings: dict[str, Any] = Field(default_factory=dict)
    """What only its provider knows: the network that it is in, for example."""


class Network(BaseModel):
    """What a provider saw of an application's load balancers and security groups, sorted by name."""

    model_config = ConfigDict(frozen=True)

    load_balancers: tuple[LoadBalancer, ...] = ()
    security_groups: tuple[SecurityGroup, ...] = ()

    def load_balancer(self, name: str) -> LoadBalancer | None:
        """Return the load balancer of a name, or None."""
        return next((one for one in self.load_balancers if one.name == name), None)

    def security_group(self, name: str) -> SecurityGroup | None:
        """Return the security group of a name, or None."""
        return next((one for one in self.security_groups if one.name == name), None)


def _doubled(values: Sequence[Any]) -> Any:
    return next(value for value in values if values.count(value) > 1)
