"""The providers by name: installed packages offer them as entry points, and an account names the one that it uses."""

import difflib
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Final, cast

from stormsail.delivery.providers.provider import OpenProvider, Provider

GROUP: Final = "stormsail.providers"


class UnknownProvider(LookupError):
    """No installed package offers a provider of this name; the message lists those that are offered."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        nearest = difflib.get_close_matches(name, known, n=1)
        guess = f" Did you mean {nearest[0]}?" if nearest else ""
        listed = ", ".join(known) or "none"
        super().__init__(f"there is no provider {name!r}.{guess} Installed are: {listed}.")
        self.known = known


def provider_names() -> tuple[str, ...]:
    """Return the names of the installed providers, sorted."""
    return tuple(sorted({entry.name for entry in entry_points(group=GROUP)}))


def check_provider(name: str) -> None:
    """Raise UnknownProvider unless an installed package offers the provider."""
    if name not in provider_names():
        raise UnknownProvider(name, provider_names())


async def open_account(provider: str, account: str, settings: Mapping[str, str]) -> Provider:
    """Open an account with the provider of a name. Raises UnknownProvider, or what the provider raises."""
    offered = [entry for entry in entry_points(group=GROUP) if entry.name == provider]
    if not offered:
        raise UnknownProvider(provider, provider_names())
    open_provider = cast("OpenProvider", offered[0].load())
    return await open_provider(account, settings)
