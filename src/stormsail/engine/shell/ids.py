"""Where the running server takes new ids and jitter from."""

import os
import random
import uuid


class RandomIds:
    """Ids that nobody can guess: run ids and nonces are part of task tokens."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def uuid(self) -> str:
        """Return a new random id, 36 characters."""
        return str(uuid.UUID(bytes=os.urandom(16), version=4))

    def fraction(self) -> float:
        """Return a number in [0, 1)."""
        return self._random.random()
