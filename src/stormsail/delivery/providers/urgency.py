"""How urgent the call is that a provider makes at this moment, for those who let calls wait for their turn.

It goes beside the contract, because it says nothing of what a change does: it is set around a call and read where calls
to the cloud are paced.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from stormsail.delivery.model.priority import Priority

_URGENCY: Final[ContextVar[Priority]] = ContextVar("urgency", default=Priority.MANUAL)


def urgency() -> Priority:
    """Return how urgent the present call is."""
    return _URGENCY.get()


@contextmanager
def urgent(priority: Priority) -> Iterator[None]:
    """Make the calls inside so urgent."""
    before = _URGENCY.get()
    _URGENCY.set(priority)
    try:
        yield
    finally:
        # Not by a token: a call that was killed in a simulation is closed in whatever context comes to sweep it up.
        _URGENCY.set(before)
