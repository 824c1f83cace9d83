"""A timer's life. What is absent is impossible."""

from collections.abc import Mapping
from typing import Final

from stormsail.engine.core.values import Word


class Timer(Word):
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
