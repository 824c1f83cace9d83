"""Reading AWS: groups, targets and records, whole or not at all. What can change is read anew each time."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.aws import launch, ledger
from stormsail.delivery.providers.aws.calls import Calls
from stormsail.delivery.providers.aws.view import (
    ADD_TO_LOAD_BALANCER,
    Ended,
    Facts,
    Group,
    Member,
    Record,
    Target,
    Targets,
    milliseconds,
)
from stormsail.delivery.providers.errors import NotFound

INSTANCES_ASKED_MAX: Final = 200
"""Values that one filter of EC2 takes."""
NAMES_ASKED_MAX: Final = 20
"""Target groups and load balancers that one call asks for."""
FACTS_MAX: Final = 10_000
ADDRESS_LIFE_S: Final = 300.0
"""How long the address of a load balancer is believed. It is shown to people; nothing is decided by it."""

_UNKNOWN: Final = Facts(launched_at_ms=2**62, address="")
"""Of an instance so young that EC2 does not tell of it yet: the newest."""


class Reading:
    """Remembers only what never changes (when an instance was launched) and addresses."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._facts: dict[str, Facts] = {}
        self._addresses: dict[tuple[str, ...], tuple[float, str]] = {}

    async def group(self, name: str) -> Group | None:
        """Read one auto scaling group."""
        return next(iter(await self._groups(AutoScalingGroupNames=[name])), None)

    async def groups(self, application: str) -> tuple[Group, ...]:
        """Read an application's groups, oldest first."""
        found = await self._groups(Filters=[{"Name": f"tag:{ledger.APPLICATION}", "Values": [application]}])
        ours = [group for group in found if group.token]
        return tuple(sorted(ours, key=lambda group: (group.created_at_ms, group.name)))

    async def applications(self) -> tuple[str, ...]:
        """Read the names of all applications."""
        answers = await self._calls.pages(
            "autoscaling",
            "describe_auto_scaling_groups",
            "AutoScalingGroups",
            MaxRecords=100,
            Filters=[{"Name": "tag-key", "Values": [ledger.APPLICATION]}],
        )
        return tuple(sorted({launch.read_tags(one.get("Tags", []))[ledger.APPLICATION] for one in answers}))

    async def targets(self, arns: Iterable[str]) -> Targets:
        """Read the health of all targets of some target groups."""
        return {arn: await self._targets(arn) for arn in sorted(set(arns))}

    async def record(self, token: str) -> Record | None:
        """Read what a token was to make."""
        names = [launch.template_name(token), launch.ended_name(token)]
        return (await self._records({"Name": "launch-template-name", "Values": names})).get(token)

    async def records(self, application: str) -> Mapping[str, Record]:
        """Read the records of an application, by token."""
        return await self._records({"Name": f"tag:{ledger.APPLICATION}", "Values": [application]})

    async def templates_ended_before(self, instant_ms: int) -> list[str]:
        """Read the ids of the templates that only say that a token was ended, from before an instant."""
        answers = await self._templates({"Name": "tag-key", "Values": [launch.ENDED_AT]})
        return [
            str(one["LaunchTemplateId"])
            for one in answers
            if int(launch.read_tags(one["Tags"])[launch.ENDED_AT]) < instant_ms
        ]

    async def target_groups(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Return the ARNs of target groups that are named, or are ARNs already. Raises NotFound for an unknown name."""
        asked = list(dict.fromkeys(wanted))
        names = [one for one in asked if not one.startswith("arn:")]
        known: dict[str, str] = {}
        for at in range(0, len(names), NAMES_ASKED_MAX):
            some = names[at : at + NAMES_ASKED_MAX]
            answers = await self._calls.pages("elbv2", "describe_target_groups", "TargetGroups", Names=some)
            known |= {str(one["TargetGroupName"]): str(one["TargetGroupArn"]) for one in answers}
        return tuple(known.get(one, one) for one in asked)

    async def ever_of(self, group: str, ids: Sequence[str]) -> frozenset[str]:
        """Return those instances that EC2 knows as a group's; of terminated ones it tells for an hour."""
        if not ids:
            return frozenset()
        wanted = {"instance-id": list(ids), "tag:aws:autoscaling:groupName": [group]}
        filters = [{"Name": name, "Values": values} for name, values in wanted.items()]
        reservations = await self._calls.pages("ec2", "describe_instances", "Reservations", Filters=filters)
        return frozenset(str(one["InstanceId"]) for found in reservations for one in found["Instances"])

    async def last_failure(self, name: str) -> str:
        """Read why the newest launch of a group failed, or an empty text when it did not."""
        answer = await self._calls.read(
            "autoscaling", "describe_scaling_activities", AutoScalingGroupName=name, MaxRecords=1
        )
        newest: Mapping[str, Any] = next(iter(answer.get("Activities", [])), {})
        return str(newest.get("StatusMessage", "")) if newest.get("StatusCode") == "Failed" else ""

    async def address(self, groups: Iterable[Group]) -> str:
        """Return host:port of the load balancer before an application's newest groups, or an empty text."""
        arns = next((group.target_groups for group in reversed(list(groups)) if group.target_groups), ())
        if not arns:
            return ""
        read_at, address = self._addresses.get(arns, (float("-inf"), ""))
        if time.monotonic() - read_at > ADDRESS_LIFE_S:
            try:
                address = await self._address(arns[0])
            except NotFound:
                address = ""  # The target group or its load balancer was removed meanwhile.
            self._addresses = {arns: (time.monotonic(), address), **dict(list(self._addresses.items())[:100])}
        return address

    async def _groups(self, **which: Any) -> tuple[Group, ...]:
        answers = await self._calls.pages(
            "autoscaling", "describe_auto_scaling_groups", "AutoScalingGroups", MaxRecords=100, **which
        )
        facts = await self._learn([str(one["InstanceId"]) for answer in answers for one in answer.get("Instances", [])])
        return tuple(_group(answer, facts) for answer in answers)

    async def _learn(self, ids: Sequence[str]) -> Mapping[str, Facts]:
        """Read when instances were launched. Filters are used because a list of ids fails for one unknown id."""
        if len(self._facts) > FACTS_MAX:
            self._facts.clear()
        known = {one: self._facts[one] for one in ids if one in self._facts}
        unknown = [one for one in ids if one not in known]
        for at in range(0, len(unknown), INSTANCES_ASKED_MAX):
            some = unknown[at : at + INSTANCES_ASKED_MAX]
            reservations = await self._calls.pages(
                "ec2", "describe_instances", "Reservations", Filters=[{"Name": "instance-id", "Values": some}]
            )
            for one in (instance for reservation in reservations for instance in reservation["Instances"]):
                launched_at_ms = milliseconds(one.get("LaunchTime"))
                known[str(one["InstanceId"])] = Facts(launched_at_ms, str(one.get("PrivateIpAddress", "")))
        self._facts |= known
        return known

    async def _targets(self, arn: str) -> dict[str, Target]:
        found: dict[str, Target] = {}
        try:
            answer = await self._calls.read("elbv2", "describe_target_health", TargetGroupArn=arn)
        except NotFound:
            # Nothing takes traffic through a target group that was removed; its server groups can still be destroyed.
            return found
        for one in answer.get("TargetHealthDescriptions", []):
            health = one.get("TargetHealth", {})
            if health.get("Reason") == "Target.NotRegistered":
                continue
            said = [str(health[key]) for key in ("Reason", "Description") if health.get(key)]
            found[str(one["Target"]["Id"])] = Target(str(health["State"]), ": ".join(said))
        return found

    async def _templates(self, condition: Mapping[str, Any]) -> list[dict[str, Any]]:
        return await self._calls.pages(
            "ec2", "describe_launch_templates", "LaunchTemplates", MaxResults=200, Filters=[condition]
        )

    async def _records(self, condition: Mapping[str, Any]) -> dict[str, Record]:
        live: dict[str, tuple[str, dict[str, str]]] = {}
        ended: dict[str, dict[str, str]] = {}
        for one in await self._templates(condition):
            tags = launch.read_tags(one.get("Tags", []))
            token = tags.get(ledger.TOKEN, "")
            if launch.ENDED in tags:
                ended[token] = tags
            elif token:
                live[token] = str(one["LaunchTemplateId"]), tags
        found = {}
        for token in live.keys() | ended.keys():
            template_id, of_live = live.get(token, ("", {}))
            tags = ended.get(token, of_live)
            found[token] = Record(
                server_group=tags.get(ledger.SERVER_GROUP, ""),
                digest=tags.get(launch.DIGEST, ""),
                launch=launch.unpack(tags),
                ended=Ended(tags.get(launch.ENDED, "")),
                reason=tags.get(launch.REASON, ""),
                template_id=template_id,
                sealed=token in ended and not template_id,
            )
        return found

    async def _address(self, arn: str) -> str:
        groups = await self._calls.pages("elbv2", "describe_target_groups", "TargetGroups", TargetGroupArns=[arn])
        balancers = [str(one) for group in groups for one in group.get("LoadBalancerArns", [])]
        if not balancers:
            return ""
        found = await self._calls.pages(
            "elbv2", "describe_load_balancers", "LoadBalancers", LoadBalancerArns=balancers[:1]
        )
        listeners = await self._calls.pages("elbv2", "describe_listeners", "Listeners", LoadBalancerArn=balancers[0])
        port = next((f":{one['Port']}" for one in listeners if "Port" in one), "")
        return f"{found[0]['DNSName']}{port}" if found else ""


def _group(answer: Mapping[str, Any], facts: Mapping[str, Facts]) -> Group:
    members = [
        Member(
            id=str(one["InstanceId"]),
            lifecycle=str(one["LifecycleState"]),
            healthy=str(one.get("HealthStatus", "Healthy")).lower() == "healthy",
            protected=bool(one.get("ProtectedFromScaleIn")),
            facts=facts.get(str(one["InstanceId"]), _UNKNOWN),
        )
        for one in answer.get("Instances", [])
    ]
    suspended = {str(one["ProcessName"]) for one in answer.get("SuspendedProcesses", [])}
    return Group(
        name=str(answer["AutoScalingGroupName"]),
        capacity=Capacity.model_construct(
            min=int(answer["MinSize"]), desired=int(answer["DesiredCapacity"]), max=int(answer["MaxSize"])
        ),
        members=tuple(sorted(members, key=lambda one: (one.facts.launched_at_ms, one.id))),
        suspended=ADD_TO_LOAD_BALANCER in suspended,
        target_groups=tuple(sorted(answer.get("TargetGroupARNs", []))),
        tags=launch.read_tags(answer.get("Tags", [])),
        created_at_ms=milliseconds(answer.get("CreatedTime")),
        deleting=bool(answer.get("Status")),
    )
