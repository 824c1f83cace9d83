"""Replies that wait for a peer to read them: how many bytes one may have waiting, and all together."""

from stormsail.engine.api.front.front import Front
from stormsail.engine.core.errors import ResourceExhausted


class Unread:
    """What waits for the peer of one connection. The front holds the sum over all."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._free = min(front.bounds.unsent_share, front.bounds.unsent_size_max)
        """Of bytes that may wait without anything else being looked at."""
        self.size = 0
        """In bytes, when it was counted last."""

    def count(self, size: int) -> None:
        """Take note that this many bytes wait."""
        self._front.unsent_size += size - self.size
        self.size = size

    def is_too_much(self, size: int) -> bool:
        """Whether so much waits for this peer, or for it among all, that it gets no more."""
        if size <= self._free:
            return False
        self.count(size)
        bounds = self._front.bounds
        return size > bounds.unsent_size_max or self._front.unsent_size > bounds.unsent_total_max


def unread() -> ResourceExhausted:
    """Return the refusal for a peer that does not read."""
    return ResourceExhausted("this connection does not read the replies that it has: read them first")
