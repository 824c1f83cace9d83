"""Where the running server takes new ids and jitter from."""

import os
import random
import time
import uuid


class RandomIds:
    """Ids that nobody can guess: run ids and nonces are part of task tokens."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def uuid(self) -> str:
        """Return a new UUID of version 7, 36 characters: 48 bits of time, 74 of chance.

        Temporal's run ids are of this version too; rows and lists keep the order in which runs began.
        """
        at_ms = time.time_ns() // 1_000_000
        number = at_ms << 80 | int.from_bytes(os.urandom(10), "big")
        number = number & ~(0xF << 76) | 0x7 << 76
        number = number & ~(0x3 << 62) | 0x2 << 62
        return str(uuid.UUID(int=number))

    def fraction(self) -> float:
        """Return a number in [0, 1)."""
        return self._random.random()
