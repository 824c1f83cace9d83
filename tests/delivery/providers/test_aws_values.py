"""The aws provider's pure parts: the table of faults, the entries in tags, launches packed into tags."""

import inspect

import botocore.exceptions
import botocore.parsers
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from stormsail.delivery.model.server_group import Capacity, LaunchSpec
from stormsail.delivery.providers.aws import faults, launch, ledger
from stormsail.delivery.providers.aws.faults import sort_fault
from stormsail.delivery.providers.aws.ledger import Entry, State, Traffic
from stormsail.delivery.providers.errors import (
    Conflict,
    InvalidLaunch,
    NotFound,
    Permanent,
    ProviderError,
    Transient,
    UnknownOutcome,
)
from stormsail.delivery.providers.provider import CreateServerGroup, DestroyServerGroup, ResizeServerGroup


def answered(code: str, message: str = "", status: int = 400) -> ClientError:
    metadata = {"HTTPStatusCode": status, "RequestId": "1", "HostId": "", "HTTPHeaders": {}, "RetryAttempts": 0}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "Operation")


@pytest.mark.parametrize(
    ("code", "message", "status", "of_a_write", "of_a_read"),
    [
        ("Throttling", "Rate exceeded", 400, Transient, Transient),
        ("RequestLimitExceeded", "", 503, Transient, Transient),
        ("InternalFailure", "", 500, UnknownOutcome, Transient),
        ("ServiceUnavailable", "", 503, Transient, Transient),
        ("NeverHeardOf", "", 500, UnknownOutcome, Transient),
        ("NeverHeardOf", "", 503, Transient, Transient),
        ("NeverHeardOf", "", 429, Transient, Transient),
        ("NeverHeardOf", "", 400, Permanent, Permanent),
        ("Client.InvalidAMIID.NotFound", "", 400, InvalidLaunch, InvalidLaunch),
        ("AlreadyExists", "", 400, Conflict, Conflict),
        ("ScalingActivityInProgress", "", 400, Transient, Transient),
        ("AccessDenied", "", 403, Permanent, Permanent),
        ("UnauthorizedOperation", "", 403, Permanent, Permanent),
        ("ExpiredToken", "", 403, Transient, Transient),
        ("TargetGroupNotFound", "", 400, NotFound, NotFound),
        ("ValidationError", "AutoScalingGroup name not found - null", 400, NotFound, NotFound),
        ("ValidationError", "x is pending delete", 400, Transient, Transient),
        (
            "ValidationError",
            "You must use a valid fully-formed launch template. The image id '[ami-1]' does not exist",
            400,
            InvalidLaunch,
            InvalidLaunch,
        ),
        (
            "ValidationError",
            "You must use a valid fully-formed launch template. The specified launch template, with template ID lt-1, "
            "does not exist.",
            400,
            Transient,
            Transient,
        ),
        ("ValidationError", "1 validation error detected", 400, Permanent, Permanent),
    ],
)
def test_what_aws_answers_is_sorted(
    code: str, message: str, status: int, of_a_write: type[ProviderError], of_a_read: type[ProviderError]
) -> None:
    error = answered(code, message, status)
    assert type(sort_fault(error, "operation", writes=True)) is of_a_write
    assert type(sort_fault(error, "operation", writes=False)) is of_a_read


def test_every_exception_of_the_client_that_the_table_names_exists() -> None:
    known = {name for module in (botocore.exceptions, botocore.parsers) for name, _ in inspect.getmembers(module)}
    assert set(faults.CLIENT) <= known


def test_every_exception_of_the_client_is_sorted_and_only_what_was_never_sent_is_plainly_transient() -> None:
    never_sent = {"ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError"}
    for name in never_sent | {"ReadTimeoutError", "ConnectionClosedError", "HTTPClientError"}:
        error = getattr(botocore.exceptions, name)(endpoint_url="u", error="e", proxy_url="p", request=None)
        assert type(sort_fault(error, "operation", writes=True)) is (
            Transient if name in never_sent else UnknownOutcome
        )
        assert type(sort_fault(error, "operation", writes=False)) is Transient


def test_a_refusal_says_the_operation_the_code_and_what_to_do_next() -> None:
    said = str(sort_fault(answered("AccessDenied", "no", 403), "suspend_processes", writes=True))
    assert "suspend_processes" in said
    assert "AccessDenied" in said
    assert "docs/providers/aws.md" in said


def test_an_answer_that_cannot_be_read_is_not_repeated() -> None:
    error = botocore.parsers.ResponseParserError("Unable to parse response:\n<secret/>")
    sorted_error = sort_fault(error, "operation", writes=True)
    assert type(sorted_error) is UnknownOutcome
    assert "secret" not in str(sorted_error)


@given(
    st.sampled_from(["createServerGroup", "resizeServerGroup", "enableServerGroup", "destroyServerGroup"]),
    st.sampled_from(State),
    st.integers(1, 10**6),
    st.integers(0, 100),
    st.integers(0, 2**45),
)
def test_an_entry_is_read_as_it_was_written(kind: str, state: State, number: int, percent: int, at_ms: int) -> None:
    traffic = Traffic(enabled=True, percent=percent, enabled_at_ms=at_ms)
    entry = Entry(ledger.token_key("t"), kind, state, number, "abc", "" if number % 2 else "1/2/3", str(traffic))
    key, value = entry.tag
    assert len(key) <= 128
    assert len(value) <= 256
    assert ledger.entries({key: value, "Name": "x"}) == (entry,)
    assert ledger.traffic_of(entry.after) == traffic


def test_tags_that_somebody_else_wrote_are_passed_over() -> None:
    strange = {
        f"{ledger.ENTRY}1": "",
        f"{ledger.ENTRY}2": "kind=x state=lost n=1",
        f"{ledger.ENTRY}3": "state=done n=z",
    }
    assert ledger.entries(strange) == ()
    assert ledger.traffic_of("no such") == Traffic()


def test_a_digest_tells_changes_apart_and_survives_new_fields_with_defaults() -> None:
    resize = ResizeServerGroup(name="a-v000", capacity=Capacity.fixed(1))
    assert ledger.digest_of(resize) != ledger.digest_of(resize.model_copy(update={"capacity": Capacity.fixed(2)}))
    assert ledger.digest_of(resize) == ledger.digest_of(resize.model_copy(update={"expected": None}))
    assert ledger.digest_of(resize) != ledger.digest_of(DestroyServerGroup(name="a-v000"))


def test_only_ended_entries_are_dropped_and_never_the_making_of_the_group() -> None:
    def entry(number: int, state: State = State.DONE) -> Entry:
        kind = "resizeServerGroup" if number > 1 else "createServerGroup"
        return Entry(f"k{number}", kind, state, number, "d", "", "")

    many = tuple(entry(number, State.BEGUN if number == 2 else State.DONE) for number in range(1, 26))
    assert [one.number for one in ledger.superfluous(many)] == [3, 4, 5]
    assert ledger.superfluous(many[: ledger.ENTRIES_MAX]) == ()


@given(
    st.builds(
        LaunchSpec,
        version=st.text(max_size=20),
        image=st.just("ami-1"),
        settings=st.dictionaries(st.text(max_size=10), st.text(max_size=200) | st.lists(st.integers()), max_size=5),
    )
)
def test_a_launch_is_unpacked_word_for_word(spec: LaunchSpec) -> None:
    change = CreateServerGroup(name="shop-v000", capacity=Capacity.fixed(1), launch=spec)
    tags = launch.record_tags("t", change.name, ledger.digest_of(change), spec)
    assert launch.unpack(tags) == spec
    assert len(tags) <= 50
    assert all(len(value) <= 256 for value in tags.values())


def test_a_launch_that_does_not_fit_into_tags_is_refused() -> None:
    spec = LaunchSpec(settings={"user_data": "".join(map(chr, range(200, 14_000)))})
    with pytest.raises(InvalidLaunch, match="user_data"):
        launch.record_tags("t", "shop-v000", "d", spec)


def test_a_launch_whose_tags_were_changed_by_hand_is_named() -> None:
    with pytest.raises(Permanent, match="shop-v000"):
        launch.unpack({ledger.SERVER_GROUP: "shop-v000", f"{launch.SPECIFICATION}00": "nonsense"})
