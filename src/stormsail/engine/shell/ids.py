"""Where the running server takes new ids and jitter from."""

import os
import random
import time
from typing import Final

_BYTES_EACH: Final = 10
_DRAWN_AT_ONCE: Final = 64


class RandomIds:
    """Ids that nobody can guess: run ids and nonces are part of task tokens."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._drawn: list[str] = []
        """Chance for the next ids: the system is asked for it seldom."""

    def uuid(self) -> str:
        """Return a new UUID of version 7, 36 characters: 48 bits of time, 74 of chance.

        Temporal's run ids are of this version too; rows and lists keep the order in which runs began.
        """
        if not self._drawn:
            drawn = os.urandom(_BYTES_EACH * _DRAWN_AT_ONCE).hex()
            self._drawn = [drawn[at : at + 2 * _BYTES_EACH] for at in range(0, len(drawn), 2 * _BYTES_EACH)]
        at, chance = f"{time.time_ns() // 1_000_000:012x}", self._drawn.pop()
        variant = "89ab"[int(chance[0], 16) & 3]
        return f"{at[:8]}-{at[8:]}-7{chance[1:4]}-{variant}{chance[4:7]}-{chance[7:19]}"

    def fraction(self) -> float:
        """Return a number in [0, 1)."""
        return self._random.random()
