"""Resizing, enabling, disabling and destroying a server group, and taking such a change back."""

import dataclasses
from collections.abc import Callable
from typing import Final

from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.aws import launch, ledger
from stormsail.delivery.providers.aws.calls import Calls
from stormsail.delivery.providers.aws.creating import Creating, check_same, done, set_capacity, taken, write_tags
from stormsail.delivery.providers.aws.ledger import Entry, State, Traffic
from stormsail.delivery.providers.aws.reading import Reading
from stormsail.delivery.providers.aws.traffic import steer
from stormsail.delivery.providers.aws.view import Ended, Group
from stormsail.delivery.providers.errors import Conflict, NotFound
from stormsail.delivery.providers.provider import (
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    Progress,
    ResizeServerGroup,
)

PROTECTED_AT_ONCE_MAX: Final = 50
"""Instances that one call protects."""

LaterChange = ResizeServerGroup | EnableServerGroup | DisableServerGroup | DestroyServerGroup


class Changing:
    """Changes of groups that are there."""

    def __init__(self, calls: Calls, reading: Reading, creating: Creating, clock_ms: Callable[[], int]) -> None:
        self._calls = calls
        self._reading = reading
        self._creating = creating
        self._clock_ms = clock_ms

    async def carry(self, token: str, change: LaterChange) -> Progress:
        """Begin the change unless it was, and carry it on."""
        try:
            return await self._carry(token, change)
        except NotFound:
            # Also said by a write, when AWS still told of a group that is gone.
            if isinstance(change, DestroyServerGroup):
                return done(change.name, change.kind)
            raise

    async def _carry(self, token: str, change: LaterChange) -> Progress:
        group = await self._reading.group(change.name)
        if group is None:
            raise NotFound(f"there is no server group {change.name}")
        if not group.token:
            raise taken(group)
        entry = self._known(group, token, change)
        admitted = entry is None
        if entry is None:
            entry = self._entry(group, token, change)
            group = await self._admit(group, entry)
        if entry.state is State.DONE:
            return done(change.name, change.kind)
        if entry.state is State.CANCELLED:
            raise Conflict(f"{change.kind} of {change.name} was cancelled")
        if group.overruled(entry):
            raise Conflict(f"server group {change.name} was changed again before {change.kind} was done")
        if admitted and not group.deleting:
            # Done only once AWS has told of the entry: the next change starts from what it reads.
            await self._act(group, entry)
            return Progress(done=False, detail=f"{change.kind} of {change.name} was begun")
        return await self._step(group, entry)

    async def cancel(self, token: str, change: LaterChange) -> Progress:
        """Put back what the change replaced. A begun destroy cannot be put back and is carried to its end."""
        nothing = Progress(done=True, detail="nothing was begun, or it is done: nothing to cancel")
        group = await self._reading.group(change.name)
        entry = self._known(group, token, change) if group is not None else None
        if group is None or entry is None or entry.state is State.DONE:
            return nothing
        if isinstance(change, DestroyServerGroup):
            return await self._step(group, entry)
        if group.deleting or group.overruled(entry):
            return nothing
        if entry.state is State.BEGUN:
            entry = dataclasses.replace(entry, state=State.CANCELLED)
            traffic = [(ledger.TRAFFIC, entry.before)] if entry.kind in ledger.TRAFFICS else []
            await write_tags(self._calls, group.name, [entry.tag, *traffic])
        back = dataclasses.replace(entry, after=entry.before)
        if entry.kind in ledger.SIZES:
            progress = await self._resize(group, back)
        else:
            steered = await steer(self._calls, self._reading, group, ledger.traffic_of(entry.before))
            progress = Progress(done=not steered.changed, detail="puts the traffic back as it was")
        return progress.model_copy(update={"output": {}})

    def _known(self, group: Group, token: str, change: LaterChange) -> Entry | None:
        entry = group.entry(token)
        if token == group.token or entry is not None:
            check_same(token, change, entry.digest if entry is not None else "")
        return entry

    def _entry(self, group: Group, token: str, change: LaterChange) -> Entry:
        """Return what is to be done. Raises Conflict when it may not be."""
        if group.deleting and not isinstance(change, DestroyServerGroup):
            raise Conflict(f"server group {group.name} is being destroyed")
        before, after = "", ""
        match change:
            case ResizeServerGroup():
                before, after = ledger.sizes(group.capacity), ledger.sizes(change.capacity)
                if change.expected is not None and change.expected != group.capacity:
                    raise Conflict(
                        f"server group {group.name} has capacity {before} and not {ledger.sizes(change.expected)} "
                        "as expected: look again before resizing it"
                    )
            case EnableServerGroup():
                share = max(group.traffic.share, change.percent)
                before, after = str(group.traffic), str(Traffic(True, share, self._clock_ms()))
            case DisableServerGroup():
                left = min(group.traffic.share, 100 - change.percent)
                at_ms = group.traffic.enabled_at_ms
                before, after = str(group.traffic), str(Traffic(left > 0, left or 100, at_ms))
            case DestroyServerGroup():
                pass
        return Entry(
            key=ledger.token_key(token),
            kind=change.kind,
            state=State.BEGUN,
            number=ledger.next_number(group.entries),
            digest=ledger.digest_of(change),
            before=before,
            after=after,
        )

    async def _admit(self, group: Group, entry: Entry) -> Group:
        """Write down what is to be done, before any of it is."""
        if group.deleting:
            return group
        written = dict([entry.tag])
        if entry.kind in ledger.TRAFFICS:
            written[ledger.TRAFFIC] = entry.after
        await write_tags(self._calls, group.name, list(written.items()))
        old = ledger.superfluous(group.entries)
        if old:
            gone = dict(one.tag for one in old)
            await self._calls.write("autoscaling", "delete_tags", Tags=launch.group_tags(group.name, gone))
        return dataclasses.replace(group, tags={**group.tags, **written})

    async def _step(self, group: Group, entry: Entry) -> Progress:
        progress = await self._act(group, entry)
        if not progress.done:
            return progress
        await write_tags(self._calls, group.name, [dataclasses.replace(entry, state=State.DONE).tag])
        return done(group.name, entry.kind)

    async def _act(self, group: Group, entry: Entry) -> Progress:
        if entry.kind == "destroyServerGroup":
            return await self._destroy(group)
        if entry.kind in ledger.SIZES:
            return await self._resize(group, entry)
        return await self._steer(group, entry)

    async def _resize(self, group: Group, entry: Entry) -> Progress:
        wanted = ledger.capacity_of(entry.after)
        there = len(group.staying)
        if group.capacity != wanted:
            if wanted.desired < max(there, group.capacity.desired):
                await self._protect_oldest(group, wanted)
            await set_capacity(self._calls, group.name, entry.after)
            return Progress(done=False, detail=f"goes from {ledger.sizes(group.capacity)} to {entry.after}")
        leaving = len(group.members) - there
        in_service = sum(member.in_service for member in group.staying)
        if leaving or in_service != wanted.desired or there != wanted.desired:
            detail = f"{in_service} of {wanted.desired} instances in service, {leaving} drain and end"
            failure = await self._reading.last_failure(group.name) if there < wanted.desired else ""
            return Progress(done=False, detail=f"{detail}; the last launch failed: {failure}" if failure else detail)
        await self._protect(group.name, [one.id for one in group.members if one.protected], protected=False)
        if 0 < group.traffic.share < 100:
            steered = await steer(self._calls, self._reading, group, group.traffic)
            return Progress(done=not steered.changed, detail=f"{steered.up} of {steered.wanted} take traffic")
        return Progress(done=True)

    async def _protect_oldest(self, group: Group, wanted: Capacity) -> None:
        """Have AWS remove the newest: it takes an availability zone's balance before age, but never the protected."""
        ready = [one for one in group.staying if one.lifecycle == "InService"]
        keep = ready[: wanted.desired]
        await self._protect(group.name, [one.id for one in keep if not one.protected], protected=True)
        await self._protect(group.name, [one.id for one in ready if one.protected and one not in keep], protected=False)

    async def _protect(self, name: str, ids: list[str], *, protected: bool) -> None:
        for at in range(0, len(ids), PROTECTED_AT_ONCE_MAX):
            await self._calls.write(
                "autoscaling",
                "set_instance_protection",
                AutoScalingGroupName=name,
                InstanceIds=ids[at : at + PROTECTED_AT_ONCE_MAX],
                ProtectedFromScaleIn=protected,
            )

    async def _steer(self, group: Group, entry: Entry) -> Progress:
        traffic = ledger.traffic_of(entry.after)
        if str(group.traffic) != entry.after:
            await write_tags(self._calls, group.name, [(ledger.TRAFFIC, entry.after)])
        steered = await steer(self._calls, self._reading, group, traffic)
        if entry.kind == "enableServerGroup":
            detail = f"{steered.up} of {steered.wanted} instances are healthy and take traffic"
            return Progress(done=not steered.changed and steered.up >= steered.wanted, detail=detail)
        detail = f"{steered.ending} instances end the requests that they have"
        return Progress(done=not steered.changed and steered.ending == 0, detail=detail)

    async def _destroy(self, group: Group) -> Progress:
        """End the token that made it, take its traffic, wait for the drain, remove it."""
        if group.deleting:
            return Progress(done=False, detail=f"waits for {len(group.members)} instances of {group.name} to end")
        await self._creating.end_token(group.token, group.name, Ended.DESTROYED, None)
        steered = await steer(self._calls, self._reading, group, Traffic())
        if steered.changed or steered.ending:
            return Progress(done=False, detail=f"{steered.ending} instances of {group.name} end their requests")
        await self._creating.remove(group)
        return Progress(done=False, detail=f"waits for {len(group.members)} instances of {group.name} to end")
