"""The single arguments and answers of the activities: what workflow code asks of the cloud.

Fields may be added with a default; none may be removed or renamed, because operations in flight carry them.
"""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from stormsail.delivery.model.canary import Analysis
from stormsail.delivery.model.priority import Priority
from stormsail.delivery.providers.provider import Change

HEALTH_TIMEOUT_S = 1800.0
"""How long instances may take to become healthy unless an operation says otherwise."""


class Order(BaseModel):
    """What every order says."""

    model_config = ConfigDict(frozen=True)

    account: str
    priority: Priority = Priority.MANUAL
    """How urgent the operation is, or what it does now."""


class HealthGuard(BaseModel):
    """What must be true of a server group, observed in the same activity, before a change is begun."""

    model_config = ConfigDict(frozen=True)

    server_group: str
    up_at_least: int = Field(ge=0)
    serving: bool = True
    """Whether the group must be enabled and its instances take traffic; else they need only be healthy."""


class Outage(StrEnum):
    """Whether a change may leave its cluster without a serving instance."""

    REFUSED = "refused"
    ASKED_FOR = "asked for"
    """The request asks for it by name; only a rule that was written down refuses it still."""
    AS_BEFORE = "as before"
    """Nothing served before the operation, and the change puts that back."""


class ChangeOrder(Order):
    """Make a change, or carry it on: the same token is never done twice."""

    application: str
    token: str
    change: Change
    guard: HealthGuard | None = None
    outage: Outage = Outage.REFUSED
    timeout_s: float = HEALTH_TIMEOUT_S
    """How long the change may take: a provider may wait for health that never comes."""


class ChangeOutcome(BaseModel):
    """How a change went. `refused` says why a guard did not let it begin; neither means that its time was over."""

    model_config = ConfigDict(frozen=True)

    done: bool
    detail: str = ""
    refused: str = ""
    refused_by: str = "Unhealthy"
    """The kind of the failure that `refused` becomes: `Unhealthy`, or `TrafficGuard`."""


class ObserveOrder(Order):
    """Read an application, or with none named the account's application names."""

    application: str = ""


class UpOrder(Order):
    """Wait until enough instances of a server group are healthy.

    A disabled server group's healthy instances count unless `serving` is set: then only those that take traffic do.
    """

    application: str
    server_group: str
    up_at_least: int = Field(ge=0)
    exactly: int | None = None
    """The number of instances there must be, counting all; None when it does not matter."""
    serving: bool = False
    health_timeout_s: float = HEALTH_TIMEOUT_S


class DownOrder(Order):
    """Wait until a server group takes no more than a share of its traffic, or until it is gone."""

    application: str
    server_group: str
    weight_percent_max: int = Field(default=0, ge=0, le=100)
    gone: bool = False
    timeout_s: float = HEALTH_TIMEOUT_S


class CheckOrder(Order):
    """Take one measurement of an analysis, whose texts are filled in."""

    analysis: Analysis


class WaitOutcome(BaseModel):
    """Whether the awaited state came in time, and in words what was seen last."""

    model_config = ConfigDict(frozen=True)

    reached: bool
    detail: str = ""
