"""upsertSecurityGroup: make a security group, or let in who is described and nobody else."""

from typing import Any

from pydantic import AliasChoices, Field

from stormsail.delivery.model.network import RULES_MAX, IngressRule, SecurityGroup
from stormsail.delivery.operations.conduct import Conduct
from stormsail.delivery.operations.operation import NamedInput, OperationOutput, check_named
from stormsail.delivery.operations.undo import Ending, Undo
from stormsail.delivery.providers.provider import DeleteSecurityGroup, UpsertSecurityGroup


class UpsertSecurityGroupInput(NamedInput):
    """The group and who may come in: by address (`ipIngress`) and from other groups (`securityGroupIngress`)."""

    description: str = Field(default="", max_length=255)
    ip_ingress: tuple[IngressRule, ...] = Field(default=(), max_length=RULES_MAX)
    security_group_ingress: tuple[IngressRule, ...] = Field(default=(), max_length=RULES_MAX)
    ingress_append_only: bool = False
    """Whether those that may come in now still may, described or not."""
    vpc_id: str = Field(default="", validation_alias=AliasChoices("vpcId", "vpc_id"))
    settings: dict[str, Any] = Field(default_factory=dict)


class SecurityGroupOutput(OperationOutput):
    """The security group, and how many rules let somebody in."""

    server_group: str = ""
    security_group: str
    rules: int = 0


class UpsertSecurityGroupOperation:
    """Look what is there, make it as described. A failure or a cancel puts back what was there."""

    async def operate(self, conduct: Conduct, wanted: UpsertSecurityGroupInput) -> SecurityGroupOutput:
        """Do it."""
        name = wanted.name
        check_named(name, conduct.application)
        conduct.rolls_back = True
        network = {"vpc_id": wanted.vpc_id} if wanted.vpc_id else {}
        described = SecurityGroup(
            name=name,
            description=wanted.description,
            ingress=tuple(dict.fromkeys((*wanted.ip_ingress, *wanted.security_group_ingress))),
            settings={**wanted.settings, **network},
        )
        async with conduct.step("determineSecurityGroup", name):
            before = (await conduct.network()).security_group(name)
            conduct.note(f"changes {name}" if before is not None else f"makes {name}")

        async def former(_: Ending) -> bool:
            if before is None:
                if (await conduct.network()).security_group(name) is None:
                    return False
                await conduct.change("deleteSecurityGroup", DeleteSecurityGroup(name=name))
            else:
                back = UpsertSecurityGroup(name=name, security_group=before)
                await conduct.change("upsertSecurityGroup", back)
            return True

        conduct.undo(Undo(f"put security group {name} back as it was", former))
        change = UpsertSecurityGroup(name=name, security_group=described, append_only=wanted.ingress_append_only)
        await conduct.change("upsertSecurityGroup", change)
        after = (await conduct.network()).security_group(name)
        return SecurityGroupOutput(security_group=name, rules=len(after.ingress) if after is not None else 0)
