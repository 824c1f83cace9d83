"""What a token did to a server group, as tags of its auto scaling group, written before the effect.

AWS knows no tokens of ours. An *entry* is one tag: its key names the token, its value says what is changed from what to
what, and how far it came. Entries are numbered, so that a later one of the same kind is known to have overruled an
earlier one. The oldest are dropped.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.provider import Change

APPLICATION: Final = "stormsail:application"
SERVER_GROUP: Final = "stormsail:server-group"
TOKEN: Final = "stormsail:token"  # noqa: S105
TRAFFIC: Final = "stormsail:traffic"
REQUESTS: Final = "stormsail:requests"
"""The percentage of its cluster's requests that a group was given; empty when it was given none by weight."""
OUT: Final = "stormsail:out"
"""The instances that were taken out of traffic one by one."""
OUT_BEFORE: Final = "stormsail:out-before"
"""The key of the newest change that set OUT, and what it was before."""
ENTRY: Final = "stormsail:change:"

OUT_MAX: Final = 10
"""Instances whose ids fit into one tag."""

ENTRIES_MAX: Final = 22
"""One operation makes fewer changes to one group than this, and only one is under way."""

SIZES: Final = frozenset({"createServerGroup", "resizeServerGroup"})
TRAFFICS: Final = frozenset({"enableServerGroup", "disableServerGroup"})
SHIFTS: Final = frozenset({"shiftTraffic"})
OUTS: Final = frozenset({"registerInstances", "deregisterInstances", "enableServerGroup"})


class State(StrEnum):
    """How far a token's change came."""

    BEGUN = "begun"
    DONE = "done"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What share of a group is meant to take traffic. A disabled group keeps 100: the share that it would have."""

    enabled: bool = False
    percent: int = 100
    enabled_at_ms: int = 0

    def __str__(self) -> str:
        return f"{'on' if self.enabled else 'off'}/{self.percent}/{self.enabled_at_ms}"

    @property
    def share(self) -> int:
        """The percentage that takes traffic now."""
        return self.percent if self.enabled else 0


@dataclass(frozen=True, slots=True)
class Entry:
    """One token's change of one group."""

    key: str
    kind: str
    state: State
    number: int
    digest: str
    before: str
    after: str

    @property
    def tag(self) -> tuple[str, str]:
        """Key and value. Only characters that AWS allows in the tags of every service."""
        value = (
            f"kind={self.kind} state={self.state} n={self.number} digest={self.digest} "
            f"from={self.before or '-'} to={self.after or '-'}"
        )
        return ENTRY + self.key, value

    def overruled_by(self, other: "Entry") -> bool:
        """Whether another entry came later and decides about the same thing."""
        if other.number <= self.number or other.state is State.CANCELLED:
            return False
        same = any({self.kind, other.kind} <= family for family in (SIZES, TRAFFICS, SHIFTS, OUTS))
        return same or other.kind == "destroyServerGroup"


def token_key(token: str) -> str:
    """Return what stands for a token in names and tag keys, where its own characters may not be allowed."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def digest_of(change: Change) -> str:
    """Return what tells one change from another. Fields added later with a default do not alter it."""
    said = change.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(json.dumps([change.kind, said], sort_keys=True).encode()).hexdigest()[:16]


def entries(tags: Mapping[str, str]) -> tuple[Entry, ...]:
    """Read the entries among a group's tags, oldest first. Tags that nobody of ours wrote are passed over."""
    found = [
        entry for key, value in tags.items() if key.startswith(ENTRY) and (entry := _entry(key, value)) is not None
    ]
    return tuple(sorted(found, key=lambda entry: entry.number))


def next_number(known: Iterable[Entry]) -> int:
    """Return the number of the next entry."""
    return max((entry.number for entry in known), default=0) + 1


def superfluous(known: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Return the entries that can go: the oldest of those that ended, beyond the limit."""
    ended = [entry for entry in known if entry.state is not State.BEGUN and entry.kind != "createServerGroup"]
    return tuple(ended[: max(0, len(known) - ENTRIES_MAX)])


def traffic_of(text: str) -> Traffic:
    """Read a Traffic; nothing written means that the group never took any."""
    on, _, rest = text.partition("/")
    percent, _, at_ms = rest.partition("/")
    if not (percent.isdigit() and at_ms.isdigit()):
        return Traffic()
    return Traffic(on == "on", int(percent), int(at_ms))


def sizes(capacity: Capacity) -> str:
    """Write a capacity as min/desired/max."""
    return f"{capacity.min}/{capacity.desired}/{capacity.max}"


def capacity_of(text: str) -> Capacity:
    """Read what `sizes` wrote."""
    low, desired, high = (int(part) for part in text.split("/"))
    return Capacity(min=low, desired=desired, max=high)


def _entry(key: str, value: str) -> Entry | None:
    fields = dict(part.partition("=")[::2] for part in value.split())
    if fields.get("state") not in set(State) or not fields.get("n", "").isdigit():
        return None
    return Entry(
        key=key.removeprefix(ENTRY),
        kind=fields.get("kind", ""),
        state=State(fields["state"]),
        number=int(fields["n"]),
        digest=fields.get("digest", ""),
        before=fields.get("from", "").removeprefix("-"),
        after=fields.get("to", "").removeprefix("-"),
    )
