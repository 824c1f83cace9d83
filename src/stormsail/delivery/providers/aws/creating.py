"""Making a server group, exactly one for each token, and making sure that a token makes none any more.

A token's launch template has a name that follows from the token, so AWS itself lets only one be made. The auto scaling
group refers to it by id and is made with no instances; it gets them once new instances are kept out of the target
groups. To end a token, a second template says so, and then the first is removed: whoever still holds the order to make
the group, in whatever process, is refused by AWS. Only then is the group itself removed.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from stormsail.delivery.model.server_group import LaunchSpec
from stormsail.delivery.providers.aws import faults, launch, ledger
from stormsail.delivery.providers.aws.calls import Calls
from stormsail.delivery.providers.aws.ledger import Entry, State, Traffic
from stormsail.delivery.providers.aws.reading import Reading
from stormsail.delivery.providers.aws.settings import LaunchSettings, launch_settings
from stormsail.delivery.providers.aws.traffic import keep_new_instances_out
from stormsail.delivery.providers.aws.view import Ended, Group, Record
from stormsail.delivery.providers.errors import Conflict, InvalidLaunch, NotFound, Transient
from stormsail.delivery.providers.provider import Change, CreateServerGroup, Progress

VERSION: Final = "stormsail:version"
REASON_MAX: Final = 250

# A template that says that a token was ended has to hold something; nothing is ever launched from it.
_EMPTY: Final = {"InstanceInitiatedShutdownBehavior": "terminate"}


class Creating:
    """Creation and removal of the groups of one account."""

    def __init__(self, calls: Calls, reading: Reading, clock_ms: Callable[[], int]) -> None:
        self._calls = calls
        self._reading = reading
        self._clock_ms = clock_ms

    async def carry(self, token: str, change: CreateServerGroup) -> Progress:
        """Make the group, or carry on making it, or say what became of it."""
        settings = launch_settings(change.launch)
        group = await self._reading.group(change.name)
        ours = group if group is not None and group.token == token else None
        entry = ours.entry(token) if ours is not None else None
        if entry is not None:
            check_same(token, change, entry.digest)
            if entry.state is State.DONE:
                return done(change.name, change.kind)
        record = await self._reading.record(token)
        if record is not None and record.ended is not Ended.NOT:
            return await self._ended(token, change, record, ours)
        if group is None:
            await self._make(token, change, settings, record)
            return Progress(done=False, detail=f"the auto scaling group {change.name} was made")
        if ours is None:
            raise taken(group)
        if ours.deleting or entry is None:
            raise Conflict(f"server group {change.name} is being removed, or was changed by hand")
        return await self._fill(token, change, ours, entry)

    async def cancel(self, token: str, change: CreateServerGroup) -> Progress:
        """End the token and remove what it made, unless it was done."""
        record = await self._reading.record(token)
        group = await self._reading.group(change.name)
        ours = group if group is not None and group.token == token else None
        entry = ours.entry(token) if ours is not None else None
        if (record is None and ours is None) or (entry is not None and entry.state is State.DONE):
            return Progress(done=True, detail="nothing was begun, or it is done: nothing to cancel")
        if record is None or not record.sealed:
            await self.end_token(token, change.name, Ended.CANCELLED, record)
            # The group is read again: it may have been made while its template was still there.
            group = await self._reading.group(change.name)
            ours = group if group is not None and group.token == token else None
        if ours is None:
            return Progress(done=True, detail=f"server group {change.name} was removed")
        await self.remove(ours)
        return Progress(done=False, detail=f"waits for {len(ours.members)} instances to end")

    async def end_token(
        self, token: str, server_group: str, why: Ended, record: Record | None, reason: str = ""
    ) -> None:
        """Make sure that nobody can make this token's group any more."""
        record = record or await self._reading.record(token)
        if record is not None and record.sealed:
            return
        if record is None or record.ended is Ended.NOT:
            spec = record.launch if record else LaunchSpec()
            tags = {
                **launch.record_tags(token, server_group, record.digest if record else "", spec),
                launch.ENDED: why.value,
                launch.ENDED_AT: str(self._clock_ms()),
                **({launch.REASON: _tag_text(reason)} if reason else {}),
            }
            await self._template(launch.ended_name(token), _EMPTY, tags)
        if record is not None and record.template_id:
            await self._remove_template(record.template_id)

    async def remove(self, group: Group) -> None:
        """Have AWS remove a group with its instances."""
        if group.deleting:
            return
        try:
            await self._calls.write(
                "autoscaling", "delete_auto_scaling_group", AutoScalingGroupName=group.name, ForceDelete=True
            )
        except NotFound:
            return

    async def forget_ended(self, before_ms: int) -> None:
        """Remove the templates that only say that a token was ended, once nobody can hold its order any more."""
        for template_id in await self._reading.templates_ended_before(before_ms):
            await self._remove_template(template_id)

    async def _ended(self, token: str, change: CreateServerGroup, record: Record, left: Group | None) -> Progress:
        """Return or raise how a token ended, which it did."""
        if record.digest:
            check_same(token, change, record.digest)
        match record.ended:
            case Ended.CANCELLED:
                raise Conflict(f"createServerGroup of {change.name} was cancelled: use a new token to make it again")
            case Ended.FAILED if left is not None:
                await self.end_token(token, change.name, Ended.FAILED, record)
                await self.remove(left)
                return Progress(done=False, detail=f"{record.reason}; what was made is being removed")
            case Ended.FAILED:
                raise InvalidLaunch(f"{change.name}: {record.reason}")
            case _:
                return Progress(done=True, detail=f"{change.name} was made by this token and destroyed since")

    async def _make(
        self, token: str, change: CreateServerGroup, settings: LaunchSettings, record: Record | None
    ) -> None:
        target_groups = await self._target_groups(settings)
        if record is not None:
            check_same(token, change, record.digest)
        template_id = record.template_id if record is not None else await self._make_template(token, change, settings)
        try:
            await self._make_group(token, change, settings, template_id, target_groups)
        except Conflict:
            group = await self._reading.group(change.name)
            if group is None:
                raise Transient(f"AWS says that {change.name} exists and does not tell of it yet") from None
            if group.token != token:
                await self._remove_template(template_id)
                raise taken(group) from None
        except InvalidLaunch:
            await self._remove_template(template_id)
            raise

    async def _make_template(self, token: str, change: CreateServerGroup, settings: LaunchSettings) -> str:
        """Make the template that the group is launched from, unless another worker did; return its id."""
        instance_tags = {
            **settings.tags,
            "Name": change.name,
            **_labels(token, change),
        }
        data = launch.template_data(change.launch, settings, instance_tags)
        tags = launch.record_tags(token, change.name, ledger.digest_of(change), change.launch)
        template_id = await self._template(launch.template_name(token), data, tags)
        if not template_id:
            record = await self._reading.record(token)
            template_id = record.template_id if record is not None else ""
        if not template_id:
            raise Transient(f"{change.name}: EC2 has its launch template and does not tell of it yet")
        return template_id

    async def _make_group(
        self,
        token: str,
        change: CreateServerGroup,
        settings: LaunchSettings,
        template_id: str,
        target_groups: tuple[str, ...],
    ) -> None:
        entry = Entry(
            key=ledger.token_key(token),
            kind=change.kind,
            state=State.BEGUN,
            number=1,
            digest=ledger.digest_of(change),
            before="",
            after=ledger.sizes(change.capacity),
        )
        traffic = Traffic(change.enabled, 100, self._clock_ms() if change.enabled else 0)
        tags = {**settings.tags, **_labels(token, change), ledger.TRAFFIC: str(traffic), **dict([entry.tag])}
        where = (
            {"VPCZoneIdentifier": ",".join(settings.subnets)}
            if settings.subnets
            else {"AvailabilityZones": list(settings.availability_zones)}
        )
        await self._calls.write(
            "autoscaling",
            "create_auto_scaling_group",
            AutoScalingGroupName=change.name,
            LaunchTemplate={"LaunchTemplateId": template_id, "Version": "1"},
            MinSize=0,
            DesiredCapacity=0,
            MaxSize=change.capacity.max,
            TerminationPolicies=["NewestInstance"],
            HealthCheckType="EC2",
            Tags=launch.group_tags(change.name, tags),
            **({"TargetGroupARNs": list(target_groups)} if target_groups else {}),
            **where,
        )

    async def _fill(self, token: str, change: CreateServerGroup, group: Group, entry: Entry) -> Progress:
        """Start the instances of a group that was made empty."""
        await keep_new_instances_out(self._calls, group, out=not group.traffic.enabled)
        wanted = change.capacity
        if group.capacity != wanted and not group.overruled(entry):
            await set_capacity(self._calls, group.name, ledger.sizes(wanted))
            return Progress(done=False, detail=f"{wanted.desired} instances are being launched")
        if len(group.staying) >= wanted.desired:
            await write_tags(self._calls, group.name, [dataclasses.replace(entry, state=State.DONE).tag])
            return done(change.name, change.kind)
        failure = await self._reading.last_failure(group.name)
        if failure and faults.FAILED_LAUNCHES.search(failure):
            await self.end_token(token, change.name, Ended.FAILED, None, failure)
            await self.remove(group)
            return Progress(done=False, detail=f"{failure}; what was made is being removed")
        detail = f"{len(group.staying)} of {wanted.desired} instances launched"
        return Progress(done=False, detail=f"{detail}; the last launch failed: {failure}" if failure else detail)

    async def _target_groups(self, settings: LaunchSettings) -> tuple[str, ...]:
        try:
            return await self._reading.target_groups(settings.target_groups)
        except NotFound as missing:
            raise InvalidLaunch(f"launch.settings.target_groups: {missing}") from None

    async def _template(self, name: str, data: Mapping[str, Any], tags: dict[str, str]) -> str:
        """Make a launch template and return its id; an empty text when it is there already."""
        try:
            answer = await self._calls.write(
                "ec2",
                "create_launch_template",
                LaunchTemplateName=name,
                LaunchTemplateData=data,
                TagSpecifications=[{"ResourceType": "launch-template", "Tags": launch.tag_list(tags)}],
            )
        except Conflict:
            return ""
        return str(answer["LaunchTemplate"]["LaunchTemplateId"])

    async def _remove_template(self, template_id: str) -> None:
        try:
            await self._calls.write("ec2", "delete_launch_template", LaunchTemplateId=template_id)
        except NotFound:
            return


def taken(group: Group) -> Conflict:
    """Return why a name cannot be had."""
    if not group.token:
        return Conflict(f"an auto scaling group {group.name} exists that Stormsail did not make: use another name")
    return Conflict(f"server group {group.name} exists already: create the next version")


def check_same(token: str, change: Change, digest: str) -> None:
    """Raise Conflict for a token that was used before for another change, as `digest` tells."""
    if digest != ledger.digest_of(change):
        raise Conflict(
            f"token {token} was used before for another change than this {change.kind} of {change.name}: use a new "
            "token for each change"
        )


def done(name: str, kind: str) -> Progress:
    """Return how every change ends. The same words each time that it is asked for."""
    return Progress(done=True, detail=f"{kind} of {name} is done", output={"server_group": name})


def state_tag(entry: Entry, state: State) -> tuple[str, str]:
    """Return the tag of an entry in another state."""
    return Entry(entry.key, entry.kind, state, entry.number, entry.digest, entry.before, entry.after).tag


async def write_tags(calls: Calls, name: str, tags: list[tuple[str, str]]) -> None:
    """Write tags of a group."""
    await calls.write("autoscaling", "create_or_update_tags", Tags=launch.group_tags(name, dict(tags)))


async def set_capacity(calls: Calls, name: str, sizes: str) -> None:
    """Have a group grow or shrink."""
    capacity = ledger.capacity_of(sizes)
    await calls.write(
        "autoscaling",
        "update_auto_scaling_group",
        AutoScalingGroupName=name,
        MinSize=capacity.min,
        DesiredCapacity=capacity.desired,
        MaxSize=capacity.max,
    )


def _labels(token: str, change: CreateServerGroup) -> dict[str, str]:
    return {
        ledger.APPLICATION: change.name.partition("-")[0],
        ledger.SERVER_GROUP: change.name,
        ledger.TOKEN: token,
        **({VERSION: _tag_text(change.launch.version)} if change.launch.version else {}),
    }


def _tag_text(text: str) -> str:
    """Return a text as it may stand in a tag: letters, digits, spaces and a few signs."""
    allowed = "".join(char if char.isalnum() or char in " +-=._:/@" else " " for char in text)
    return " ".join(allowed.split())[:REASON_MAX]
