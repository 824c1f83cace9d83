"""How each state is shown: an icon and a word, and a tone that only repeats what they say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Shown:
    """A state as people see it."""

    label: str
    icon: str
    tone: str
    """`ok`, `bad`, `warn`, `run`, `wait` or `off`: a class of the style sheet."""


_SUCCEEDED: Final = Shown("Succeeded", "ok", "ok")
_FAILED: Final = Shown("Failed", "bad", "bad")
_RUNNING: Final = Shown("Running", "run", "run")
_CANCELLED: Final = Shown("Cancelled", "stop", "off")
_TIMED_OUT: Final = Shown("Timed out", "clock", "bad")
_WAITING: Final = Shown("Waits for you", "wait", "wait")
_BACKING_OFF: Final = Shown("Backing off", "retry", "warn")

_SHOWN: Final[Mapping[str, Shown]] = {
    # Operations
    "running": _RUNNING,
    "waiting": _WAITING,
    "succeeded": _SUCCEEDED,
    "failed": _FAILED,
    "cancelled": _CANCELLED,
    # Their steps, Spinnaker's words
    "NOT_STARTED": Shown("Not started", "clock", "off"),
    "RUNNING": _RUNNING,
    "SUCCEEDED": _SUCCEEDED,
    "TERMINAL": _FAILED,
    "CANCELED": _CANCELLED,
    "SKIPPED": Shown("Skipped", "skip", "off"),
    "PAUSED": _WAITING,
    # Calls to the cloud and pending activities
    "backing off": _BACKING_OFF,
    "timed out": _TIMED_OUT,
    "scheduled": Shown("Waits for a worker", "clock", "off"),
    "started": _RUNNING,
    "paused": Shown("Paused", "wait", "wait"),
    "cancel requested": Shown("Being cancelled", "stop", "warn"),
    # Runs, Temporal's words
    "Running": _RUNNING,
    "Completed": Shown("Completed", "ok", "ok"),
    "Failed": _FAILED,
    "Canceled": _CANCELLED,
    "Terminated": Shown("Terminated", "stop", "bad"),
    "ContinuedAsNew": Shown("Continued as new", "skip", "off"),
    "TimedOut": _TIMED_OUT,
    "Paused": Shown("Paused", "wait", "wait"),
    # Instances, Spinnaker's words
    "Up": Shown("Up", "ok", "ok"),
    "Down": Shown("Down", "bad", "bad"),
    "Starting": Shown("Starting", "run", "run"),
    "OutOfService": Shown("Out of service", "off", "off"),
    "Unknown": Shown("Unknown", "question", "warn"),
    # Server groups and applications
    "serving": Shown("Takes traffic", "ok", "ok"),
    "disabled": Shown("No traffic", "off", "off"),
    "degraded": Shown("Degraded", "warn", "warn"),
    "healthy": Shown("Healthy", "ok", "ok"),
    "idle": Shown("Serves nothing", "off", "off"),
    # Steering, audit, schedules, task queues
    "accepted": Shown("Accepted", "ok", "ok"),
    "refused": Shown("Turned down", "bad", "warn"),
    "done": Shown("Done", "ok", "ok"),
    "pending": Shown("Being made", "run", "run"),
    "unknown": Shown("Not known", "question", "warn"),
    "retrying": _BACKING_OFF,
    "active": Shown("Active", "ok", "ok"),
    "polled": Shown("Polled", "ok", "ok"),
    "no pollers": Shown("No worker polls", "warn", "bad"),
    "no pollers, nothing waits": Shown("No worker polls", "off", "off"),
}


def shown(state: str) -> Shown:
    """Return how a state is shown; one that is new to us by its own name, never as something good."""
    return _SHOWN.get(state) or Shown(state or "Unknown", "question", "off")
