"""The contract every provider keeps, in prose and as a Protocol.

A provider makes *changes* to server groups and *observes* them. It holds no state of its own that matters:
any process may die between any two calls and another process, opened on the same account, carries on.

**begin** starts a change under a *token*. The token is the change's identity: `begin` with a token seen before
never does the change twice; it finds what that token did and reports it. It returns quickly (seconds) and may
return with `done` false when the change takes longer. A token seen before with a *different* change is a Conflict.

**resume** carries a begun change further and reports how it stands. It may be called from another process than
`begin` was, any number of times, and again after `done`. A token that `begin` never saw is begun.

**cancel** stops a begun change as soon as it safely can and undoes what this provider can undo by itself (half
made instances are removed). Cancelling what was never begun, or is done, changes nothing.

**observe** reads the cloud itself, never a cache, and returns all of one application or raises. An application
without server groups is an empty observation, not an error.

What each change means, on every provider:

* `CreateServerGroup`: afterwards the group exists with `capacity.desired` instances started, *disabled* unless
  `enabled` is set. `done` means the instances were launched, not that they are healthy. Exactly one group is made
  per token. A taken name is a Conflict. When the instances cannot be launched at all the change fails with
  InvalidLaunch and leaves no instance behind.
* `ResizeServerGroup`: instances are added or removed until `capacity.desired` run. Those removed are drained first.
  With `expected` set, a group whose capacity is not `expected` when the change is first begun is a Conflict.
  The newest instances are removed first.
* `EnableServerGroup`: `percent` of the instances take traffic once they are healthy. `done` means the load balancer
  knows them as healthy and sends them traffic, or what share of it the group was given.
* `DisableServerGroup`: `percent` of the instances stop taking *new* requests at once; `done` means those in flight have
  ended or the drain limit has passed. The instances keep running. At 100 the group is disabled.
* `ShiftTraffic`: while it is enabled the group takes `percent` of its cluster's requests, and the other enabled groups
  share the rest by their instances; with `percent` None it takes its part by its instances again. At 0 it stays
  enabled and healthy and gets none: its instances are OutOfService. Where nobody would get any, all that are enabled
  share by instances. Of a disabled group it may be said beforehand, and counts once the group is enabled. `done` means
  that the load balancer distributes new requests so. Load balancers that know few weights round, but never to 0 nor
  from it. One that cannot tell the group's instances from those of another enabled group is a Conflict.
* `DestroyServerGroup`: the group is disabled, drained, and all of it is removed. Destroying what is gone is done.
* `TerminateInstances`: the named instances are drained, stopped and removed. The group starts others in their place,
  unless `shrink` is set: then its desired count (and its minimum where that is larger) falls by as many as there were.
  `done` means that they are gone and that as many run as are desired. An instance that is gone already counts as gone;
  one that the group never had is NotFound. It cannot be undone: cancelled once begun, it is carried to its end.
* `DeregisterInstances`: the named instances stop taking *new* requests at once, and keep running; `done` as for
  disabling. They stay out of traffic until they are registered or their group is enabled again. One that is gone is
  out.
* `RegisterInstances`: the named instances take their part of their group's traffic again; `done` as for enabling. Those
  of a disabled group take it once the group is enabled. One that is not there is NotFound.

What stands before server groups is described whole, as it is wished, and `done` means that the cloud has it so:

* `UpsertLoadBalancer`: makes the load balancer with its listeners and pools, or makes it as described: listeners and
  pools that are not described any more go. Weights of pools that a listener sends to already stay, because server
  groups may have been given shares meanwhile. A pool that still has instances is not removed: Conflict.
* `DeleteLoadBalancer`: it goes with its listeners and pools. Deleting what is gone is done.
* `UpsertSecurityGroup`: makes the group, or lets in who is described and nobody else; with `append_only`, who came in
  before as well. Nobody who is still described is shut out in between.
* `DeleteSecurityGroup`: it goes. One that is in use is a Conflict. Deleting what is gone is done.

One that exists and that this software did not make is a Conflict. A provider that has no such thing raises Permanent
and names it. Cancelling one that is not done stops where it is; the operation puts the former state back. Nothing
remembers the tokens of what was deleted: such a token, begun again, makes it again.

A percentage of a count of instances is rounded up in favour of serving. `weight_percent` tells what share of an enabled
group serves: enabling never lowers it, and disabling leaves at most `100 - percent`.

Failures are one of the classes of `errors.py`; nothing else leaves a provider. Cancelling the coroutine of any of the
four (the worker is stopping) leaves a state from which `resume` carries on.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from stormsail.delivery.model.network import LoadBalancer, Network, SecurityGroup
from stormsail.delivery.model.server_group import Capacity, LaunchSpec, Observation


class CreateServerGroup(BaseModel):
    """Make a server group. `name` is its whole name with version."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["createServerGroup"] = "createServerGroup"
    name: str
    capacity: Capacity
    launch: LaunchSpec
    enabled: bool = False


class ResizeServerGroup(BaseModel):
    """Change how many instances a server group has."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["resizeServerGroup"] = "resizeServerGroup"
    name: str
    capacity: Capacity
    expected: Capacity | None = None


class EnableServerGroup(BaseModel):
    """Send traffic to a share of a server group's instances."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["enableServerGroup"] = "enableServerGroup"
    name: str
    percent: int = Field(default=100, ge=1, le=100)


class DisableServerGroup(BaseModel):
    """Take traffic away from a share of a server group's instances."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["disableServerGroup"] = "disableServerGroup"
    name: str
    percent: int = Field(default=100, ge=1, le=100)


class ShiftTraffic(BaseModel):
    """Give a server group a share of its cluster's requests, or with None its part by its instances."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["shiftTraffic"] = "shiftTraffic"
    name: str
    percent: int | None = Field(default=None, ge=0, le=100)


class DestroyServerGroup(BaseModel):
    """Remove a server group and all its instances."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["destroyServerGroup"] = "destroyServerGroup"
    name: str


class TerminateInstances(BaseModel):
    """Stop instances and remove them from their server group, which replaces them unless it is to shrink."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["terminateInstances"] = "terminateInstances"
    name: str
    instances: tuple[str, ...] = Field(min_length=1)
    shrink: bool = False


class RegisterInstances(BaseModel):
    """Give instances back their part of their server group's traffic."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["registerInstances"] = "registerInstances"
    name: str
    instances: tuple[str, ...] = Field(min_length=1)


class DeregisterInstances(BaseModel):
    """Take instances out of their server group's traffic; they keep running."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["deregisterInstances"] = "deregisterInstances"
    name: str
    instances: tuple[str, ...] = Field(min_length=1)


class UpsertLoadBalancer(BaseModel):
    """Make a load balancer, or make it as described."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["upsertLoadBalancer"] = "upsertLoadBalancer"
    name: str
    load_balancer: LoadBalancer


class DeleteLoadBalancer(BaseModel):
    """Remove a load balancer with its listeners and pools."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["deleteLoadBalancer"] = "deleteLoadBalancer"
    name: str


class UpsertSecurityGroup(BaseModel):
    """Make a security group, or make it as described."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["upsertSecurityGroup"] = "upsertSecurityGroup"
    name: str
    security_group: SecurityGroup
    append_only: bool = False


class DeleteSecurityGroup(BaseModel):
    """Remove a security group."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["deleteSecurityGroup"] = "deleteSecurityGroup"
    name: str


NetworkChange = UpsertLoadBalancer | DeleteLoadBalancer | UpsertSecurityGroup | DeleteSecurityGroup

ServerGroupChange = (
    CreateServerGroup
    | ResizeServerGroup
    | EnableServerGroup
    | DisableServerGroup
    | ShiftTraffic
    | DestroyServerGroup
    | TerminateInstances
    | RegisterInstances
    | DeregisterInstances
)

InstanceChange = TerminateInstances | RegisterInstances | DeregisterInstances

Change = Annotated[
    CreateServerGroup
    | ResizeServerGroup
    | EnableServerGroup
    | DisableServerGroup
    | ShiftTraffic
    | DestroyServerGroup
    | TerminateInstances
    | RegisterInstances
    | DeregisterInstances
    | UpsertLoadBalancer
    | DeleteLoadBalancer
    | UpsertSecurityGroup
    | DeleteSecurityGroup,
    Field(discriminator="kind"),
]


class Progress(BaseModel):
    """How a change stands. `detail` says in words what it waits for; `output` is what it made, once done."""

    model_config = ConfigDict(frozen=True)

    done: bool
    detail: str = ""
    output: dict[str, Any] = Field(default_factory=dict)


class Provider(Protocol):
    """One account of one cloud. All four verbs raise only the classes of `errors.py`."""

    @property
    def name(self) -> str:
        """The kind of provider: `local`, `model`, ..."""
        ...

    @property
    def account(self) -> str:
        """The account's name."""
        ...

    async def begin(self, token: str, change: Change) -> Progress:
        """Start the change of this token, or find it begun; never do it twice."""
        ...

    async def resume(self, token: str, change: Change) -> Progress:
        """Carry the change further and say how it stands."""
        ...

    async def cancel(self, token: str, change: Change) -> Progress:
        """Stop the change and undo what can be undone; `done` once nothing more will happen."""
        ...

    async def observe(self, application: str) -> Observation:
        """Read all server groups of an application from the cloud."""
        ...

    async def network(self, application: str) -> Network:
        """Read the load balancers and security groups of an application from the cloud."""
        ...

    async def applications(self) -> tuple[str, ...]:
        """Read the names of the applications that have server groups, sorted."""
        ...

    async def reconcile(self) -> None:
        """Bring helpers of this provider (a load balancer process, say) in line with durable state; at worker start."""
        ...

    async def close(self) -> None:
        """Let go of connections. What is deployed stays up."""
        ...


class OpenProvider(Protocol):
    """What a package offers under the entry point group `stormsail.providers`: opens one account."""

    async def __call__(self, account: str, settings: Mapping[str, str]) -> Provider:
        """Open the account. Raises Permanent when the settings are wrong."""
        ...
