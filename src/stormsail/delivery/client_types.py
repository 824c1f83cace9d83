"""What the delivery client answers and raises. Every error's text names the thing and says what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass

from stormsail.delivery.model.operation import OperationProgress, OperationResult, OperationStatus


@dataclass(frozen=True, slots=True)
class OperationHandle:
    """A started operation. `attached` is True when the idempotency key matched one that was there already."""

    operation_id: str
    workflow_id: str
    attached: bool


@dataclass(frozen=True, slots=True)
class OperationSummary:
    """One operation as lists show it."""

    operation_id: str
    workflow_id: str
    operation_type: str
    application: str
    account: str
    cluster: str
    status: OperationStatus
    started_at_ms: int
    closed_at_ms: int | None
    reason: str
    requested_by: str
    left_behind: tuple[str, ...] = ()
    """What the operation could not undo; told here because a cancelled workflow has no result to tell it in."""


@dataclass(frozen=True, slots=True)
class PendingActivity:
    """A call to the cloud that is running, or waits for its next attempt."""

    name: str
    step: str
    """The operation's step that the call belongs to."""
    attempt: int
    next_retry_at_ms: int | None
    last_failure: str
    detail: str
    """What the call last reported."""


@dataclass(frozen=True, slots=True)
class OperationDetail:
    """One operation whole. `progress` is None when it runs and no worker answered."""

    summary: OperationSummary
    progress: OperationProgress | None
    pending: tuple[PendingActivity, ...]
    result: OperationResult | None
    failure: str = ""
    """Why the workflow itself failed, which is a bug, a timeout or a terminate; empty otherwise."""


class DeliveryError(Exception):
    """Something the client was asked for could not be done; the message is for a person."""


class EngineUnreachable(DeliveryError):
    """Nobody answers at the engine's address."""

    def __init__(self, address: str, detail: str) -> None:
        super().__init__(
            f"no engine answers at {address} ({detail}). Start one with `stormsail server start`, "
            "or check the address, the port and TLS.",
        )
        self.address = address


class NamespaceNotFound(DeliveryError):
    """The engine has no such namespace."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"the engine has no namespace {namespace!r}: name another one, or register it first.")
        self.namespace = namespace


class EngineRefused(DeliveryError):
    """The engine answered and said no: not allowed, a bad argument, overload."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(f"the engine refused ({status}): {detail}")
        self.status = status


class OperationConflict(DeliveryError):
    """Another operation is changing the same cluster."""

    def __init__(self, running: OperationSummary) -> None:
        short = _short(running.operation_id)
        super().__init__(
            f"{running.operation_type} {short} is changing cluster {running.cluster} of account {running.account}. "
            f"Wait for it (`stormsail operation watch {short}`) or cancel it.",
        )
        self.running = running


class IdempotencyKeyReused(DeliveryError):
    """An idempotency key came again with a different request."""

    def __init__(self, key: str, operation_id: str) -> None:
        super().__init__(
            f"idempotency key {key!r} belongs to operation {_short(operation_id)}, which asked for something else: "
            "use a new key for a new request.",
        )
        self.operation_id = operation_id


class OperationNotFound(DeliveryError):
    """No operation has this id."""

    def __init__(self, operation_id: str) -> None:
        super().__init__(
            f"no operation {operation_id!r} is known to the engine: `stormsail operation list` shows those that are.",
        )
        self.operation_id = operation_id


class AmbiguousOperation(DeliveryError):
    """A prefix fits several operations, or is too short to look for."""

    def __init__(self, prefix: str, fitting: Sequence[str]) -> None:
        names = ", ".join(fitting[:5])
        super().__init__(
            f"{prefix!r} fits several operations ({names}): give more characters."
            if fitting
            else f"{prefix!r} is too short for an operation id: give at least 4 characters.",
        )
        self.fitting = tuple(fitting)


class OperationFailed(DeliveryError):
    """The workflow itself failed: a bug, a timeout or a terminate; never a business failure."""

    def __init__(self, operation_id: str, detail: str) -> None:
        super().__init__(f"operation {_short(operation_id)} broke off: {detail}")
        self.operation_id = operation_id


class OperationCanceled(DeliveryError):
    """The operation was cancelled; `left_behind` names what could not be put back."""

    def __init__(self, operation_id: str, left_behind: Sequence[str]) -> None:
        tail = f" Left behind: {'; '.join(left_behind)}." if left_behind else ""
        super().__init__(f"operation {_short(operation_id)} was cancelled.{tail}")
        self.operation_id = operation_id
        self.left_behind = tuple(left_behind)


class ApplicationNotFound(DeliveryError):
    """The account has no server group of this application."""

    def __init__(self, application: str, account: str, known: Sequence[str]) -> None:
        there = f"it has {', '.join(known[:10])}" if known else "it has none at all: deploy something first"
        super().__init__(f"account {account} has no application {application!r}; {there}.")
        self.application = application
        self.known = tuple(known)


class ObservationFailed(DeliveryError):
    """The cloud could not be read."""


class NoWorker(DeliveryError):
    """Nobody took the task."""

    def __init__(self, task_queue: str, waited_s: float) -> None:
        super().__init__(
            f"no worker answered on task queue {task_queue!r} within {waited_s:.0f} s: "
            "start one with `stormsail worker start`.",
        )
        self.task_queue = task_queue


def _short(operation_id: str) -> str:
    # Ids begin with the time: 13 characters reach the millisecond, 8 are shared by all of a day's operations.
    return operation_id[:13]
