"""One step in a machine's table."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from stormsail.engine.core.errors import InvalidTransition

S = TypeVar("S", bound=StrEnum)


def walk(table: Mapping[tuple[S, str], S], state: S, event: str, what: str, *of: object) -> S:
    """Return the state that `event` leads to from `state`. `what` names the thing for the error, with a place for each
    of `of`: "timer {}", 7. It is put together only where there is an error."""
    try:
        return table[state, event]
    except KeyError:
        raise InvalidTransition(f"{what.format(*of) if of else what} is {state.value}: {event} cannot happen") from None
