"""Task and page tokens on the wire: a letter for the kind, then JSON. What is not exactly that is refused.

A token proves nothing about its bearer. Task tokens carry the nonce of the start they answer, which the core compares,
so a made-up one is refused as stale; page tokens only say where to read on.
"""

import base64
import json
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, Final

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.requests import ActivityToken, WorkflowTaskToken
from stormsail.engine.core.values import quick

_JSON: Final = json.JSONDecoder()
_TOKEN_SIZE_MAX: Final = 64 * 1024
_EVENT_ID_MAX: Final = 2**53
_WORKFLOW_TASK: Final[list[type]] = [str, str, str, int, int, int, str]
_ACTIVITY: Final[list[type]] = [str, str, str, int, int, str]
_QUERY: Final[list[type]] = [str, str]
_HISTORY_PAGE: Final[list[type]] = [str, int, int, int, str]
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
    numbers = f"{token.scheduled_event_id},{token.started_event_id},{token.attempt}"
    return f"w[{_quoted_key(token.key)},{numbers},{_quoted(token.nonce)}]".encode()


def decode_workflow_task(token: bytes, namespace: str = "") -> WorkflowTaskToken:
    """Read a workflow task's token. `namespace` is the request's; an empty one is not compared."""
    of, workflow_id, run_id, scheduled, started, attempt, nonce = _decode(token, b"w", _WORKFLOW_TASK, _BAD_TASK_TOKEN)
    _check_namespace(of, namespace)
    return WorkflowTaskToken(RunKey(of, workflow_id, run_id), scheduled, started, attempt, nonce)


def encode_activity(token: ActivityToken) -> bytes:
    """Return the task token of a started activity attempt."""
    numbers = f"{token.scheduled_event_id},{token.attempt}"
    return f"a[{_quoted_key(token.key)},{numbers},{_quoted(token.nonce)}]".encode()


def decode_activity(token: bytes, namespace: str = "") -> ActivityToken:
    """Read an activity's token. `namespace` is the request's; an empty one is not compared."""
    of, workflow_id, run_id, scheduled, attempt, nonce = _decode(token, b"a", _ACTIVITY, _BAD_TASK_TOKEN)
    _check_namespace(of, namespace)
    return ActivityToken(RunKey(of, workflow_id, run_id), scheduled, attempt, nonce)


def encode_query(token: QueryToken) -> bytes:
    """Return the task token of a query sent to a worker on its own."""
    return f"q[{_quoted(token.namespace)},{_quoted(token.query_id)}]".encode()


def decode_query(token: bytes, namespace: str = "") -> QueryToken:
    """Read a query task's token. `namespace` is the request's; an empty one is not compared."""
    of, query_id = _decode(token, b"q", _QUERY, _BAD_TASK_TOKEN)
    _check_namespace(of, namespace)
    return QueryToken(of, query_id)


def encode_history_page(token: HistoryPageToken) -> bytes:
    """Return the page token for reading on in a history."""
    transient = base64.b64encode(token.transient).decode()
    numbers = f"{token.next_event_id},{int(token.running)},{token.through}"
    return f'h[{_quoted(token.run_id)},{numbers},"{transient}"]'.encode()


def decode_history_page(token: bytes) -> HistoryPageToken:
    """Read a history's page token."""
    run_id, next_event_id, running, through, transient = _decode(token, b"h", _HISTORY_PAGE, _BAD_PAGE_TOKEN)
    try:
        frames = base64.b64decode(transient, validate=True)
    except ValueError:
        raise InvalidArgument(_BAD_PAGE_TOKEN) from None
    return HistoryPageToken(run_id, next_event_id, bool(running), through, frames)


def _quoted_key(key: RunKey) -> str:
    namespace, workflow_id, run_id = key
    return f"{_quoted(namespace)},{_quoted(workflow_id)},{_quoted(run_id)}"


def _decode(token: bytes, kind: bytes, types: list[type], refusal: str) -> list[Any]:
    """Read a token's parts: of exactly these types, and numbers that an event's may be."""
    if not token.startswith(kind) or len(token) > _TOKEN_SIZE_MAX:
        raise InvalidArgument(refusal)
    try:
        text = token[1:].decode()
        parts, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        raise InvalidArgument(refusal) from None
    if end != len(text) or type(parts) is not list or [*map(type, parts)] != types:
        raise InvalidArgument(refusal)
    for part in parts:
        if type(part) is int and not 0 <= part < _EVENT_ID_MAX:
            raise InvalidArgument(refusal)
    return parts


def _check_namespace(actual: str, expected: str) -> None:
    if expected and actual != expected:
        raise InvalidArgument("Operation requested with a token from a different namespace.")
