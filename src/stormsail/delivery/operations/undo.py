"""What an operation takes back when it is wound down, and why it is."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Ending(StrEnum):
    """Why an operation is wound down, which decides what is undone."""

    ROLL_BACK = "roll back"
    """It failed and the previous state is wanted back."""
    KEEP = "keep"
    """It failed and what was reached stays; only what was borrowed (a pinned minimum) is given back."""
    CANCEL = "cancel"
    """Somebody cancelled it: everything it did is put back."""


ROLL_BACK_OR_CANCEL: Final = frozenset({Ending.ROLL_BACK, Ending.CANCEL})
CANCEL_ONLY: Final = frozenset({Ending.CANCEL})
ALWAYS: Final = frozenset(Ending)


@dataclass(frozen=True, slots=True)
class Undo:
    """How to take one thing back; the action says whether there was anything to take back.

    One with `gives_traffic` must succeed, or nothing remembered before it with `takes_traffic` is tried.
    """

    name: str
    action: Callable[[Ending], Awaitable[bool]]
    endings: frozenset[Ending] = ROLL_BACK_OR_CANCEL
    gives_traffic: bool = False
    takes_traffic: bool = False


@dataclass(frozen=True, slots=True)
class Undone:
    """What winding down came to: whether anything was put back, and what could not be."""

    any: bool
    left_behind: tuple[str, ...]
