"""Where the running server takes new ids and jitter from."""

import os
import random
import time
from typing import Final

_BYTES_EACH: Final = 10
_DRAWN_AT_ONCE: Final = 64
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


class RandomIds:
    """Ids that nobody can guess: run ids and nonces are part of task tokens."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()
        self._drawn: list[str] = []
        """How the next ids end: the system is asked for chance seldom."""
        self._at_ms = -1
        self._at = ""
        """How an id of that millisecond begins."""

    def uuid(self) -> str:
        """Return a new UUID of version 7, 36 characters: 48 bits of time, 74 of chance.

        Temporal's run ids are of this version too; rows and lists keep the order in which runs began.
        """
        if not self._drawn:
            self._draw()
        at_ms = time.time_ns() // 1_000_000
        if at_ms != self._at_ms:
            digits = f"{at_ms:012x}"
            self._at_ms, self._at = at_ms, f"{digits[:8]}-{digits[8:]}-7"
        return self._at + self._drawn.pop()

    def fraction(self) -> float:
        """Return a number in [0, 1)."""
        return self._random.random()

    def _draw(self) -> None:
        chance = os.urandom(_BYTES_EACH * _DRAWN_AT_ONCE).hex()
        self._drawn = [
            f"{chance[at + 1 : at + 4]}-{_VARIANT[chance[at]]}{chance[at + 4 : at + 7]}-{chance[at + 7 : at + 19]}"
            for at in range(0, len(chance), 2 * _BYTES_EACH)
        ]
