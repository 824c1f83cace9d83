"""Answers and histories as lines that two servers must share: what each draws for itself is masked, all else kept."""

import base64
import re
from collections.abc import Iterator
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from temporalio.api.history.v1 import HistoryEvent

from stormsail.engine.core import events

UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
_DELETED: Final = re.compile(r"-deleted-[0-9a-f]+")
DROPPED: Final = frozenset(
    {
        "event_time",
        "task_id",  # a position in Temporal's own tables
        "version",
        "task_token",
        "next_page_token",
        "conflict_token",
        "history_size_bytes",  # of bytes that carry those
        "workflow_execution_expiration_time",
        "run_expiration_time",  # Temporal says year 1 where there is none
        "prev_auto_reset_points",
        "auto_reset_points",
        "worker_version",  # what Temporal notes of a worker that says nothing of its version
        "most_recent_worker_version_stamp",
        "binary_checksum",
        "state_transition_count",  # of transactions, which Temporal cuts in other places
        "poller_scaling_decision",
        "raw_history",
        "BuildIds",  # a search attribute that Temporal sets by itself
        "execution_duration",
        "external_payload_size_bytes",
        "last_access_time",
    }
)
_ROUNDED: Final = frozenset({"first_workflow_task_backoff", "current_retry_interval"})
"""What takes in how long a server took, shown in whole seconds."""
_UNORDERED: Final = frozenset({"pending_activities", "pending_children"})
"""Lists whose order Temporal draws."""


class Names:
    """What one side calls by a name of its own: the trace's prefix, its namespace where that is its own, and its runs,
    numbered as they were met."""

    def __init__(self, prefix: str, namespace: str) -> None:
        self.prefix = prefix
        self._namespace = namespace
        self._runs: dict[str, str] = {}

    def run(self, run_id: str) -> None:
        """Number a run, once."""
        self._runs.setdefault(run_id, f"<run {len(self._runs) + 1}>")

    def mask(self, text: str) -> str:
        """Return a text without what is this side's alone."""
        text = _DELETED.sub("-deleted-<id>", text)
        text = UUID.sub(lambda found: self._runs.get(found[0], "<id>"), text.replace(self.prefix, "~"))
        if self._namespace != "default":
            text = text.replace(self._namespace, "<namespace>")
        return re.sub(r" +", " ", _TIME.sub("<time>", text))  # Go lays protocol messages out with one space or two


def lines(value: Message | dict[str, Any], names: Names) -> Iterator[str]:
    """Lay a message out, one line a field, in the order of the fields' names."""
    found = MessageToDict(value, preserving_proto_field_name=True) if isinstance(value, Message) else value
    yield from _flat("", found, names)


def event_lines(event: HistoryEvent, names: Names) -> Iterator[str]:
    """Lay a history event out; each line says which event it is of."""
    head = f"{event.event_id} {events.NAME_OF_TYPE.get(event.event_type, event.event_type)}"
    yield head
    found = MessageToDict(event, preserving_proto_field_name=True)
    for name in ("event_id", "event_type"):
        found.pop(name, None)
    kind = event.WhichOneof("attributes")
    found.update(found.pop(str(kind), {}))
    for line in _flat("", found, names):
        yield f"{head} {line}"


def _flat(path: str, value: Any, names: Names) -> Iterator[str]:
    match value:
        case dict():
            kept = {key: value[key] for key in sorted(value) if not _dropped(key, value[key])}
            for key, inner in kept.items():
                yield from _flat(f"{path}.{names.mask(key)}" if path else names.mask(key), _readable(key, inner), names)
            if not kept and path:
                yield f"{path}: {{}}"
        case list():
            if all(isinstance(each, int | str) for each in value):
                yield f"{path}: {', '.join(names.mask(str(each)) for each in value)}"
            else:
                for place, each in enumerate(value):
                    yield from _flat(f"{path}.{place}", each, names)
        case _:
            yield f"{path}: {names.mask(str(value))}"


def _dropped(key: str, value: Any) -> bool:
    if key == "first_workflow_task_backoff":
        return _seconds(value) <= 1  # a run that follows another waits until a second has passed since that began
    return key in DROPPED or (key == "indexed_fields" and value.keys() <= DROPPED)


def _seconds(duration: Any) -> float:
    return float(str(duration).removesuffix("s"))


def _readable(key: str, value: Any) -> Any:
    """Show a payload's text instead of its base64, and in whole seconds what depends on how long a server took."""
    if key in _UNORDERED:
        return sorted(value, key=str)
    if key in _ROUNDED:
        return f"{round(_seconds(value))}s"
    if key in ("data", "encoding", "type") and isinstance(value, str):
        try:
            text = base64.b64decode(value, validate=True).decode()
        except ValueError:
            return value
        return text if text.isprintable() and text else value
    return value
