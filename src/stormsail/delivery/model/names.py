"""Server group names: `app[-stack[-detail]]-vNNN`, the convention Spinnaker took from Netflix's frigga.

A *moniker* is a name taken apart. A *cluster* is the name without its version: all server groups of one
`app[-stack[-detail]]` in one account are versions of the same cluster.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from pydantic import BaseModel, ConfigDict

VERSION_COUNT: Final = 1000
"""Versions run v000 to v999 and then start again at v000."""

NAMES_KEPT: Final = 4096
"""How many names that were taken apart are remembered: those of an account are asked for again and again."""

_NAME: Final = re.compile(r"[a-zA-Z0-9._]+")
_DETAIL: Final = re.compile(r"[a-zA-Z0-9._~^-]+")
_PUSH: Final = re.compile(r"^(?P<cluster>.+)-v(?P<sequence>[0-9]{3,6})$")


class InvalidName(ValueError):
    """A name that breaks the naming rule; the message names the part and the rule."""


class Moniker(BaseModel):
    """The parts of a server group's or cluster's name. `sequence` is None for a cluster."""

    model_config = ConfigDict(frozen=True)

    app: str
    stack: str = ""
    detail: str = ""
    sequence: int | None = None

    @property
    def cluster(self) -> str:
        """`app[-stack[-detail]]`; an empty stack before a detail stays visible as `app--detail`."""
        if self.detail:
            return f"{self.app}-{self.stack}-{self.detail}"
        return f"{self.app}-{self.stack}" if self.stack else self.app

    @property
    def name(self) -> str:
        """The server group's name, or the cluster's where there is no sequence."""
        return self.cluster if self.sequence is None else f"{self.cluster}-v{self.sequence:03d}"

    def with_sequence(self, sequence: int) -> "Moniker":
        """Return the same cluster's moniker at a version."""
        return self.model_copy(update={"sequence": sequence})


@lru_cache(NAMES_KEPT)
def parse_name(name: str) -> Moniker:
    """Take a server group's or cluster's name apart. `foo-v01` is no version: it is app `foo`, stack `v01`.

    Raises InvalidName when a part has a character outside the rule or the application is empty.
    """
    push = _PUSH.match(name)
    cluster = push["cluster"] if push else name
    app, _, rest = cluster.partition("-")
    stack, _, detail = rest.partition("-")
    return checked(
        Moniker(app=app, stack=stack, detail=detail, sequence=int(push["sequence"]) if push else None),
    )


def checked(moniker: Moniker) -> Moniker:
    """Return the moniker, or raise InvalidName naming the part that breaks the rule."""
    if not _NAME.fullmatch(moniker.app):
        raise InvalidName(f"application {moniker.app!r}: use letters, digits, '.' and '_', at least one")
    if moniker.stack and not _NAME.fullmatch(moniker.stack):
        raise InvalidName(f"stack {moniker.stack!r}: use letters, digits, '.' and '_'")
    if moniker.detail and not _DETAIL.fullmatch(moniker.detail):
        raise InvalidName(f"detail {moniker.detail!r}: use letters, digits, '.', '_', '~', '^' and '-'")
    return moniker


def next_sequence(taken: Iterable[int], last: int | None = None) -> int:
    """Return the version after `last`, skipping taken ones; v999 is followed by v000.

    `last` is the newest group's version, by creation time; without it the highest taken one is used.
    Raises InvalidName when all 1,000 versions are taken.
    """
    used = set(taken)
    start = last if last is not None else max(used, default=-1)
    for step in range(1, VERSION_COUNT + 1):
        candidate = (start + step) % VERSION_COUNT
        if candidate not in used:
            return candidate
    raise InvalidName(f"all {VERSION_COUNT} versions of the cluster are taken: destroy some server groups first")
