"""Histories made comparable: what must differ between two servers is masked, everything else is kept."""

import base64
import re
from collections.abc import Callable
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHistory

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_HEX: Final = re.compile(r"\b[0-9a-f]{32}\b")
_DROPPED: Final = frozenset(
    {
        "eventTime",
        "taskId",  # positions in Temporal's own tables
        "version",
        "historySizeBytes",  # of bytes that carry those
        "workflowExecutionExpirationTime",
        "prevAutoResetPoints",  # with builds, and when they expire
        "autoResetPoints",
        "BuildIds",  # a search attribute that Temporal sets from the worker's version
        "runExpirationTime",  # Temporal says year 1 where there is none; ours has a test of its own
    }
)


def comparable(history: WorkflowHistory) -> list[dict[str, Any]]:
    """Return the history's events with times dropped and random ids numbered in order of appearance."""
    names: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return names.setdefault(found[0], f"<id {len(names) + 1}>")

    return [_masked(_as_dict(event), number) for event in history.events]


def comparable_message(message: Message) -> Any:
    """Return a message that is no history as `comparable` does, with all times masked."""
    names: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        return names.setdefault(found[0], f"<id {len(names) + 1}>")

    return _timeless(_masked(MessageToDict(message), number))


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_timeless(each) for each in value]
    return _TIMESTAMP.sub("<time>", value) if isinstance(value, str) else value


def _as_dict(event: HistoryEvent) -> dict[str, Any]:
    shown: dict[str, Any] = MessageToDict(event)
    return shown


def _masked(value: Any, number: Callable[[re.Match[str]], str]) -> Any:
    if isinstance(value, dict):
        return {
            _UUID.sub("<id>", key): _masked(_READABLE.get(key, _as_it_is)(each), number)
            for key, each in sorted(value.items())
            if not _dropped(key, each)
        }
    if isinstance(value, list):
        shown = [_masked(each, number) for each in value]
        return sorted(shown) if all(isinstance(each, int) for each in shown) else shown  # the flags that an SDK uses
    if isinstance(value, str):
        return _HEX.sub(number, _UUID.sub(number, value))
    return value


def _dropped(key: str, value: Any) -> bool:
    if key == "firstWorkflowTaskBackoff":
        return _seconds(value) <= 1  # A run that follows another waits until a second has passed since that began.
    return key in _DROPPED or (key == "indexedFields" and value.keys() <= _DROPPED)


def _payload_text(data: Any) -> Any:
    """Show a payload's text, with the times masked that a local activity's marker holds."""
    if not isinstance(data, str):
        return data
    return _CLOCK.sub("<time>", base64.b64decode(data).decode(errors="backslashreplace"))


def _seconds(duration: Any) -> float:
    return float(str(duration).removesuffix("s"))


def _whole_seconds(duration: Any) -> str:
    return f"{round(_seconds(duration))}s"


def _as_it_is(value: Any) -> Any:
    return value


def _some_time(_: Any) -> str:
    return "<time>"  # How long a run took is the machine's affair.


_CLOCK: Final = re.compile(r'\{"seconds":\d+,"nanos":\d+\}')
_READABLE: Final[dict[str, Callable[[Any], Any]]] = {
    "data": _payload_text,
    "firstWorkflowTaskBackoff": _whole_seconds,
    "currentRetryInterval": _whole_seconds,
    "executionDuration": _some_time,
}


async def chain(client: Client, workflow_id: str, first_run_id: str | None) -> list[WorkflowHistory]:
    """Return the histories of a chain of runs, first to last."""
    found: list[WorkflowHistory] = []
    run_id = first_run_id
    while run_id:
        history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
        found.append(history)
        run_id = _next_run(history.events[-1])
    return found


def _next_run(last: HistoryEvent) -> str:
    attributes = getattr(last, str(last.WhichOneof("attributes")))
    return getattr(attributes, "new_execution_run_id", "")
