"""Which weight each of the load balancer's servers has: all alike, or so that a cluster's groups share as was asked."""

from collections.abc import Mapping, Sequence
from typing import Final

from stormsail.delivery.model.names import parse_name
from stormsail.delivery.providers.local.runtime import EVEN_WEIGHT, WEIGHT_MAX, Server, server_name
from stormsail.delivery.providers.local.state import GroupRecord
from stormsail.delivery.providers.sharing import Part, request_shares

LEAST: Final = 1
"""What gets any requests at all is never rounded to none."""


def server_weights(groups: Sequence[GroupRecord]) -> Mapping[str, int]:
    """Return the weight of the server of each instance that is to take traffic.

    Clusters of one application share a load balancer, and each keeps what its instances would get were all alike.
    """
    exact: dict[str, float] = {}
    for cluster in {parse_name(group.name).cluster for group in groups}:
        serving = {group.name: group.with_traffic() for group in groups if parse_name(group.name).cluster == cluster}
        parts = [
            Part(group.name, len(serving[group.name]), group.request_percent)
            for group in groups
            if group.name in serving
        ]
        whole = EVEN_WEIGHT * sum(map(len, serving.values()))
        for name, share in request_shares(parts).items():
            for index in serving[name]:
                exact[server_name(name, index)] = whole * share / len(serving[name])
    scale = min(1.0, WEIGHT_MAX / max(exact.values(), default=1.0))
    return {name: max(LEAST, round(weight * scale)) if weight > 0 else 0 for name, weight in exact.items()}


def misweighed(groups: Sequence[GroupRecord], servers: Mapping[str, Server]) -> Mapping[str, int]:
    """Return the servers whose weight is to change, those that get more first: giving comes before taking."""
    wanted = server_weights(groups)
    off = {name: wanted[name] for name, server in servers.items() if name in wanted and server.weight != wanted[name]}
    return dict(sorted(off.items(), key=lambda one: one[1] < servers[one[0]].weight))
