"""What an operation is for, which decides who goes first where not everybody can at once."""

from enum import StrEnum
from typing import Final


class Priority(StrEnum):
    """The classes, the most urgent first."""

    ROLLBACK = "rollback"
    """Something that served is given its traffic back; also the way back of any operation that failed."""
    MANUAL = "manual"
    """A person asked, and waits."""
    TRIGGER = "trigger"
    """Something happened that starts operations by itself."""
    BACKFILL = "backfill"
    """What was left undone, and nobody waits for."""

    @property
    def key(self) -> int:
        """Its place, from 1; also Temporal's priority key, where the lowest goes first."""
        return tuple(Priority).index(self) + 1


URGENT: Final = frozenset({"rollbackServerGroup"})
"""Operations that are rollbacks whoever asks for them."""


def priority_of(operation_type: str, asked: Priority | None) -> Priority:
    """Return the class of an operation: the one asked for, else by what it does."""
    return asked or (Priority.ROLLBACK if operation_type in URGENT else Priority.MANUAL)
