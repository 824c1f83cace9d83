"""A timer's life. What is absent is impossible."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Timer(StrEnum):
    """Where a timer stands."""

    ABSENT = "absent"
    PENDING = "pending"
    CLOSED = "closed"


TIMER: Final[Mapping[tuple[Timer, str], Timer]] = {
    (Timer.ABSENT, "TimerStarted"): Timer.PENDING,
    (Timer.PENDING, "TimerFired"): Timer.CLOSED,
    (Timer.PENDING, "TimerCanceled"): Timer.CLOSED,
}
"""By event. A CancelTimer command takes back a firing that is still buffered; only the cancel is then told."""
