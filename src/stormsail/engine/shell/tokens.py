"""Task and page tokens on the wire: a letter for the kind, then JSON. What is not exactly that is refused.

A token proves nothing about its bearer. Task tokens carry the nonce of the start they answer, which the core compares,
so a made-up one is refused as stale; page tokens only say where to read on.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _quoted
from typing import Final

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.requests import ActivityToken, WorkflowTaskToken
from stormsail.engine.core.values import quick

_JSON: Final = json.JSONDecoder()
_TOKEN_SIZE_MAX: Final = 64 * 1024
_EVENT_ID_MAX: Final = 2**53
_BAD_TASK_TOKEN: Final = "Error deserializing task token. Send back the bytes that the poll returned, unchanged."  # noqa: S105
_BAD_PAGE_TOKEN: Final = "Invalid NextPageToken."  # noqa: S105


@quick
@dataclass(frozen=True, slots=True)
class QueryToken:
    """Which dispatched query a worker answers."""

    namespace: str
    query_id: str


@quick
@dataclass(frozen=True, slots=True)
class HistoryPageToken:
    """Where reading a history goes on. Bound to one run, however the chain of runs continues meanwhile."""

    run_id: str
    next_event_id: int
    running: bool
    """Whether the run was open when this token was made: only then may the next call wait for news."""
    through: int = 0
    """Not 0 in the pages of a workflow task: the last event the task may see."""
    transient: bytes = b""
    """The frames that end a transient workflow task's history; they are stored nowhere else."""


def encode_workflow_task(token: WorkflowTaskToken) -> bytes:
    """Return the task token of a started workflow task."""
    return _encode(
        b"w", [*_key_parts(token.key), token.scheduled_event_id, token.started_event_id, token.attempt, token.nonce]
    )


def decode_workflow_task(token: bytes, namespace: str = "") -> WorkflowTaskToken:
    """Read a workflow task's token. `namespace` is the request's; an empty one is not compared."""
    parts = _decode(token, b"w", (str, str, str, int, int, int, str), _BAD_TASK_TOKEN)
    _check_namespace(str(parts[0]), namespace)
    return WorkflowTaskToken(RunKey(*parts[:3]), *parts[3:])  # type: ignore[arg-type]


def encode_activity(token: ActivityToken) -> bytes:
    """Return the task token of a started activity attempt."""
    return _encode(b"a", [*_key_parts(token.key), token.scheduled_event_id, token.attempt, token.nonce])


def decode_activity(token: bytes, namespace: str = "") -> ActivityToken:
    """Read an activity's token. `namespace` is the request's; an empty one is not compared."""
    parts = _decode(token, b"a", (str, str, str, int, int, str), _BAD_TASK_TOKEN)
    _check_namespace(str(parts[0]), namespace)
    return ActivityToken(RunKey(*parts[:3]), *parts[3:])  # type: ignore[arg-type]


def encode_query(token: QueryToken) -> bytes:
    """Return the task token of a query sent to a worker on its own."""
    return _encode(b"q", [token.namespace, token.query_id])


def decode_query(token: bytes, namespace: str = "") -> QueryToken:
    """Read a query task's token. `namespace` is the request's; an empty one is not compared."""
    parts = _decode(token, b"q", (str, str), _BAD_TASK_TOKEN)
    _check_namespace(str(parts[0]), namespace)
    return QueryToken(*parts)  # type: ignore[arg-type]


def encode_history_page(token: HistoryPageToken) -> bytes:
    """Return the page token for reading on in a history."""
    transient = base64.b64encode(token.transient).decode()
    return _encode(b"h", [token.run_id, token.next_event_id, int(token.running), token.through, transient])


def decode_history_page(token: bytes) -> HistoryPageToken:
    """Read a history's page token."""
    run_id, next_event_id, running, through, transient = _decode(
        token, b"h", (str, int, int, int, str), _BAD_PAGE_TOKEN
    )
    try:
        frames = base64.b64decode(str(transient), validate=True)
    except ValueError:
        raise InvalidArgument(_BAD_PAGE_TOKEN) from None
    return HistoryPageToken(str(run_id), int(next_event_id), bool(running), int(through), frames)


def _key_parts(key: RunKey) -> list[str]:
    return [key.namespace, key.workflow_id, key.run_id]


def _encode(kind: bytes, parts: Sequence[str | int]) -> bytes:
    return kind + f"[{','.join([_quoted(one) if isinstance(one, str) else str(one) for one in parts])}]".encode()


def _decode(token: bytes, kind: bytes, types: tuple[type, ...], refusal: str) -> list[str | int]:
    """Read a token's parts: exactly these types, numbers within bounds."""
    if not token.startswith(kind) or len(token) > _TOKEN_SIZE_MAX:
        raise InvalidArgument(refusal)
    try:
        text = token[1:].decode()
        parts, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        raise InvalidArgument(refusal) from None
    if end != len(text) or type(parts) is not list or tuple(map(type, parts)) != types:
        raise InvalidArgument(refusal)
    for part in parts:
        if type(part) is int and not 0 <= part < _EVENT_ID_MAX:
            raise InvalidArgument(refusal)
    return parts


def _check_namespace(actual: str, expected: str) -> None:
    if expected and actual != expected:
        raise InvalidArgument("Operation requested with a token from a different namespace.")
