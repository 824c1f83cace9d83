"""When a failed attempt may be tried again: the arithmetic of retry policies, for activities and workflows alike."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import Failure

from stormsail.engine.core.values import quick

TIMEOUT_TYPE_PREFIX: Final = "TemporalTimeout:"
"""`non_retryable_error_types` names timeouts by this prefix: "TemporalTimeout:StartToClose"."""

INTERVAL_MAX_MS: Final = (2**63 - 1) // 1_000_000
"""The longest interval that the protocol's Go server can hold, nanoseconds in 63 bits: about 292 years."""

_SECONDS_PLAIN_MAX: Final = INTERVAL_MAX_MS // 1_000

TIMEOUT_NAMES: Final = {
    TimeoutType.TIMEOUT_TYPE_UNSPECIFIED: "Unspecified",
    TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE: "StartToClose",
    TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START: "ScheduleToStart",
    TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE: "ScheduleToClose",
    TimeoutType.TIMEOUT_TYPE_HEARTBEAT: "Heartbeat",
}
"""As they stand in messages and in retry policies."""


@quick
@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Whether to try again. `delay_ms` is None when not, and `state` then says why; else it is IN_PROGRESS."""

    delay_ms: int | None
    state: RetryState.ValueType


def next_retry(
    policy: RetryPolicy,
    attempt: int,
    now_ms: int,
    expires_at_ms: int,
    failure: Failure | None,
    *,
    delay_beats_maximum: bool = False,
) -> RetryDecision:
    """Decide what follows the failure of attempt number `attempt` (the first is 1). `expires_at_ms` 0 means never.

    A failure that is not retryable beats all else, then the number of attempts, then the time left: an attempt that
    would begin after the expiration is not made. A delay asked for by the failure replaces the policy's interval; for
    activities (`delay_beats_maximum`) also where it is longer than the policy's maximum, for workflows not.
    """
    if not retryable(failure, policy.non_retryable_error_types):
        return RetryDecision(None, RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE)
    attempt = max(attempt, 1)
    if 0 < policy.maximum_attempts <= attempt:
        return RetryDecision(None, RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED)
    delay_ms = requested_delay_ms(failure)
    if delay_ms is None:
        delay_ms = backoff_ms(policy, attempt)
    elif not delay_beats_maximum:
        delay_ms = _capped(delay_ms, duration_ms(policy.maximum_interval))
    # RespondActivityTaskFailed with a next_retry_delay of zero: no delay is taken for no time left, as Temporal does.
    if delay_ms <= 0 or (expires_at_ms and now_ms + delay_ms > expires_at_ms):
        return RetryDecision(None, RetryState.RETRY_STATE_TIMEOUT)
    return RetryDecision(delay_ms, RetryState.RETRY_STATE_IN_PROGRESS)


def retryable(failure: Failure | None, non_retryable_types: Iterable[str] = ()) -> bool:
    """Say whether a failure permits another attempt at all. What the outermost failure is decides; causes do not."""
    if failure is None:
        return True
    match failure.WhichOneof("failure_info"):
        case "terminated_failure_info" | "canceled_failure_info":
            return False
        case "timeout_failure_info":
            kind = failure.timeout_failure_info.timeout_type
            if kind not in (TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE, TimeoutType.TIMEOUT_TYPE_HEARTBEAT):
                return False
            return TIMEOUT_TYPE_PREFIX + TIMEOUT_NAMES[kind] not in non_retryable_types
        case "server_failure_info":
            return not failure.server_failure_info.non_retryable
        case "application_failure_info":
            info = failure.application_failure_info
            return not info.non_retryable and info.type not in non_retryable_types
        case _:
            return True


def backoff_ms(policy: RetryPolicy, attempt: int) -> int:
    """Return the policy's interval after attempt number `attempt`, at most its maximum; 0 where it has none."""
    interval_ms = _exponential_ms(duration_ms(policy.initial_interval), policy.backoff_coefficient, max(attempt, 1))
    return _capped(interval_ms, duration_ms(policy.maximum_interval))


def requested_delay_ms(failure: Failure | None) -> int | None:
    """Return the delay that an application failure asks for, or None when it asks for none."""
    if failure is None or failure.WhichOneof("failure_info") != "application_failure_info":
        return None
    info = failure.application_failure_info
    return duration_ms(info.next_retry_delay) if info.HasField("next_retry_delay") else None


def duration_ms(duration: Duration) -> int:
    """Return a duration in milliseconds, rounded away from zero so that no set duration becomes "not set"."""
    seconds, nanos = duration.seconds, duration.nanos
    if not nanos and 0 <= seconds < _SECONDS_PLAIN_MAX:
        return seconds * 1_000
    nanos += seconds * 1_000_000_000
    if not nanos:
        return 0
    whole_ms = -(-abs(nanos) // 1_000_000)
    return min(whole_ms, INTERVAL_MAX_MS) if nanos >= 0 else -min(whole_ms, INTERVAL_MAX_MS)


def _capped(interval_ms: int, maximum_ms: int) -> int:
    """Keep an interval at its maximum, where there is one; no interval is then the maximum too."""
    return maximum_ms if maximum_ms and not 0 < interval_ms <= maximum_ms else interval_ms


def _exponential_ms(initial_ms: int, coefficient: float, attempt: int) -> int:
    """Compute initial * coefficient ** (attempt - 1) within 0 and the longest interval, whatever the numbers are."""
    if initial_ms <= 0 or coefficient <= 0 or math.isnan(coefficient):
        return initial_ms if initial_ms > 0 and attempt == 1 else 0
    # By logarithm first: a float power raises OverflowError long before attempt numbers end.
    exponent = math.log(initial_ms) + (attempt - 1) * math.log(coefficient) if math.isfinite(coefficient) else math.inf
    if attempt > 1 and exponent >= math.log(INTERVAL_MAX_MS):
        return INTERVAL_MAX_MS
    return min(int(initial_ms * coefficient ** (attempt - 1)), INTERVAL_MAX_MS)
