"""How listeners divide requests among target groups, and keeping that in line with what server groups were given.

Only a forward action with several target groups has weights to speak of. Weights are written when a server group that
is behind such an action is enabled, disabled, destroyed or given a share; the target groups of a server group that
takes no traffic get 0, because a load balancer goes on sending to a target group that has nobody left.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stormsail.delivery.providers.aws.calls import Calls
from stormsail.delivery.providers.aws.view import Group
from stormsail.delivery.providers.errors import Conflict, NotFound
from stormsail.delivery.providers.sharing import WHOLE, Part, request_shares

WEIGHT_LEAST: Final = 1
_RULED: Final = ("HTTP", "HTTPS")
"""The protocols whose listeners have rules besides their default actions."""


@dataclass(frozen=True, slots=True)
class Forward:
    """One forward action to several target groups: of a listener itself, or of a rule of it."""

    listener: str
    rule: str
    """Empty for the listener's own default."""
    actions: Sequence[Mapping[str, Any]]
    """All actions that stand beside it; they are written back together."""
    weights: Mapping[str, int]
    """By ARN of the target group."""


async def forwards(calls: Calls, target_groups: Iterable[str]) -> tuple[Forward, ...]:
    """Read every forward action with several target groups that any of these takes part in."""
    arns = sorted(set(target_groups))
    if not arns:
        return ()
    groups = await _described(calls, arns)
    found: list[Forward] = []
    for balancer in sorted({str(arn) for group in groups for arn in group.get("LoadBalancerArns", [])}):
        for listener in await calls.pages("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=balancer):
            arn = str(listener["ListenerArn"])
            found += _forward(arn, "", listener.get("DefaultActions", []))
            if listener.get("Protocol") not in _RULED:
                continue
            for rule in await calls.pages("elbv2", "describe_rules", "Rules", ListenerArn=arn):
                if not rule.get("IsDefault"):
                    found += _forward(arn, str(rule["RuleArn"]), rule.get("Actions", []))
    return tuple(one for one in found if not one.weights.keys().isdisjoint(arns))


async def _described(calls: Calls, arns: Sequence[str]) -> list[Mapping[str, Any]]:
    """Describe target groups. One that was removed takes part in nothing, and hides none of the others."""
    try:
        return [*await calls.pages("elbv2", "describe_target_groups", "TargetGroups", TargetGroupArns=list(arns))]
    except NotFound:
        if len(arns) == 1:
            return []
    # AWS names no culprit: it refuses the whole list for one.
    return [group for arn in arns for group in await _described(calls, [arn])]


def silent(found: Iterable[Forward]) -> frozenset[str]:
    """Return the target groups that no request goes to, although a listener names them."""
    weights: dict[str, int] = {}
    for one in found:
        for arn, weight in one.weights.items():
            weights[arn] = max(weight, weights.get(arn, 0))
    return frozenset(arn for arn, weight in weights.items() if weight == 0)


async def balance(calls: Calls, found: Sequence[Forward], cluster: Sequence[Group]) -> bool:
    """Make listeners divide requests as the server groups of a cluster were given; return whether any had to change."""
    changed = False
    for one in found:
        wanted = wanted_weights(one, cluster)
        if wanted == one.weights:
            continue
        changed = True
        actions = [_weighed(action, wanted) for action in one.actions]
        if one.rule:
            await calls.write("elbv2", "modify_rule", RuleArn=one.rule, Actions=actions)
        else:
            await calls.write("elbv2", "modify_listener", ListenerArn=one.listener, DefaultActions=actions)
    return changed


def wanted_weights(forward: Forward, cluster: Sequence[Group]) -> Mapping[str, int]:
    """Return the weights that an action should have. What somebody set by hand stays while it agrees with who serves.

    Target groups of nobody in the cluster keep their weight.
    """
    behind = [group for group in cluster if not forward.weights.keys().isdisjoint(group.target_groups)]
    serving = [group for group in behind if group.traffic.share > 0 and not group.deleting and group.capacity.desired]
    shares = request_shares(Part(one.name, one.capacity.desired, one.request_percent) for one in serving)
    if not shares:
        return forward.weights
    ours = {arn: 0.0 for group in behind for arn in group.target_groups if arn in forward.weights}
    for group in serving:
        mine = [arn for arn in group.target_groups if arn in ours]
        for arn in mine:
            ours[arn] += shares[group.name] / len(mine)
    given = any(group.request_percent is not None for group in serving)
    if not given and all((forward.weights[arn] > 0) == (share > 0) for arn, share in ours.items()):
        return forward.weights
    weights = {arn: max(WEIGHT_LEAST, round(WHOLE * share)) if share > 0 else 0 for arn, share in ours.items()}
    return {**forward.weights, **weights}


def check_apart(group: Group, cluster: Sequence[Group], found: Sequence[Forward]) -> None:
    """Raise Conflict where a share cannot be given, because requests cannot be told apart."""
    others = [one for one in cluster if one.name != group.name and one.traffic.share > 0 and not one.deleting]
    mine = set(group.target_groups)
    for other in others:
        if shared := mine.intersection(other.target_groups):
            raise Conflict(
                f"{group.name} and {other.name} are both behind target group {named(min(shared))}: launch one of them "
                "with target groups of its own to divide requests by weight"
            )
        together = any(one.weights.keys() & mine and one.weights.keys() & set(other.target_groups) for one in found)
        if not together:
            raise Conflict(
                f"no listener forwards to target groups of both {group.name} and {other.name}: have one forward to "
                "both, with weight 0 for the one that nothing serves from yet"
            )
    ours = {arn for one in cluster for arn in one.target_groups}
    for one in found:
        foreign = [arn for arn, weight in one.weights.items() if weight > 0 and arn not in ours]
        if foreign and one.weights.keys() & mine:
            raise Conflict(
                f"the listener of {group.name} also sends requests to {named(foreign[0])}, which is no target group of "
                "its cluster: give that weight 0 first"
            )


def named(arn: str) -> str:
    """Return a target group's name, which its ARN holds."""
    return arn.split("/")[1] if arn.count("/") >= 2 else arn


def _forward(listener: str, rule: str, actions: Sequence[Mapping[str, Any]]) -> list[Forward]:
    for action in actions:
        if action.get("Type") == "forward":
            tuples = action.get("ForwardConfig", {}).get("TargetGroups", [])
            weights = {str(one["TargetGroupArn"]): int(one.get("Weight", 1)) for one in tuples}
            return [Forward(listener, rule, actions, weights)] if len(weights) > 1 else []
    return []


def _weighed(action: Mapping[str, Any], weights: Mapping[str, int]) -> dict[str, Any]:
    copied: dict[str, Any] = copy.deepcopy(dict(action))
    if copied.get("Type") == "forward":
        # The short form, which AWS answers as well, may not stand beside the long one.
        copied.pop("TargetGroupArn", None)
        copied["ForwardConfig"]["TargetGroups"] = [
            {"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()
        ]
    return copied
