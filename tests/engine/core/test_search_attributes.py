"""What values search attributes take, in whose words others are refused, and what a run is found by."""

import pytest
from temporalio.api.common.v1 import Payload, SearchAttributes

from stormsail.engine.core import search_attributes as sa
from stormsail.engine.core.errors import InvalidArgument

TYPES = {
    **sa.SETTABLE,
    "Text": sa.TEXT,
    "Word": sa.KEYWORD,
    "Number": sa.INT,
    "Share": sa.DOUBLE,
    "Done": sa.BOOL,
    "At": sa.DATETIME,
    "Tags": sa.KEYWORD_LIST,
}


def json(text: str, encoding: bytes = b"json/plain") -> Payload:
    return Payload(metadata={"encoding": encoding}, data=text.encode())


def given(name: str, payload: Payload) -> SearchAttributes:
    return SearchAttributes(indexed_fields={name: payload})


@pytest.mark.parametrize(
    ("name", "text", "found_by"),
    [
        ("Number", "1", [1]),
        ("Number", "-9223372036854775808", [-(1 << 63)]),
        ("Number", "[7]", [7]),
        ("Number", "[]", []),
        ("Number", "null", []),
        ("Number", "[null]", [0]),
        ("Share", "1", [1.0]),
        ("Share", "-1.5e3", [-1500.0]),
        ("Done", "true", [1]),
        ("Done", "false", [0]),
        ("At", '"1970-01-01T00:00:01.000000002Z"', [1_000_000_002]),
        ("At", '"1970-01-01T02:00:00+02:00"', [0]),
        ("At", '"9999-12-31T23:59:59Z"', [(1 << 63) - 1]),
        ("Word", '"a b"', ["a b"]),
        ("Word", '""', [""]),
        ("Tags", '["a","b","a"]', ["a", "b"]),
        ("Tags", "[null]", [""]),
        ("Text", '"The quick-brown  Fóx, 42!"', [" the quick brown fox 42 "]),
        ("Text", '"..."', [" "]),
        ("TemporalChangeVersion", '["a-1"]', ["a-1"]),
    ],
)
def test_a_value_of_its_type_is_taken_marked_and_found(name: str, text: str, found_by: list[object]) -> None:
    attributes = given(name, json(text))
    sa.check(attributes, TYPES, "n")
    payload = attributes.indexed_fields[name]
    assert payload.metadata["type"].decode() == sa.TYPE_NAMES[TYPES[name]]
    assert sa.indexed(payload, TYPES[name]) == found_by


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("Number", "1.0", "1"),
        ("Number", "1e3", "1000"),
        ("Number", "123456789.5", "1.234567895e+08"),
        ("Number", '"1"', "1"),
        ("Number", "[1,2]", "[1 2]"),
        ("Number", "true", "true"),
        ("Number", '{"a":1}', "map[a:1]"),
        ("Number", "99999999999999999999", "1e+20"),
        ("Number", "9223372036854775808", "9.223372036854776e+18"),
        ("Number", "x", 'value from <metadata:{key:"encoding"  value:"json/plain"}  data:"x">'),
        ("Number", "", 'value from <metadata:{key:"encoding"  value:"json/plain"}>'),
        ("Share", '"1.5"', "1.5"),
        ("Share", "NaN", 'value from <metadata:{key:"encoding"  value:"json/plain"}  data:"NaN">'),
        ("Done", "1", "1"),
        ("Done", '"true"', "true"),
        ("At", "1", "1"),
        ("At", '"2020-01-01"', "2020-01-01"),
        ("At", '"2020-02-30T00:00:00Z"', "2020-02-30T00:00:00Z"),
        ("Word", "1", "1"),
        ("Word", '["a","b"]', "[a b]"),
        ("Tags", '"a"', "a"),
        ("Tags", "[1]", "[1]"),
        ("Text", "0.0001", "0.0001"),
        ("Text", "0.00001", "1e-05"),
    ],
)
def test_a_value_of_another_type_is_refused_as_temporal_refuses_it(name: str, text: str, shown: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        sa.check(given(name, json(text)), TYPES, "n")
    kind = sa.TYPE_NAMES[TYPES[name]]
    assert refused.value.message == f"invalid value for search attribute {name} of type {kind}: {shown}"


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (Payload(data=b"1"), 'value from <data:"1">'),
        (json("1", b"binary/plain"), "[49]"),
        (json("1", b"bogus"), 'value from <metadata:{key:"encoding"  value:"bogus"}  data:"1">'),
    ],
)
def test_a_value_in_another_encoding_is_refused(payload: Payload, shown: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        sa.check(given("Number", payload), TYPES, "n")
    assert refused.value.message == f"invalid value for search attribute Number of type Int: {shown}"


def test_no_value_may_be_said_by_its_encoding() -> None:
    attributes = given("Number", json("", b"binary/null"))
    sa.check(attributes, TYPES, "n")
    assert sa.indexed(attributes.indexed_fields["Number"], sa.INT) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nope", "Namespace n has no mapping defined for search attribute Nope"),
        ("TemporalNope", "Namespace n has no mapping defined for search attribute TemporalNope"),
        ("WorkflowId", "WorkflowId attribute can't be set in SearchAttributes"),
        ("TemporalWorkerDeployment", "TemporalWorkerDeployment attribute can't be set in SearchAttributes"),
    ],
)
def test_a_name_that_may_not_be_set_is_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        sa.check(given(name, json('"x"')), TYPES, "n")
    assert refused.value.message == message


@pytest.mark.parametrize("times", [1, 100])
def test_their_number_is_limited(times: int) -> None:
    types = {f"K{n}": sa.INT for n in range(sa.KEYS_MAX + times)}
    attributes = SearchAttributes(indexed_fields={name: json("1") for name in types})
    with pytest.raises(InvalidArgument, match=f"number of search attributes {len(types)} exceeds limit 100"):
        sa.check(attributes, types, "n")
    del attributes.indexed_fields["K0"]
    if times == 1:
        sa.check(attributes, types, "n")


def test_the_size_of_one_and_of_all_is_limited() -> None:
    fits = given("Word", json('"' + "x" * (sa.VALUE_SIZE_MAX - 2) + '"'))
    sa.check_size(fits)
    with pytest.raises(InvalidArgument, match="search attribute Word value size 2049 exceeds size limit 2048"):
        sa.check_size(given("Word", json('"' + "x" * (sa.VALUE_SIZE_MAX - 1) + '"')))
    many = SearchAttributes(indexed_fields={f"K{n}": json("1" * 2_000) for n in range(21)})
    with pytest.raises(InvalidArgument, match=f"total size of search attributes {many.ByteSize()} exceeds size limit"):
        sa.check_size(many)


@pytest.mark.parametrize("name", ["WorkflowId", "BuildIds", "Memo", "TemporalAnything", "TemporalWorkerDeployment"])
def test_the_servers_own_names_are_reserved(name: str) -> None:
    assert sa.is_reserved(name)
    assert not sa.is_reserved("CustomerId")
