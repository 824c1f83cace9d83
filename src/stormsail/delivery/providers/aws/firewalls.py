"""Security groups of EC2, made and kept as described: who is missing is let in before who is too many is shut out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from stormsail.delivery.model.names import parse_name
from stormsail.delivery.model.network import IngressRule, SecurityGroup
from stormsail.delivery.providers.aws import launch, ledger, owning
from stormsail.delivery.providers.aws.calls import Answer, Calls
from stormsail.delivery.providers.aws.creating import done
from stormsail.delivery.providers.aws.ledger import Entry
from stormsail.delivery.providers.aws.settings import described
from stormsail.delivery.providers.errors import Conflict, InvalidLaunch, NotFound
from stormsail.delivery.providers.provider import DeleteSecurityGroup, Progress, UpsertSecurityGroup

Rule = tuple[str, int, int, str]
"""Protocol, first and last port, and the range of addresses or the id of the group that may come in."""
ANY_PORT: Final = -1


class GroupSettings(BaseModel):
    """The `settings` of a security group on AWS."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    vpc_id: str = Field(default="", pattern=r"^(vpc-[0-9a-f]+)?$")
    """The network that it is in; empty means the account's default one."""


class Firewalls:
    """The security groups of one account in one region."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def carry(self, token: str, change: UpsertSecurityGroup | DeleteSecurityGroup) -> Progress:
        """Begin the change unless it was, and mend what differs from what is wished."""
        there = await self._read(change.name)
        if there is None:
            if isinstance(change, DeleteSecurityGroup):
                return done(change.name, change.kind)
            await self._make(token, change)
            return Progress(done=False, detail=f"security group {change.name} was made")
        tags = launch.read_tags(there.get("Tags", []))
        entry = owning.entry_of(token, change, tags)
        if entry is None:
            entry = owning.new_entry(token, change, tags)
            await self._tag(str(there["GroupId"]), dict([entry.tag]), ledger.superfluous(ledger.entries(tags)))
            return Progress(done=False, detail=f"{change.kind} of {change.name} was begun")
        ended = owning.answer(entry, change, tags)
        if ended is not None:
            return ended
        if isinstance(change, DeleteSecurityGroup):
            return await self._delete(there, change)
        mended = await self._mend(there, change)
        if mended:
            return Progress(done=False, detail=mended)
        await self._tag(str(there["GroupId"]), owning.ended(entry))
        return done(change.name, change.kind)

    async def cancel(self, token: str, change: UpsertSecurityGroup | DeleteSecurityGroup) -> Progress:
        """Let nobody carry the change on; what was reached stays for the operation to put back."""
        there = await self._read(change.name)
        tags = launch.read_tags(there.get("Tags", [])) if there is not None else {}
        entry = owning.entry_of(token, change, tags) if there is not None else None
        if there is not None and entry is not None and owning.answer(entry, change, tags) is None:
            await self._tag(str(there["GroupId"]), owning.cancelled(entry))
        return Progress(done=True, detail=f"{change.kind} of {change.name} goes no further")

    async def observe(self, application: str) -> tuple[SecurityGroup, ...]:
        """Read an application's security groups, sorted by name."""
        found = await self._groups({f"tag:{ledger.APPLICATION}": [application]})
        return tuple(sorted(map(_observed, found), key=lambda one: one.name))

    async def _make(self, token: str, change: UpsertSecurityGroup) -> None:
        wished, settings = change.security_group, _settings(change.security_group)
        tags = owning.own(parse_name(change.name).app, owning.new_entry(token, change, {}))
        network = {"VpcId": settings.vpc_id} if settings.vpc_id else {}
        try:
            await self._calls.write(
                "ec2",
                "create_security_group",
                GroupName=change.name,
                Description=wished.description or f"made by Stormsail for {parse_name(change.name).app}",
                TagSpecifications=[{"ResourceType": "security-group", "Tags": launch.tag_list(tags)}],
                **network,
            )
        except Conflict:
            return  # Another worker was faster; the next look finds what it made, or what is not ours.

    async def _mend(self, there: Answer, change: UpsertSecurityGroup) -> str:
        """Take the next step towards what is wished; say which, or an empty text when there is none."""
        settings = _settings(change.security_group)
        if settings.vpc_id and settings.vpc_id != there.get("VpcId"):
            raise Conflict(f"{change.name} is in {there.get('VpcId')} and stays there: make one of another name")
        wanted = await self._wanted(change.security_group, str(there.get("VpcId", "")))
        have = rules_of(there)
        identity = str(there["GroupId"])
        if missing := wanted - have:
            try:
                await self._calls.write(
                    "ec2", "authorize_security_group_ingress", GroupId=identity, IpPermissions=_permissions(missing)
                )
            except Conflict:
                return "another worker is adding rules"
            return f"{len(missing)} rules were added"
        if not change.append_only and (too_many := have - wanted):
            try:
                await self._calls.write(
                    "ec2", "revoke_security_group_ingress", GroupId=identity, IpPermissions=_permissions(too_many)
                )
            except NotFound:
                return "another worker is removing rules"
            return f"{len(too_many)} rules were removed"
        return ""

    async def _wanted(self, wished: SecurityGroup, network: str) -> frozenset[Rule]:
        names = {one.security_group for one in wished.ingress if one.security_group}
        named = sorted(name for name in names if not name.startswith("sg-"))
        known: dict[str, str] = {}
        if named:
            found = await self._groups({"group-name": named, "vpc-id": [network]})
            known = {str(one["GroupName"]): str(one["GroupId"]) for one in found}
            if missing := sorted(set(named) - set(known)):
                raise NotFound(f"ingress: there is no security group {missing[0]!r} in {network}")
        return frozenset(
            (one.protocol, *_ports(one), one.cidr or known.get(one.security_group, one.security_group))
            for one in wished.ingress
        )

    async def _delete(self, there: Answer, change: DeleteSecurityGroup) -> Progress:
        try:
            await self._calls.write("ec2", "delete_security_group", GroupId=str(there["GroupId"]))
        except (NotFound, InvalidLaunch):
            return done(change.name, change.kind)
        return Progress(done=False, detail=f"security group {change.name} is being removed")

    async def _read(self, name: str) -> Answer | None:
        """Read the group of a name; one that is ours before others, since a name is taken once in each network."""
        found = await self._groups({"group-name": [name]})
        ours = [one for one in found if ledger.APPLICATION in launch.read_tags(one.get("Tags", []))]
        return next(iter(ours or found), None)

    async def _groups(self, conditions: Mapping[str, Sequence[str]]) -> list[Answer]:
        filters = [{"Name": name, "Values": list(values)} for name, values in conditions.items()]
        return await self._calls.pages("ec2", "describe_security_groups", "SecurityGroups", Filters=filters)

    async def _tag(self, identity: str, tags: dict[str, str], old: Sequence[Entry] = ()) -> None:
        if old:
            gone = [{"Key": one.tag[0]} for one in old]
            await self._calls.write("ec2", "delete_tags", Resources=[identity], Tags=gone)
        await self._calls.write("ec2", "create_tags", Resources=[identity], Tags=launch.tag_list(tags))


def rules_of(answer: Mapping[str, Any]) -> frozenset[Rule]:
    """Return who may come in, one rule for each source."""
    found = set()
    for one in answer.get("IpPermissions", []):
        ports = int(one.get("FromPort", ANY_PORT)), int(one.get("ToPort", ANY_PORT))
        sources = [str(held["CidrIp"]) for held in one.get("IpRanges", [])]
        sources += [str(held["CidrIpv6"]) for held in one.get("Ipv6Ranges", [])]
        sources += [str(held["GroupId"]) for held in one.get("UserIdGroupPairs", [])]
        found |= {(str(one["IpProtocol"]), *ports, source) for source in sources}
    return frozenset(found)


def _ports(rule: IngressRule) -> tuple[int, int]:
    return (ANY_PORT, ANY_PORT) if rule.protocol == "-1" else (rule.start_port, rule.end_port)


def _permissions(rules: Iterable[Rule]) -> list[dict[str, Any]]:
    listed = []
    for protocol, first, last, source in sorted(rules):
        permission: dict[str, Any] = {"IpProtocol": protocol}
        if protocol != "-1":
            permission |= {"FromPort": first, "ToPort": last}
        if source.startswith("sg-"):
            permission["UserIdGroupPairs"] = [{"GroupId": source}]
        elif ":" in source:
            permission["Ipv6Ranges"] = [{"CidrIpv6": source}]
        else:
            permission["IpRanges"] = [{"CidrIp": source}]
        listed.append(permission)
    return listed


def _settings(wished: SecurityGroup) -> GroupSettings:
    try:
        return GroupSettings.model_validate(wished.settings)
    except ValidationError as error:
        raise InvalidLaunch(f"settings: {described(error, 'a security group on AWS')}") from None


def _observed(answer: Answer) -> SecurityGroup:
    rules = sorted(rules_of(answer))
    return SecurityGroup(
        name=str(answer["GroupName"]),
        description=str(answer.get("Description", "")),
        ingress=tuple(
            IngressRule.model_validate(
                {"protocol": protocol, "start_port": first, "end_port": last}
                | ({"security_group": source} if source.startswith("sg-") else {"cidr": source})
            )
            for protocol, first, last, source in rules
        ),
        settings={"vpc_id": str(answer["VpcId"])} if answer.get("VpcId") else {},
    )
