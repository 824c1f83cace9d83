"""Calls on Temporal's services from a command, and their refusals as the command's own failures."""

import base64
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from temporalio.api.common.v1 import Memo, Payload, Payloads, SearchAttributes, WorkflowExecution
from temporalio.service import OperatorService, RPCError, RPCStatusCode, WorkflowService

from stormsail.cli.audited import Entry
from stormsail.cli.connection import connected
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import Place
from stormsail.cli.temporal.options import Input
from stormsail.cli.whoever import requested_by

T = TypeVar("T")

PAGE: Final = 1000
"""Rows asked for in one call."""
_CODES: Final = {
    RPCStatusCode.INVALID_ARGUMENT: ExitCode.USAGE,
    RPCStatusCode.UNAUTHENTICATED: ExitCode.AUTH,
    RPCStatusCode.PERMISSION_DENIED: ExitCode.AUTH,
    RPCStatusCode.NOT_FOUND: ExitCode.NOT_FOUND,
    RPCStatusCode.ALREADY_EXISTS: ExitCode.CONFLICT,
    RPCStatusCode.FAILED_PRECONDITION: ExitCode.CONFLICT,
    RPCStatusCode.ABORTED: ExitCode.CONFLICT,
    RPCStatusCode.DEADLINE_EXCEEDED: ExitCode.TIMEOUT,
}
_NEXT: Final = {
    RPCStatusCode.UNIMPLEMENTED: "this engine does not serve that call; docs/protocol.md lists what ours serves",
    RPCStatusCode.UNAUTHENTICATED: "set TEMPORAL_API_KEY, or the TEMPORAL_TLS_* variables, to what this engine expects",
    RPCStatusCode.UNAVAILABLE: "the engine is away or overloaded; `stormsail status` shows whether it answers",
}


@dataclass(frozen=True)
class Engine:
    """An open connection: Temporal's services, the namespace, and who asks."""

    workflow: WorkflowService
    operator: OperatorService
    namespace: str
    identity: str


@contextlib.asynccontextmanager
async def engine(place: Place) -> AsyncIterator[Engine]:
    """Connect for the length of a block; what the engine turns down becomes CommandFailed."""
    async with connected(place) as delivery:
        client = delivery.client
        with clear_refusals():
            yield Engine(client.workflow_service, client.operator_service, client.namespace, requested_by())


@contextlib.contextmanager
def clear_refusals() -> Iterator[None]:
    """Turn a gRPC status into the text and exit code of a command."""
    try:
        yield
    except RPCError as error:
        code = _CODES.get(error.status, ExitCode.ERROR)
        raise CommandFailed(error.message, next_step=_NEXT.get(error.status, ""), code=code) from error


async def listed(
    call: Callable[..., Awaitable[Any]],
    asked: Any,
    most: int,
    rows: Callable[[Any], Iterable[T]],
    *,
    size: str = "page_size",
) -> list[T]:
    """Ask for page after page of a list, up to `most` rows in all. `size`: what the request calls a page's size."""
    found: list[T] = []
    while len(found) < most:
        setattr(asked, size, min(PAGE, most - len(found)))
        page = await call(asked, retry=True)
        found += rows(page)
        asked.next_page_token = page.next_page_token
        if not page.next_page_token:
            break
    return found


def execution(workflow_id: str, run_id: str = "") -> WorkflowExecution:
    """Name a run; without a run id, the workflow's newest."""
    return WorkflowExecution(workflow_id=workflow_id, run_id=run_id)


def workflow_entry(verb: str, workflow_id: str, run_id: str = "", reason: str = "", **after: Any) -> Entry:
    """Return the audit's entry of a change of a workflow, in the words of the page's changes."""
    return Entry(f"workflow.{verb}", f"workflow/{workflow_id}" + (f"/{run_id}" if run_id else ""), reason, after=after)


def payloads(arguments: Sequence[Input]) -> Payloads | None:
    """Return arguments as the protocol has them; none at all is not the same as an empty list."""
    made = [Payload(metadata=argument.metadata, data=argument.data) for argument in arguments]
    return Payloads(payloads=made) if made else None


def json_payload(value: Any) -> Payload:
    """Return one value as the protocol's JSON."""
    return Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value, ensure_ascii=False).encode())


def memo(pairs: Sequence[tuple[str, Any]]) -> Memo | None:
    """Return a memo of KEY=JSON pairs."""
    return Memo(fields={key: json_payload(value) for key, value in pairs}) if pairs else None


def search_attributes(pairs: Sequence[tuple[str, Any]]) -> SearchAttributes | None:
    """Return search attributes of KEY=JSON pairs."""
    return SearchAttributes(indexed_fields={key: json_payload(value) for key, value in pairs}) if pairs else None


def duration(seconds: float | None) -> Duration | None:
    """Return a span as the protocol has it; None stays None."""
    if seconds is None:
        return None
    span = Duration()
    span.FromTimedelta(timedelta(seconds=seconds))
    return span


def enum_name(prefix: str, camel: str) -> str:
    """Return the protocol's name of an enumerated value: AllowDuplicate -> PREFIX_ALLOW_DUPLICATE."""
    return prefix + "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in camel).lstrip("_")


def new_id() -> str:
    """Return an id for something that was not named, and for a request that a retry must not double."""
    return str(uuid.uuid4())


def record(message: Message) -> dict[str, Any]:
    """Return a message as programs read it: the protocol's JSON names, payloads shown as their values."""
    shown = with_values(MessageToDict(message))
    assert isinstance(shown, dict)
    return shown


def with_values(value: Any) -> Any:
    """Replace every payload in the protocol's JSON by what it holds; what is not JSON stays as it is."""
    if isinstance(value, Mapping):
        if set(value) <= {"metadata", "data"} and "encoding" in value.get("metadata", {}):
            encoding = base64.b64decode(value["metadata"]["encoding"])
            if encoding == b"binary/null":
                return None
            if encoding in (b"json/plain", b"json/protobuf"):
                return json.loads(base64.b64decode(value.get("data", "")) or b"null")
            return value
        if set(value) == {"payloads"}:
            return [with_values(payload) for payload in value["payloads"]]
        return {key: with_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_values(item) for item in value]
    return value


def plain(value: Payloads | Payload) -> Any:
    """Return what payloads hold: one value as itself, several as a list, none as None."""
    shown = with_values(MessageToDict(value))
    if isinstance(value, Payload):
        return shown
    values = shown if isinstance(shown, list) else []
    return values[0] if len(values) == 1 else (values or None)
