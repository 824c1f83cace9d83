"""What is asked of the runner and what it answers."""

from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


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


class OperationProgress(BaseModel):
    """The answer to the `progress` query: every step so far, oldest first."""

    model_config = ConfigDict(frozen=True)

    operation_type: str
    status: OperationStatus
    steps: tuple[Step, ...] = ()


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
