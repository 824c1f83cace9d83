"""Search attributes: which there are, what values each type takes, and how a value is indexed.

The types a namespace knows come with a request as a table: the server's own that may be set, and those registered.
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, TypeAlias

from temporalio.api.common.v1 import Payload, SearchAttributes
from temporalio.api.enums.v1 import IndexedValueType

from stormsail.engine.core.errors import InvalidArgument

Type: TypeAlias = IndexedValueType.ValueType
Types: TypeAlias = Mapping[str, Type]
Scalar = str | int | float
"""A value as it is indexed: a bool is 0 or 1, an instant nanoseconds since the epoch, a text its words."""

TEXT: Final = IndexedValueType.INDEXED_VALUE_TYPE_TEXT
KEYWORD: Final = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
INT: Final = IndexedValueType.INDEXED_VALUE_TYPE_INT
DOUBLE: Final = IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE
BOOL: Final = IndexedValueType.INDEXED_VALUE_TYPE_BOOL
DATETIME: Final = IndexedValueType.INDEXED_VALUE_TYPE_DATETIME
KEYWORD_LIST: Final = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST

TYPE_NAMES: Final[Mapping[Type, str]] = {
    TEXT: "Text",
    KEYWORD: "Keyword",
    INT: "Int",
    DOUBLE: "Double",
    BOOL: "Bool",
    DATETIME: "Datetime",
    KEYWORD_LIST: "KeywordList",
}
"""As payloads carry them in their metadata, and errors name them."""

KEYS_MAX: Final = 100
VALUE_SIZE_MAX: Final = 2 * 1024
TOTAL_SIZE_MAX: Final = 40 * 1024
PER_TYPE_MAX: Final[Mapping[int, int]] = {**dict.fromkeys(TYPE_NAMES, 3), KEYWORD: 10}
"""Custom attributes of one type in one namespace: what Temporal's SQL stores allow."""

SYSTEM: Final[Types] = {
    "WorkflowId": KEYWORD,
    "RunId": KEYWORD,
    "WorkflowType": KEYWORD,
    "StartTime": DATETIME,
    "ExecutionTime": DATETIME,
    "CloseTime": DATETIME,
    "ExecutionStatus": KEYWORD,
    "TaskQueue": KEYWORD,
    "HistoryLength": INT,
    "ExecutionDuration": INT,
    "StateTransitionCount": INT,
    "HistorySizeBytes": INT,
    "ParentWorkflowId": KEYWORD,
    "ParentRunId": KEYWORD,
    "RootWorkflowId": KEYWORD,
    "RootRunId": KEYWORD,
}
"""Set by the server alone, and kept with the run itself."""

SETTABLE: Final[Types] = {
    "TemporalChangeVersion": KEYWORD_LIST,
    "BinaryChecksums": KEYWORD_LIST,
    "BuildIds": KEYWORD_LIST,
    "BatcherNamespace": KEYWORD,
    "BatcherUser": KEYWORD,
    "TemporalScheduledStartTime": DATETIME,
    "TemporalScheduledById": KEYWORD,
    "TemporalSchedulePaused": BOOL,
    "TemporalNamespaceDivision": KEYWORD,
    "TemporalPauseInfo": KEYWORD_LIST,
    "TemporalReportedProblems": KEYWORD_LIST,
}
"""Known beforehand and set by SDKs and tools: workflow.patched, for one, upserts TemporalChangeVersion."""

RESERVED: Final[Types] = {
    "TemporalWorkerDeploymentVersion": KEYWORD,
    "TemporalWorkflowVersioningBehavior": KEYWORD,
    "TemporalWorkerDeployment": KEYWORD,
    "TemporalUsedWorkerDeploymentVersions": KEYWORD_LIST,
    "TemporalExternalPayloadCount": INT,
    "TemporalExternalPayloadSizeBytes": INT,
}
"""Known beforehand; nobody but the server may set them."""

PREDEFINED: Final[Types] = {**SETTABLE, **RESERVED}
RESERVED_PREFIX: Final = "Temporal"
_NO_NAMES: Final = frozenset({"NamespaceId", "MemoEncoding", "Memo", "VisibilityTaskKey"})

_INT64: Final = 1 << 63
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:[.,](\d+))?(Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)", re.ASCII
)
_GO_SPECIAL: Final = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


class _Unreadable(Exception):
    """A payload that is no value of the type asked for."""


def is_reserved(name: str) -> bool:
    """Say whether a name is the server's own, so that nobody may register it."""
    return name in SYSTEM or name in PREDEFINED or name in _NO_NAMES or name.startswith(RESERVED_PREFIX)


def check(given: SearchAttributes, types: Types, namespace: str) -> None:
    """Refuse attributes that are the server's own, unknown or of the wrong type; mark each with its type.

    `types` holds those that may be set in this namespace. The marks are written into the message that was given.
    """
    fields = given.indexed_fields
    for name in fields:
        if name not in types and name not in SYSTEM and name not in RESERVED:
            raise InvalidArgument(f"Namespace {namespace} has no mapping defined for search attribute {name}")
    if len(fields) > KEYS_MAX:
        raise InvalidArgument(f"number of search attributes {len(fields)} exceeds limit {KEYS_MAX}")
    for name, payload in fields.items():
        if name not in types:
            raise InvalidArgument(f"{name} attribute can't be set in SearchAttributes")
        try:
            _decoded(payload, types[name])
        except _Unreadable:
            shown = _shown(payload)
            raise InvalidArgument(
                f"invalid value for search attribute {name} of type {TYPE_NAMES[types[name]]}: {shown}"
            ) from None
    for name, payload in fields.items():
        if "type" not in payload.metadata:
            payload.metadata["type"] = TYPE_NAMES[types[name]].encode()


def check_size(given: SearchAttributes) -> None:
    """Refuse attributes that are too large, each or together."""
    for name, payload in given.indexed_fields.items():
        if len(payload.data) > VALUE_SIZE_MAX:
            raise InvalidArgument(
                f"search attribute {name} value size {len(payload.data)} exceeds size limit {VALUE_SIZE_MAX}"
            )
    if given.ByteSize() > TOTAL_SIZE_MAX:
        raise InvalidArgument(f"total size of search attributes {given.ByteSize()} exceeds size limit {TOTAL_SIZE_MAX}")


def indexed(payload: Payload, value_type: Type) -> list[Scalar]:
    """Return what a value is found by: one scalar, or the members of a list. Empty where there is no value.

    What a run carries was checked when it was set; should it not be readable any more, nothing finds the run by it.
    """
    try:
        value = _decoded(payload, value_type)
    except _Unreadable:
        return []
    match value:
        case None:
            return []
        case list():
            return list(dict.fromkeys(value))
        case str() if value_type == TEXT:
            return [words(value)]
        case str() if value_type == DATETIME:
            return [nanoseconds(value)]
        case bool():
            return [int(value)]
        case _:
            return [value]


def words(text: str) -> str:
    """Return a text's words as text is searched: lower case, without accents, a space before and after each."""
    letters: list[str] = []
    for letter in unicodedata.normalize("NFD", text.lower()):
        kind = unicodedata.category(letter)
        if kind.startswith("M"):
            continue
        letters.append(letter if kind[0] in "LN" or kind == "Co" else " ")
    found = "".join(letters).split()
    return " " + " ".join(found) + " " if found else " "


def nanoseconds(instant: str) -> int:
    """Return an RFC 3339 instant as nanoseconds since the epoch, held inside 64 bits. Raises ValueError."""
    found = _RFC3339.fullmatch(instant)
    if found is None:
        raise ValueError(instant)
    whole, fraction, zone = found.groups()
    try:
        # A zone may carry an instant over the ends of the years that Python counts.
        at = datetime.fromisoformat(whole + zone.replace("Z", "+00:00")).astimezone(UTC)
    except OverflowError:
        raise ValueError(instant) from None
    since = at - datetime(1970, 1, 1, tzinfo=UTC)
    exact = (since.days * 86_400 + since.seconds) * 1_000_000_000 + int(((fraction or "") + "000000000")[:9])
    return max(1 - _INT64, min(_INT64 - 1, exact))


def _decoded(payload: Payload, value_type: Type) -> Any:
    """Return a payload's value, None for "no value". A list of one stands for its member, as in Temporal."""
    value = _json(payload)
    if value is None or value == []:
        return None
    if value_type == KEYWORD_LIST:
        if isinstance(value, list) and all(member is None or isinstance(member, str) for member in value):
            return [member or "" for member in value]
        raise _Unreadable
    if isinstance(value, list) and len(value) == 1:
        # A null in a list is the type's zero to the language of that server.
        value = _ZERO[value_type] if value[0] is None else value[0]
    if not _is_of(value, value_type):
        raise _Unreadable
    return float(value) if value_type == DOUBLE else value


_ZERO: Final[Mapping[int, Any]] = {
    TEXT: "",
    KEYWORD: "",
    INT: 0,
    DOUBLE: 0.0,
    BOOL: False,
    DATETIME: "0001-01-01T00:00:00Z",
}


def _is_of(value: Any, value_type: Type) -> bool:
    match value:
        case bool():
            return value_type == BOOL
        case int():
            return value_type == DOUBLE or (value_type == INT and -_INT64 <= value < _INT64)
        case float():
            return value_type == DOUBLE and math.isfinite(value)
        case str() if value_type == DATETIME:
            try:
                nanoseconds(value)
            except ValueError:
                return False
            return True
        case str():
            return value_type in (KEYWORD, TEXT)
        case _:
            return False


def _json(payload: Payload) -> Any:
    encoding = payload.metadata.get("encoding", b"")
    if encoding == b"binary/null":
        return None
    if encoding != b"json/plain":
        raise _Unreadable
    try:
        return json.loads(payload.data.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _Unreadable from None


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _shown(payload: Payload) -> str:
    """Show a value that is refused, as Temporal does."""
    if payload.metadata.get("encoding") == b"binary/plain":
        return "[" + " ".join(map(str, payload.data)) + "]"
    try:
        return _go(_json(payload))
    except _Unreadable:
        parts = [f'metadata:{{key:"{key}"  value:{_quoted(value)}}}' for key, value in sorted(payload.metadata.items())]
        if payload.data:
            parts.append(f"data:{_quoted(payload.data)}")
        return f"value from <{'  '.join(parts)}>"


def _go(value: Any) -> str:
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case list():
            return "[" + " ".join(map(_go, value)) + "]"
        case dict():
            return "map[" + " ".join(f"{key}:{_go(value[key])}" for key in sorted(value)) + "]"
        case int() | float():
            return _go_number(float(value))
        case _:
            return str(value)


def _go_number(number: float) -> str:
    """Show a number as Go does: shortest, with an exponent from a million on."""
    sign, digits, exponent = Decimal(repr(number)).normalize().as_tuple()
    assert isinstance(exponent, int)
    tens = len(digits) + exponent - 1
    if -4 <= tens < 6 or not number:
        return repr(number).removesuffix(".0") if tens != -4 else f"{Decimal(repr(number)):f}"
    shown = "".join(map(str, digits))
    fraction = f".{shown[1:]}" if shown[1:] else ""
    return f"{'-' if sign else ''}{shown[0]}{fraction}e{'-' if tens < 0 else '+'}{abs(tens):02d}"


def _quoted(data: bytes) -> str:
    text = data.decode(errors="backslashreplace")
    return '"' + "".join(_GO_SPECIAL.get(letter, letter) for letter in text) + '"'
