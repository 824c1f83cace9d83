"""The strategies there are: ours, and those that installed packages offer as entry points. Read once a process."""

import functools
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from stormsail.delivery.offers import OfferUnusable, named, taken
from stormsail.delivery.strategies.catalog import STRATEGIES
from stormsail.delivery.strategies.strategy import Strategy

GROUP: Final = "stormsail.strategies"
SAYS: Final = ("replaces_source", "pins_source", "rolls_back", "starts_empty", "destroys_failed")
"""What a strategy says of itself, true or false."""
DOES: Final = ("objection", "finish")


@functools.cache
def installed_strategies() -> Mapping[str, Strategy]:
    """Return every strategy by its name. Raises OfferUnusable."""
    return {**STRATEGIES, **offered(entry_points(group=GROUP))}


def offered(entries: Iterable[EntryPoint]) -> dict[str, Strategy]:
    """Load the strategies that packages offer. Raises OfferUnusable naming what one lacks."""
    found = taken(entries := list(entries), "strategy", STRATEGIES)
    for entry in entries:
        one, where = found[entry.name], named(entry, "strategy")
        if isinstance(one, type):
            raise OfferUnusable(f"{where} is a class; offer an instance of it")
        lacks = [name for name in SAYS if not isinstance(getattr(one, name, None), bool)]
        lacks += [name for name in DOES if not callable(getattr(one, name, None))]
        if lacks:
            raise OfferUnusable(f"{where} lacks {', '.join(lacks)}; docs/strategies.md shows what a strategy has")
    return found
