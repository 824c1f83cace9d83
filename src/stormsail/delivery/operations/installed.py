"""The operations there are: ours, and those that installed packages offer as entry points.

Read once a process, before any workflow runs: which operations there are must not change under one that is running.
"""

import functools
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from stormsail.delivery.operations.operation import Registered
from stormsail.delivery.operations.registry import OPERATIONS

GROUP: Final = "stormsail.operations"


class OperationUnusable(Exception):
    """A package offers an operation that cannot be taken; the message names both and the rule."""


@functools.cache
def installed_operations() -> Mapping[str, Registered[Any]]:
    """Return every operation by its name on the wire. Raises OperationUnusable."""
    return {**OPERATIONS, **offered(entry_points(group=GROUP))}


def offered(entries: Iterable[EntryPoint]) -> dict[str, Registered[Any]]:
    """Load what packages offer. A name that is taken is refused: nobody's operation changes by installing a package."""
    loaded: dict[str, Registered[Any]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.value)):
        package = entry.dist.name if entry.dist is not None else "a package"
        where = f"operation {entry.name!r} of {package} ({entry.value})"
        if entry.name in OPERATIONS:
            raise OperationUnusable(f"{where}: the name is one of Stormsail's own; offer it under another")
        if entry.name in loaded:
            raise OperationUnusable(f"{where}: another package offers the same name; uninstall one of them")
        try:
            found = entry.load()
        except (ImportError, AttributeError) as wrong:
            raise OperationUnusable(f"{where} cannot be loaded: {wrong}") from wrong
        if not isinstance(found, Registered):
            raise OperationUnusable(f"{where} is a {type(found).__name__}; offer a Registered(InputType, operation)")
        loaded[entry.name] = found
    return loaded
