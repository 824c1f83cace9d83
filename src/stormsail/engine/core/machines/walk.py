"""One step in a machine's table."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from stormsail.engine.core.errors import InvalidTransition

S = TypeVar("S", bound=StrEnum)


def walk(table: Mapping[tuple[S, str], S], state: S, event: str, what: str) -> S:
    """Return the state that `event` leads to from `state`. `what` names the thing for the error: "timer 7"."""
    try:
        return table[state, event]
    except KeyError:
        raise InvalidTransition(f"{what} is {state.value}: {event} cannot happen") from None
