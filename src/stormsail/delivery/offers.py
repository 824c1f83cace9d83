"""What installed packages offer by entry point: found by name, and refused by name where it cannot be taken."""

from collections.abc import Collection, Iterable
from importlib.metadata import EntryPoint
from typing import Any


class OfferUnusable(Exception):
    """A package offers something that cannot be taken; the message names both and the rule."""


def taken(entries: Iterable[EntryPoint], what: str, ours: Collection[str]) -> dict[str, Any]:
    """Load what packages offer. A name that is taken is refused: nothing of anybody's changes by installing a package.

    Raises OfferUnusable.
    """
    loaded: dict[str, Any] = {}
    for entry in sorted(entries, key=lambda entry: (entry.name, entry.value)):
        where = named(entry, what)
        if entry.name in ours:
            raise OfferUnusable(f"{where}: the name is one of Stormsail's own; offer it under another")
        if entry.name in loaded:
            raise OfferUnusable(f"{where}: another package offers the same name; uninstall one of them")
        try:
            loaded[entry.name] = entry.load()
        except (ImportError, AttributeError) as wrong:
            raise OfferUnusable(f"{where} cannot be loaded: {wrong}") from wrong
    return loaded


def named(entry: EntryPoint, what: str) -> str:
    """Name an offer and its package."""
    package = entry.dist.name if entry.dist is not None else "a package"
    return f"{what} {entry.name!r} of {package} ({entry.value})"
