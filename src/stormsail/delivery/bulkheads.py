"""How much of a worker one account may take up, so that a slow or throttled one leaves room for the others.

A call that finds no room is not held: it is handed back to the engine and tried again a moment later, here or on
another worker. The less urgent a call is, the earlier it finds none, so that a rollback always comes through.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from stormsail.delivery.model.priority import Priority
from stormsail.delivery.providers.errors import Transient

ROOM: Final[Mapping[Priority, int]] = {
    Priority.ROLLBACK: 40,
    Priority.MANUAL: 32,
    Priority.TRIGGER: 24,
    Priority.BACKFILL: 16,
}
"""With so many calls of an account under way, one more of the class is handed back."""


class NoRoom(Transient):
    """The account has as many calls under way as this worker makes for it."""

    kind = "NoRoom"


class Bulkheads:
    """The calls under way, by account."""

    def __init__(self, room: Mapping[Priority, int] = ROOM) -> None:
        self._room = room
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def admitted(self, account: str, priority: Priority) -> Iterator[None]:
        """Take up room for one call. Raises NoRoom."""
        there = self._under_way[account]
        if there >= self._room[priority]:
            raise NoRoom(
                f"account {account} has {there} calls under way on this worker, and a {priority} call waits for room"
            )
        self._under_way[account] += 1
        try:
            yield
        finally:
            self._under_way[account] -= 1
