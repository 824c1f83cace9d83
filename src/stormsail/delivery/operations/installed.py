"""The operations there are: ours, and those that installed packages offer as entry points.

Read once a process, before any workflow runs: which operations there are must not change under one that is running.
"""

import functools
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from stormsail.delivery.offers import OfferUnusable, named, taken
from stormsail.delivery.operations.operation import Registered
from stormsail.delivery.operations.registry import OPERATIONS

GROUP: Final = "stormsail.operations"


@functools.cache
def installed_operations() -> Mapping[str, Registered[Any]]:
    """Return every operation by its name on the wire. Raises OfferUnusable."""
    return {**OPERATIONS, **offered(entry_points(group=GROUP))}


def offered(entries: Iterable[EntryPoint]) -> dict[str, Registered[Any]]:
    """Load the operations that packages offer. Raises OfferUnusable."""
    found = taken(entries := list(entries), "operation", OPERATIONS)
    for entry in entries:
        one = found[entry.name]
        if not isinstance(one, Registered):
            where = named(entry, "operation")
            raise OfferUnusable(f"{where} is a {type(one).__name__}; offer a Registered(InputType, operation)")
    return found
