"""What happened, in order: a hash over all of it, and its last lines for people."""

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Final

TAIL_LINES: Final = 60


class Violation(Exception):
    """A promise was broken. `invariant` is its name in docs/guarantees.md."""

    def __init__(self, invariant: str, text: str) -> None:
        super().__init__(invariant, text)
        self.invariant = invariant
        self.text = text

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


class Trace:
    """See the module. `show` is given every line as it happens."""

    def __init__(self, time_s: Callable[[], float], show: Callable[[str], None] | None = None) -> None:
        self._time_s = time_s
        self._show = show
        self._hash = hashlib.blake2b(digest_size=8)
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.lines = 0

    def note(self, text: str) -> None:
        """Add a line."""
        line = f"{self._time_s():9.3f} {text}"
        self.lines += 1
        self._hash.update(line.encode())
        self._tail.append(line)
        if self._show is not None:
            self._show(line)

    @property
    def digest(self) -> str:
        """The hash of everything so far."""
        return self._hash.hexdigest()

    @property
    def tail(self) -> list[str]:
        """The last lines."""
        return list(self._tail)
