"""Retry policies, as a table of what follows what."""

import pytest
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import RetryState, TimeoutType
from temporalio.api.failure.v1 import (
    ApplicationFailureInfo,
    CanceledFailureInfo,
    Failure,
    ServerFailureInfo,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from stormsail.engine.core.retry import (
    INTERVAL_MAX_MS,
    RetryDecision,
    backoff_ms,
    duration_ms,
    next_retry,
    retryable,
)

NOW = 1_700_000_000_000


def ms(number: int) -> Duration:
    duration = Duration()
    duration.FromMilliseconds(number)
    return duration


def policy(initial: int = 1_000, coefficient: float = 2.0, maximum: int = 100_000, attempts: int = 0, *types: str):
    return RetryPolicy(
        initial_interval=ms(initial),
        backoff_coefficient=coefficient,
        maximum_interval=ms(maximum) if maximum else None,
        maximum_attempts=attempts,
        non_retryable_error_types=types,
    )


def application(kind: str = "Boom", *, final: bool = False, delay: int | None = None) -> Failure:
    info = ApplicationFailureInfo(type=kind, non_retryable=final)
    if delay is not None:
        info.next_retry_delay.FromMilliseconds(delay)
    return Failure(message="no", application_failure_info=info)


def timeout(kind: TimeoutType.ValueType) -> Failure:
    return Failure(timeout_failure_info=TimeoutFailureInfo(timeout_type=kind))


@pytest.mark.parametrize(
    ("attempt", "delay"),
    [(0, 1_000), (1, 1_000), (2, 2_000), (3, 4_000), (7, 64_000), (8, 100_000), (2_000, 100_000), (2**31 - 1, 100_000)],
)
def test_the_delay_doubles_until_its_maximum(attempt: int, delay: int) -> None:
    assert next_retry(policy(), attempt, NOW, 0, application()) == RetryDecision(
        delay, RetryState.RETRY_STATE_IN_PROGRESS
    )


@pytest.mark.parametrize(
    ("chosen", "attempt", "expires", "state"),
    [
        (policy(attempts=3), 2, 0, RetryState.RETRY_STATE_IN_PROGRESS),
        (policy(attempts=3), 3, 0, RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED),
        (policy(attempts=1), 1, 0, RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED),
        (policy(), 1, NOW + 1_000, RetryState.RETRY_STATE_IN_PROGRESS),
        (policy(), 1, NOW + 999, RetryState.RETRY_STATE_TIMEOUT),
        (policy(initial=0, maximum=0), 1, 0, RetryState.RETRY_STATE_TIMEOUT),
        (policy(1_000, 2.0, 100_000, 1, "Boom"), 1, NOW, RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE),
    ],
)
def test_retries_end_for_the_first_reason_that_holds(
    chosen: RetryPolicy, attempt: int, expires: int, state: RetryState.ValueType
) -> None:
    decision = next_retry(chosen, attempt, NOW, expires, application())
    assert decision.state == state
    assert (decision.delay_ms is None) == (state != RetryState.RETRY_STATE_IN_PROGRESS)


@pytest.mark.parametrize(
    ("failure", "types", "again"),
    [
        (None, [], True),
        (Failure(message="bare"), [], True),
        (application("Boom"), [], True),
        (application("Boom"), ["boom"], True),
        (application("Boom"), ["Other", "Boom"], False),
        (application("Boom", final=True), [], False),
        (Failure(server_failure_info=ServerFailureInfo()), [], True),
        (Failure(server_failure_info=ServerFailureInfo(non_retryable=True)), [], False),
        (Failure(canceled_failure_info=CanceledFailureInfo()), [], False),
        (Failure(terminated_failure_info=TerminatedFailureInfo()), [], False),
        (timeout(TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE), [], True),
        (timeout(TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE), ["TemporalTimeout:StartToClose"], False),
        (timeout(TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE), ["TemporalTimeout:Heartbeat"], True),
        (timeout(TimeoutType.TIMEOUT_TYPE_HEARTBEAT), ["TemporalTimeout:Heartbeat"], False),
        (timeout(TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START), [], False),
        (timeout(TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_CLOSE), [], False),
        (timeout(TimeoutType.TIMEOUT_TYPE_UNSPECIFIED), [], False),
    ],
)
def test_what_kind_of_failure_may_be_tried_again(failure: Failure | None, types: list[str], again: bool) -> None:
    assert retryable(failure, types) is again


def test_only_the_outermost_failure_counts() -> None:
    wrapped = application("Boom")
    wrapped.cause.CopyFrom(application("Fatal", final=True))
    assert retryable(wrapped, ["Fatal"])


@pytest.mark.parametrize(
    ("delay", "beats", "expected"),
    [
        (250, True, 250),
        (250, False, 250),
        (500_000, True, 500_000),
        (500_000, False, 100_000),
        (0, True, None),
        (0, False, 100_000),
        (-5, True, None),
    ],
)
def test_a_failure_may_ask_for_its_own_delay(delay: int, beats: bool, expected: int | None) -> None:
    decision = next_retry(policy(), 5, NOW, 0, application(delay=delay), delay_beats_maximum=beats)
    assert decision.delay_ms == expected


def test_a_delay_that_a_failure_asks_for_still_has_to_fit_in_the_time_left() -> None:
    decision = next_retry(policy(), 1, NOW, NOW + 5_000, application(delay=5_001), delay_beats_maximum=True)
    assert decision == RetryDecision(None, RetryState.RETRY_STATE_TIMEOUT)


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (Duration(), 0),
        (Duration(nanos=1), 1),
        (Duration(nanos=1_000_000), 1),
        (Duration(nanos=1_000_001), 2),
        (Duration(seconds=3, nanos=5_000_000), 3_005),
        (Duration(seconds=-1), -1_000),
        (Duration(seconds=10**15), INTERVAL_MAX_MS),
        (Duration(seconds=-(10**15)), -INTERVAL_MAX_MS),
    ],
)
def test_a_duration_that_is_set_never_becomes_one_that_is_not(duration: Duration, expected: int) -> None:
    assert duration_ms(duration) == expected


def test_a_field_that_is_not_set_is_no_duration() -> None:
    assert duration_ms(StartWorkflowExecutionRequest().workflow_run_timeout) == 0


@given(
    initial=st.integers(0, 2**62),
    coefficient=st.floats(allow_nan=True, allow_infinity=True),
    maximum=st.integers(0, 2**53),
    attempt=st.integers(-3, 2**31 - 1),
)
def test_no_numbers_make_the_arithmetic_fail(initial: int, coefficient: float, maximum: int, attempt: int) -> None:
    wild = RetryPolicy(
        initial_interval=Duration(seconds=initial // 1_000_000, nanos=initial % 1_000_000),
        backoff_coefficient=coefficient,
        maximum_interval=ms(maximum % 10**14),
    )
    delay = backoff_ms(wild, attempt)
    assert 0 <= delay <= INTERVAL_MAX_MS
    if maximum % 10**14:
        assert delay <= duration_ms(wild.maximum_interval)


@given(initial=st.integers(1, 10**9), coefficient=st.floats(1, 10), attempt=st.integers(1, 200))
def test_the_delay_never_shrinks(initial: int, coefficient: float, attempt: int) -> None:
    growing = policy(initial, coefficient, 0)
    assert backoff_ms(growing, attempt) <= backoff_ms(growing, attempt + 1)
