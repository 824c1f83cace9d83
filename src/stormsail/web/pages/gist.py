"""What a history event says in a few words, and which events say only that the machinery works."""

from typing import Any, Final

from stormsail.web.views.workflow import EventView

ROUTINE: Final = frozenset(
    {"WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted", "ActivityTaskStarted"}
)
"""Left out of the compact history: each is told by the event before or after it."""

GIST_MAX: Final = 160

_NAMES: Final = (
    ("workflow_type", "name"),
    ("activity_type", "name"),
    ("signal_name",),
    ("timer_id",),
    ("marker_name",),
    ("accepted_request", "input", "name"),
    ("failure", "message"),
    ("cause",),
    ("reason",),
    ("scheduled_event_id",),
    ("started_event_id",),
    ("initiated_event_id",),
)
"""Where the word is that tells an event from others of its type; the first that is there."""


def gist_of(event: EventView) -> str:
    """Return the word that tells an event from others of its type, or nothing."""
    for path in _NAMES:
        value: Any = event.attributes
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str | int) and value != "":
            told = f"of event {value}" if path[-1].endswith("_event_id") else str(value)
            detail = event.attributes.get("activity_id")
            if path == ("activity_type", "name") and isinstance(detail, str) and not detail.isdigit():
                told = f"{told} {detail}"
            return told if len(told) <= GIST_MAX else f"{told[: GIST_MAX - 1]}…"
    return ""
