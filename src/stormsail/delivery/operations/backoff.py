"""How long a call to a cloud that failed waits until it is tried again: longer each time, and never all at once."""

import random
from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy

FIRST: Final = timedelta(milliseconds=500)
LONGEST: Final = timedelta(seconds=15)
"""Short beside the time that operations take: a cloud that has come back is noticed soon."""
_DOUBLINGS_MAX: Final = 16
"""Far beyond LONGEST; past it a power of two would only grow too large to count in."""

RETRY: Final = RetryPolicy(initial_interval=FIRST, backoff_coefficient=2.0, maximum_interval=LONGEST)
"""Of attempts that end without a word, as a killed worker's do. The others say themselves when the next one is due."""


def pause_after(attempt: int, chance: random.Random) -> timedelta:
    """Return the pause after an attempt, counted from 1: half of it is set, and half is drawn.

    Operations that a cloud turned away at one moment come back at different ones.
    """
    longest = min(FIRST * (1 << min(attempt - 1, _DOUBLINGS_MAX)), LONGEST)
    return longest * (0.5 + chance.random() / 2)
