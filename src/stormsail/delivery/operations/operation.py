"""What a typed cloud operation is, and what all their inputs share."""

import math
from collections.abc import Sequence
from typing import Any, Final, Generic, Literal, Protocol, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from stormsail.delivery.model.names import InvalidName, Moniker, checked, parse_name
from stormsail.delivery.model.operation import OperationError
from stormsail.delivery.model.server_group import Observation, ServerGroup
from stormsail.delivery.operations.cloud import OperationFailure
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.orders import HEALTH_TIMEOUT_S, Outage

RETRY_TIMEOUT_S: Final = 7200.0
"""How long a failing call to the cloud is tried again: long enough to fix forward before a deployment fails."""


class OperationInput(BaseModel):
    """Fields of every operation. camelCase on the wire, snake_case accepted; unknown fields are kept and ignored."""

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True)

    health_timeout: float = Field(default=HEALTH_TIMEOUT_S, gt=0, le=86_400)
    """Seconds that instances may take to become healthy."""
    retry_timeout: float = Field(default=RETRY_TIMEOUT_S, gt=0, le=604_800)
    """Seconds that a failing call to the cloud is tried again."""
    on_failure: Literal["rollback", "pause"] = "rollback"
    """What a step that failed for good does: end the operation, or wait for a person to retry, skip or rerun it."""
    allow_outage: bool = False
    """Whether the cluster may be left without a serving instance, where no traffic guard was written down for it."""


class OperationOutput(BaseModel):
    """What every operation answers."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    server_group: str
    """The server group that the operation was about."""


class NamedInput(OperationInput):
    """The input of an operation on something that is no cluster. Its name begins with its application's."""

    name: str = Field(min_length=1, max_length=128)


class ServerGroupInput(OperationInput):
    """The input of an operation on one server group that exists."""

    server_group_name: str = Field(min_length=1)


class ClusterInput(OperationInput):
    """The input of an operation on a cluster."""

    application: str = ""
    stack: str = ""
    detail: str = Field(default="", validation_alias=AliasChoices("detail", "freeFormDetails", "free_form_details"))

    @property
    def moniker(self) -> Moniker:
        """The cluster's parts."""
        return Moniker(app=self.application, stack=self.stack, detail=self.detail)


InputT = TypeVar("InputT", bound=OperationInput, contravariant=True)
OutputT = TypeVar("OutputT", bound=OperationOutput, covariant=True)


class CloudOperation(Protocol[InputT, OutputT]):
    """One operation: typed input in, typed output out, everything in between through its conduct."""

    async def operate(self, conduct: Conduct, wanted: InputT) -> OutputT:
        """Do it. Raises OperationFailure; says beforehand, through `conduct.undo`, how to take each change back."""
        ...


SomeInput = TypeVar("SomeInput", bound=OperationInput)


class Registered(Generic[SomeInput]):
    """An operation under its wire name, with the type that its payload must fit."""

    __slots__ = ("input_type", "operation")

    def __init__(self, input_type: type[SomeInput], operation: CloudOperation[SomeInput, OperationOutput]) -> None:
        self.input_type = input_type
        self.operation = operation

    def parse(self, payload: dict[str, Any]) -> SomeInput:
        """Type a payload. Raises pydantic's ValidationError."""
        return self.input_type.model_validate(payload)

    async def run(self, conduct: Conduct, wanted: OperationInput) -> OperationOutput:
        """Run the operation on an input that `parse` made."""
        assert isinstance(wanted, self.input_type)
        conduct.health_timeout_s = wanted.health_timeout
        conduct.pauses = wanted.on_failure == "pause"
        conduct.outage = Outage.ASKED_FOR if wanted.allow_outage else Outage.REFUSED
        return await self.operation.operate(conduct, wanted)


def invalid(*errors: tuple[str, str]) -> OperationFailure:
    """Return the failure that names each (field, rule) that a payload breaks."""
    listed = [OperationError(kind="InvalidPayload", message=message, field=field) for field, message in errors]
    return OperationFailure("InvalidPayload", listed[0].message, field=listed[0].field, more=listed[1:])


def check_server_group_name(name: str, application: str, field: str = "serverGroupName") -> None:
    """Raise unless the name is a server group's and of this application."""
    try:
        moniker = parse_name(name)
    except InvalidName as error:
        raise invalid((field, str(error))) from None
    if moniker.sequence is None:
        raise invalid((field, f"{name!r} has no version: write it whole, like {moniker.cluster}-v003"))
    if moniker.app != application:
        raise invalid((field, f"{name!r} belongs to application {moniker.app!r}, the request says {application!r}"))


def check_named(name: str, application: str) -> None:
    """Raise unless the name begins with its application, as a cluster's does."""
    try:
        moniker = parse_name(name)
    except InvalidName as error:
        raise invalid(("name", str(error))) from None
    if moniker.app != application:
        raise invalid(("name", f"{name!r} belongs to application {moniker.app!r}, the request says {application!r}"))


def check_cluster(moniker: Moniker, application: str) -> None:
    """Raise unless the parts make a valid cluster name of this application."""
    try:
        checked(moniker)
    except InvalidName as error:
        raise invalid((str(error).split(" ", 1)[0], str(error))) from None
    if moniker.app != application:
        raise invalid(("application", f"the payload says {moniker.app!r}, the request says {application!r}"))


def found(observation: Observation, name: str, field: str = "serverGroupName") -> ServerGroup:
    """Return the server group, or raise NotFound naming those that are there."""
    group = observation.find(name)
    if group is not None:
        return group
    if not observation.server_groups:
        message = f"account {observation.account} has no application {observation.application!r}: nothing is deployed"
    else:
        message = f"there is no server group {name!r}; there are {', '.join(names(observation.server_groups))}"
    raise OperationFailure("NotFound", message, field=field)


def names(groups: Sequence[ServerGroup]) -> tuple[str, ...]:
    """Return the groups' names."""
    return tuple(group.name for group in groups)


def share(count: int, percent: int) -> int:
    """Return a percentage of a count of instances, rounded up: half an instance is an instance."""
    return math.ceil(count * percent / 100)
