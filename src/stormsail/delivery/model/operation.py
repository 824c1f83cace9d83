"""What is asked of the runner and what it answers."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from stormsail.delivery.model.names import InvalidName, Moniker, checked, parse_name
from stormsail.delivery.model.priority import Priority
from stormsail.delivery.model.steering import SteeringRecord

RUNNER: Final = "UntypedCloudOperationRunner"
"""The workflow type of every operation."""

TASK_QUEUE: Final = "stormsail"
"""Where operations wait for a worker unless another queue is named."""


class OperationRequest(BaseModel):
    """An operation by name with an untyped payload: the single argument of UntypedCloudOperationRunner."""

    model_config = ConfigDict(frozen=True, extra="allow")

    operation_type: str
    payload: dict[str, Any] = Field(default_factory=dict)
    application: str
    account: str = "local"
    reason: str = ""
    requested_by: str = ""
    idempotency_key: str = ""
    priority: Priority | None = None
    """What it is for, which decides who goes first; None leaves it to the operation."""


class OperationError(BaseModel):
    """One business failure, in words for a person, with what to do next where that is known."""

    model_config = ConfigDict(frozen=True)

    kind: str
    """A stable word for programs: `InvalidPayload`, `UnknownOperation`, `NotFound`, `NeverHealthy`, ..."""
    message: str
    field: str = ""


class OperationStatus(StrEnum):
    """How an operation stands or ended; Spinnaker's words."""

    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    TERMINAL = "TERMINAL"
    """Failed for good."""
    CANCELED = "CANCELED"


class StepStatus(StrEnum):
    """How one step of an operation stands."""

    NOT_STARTED = "NOT_STARTED"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    TERMINAL = "TERMINAL"
    CANCELED = "CANCELED"
    SKIPPED = "SKIPPED"
    PAUSED = "PAUSED"
    """Failed for good and waits for a person, because the request asked for that."""


class Step(BaseModel):
    """One step of an operation as its `progress` query shows it. Instants are workflow time, milliseconds."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Spinnaker's task name where there is one: `createServerGroup`, `waitForUpInstances`, ..."""
    target: str = ""
    status: StepStatus = StepStatus.NOT_STARTED
    started_at_ms: int = 0
    ended_at_ms: int = 0
    detail: str = ""
    call: str = ""
    """The newest call of the step to the cloud, by the name under which it can be steered and is listed as pending."""
    attempt: int = 1
    """Which time somebody has the step tried: 1 unless it was retried or rerun by hand."""
    input: dict[str, Any] = Field(default_factory=dict)
    """What that call was given."""
    error: str = ""
    """Why its newest attempt failed."""


class RolloutProgress(BaseModel):
    """Where a rollout in steps is on its way."""

    model_config = ConfigDict(frozen=True)

    step: int
    """The number of the present step, from 1; one more than `steps` once only the end is left."""
    steps: int
    doing: str = ""
    weight: int = 0
    """The percentage of the requests that the new version gets."""
    held: bool = False
    """Whether a person asked it to wait before its next step."""


class OperationProgress(BaseModel):
    """The answer to the `progress` query: every step so far, oldest first."""

    model_config = ConfigDict(frozen=True)

    operation_type: str
    status: OperationStatus
    steps: tuple[Step, ...] = ()
    steering: tuple[SteeringRecord, ...] = ()
    """What people asked of its steps, oldest first."""
    rollout: RolloutProgress | None = None
    """Where its rollout is, where it has one in steps."""


class OperationResult(BaseModel):
    """How an operation ended. Business failures are data here; a failed workflow means a bug, a timeout or a cancel."""

    model_config = ConfigDict(frozen=True)

    ok: bool
    output: dict[str, Any] = Field(default_factory=dict)
    errors: tuple[OperationError, ...] = ()
    steps: tuple[Step, ...] = ()
    rolled_back: bool = False
    """Whether the previous state was put back after the failure."""
    left_behind: tuple[str, ...] = ()
    """What could not be undone, named loudly; empty when nothing was left."""


def cluster_of(request: OperationRequest) -> str:
    """Return the cluster that a request changes, or its application where the payload names no valid cluster.

    Reads the untyped payload leniently: a wrong payload still needs an address to be refused at.
    """
    payload = request.payload
    named = _text(payload, "serverGroupName", "server_group_name", "asgName")
    try:
        if named:
            return parse_name(named).cluster
        return checked(
            Moniker(
                app=_text(payload, "application") or request.application,
                stack=_text(payload, "stack"),
                detail=_text(payload, "detail", "freeFormDetails", "free_form_details"),
            ),
        ).cluster
    except InvalidName:
        return request.application


BY_NAME: Final[Mapping[str, str]] = {
    "upsertLoadBalancer": "load-balancer",
    "deleteLoadBalancer": "load-balancer",
    "upsertSecurityGroup": "security-group",
    "deleteSecurityGroup": "security-group",
}
"""Operations about something that is no cluster, and what that is: they lock it alone, by its name."""


def workflow_id_of(request: OperationRequest) -> str:
    """Return the workflow id of a request: one per cluster, so that two never change one cluster at once."""
    kind = BY_NAME.get(request.operation_type)
    if kind is not None:
        return f"operation/{request.account}/{_text(request.payload, 'name') or request.application}/{kind}"
    return f"operation/{request.account}/{cluster_of(request)}"


def _text(payload: Mapping[str, Any], *names: str) -> str:
    return next((payload[name] for name in names if isinstance(payload.get(name), str)), "")


MEMO_OPERATION: Final = "operation"
"""The memo field that holds an OperationMemo; set at start."""

MEMO_OUTCOME: Final = "outcome"
"""The memo field that holds an OutcomeMemo; set by the workflow as it ends."""


class OperationMemo(BaseModel):
    """What lists show of an operation without reading its history."""

    model_config = ConfigDict(frozen=True)

    operation_type: str
    application: str
    account: str
    cluster: str
    reason: str = ""
    requested_by: str = ""
    idempotency_key: str = ""
    request_digest: str = ""
    """Tells a repeated request from another one under the same idempotency key."""
    started_by: str = ""
    """Names the one call that started the operation; a call that finds another name here has attached to it."""


class OutcomeMemo(BaseModel):
    """How an operation ended. In the memo because a cancelled workflow has no result."""

    model_config = ConfigDict(frozen=True)

    status: OperationStatus
    left_behind: tuple[str, ...] = ()


class ObserveRequest(BaseModel):
    """The single argument of the workflows that read a cloud for somebody outside."""

    model_config = ConfigDict(frozen=True)

    account: str
    application: str = ""


class ApplicationList(BaseModel):
    """The names of an account's applications, sorted."""

    model_config = ConfigDict(frozen=True)

    account: str
    applications: tuple[str, ...] = ()
