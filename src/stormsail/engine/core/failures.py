"""Failures that the server itself writes, in the words that SDKs and people know from Temporal."""

import json
from typing import Final

from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import (
    ApplicationFailureInfo,
    Failure,
    ResetWorkflowFailureInfo,
    ServerFailureInfo,
    TimeoutFailureInfo,
)

from stormsail.engine.core.retry import TIMEOUT_NAMES

WORKFLOW_TIMEOUT: Final = "workflow timeout"
NO_TIME_TO_RETRY: Final = (
    "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying"
)
RESULT_TOO_LARGE: Final = "Complete result exceeds size limit."
FAILURE_TOO_LARGE: Final = "Failure exceeds size limit."
CANCEL_DETAILS_TOO_LARGE: Final = "Cancel details exceed size limit."
HEARTBEAT_TOO_LARGE: Final = "Heartbeat details exceed size limit."

ACTIVITY_NOT_STARTED: Final = "ACTIVITY_ID_NOT_STARTED"
"""What an activity's cancellation carries as details when nobody had started it."""

UPDATE_NOT_PROCESSED: Final = Failure(
    message="Workflow Update is rejected because it wasn't processed by worker. "
    "Probably, Workflow Update is not supported by the worker.",
    source="Server",
    application_failure_info=ApplicationFailureInfo(type="UnprocessedUpdate", non_retryable=True),
)
UPDATE_OUTLIVED_RUN: Final = Failure(
    message="Workflow Update failed because the Workflow completed before the Update completed.",
    source="Server",
    application_failure_info=ApplicationFailureInfo(type="AcceptedUpdateCompletedWorkflow", non_retryable=True),
)

CAUSE_DEPTH_MAX: Final = 20
"""How many causes a truncated failure keeps."""


def timeout_failure(
    message: str,
    timeout_type: TimeoutType.ValueType,
    *,
    heartbeat_details: Payloads | None = None,
    cause: Failure | None = None,
) -> Failure:
    """Build the failure of a timeout; `cause` is what failed before it."""
    info = TimeoutFailureInfo(timeout_type=timeout_type, last_heartbeat_details=heartbeat_details)
    return Failure(message=message, source="Server", timeout_failure_info=info, cause=cause)


def activity_timeout_message(timeout_type: TimeoutType.ValueType) -> str:
    """Return the message of an activity's timeout."""
    return f"activity {TIMEOUT_NAMES[timeout_type]} timeout"


def reset_failure(message: str, heartbeat_details: Payloads | None = None) -> Failure:
    """Build the failure of what a reset of its run cuts off."""
    info = ResetWorkflowFailureInfo(last_heartbeat_details=heartbeat_details)
    return Failure(message=message, reset_workflow_failure_info=info)


def server_failure(message: str, *, non_retryable: bool, cause: Failure | None = None) -> Failure:
    """Build the failure that stands for a decision of the server."""
    return Failure(message=message, server_failure_info=ServerFailureInfo(non_retryable=non_retryable), cause=cause)


def kept_small(
    failure: Failure | None, size_max: int, *, keep: int | None = None, non_retryable: bool
) -> Failure | None:
    """Return the failure itself, or where it is larger than `size_max` a server failure with its first `keep` bytes as
    the cause (`size_max` when not given). None, where a worker tells no failure, stays None."""
    if failure is None or failure.ByteSize() <= size_max:
        return failure
    cause = truncated(failure, size_max if keep is None else keep)
    return server_failure(FAILURE_TOO_LARGE, non_retryable=non_retryable, cause=cause)


def truncated(failure: Failure, size_max: int, *, depth: int = CAUSE_DEPTH_MAX) -> Failure:
    """Return the failure cut to about `size_max` bytes: type and retryability first, then source, message, stack trace
    and causes as far as they fit. Details are dropped."""
    room = _Room(size_max)
    small = Failure()
    match failure.WhichOneof("failure_info"):
        case "application_failure_info":
            info = failure.application_failure_info
            small.application_failure_info.non_retryable = info.non_retryable
            small.application_failure_info.type = room.take(info.type)
            room.left -= 8
        case "server_failure_info":
            small.server_failure_info.non_retryable = failure.server_failure_info.non_retryable
            small.server_failure_info.SetInParent()
            room.left -= 4
    small.source = room.take(failure.source)
    small.message = room.take(failure.message)
    small.stack_trace = room.take(failure.stack_trace)
    if failure.HasField("cause") and room.left > 4 and depth > 0:
        small.cause.CopyFrom(truncated(failure.cause, room.left - 4, depth=depth - 1))
    return small


def text_payloads(text: str) -> Payloads:
    """Encode a text as the SDKs' default converters do."""
    payload = Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(text).encode())
    return Payloads(payloads=[payload])


class _Room:
    """Bytes left for texts; each text taken also pays for its tag and length."""

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, text: str) -> str:
        """Return as much of the text as fits, cut between characters."""
        encoded = text.encode()
        if len(encoded) > max(self.left, 0):
            encoded = encoded[: max(self.left, 0)].decode(errors="ignore").encode()
        self.left -= len(encoded) + (4 if encoded else 0)
        return encoded.decode()
