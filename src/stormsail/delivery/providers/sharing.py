"""How the enabled server groups of one cluster share its requests: by what was given by weight, else by instances.

Pure, so that every provider shares alike, whatever its load balancer calls a weight.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WHOLE = 100


@dataclass(frozen=True, slots=True)
class Part:
    """One enabled server group: how many of its instances take requests, and what it was given by weight, if it was."""

    name: str
    instances: int
    percent: int | None


def request_shares(parts: Iterable[Part]) -> Mapping[str, float]:
    """Return the share of the requests of each group that has instances; they add up to 1, or there is none at all.

    A group with a percentage gets that, and the others share the rest by their instances. Percentages over 100 are
    scaled down. Where nobody would get any request, all share by instances: nothing given by weight is an outage.
    """
    there = [part for part in parts if part.instances > 0]
    given = sum(part.percent for part in there if part.percent is not None)
    others = sum(part.instances for part in there if part.percent is None)
    rest = max(0, WHOLE - given)
    wanted = {
        part.name: float(part.percent) if part.percent is not None else rest * part.instances / others for part in there
    }
    total = sum(wanted.values())
    if total == 0:
        wanted = {part.name: float(part.instances) for part in there}
        total = sum(wanted.values())
    return {name: share / total for name, share in wanted.items()}
