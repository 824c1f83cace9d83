"""Failures the server writes."""

from hypothesis import given
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure

from stormsail.engine.core import failures


def nested(depth: int, message: str = "boom") -> Failure:
    failure = Failure(message=message, application_failure_info=ApplicationFailureInfo(type="Boom"))
    if depth:
        failure.cause.CopyFrom(nested(depth - 1, message))
    return failure


def depth_of(failure: Failure) -> int:
    return 1 + depth_of(failure.cause) if failure.HasField("cause") else 0


def test_a_timeout_is_told_in_temporals_words() -> None:
    names = [failures.activity_timeout_message(kind) for kind in (1, 2, 3, 4)]
    assert names == [
        "activity StartToClose timeout",
        "activity ScheduleToStart timeout",
        "activity ScheduleToClose timeout",
        "activity Heartbeat timeout",
    ]


def test_a_timeout_names_the_server_as_its_source_and_keeps_what_came_before() -> None:
    details = Payloads(payloads=[Payload(data=b"50%")])
    failure = failures.timeout_failure(
        "m", TimeoutType.TIMEOUT_TYPE_HEARTBEAT, heartbeat_details=details, cause=nested(0)
    )
    assert failure.source == "Server"
    assert failure.timeout_failure_info.timeout_type == TimeoutType.TIMEOUT_TYPE_HEARTBEAT
    assert failure.timeout_failure_info.last_heartbeat_details == details
    assert failure.cause == nested(0)
    bare = failures.timeout_failure("m", TimeoutType.TIMEOUT_TYPE_HEARTBEAT)
    assert not bare.HasField("cause")
    assert not bare.timeout_failure_info.HasField("last_heartbeat_details")


def test_a_small_failure_is_kept_whole() -> None:
    failure = nested(3)
    assert failures.kept_small(failure, 4_096, non_retryable=False) is failure


def test_a_large_failure_becomes_the_cause_of_a_server_failure() -> None:
    failure = nested(2, "x" * 3_000)
    failure.application_failure_info.non_retryable = True
    failure.application_failure_info.details.payloads.add(data=b"secret")
    small = failures.kept_small(failure, 4_096, non_retryable=False)
    assert small.message == "Failure exceeds size limit."
    assert not small.server_failure_info.non_retryable
    assert small.cause.message == "x" * 3_000
    assert small.cause.application_failure_info.type == "Boom"
    assert small.cause.application_failure_info.non_retryable
    assert not small.cause.application_failure_info.HasField("details")
    assert 0 < len(small.cause.cause.message) < 1_100
    assert not small.cause.cause.HasField("cause")


def test_causes_are_followed_only_so_far() -> None:
    assert depth_of(failures.truncated(nested(60), 10**6)) == failures.CAUSE_DEPTH_MAX


def test_a_text_is_never_cut_inside_a_character() -> None:
    assert failures.truncated(Failure(message="é" * 10), 5).message == "éé"


@given(st.text(), st.text(), st.integers(-10, 200), st.integers(0, 5))
def test_what_is_kept_is_never_longer_than_asked(message: str, stack: str, size: int, depth: int) -> None:
    failure = nested(depth, message)
    failure.stack_trace = stack
    small = failures.truncated(failure, size)
    kept = len(small.message.encode()) + len(small.stack_trace.encode()) + len(small.application_failure_info.type)
    assert kept <= max(size, 0)


def test_texts_are_encoded_as_the_sdks_do() -> None:
    assert failures.text_payloads("A").payloads[0] == Payload(metadata={"encoding": b"json/plain"}, data=b'"A"')
