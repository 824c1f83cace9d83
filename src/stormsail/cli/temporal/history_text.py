"""A history as a person reads it: one line an event, and how a run ended."""

import json
import time
from dataclasses import dataclass
from typing import Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from stormsail.cli.output import style
from stormsail.cli.temporal.rpc import record

CAUSES_MAX: Final = 20
_TELLING: Final = ("activityId", "timerId", "signalName", "workflowId", "activityType", "workflowType", "markerName")


@dataclass(frozen=True)
class Ended:
    """How a run ended: why, if it was no success, and which run goes on in its place."""

    cause: str
    next_run_id: str


def event_name(event: HistoryEvent) -> str:
    """Return an event's type as the docs spell it: WorkflowExecutionStarted."""
    words = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_").split("_")
    return "".join(word.capitalize() for word in words)


def attributes(event: HistoryEvent) -> dict[str, Any]:
    """Return an event's attributes with payloads as values."""
    which = event.WhichOneof("attributes")
    return record(getattr(event, which)) if which else {}


def event_lines(event: HistoryEvent, *, detailed: bool) -> list[str]:
    """Return the lines of one event; with `detailed`, its attributes below it."""
    at = event.event_time.ToMilliseconds()
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at / 1000)) + f".{at % 1000:03d}"
    known = attributes(event)
    line = f"{event.event_id:>5}  {clock}  {style(event_name(event), bold=True)}"
    if not detailed:
        telling = [f"{name}={_short(known[name])}" for name in _TELLING if name in known]
        return ["  ".join([line, *telling])]
    return [line, *(f"         {name}: {json.dumps(value, ensure_ascii=False)}" for name, value in known.items())]


def ended_as(event: HistoryEvent) -> Ended:
    """Read a closing event."""
    known = attributes(event)
    which = event.WhichOneof("attributes")
    failure = getattr(getattr(event, which), "failure", None) if which else None
    said = [cause_text(failure)] if isinstance(failure, Failure) else [str(known.get("reason", ""))]
    return Ended(said[0], str(known.get("newExecutionRunId", "")))


def cause_text(failure: Failure) -> str:
    """Return a failure and what caused it, outermost first."""
    said: list[str] = []
    while len(said) < CAUSES_MAX:
        said.append(failure.message)
        if not failure.HasField("cause"):
            break
        failure = failure.cause
    return ": ".join(text for text in said if text)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        value = value.get("name", value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
