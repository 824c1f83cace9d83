"""upsertLoadBalancer: make a load balancer with its listeners and pools, or make it as described."""

from typing import Any, Literal

from pydantic import AliasChoices, Field, ValidationError

from stormsail.delivery.model.network import LISTENERS_MAX, POOLS_MAX, Listener, LoadBalancer, Pool
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import NamedInput, OperationOutput, check_named, invalid
from stormsail.delivery.operations.undo import Ending, Undo
from stormsail.delivery.providers.provider import DeleteLoadBalancer, UpsertLoadBalancer


class UpsertLoadBalancerInput(NamedInput):
    """The load balancer, whole: what is not described any more goes."""

    load_balancer_type: Literal["application", "network"] = "application"
    is_internal: bool = False
    listeners: tuple[Listener, ...] = Field(default=(), max_length=LISTENERS_MAX)
    pools: tuple[Pool, ...] = Field(
        default=(), max_length=POOLS_MAX, validation_alias=AliasChoices("pools", "targetGroups", "target_groups")
    )
    settings: dict[str, Any] = Field(default_factory=dict)


class LoadBalancerOutput(OperationOutput):
    """The load balancer, and where it answers."""

    server_group: str = ""
    load_balancer: str
    address: str = ""


class UpsertLoadBalancerOperation:
    """Look what is there, make it as described. A failure or a cancel puts back what was there."""

    async def operate(self, conduct: Conduct, wanted: UpsertLoadBalancerInput) -> LoadBalancerOutput:
        """Do it."""
        name = wanted.name
        check_named(name, conduct.application)
        conduct.rolls_back = True
        described = _described(wanted)
        async with conduct.step("determineLoadBalancer", name):
            before = (await conduct.network()).load_balancer(name)
            conduct.note(f"changes {name}" if before is not None else f"makes {name}")

        async def former(_: Ending) -> bool:
            if before is None:
                if (await conduct.network()).load_balancer(name) is None:
                    return False
                await conduct.change("deleteLoadBalancer", DeleteLoadBalancer(name=name))
            else:
                back = UpsertLoadBalancer(name=name, load_balancer=before.wished)
                await conduct.change("upsertLoadBalancer", back)
            return True

        conduct.undo(Undo(f"put load balancer {name} back as it was", former))
        change = UpsertLoadBalancer(name=name, load_balancer=described)
        await conduct.change("upsertLoadBalancer", change)
        after = (await conduct.network()).load_balancer(name)
        return LoadBalancerOutput(load_balancer=name, address=after.address if after is not None else "")


def _described(wanted: UpsertLoadBalancerInput) -> LoadBalancer:
    try:
        return LoadBalancer(
            name=wanted.name,
            kind=wanted.load_balancer_type,
            internal=wanted.is_internal,
            listeners=wanted.listeners,
            pools=wanted.pools,
            settings=wanted.settings,
        )
    except ValidationError as wrong:
        said = wrong.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
        field, _, rule = said.partition(": ")
        raise invalid((field, rule)) from None
