"""Answers that can never be other ones, kept in memory up to a number of bytes: the one used longest ago goes first."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

KEPT_BYTES_MAX: Final = 32 * 1024 * 1024


class Kept:
    """Bodies by key. Only what is immutable may be kept here: nothing is ever asked for again."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self.size_bytes = 0
        self._bytes_max = bytes_max
        self._bodies: OrderedDict[Hashable, bytes] = OrderedDict()

    def get(self, key: Hashable) -> bytes | None:
        """Return a body, or None."""
        body = self._bodies.get(key)
        if body is not None:
            self._bodies.move_to_end(key)
        return body

    def keep(self, key: Hashable, body: bytes) -> None:
        """Keep a body, unless it alone is over the bound."""
        if len(body) > self._bytes_max or key in self._bodies:
            return
        self._bodies[key] = body
        self.size_bytes += len(body)
        while self.size_bytes > self._bytes_max:
            _, gone = self._bodies.popitem(last=False)
            self.size_bytes -= len(gone)
