"""Changing a server group that is there, or single instances of it, and taking such a change back."""

import dataclasses
from collections.abc import Callable
from typing import Final

from stormsail.delivery.model.names import parse_name
from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.aws import launch, ledger
from stormsail.delivery.providers.aws.calls import Calls
from stormsail.delivery.providers.aws.creating import Creating, check_same, done, set_capacity, taken, write_tags
from stormsail.delivery.providers.aws.ledger import Entry, State, Traffic
from stormsail.delivery.providers.aws.reading import Reading
from stormsail.delivery.providers.aws.traffic import steer
from stormsail.delivery.providers.aws.view import Ended, Group, Member
from stormsail.delivery.providers.aws.weights import balance, check_apart, forwards
from stormsail.delivery.providers.errors import Conflict, NotFound
from stormsail.delivery.providers.provider import (
    DeregisterInstances,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    InstanceChange,
    Progress,
    RegisterInstances,
    ResizeServerGroup,
    ShiftTraffic,
    TerminateInstances,
)

PROTECTED_AT_ONCE_MAX: Final = 50
"""Instances that one call protects."""

LaterChange = (
    ResizeServerGroup | EnableServerGroup | DisableServerGroup | ShiftTraffic | DestroyServerGroup | InstanceChange
)


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
            await self._check_instances(group, change)
            await self._check_shift(group, change)
            entry = self._entry(group, token, change)
            group = await self._admit(group, entry, change)
        if entry.state is State.DONE:
            return done(change.name, change.kind)
        if entry.state is State.CANCELLED:
            raise Conflict(f"{change.kind} of {change.name} was cancelled")
        if group.overruled(entry):
            raise Conflict(f"server group {change.name} was changed again before {change.kind} was done")
        if admitted and not group.deleting:
            # Done only once AWS has told of the entry: the next change starts from what it reads.
            await self._act(group, entry, change)
            return Progress(done=False, detail=f"{change.kind} of {change.name} was begun")
        return await self._step(group, entry, change)

    async def cancel(self, token: str, change: LaterChange) -> Progress:
        """Put back what the change replaced. Begun destroys and terminations are carried to their end."""
        nothing = Progress(done=True, detail="nothing was begun, or it is done: nothing to cancel")
        group = await self._reading.group(change.name)
        entry = self._known(group, token, change) if group is not None else None
        if group is None or entry is None or entry.state is State.DONE:
            return nothing
        if isinstance(change, DestroyServerGroup | TerminateInstances):
            return await self._step(group, entry, change)
        if group.deleting or group.overruled(entry):
            return nothing
        if entry.state is State.BEGUN:
            entry = dataclasses.replace(entry, state=State.CANCELLED)
            back = {ledger.TRAFFIC: entry.before} if entry.kind in ledger.TRAFFICS else {}
            if entry.kind in ledger.SHIFTS:
                back = {ledger.REQUESTS: entry.before}
            key, _, out = group.tags.get(ledger.OUT_BEFORE, "").partition(" ")
            if key == entry.key:
                back[ledger.OUT] = out
            await write_tags(self._calls, group.name, [entry.tag, *back.items()])
            group = dataclasses.replace(group, tags={**group.tags, **back})
        if entry.kind in ledger.SIZES:
            progress = await self._resize(group, dataclasses.replace(entry, after=entry.before))
        else:
            weighed = await self._balance(group)
            steered = await steer(self._calls, self._reading, group, group.traffic)
            progress = Progress(done=not steered.changed and not weighed, detail="puts the traffic back as it was")
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
            case ShiftTraffic():
                before = _percent(group.request_percent)
                after = _percent(change.percent)
            case TerminateInstances():
                capacity, gone = group.capacity, _named(group, change)
                before = after = ledger.sizes(capacity)
                if change.shrink:
                    desired = max(0, capacity.desired - len(gone))
                    after = f"{min(capacity.min, desired)}/{desired}/{capacity.max}"
            case DestroyServerGroup() | RegisterInstances() | DeregisterInstances():
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

    async def _check_instances(self, group: Group, change: LaterChange) -> None:
        """Raise NotFound for an instance that the group never had, or has no more where that matters."""
        if not isinstance(change, InstanceChange):
            return
        missing = sorted(set(change.instances) - {one.id for one in _named(group, change)})
        if not isinstance(change, RegisterInstances):
            ever = await self._reading.ever_of(group.name, missing)
            missing = [one for one in missing if one not in ever]
        if missing:
            has = ", ".join(one.id for one in group.staying) or "none"
            raise NotFound(f"server group {group.name} has no instance {missing[0]}; it has {has}")

    async def _check_shift(self, group: Group, change: LaterChange) -> None:
        """Raise Conflict for a share that no listener can give, before anything is written down."""
        if isinstance(change, ShiftTraffic) and change.percent is not None:
            found = await forwards(self._calls, group.target_groups)
            check_apart(group, await self._cluster(group), found)

    async def _balance(self, group: Group) -> bool:
        """Bring the weights of its listeners in line; return whether any had to change. Most have none to speak of."""
        found = await forwards(self._calls, group.target_groups)
        return bool(found) and await balance(self._calls, found, await self._cluster(group))

    async def _cluster(self, group: Group) -> tuple[Group, ...]:
        """Read the groups of a cluster; the one that is given is known better than it is told of."""
        app, cluster = parse_name(group.name).app, parse_name(group.name).cluster
        there = [one for one in await self._reading.groups(app) if parse_name(one.name).cluster == cluster]
        return tuple(group if one.name == group.name else one for one in there)

    async def _admit(self, group: Group, entry: Entry, change: LaterChange) -> Group:
        """Write down what is to be done, before any of it is."""
        if group.deleting:
            return group
        written = dict([entry.tag])
        if entry.kind in ledger.TRAFFICS:
            written[ledger.TRAFFIC] = entry.after
        if entry.kind in ledger.SHIFTS:
            written[ledger.REQUESTS] = entry.after
        out = _out(group, change)
        if out is not None and (out or group.out):
            written[ledger.OUT] = " ".join(sorted(out))
            written[ledger.OUT_BEFORE] = f"{entry.key} {' '.join(sorted(group.out))}"
        await write_tags(self._calls, group.name, list(written.items()))
        old = ledger.superfluous(group.entries)
        if old:
            gone = dict(one.tag for one in old)
            await self._calls.write("autoscaling", "delete_tags", Tags=launch.group_tags(group.name, gone))
        return dataclasses.replace(group, tags={**group.tags, **written})

    async def _step(self, group: Group, entry: Entry, change: LaterChange) -> Progress:
        progress = await self._act(group, entry, change)
        if not progress.done:
            return progress
        await write_tags(self._calls, group.name, [dataclasses.replace(entry, state=State.DONE).tag])
        return done(group.name, entry.kind)

    async def _act(self, group: Group, entry: Entry, change: LaterChange) -> Progress:
        match change:
            case DestroyServerGroup():
                return await self._destroy(group)
            case ResizeServerGroup():
                return await self._resize(group, entry)
            case TerminateInstances():
                return await self._terminate(group, entry, change)
            case EnableServerGroup() | DisableServerGroup():
                return await self._steer(group, entry)
            case ShiftTraffic():
                weighed = await self._balance(group)
                return Progress(done=not weighed, detail=f"{group.name} is given {entry.after or 'its part'}")
            case RegisterInstances() | DeregisterInstances():
                steered = await steer(self._calls, self._reading, group, group.traffic)
                waiting = steered.waiting & set(change.instances) if isinstance(change, RegisterInstances) else ()
                ending = 0 if isinstance(change, RegisterInstances) else steered.ending
                detail = f"{len(waiting)} instances are not healthy yet, {ending} end the requests that they have"
                return Progress(done=not steered.changed and not waiting and not ending, detail=detail)

    async def _terminate(self, group: Group, entry: Entry, change: TerminateInstances) -> Progress:
        """To shrink, all others are protected and the count is lowered; else AWS is told to replace them."""
        named = _named(group, change)
        if not change.shrink:
            for one in named:
                await self._calls.write(
                    "autoscaling",
                    "terminate_instance_in_auto_scaling_group",
                    InstanceId=one.id,
                    ShouldDecrementDesiredCapacity=False,
                )
            if named:
                return Progress(done=False, detail=f"{len(named)} instances are being replaced")
            # Whatever size an autoscaler gave the group meanwhile is right.
            entry = dataclasses.replace(entry, after=ledger.sizes(group.capacity))
        return await self._resize(group, entry, last=frozenset(one.id for one in named))

    async def _resize(self, group: Group, entry: Entry, last: frozenset[str] = frozenset()) -> Progress:
        """Bring a group to a size. `last` are the first to go."""
        wanted = ledger.capacity_of(entry.after)
        there = len(group.staying)
        if group.capacity != wanted:
            if wanted.desired < max(there, group.capacity.desired):
                await self._protect_oldest(group, wanted, last)
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

    async def _protect_oldest(self, group: Group, wanted: Capacity, last: frozenset[str]) -> None:
        """Have AWS remove the newest: it takes an availability zone's balance before age, but never the protected."""
        ready = [one for one in group.staying if one.lifecycle == "InService"]
        ready.sort(key=lambda one: one.id in last)
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
        meant = dataclasses.replace(group, tags={**group.tags, ledger.TRAFFIC: entry.after})
        # Who is taken out gets no more requests before its instances go; who comes gets some once they are there.
        if not traffic.share and await self._balance(meant):
            return Progress(done=False, detail="its target groups get no requests any more")
        steered = await steer(self._calls, self._reading, group, traffic)
        if entry.kind == "enableServerGroup":
            detail = f"{steered.up} of {steered.wanted} instances are healthy and take traffic"
            ready = not steered.changed and steered.up >= steered.wanted
            weighed = ready and await self._balance(meant)
            return Progress(done=ready and not weighed, detail=detail)
        detail = f"{steered.ending} instances end the requests that they have"
        return Progress(done=not steered.changed and steered.ending == 0, detail=detail)

    async def _destroy(self, group: Group) -> Progress:
        """End the token that made it, take its traffic, wait for the drain, remove it."""
        if group.deleting:
            return Progress(done=False, detail=f"waits for {len(group.members)} instances of {group.name} to end")
        await self._creating.end_token(group.token, group.name, Ended.DESTROYED, None)
        gone = dataclasses.replace(group, tags={**group.tags, ledger.TRAFFIC: str(Traffic())})
        if await self._balance(gone):
            return Progress(done=False, detail=f"the target groups of {group.name} get no requests any more")
        steered = await steer(self._calls, self._reading, group, Traffic())
        if steered.changed or steered.ending:
            return Progress(done=False, detail=f"{steered.ending} instances of {group.name} end their requests")
        await self._creating.remove(group)
        return Progress(done=False, detail=f"waits for {len(group.members)} instances of {group.name} to end")


def _percent(percent: int | None) -> str:
    return "" if percent is None else str(percent)


def _named(group: Group, change: InstanceChange) -> tuple[Member, ...]:
    """Return the instances that a change names and the group still has."""
    return tuple(member for member in group.staying if member.id in change.instances)


def _out(group: Group, change: LaterChange) -> frozenset[str] | None:
    """Return who is to be out of traffic after a change; None where it does not decide that."""
    there = {member.id for member in group.staying}
    match change:
        case EnableServerGroup():
            return frozenset()
        case RegisterInstances():
            return group.out & there - set(change.instances)
        case DeregisterInstances():
            out = (group.out | set(change.instances)) & there
            if len(out) > ledger.OUT_MAX:
                raise Conflict(
                    f"server group {group.name}: at most {ledger.OUT_MAX} instances can be kept out of traffic one by "
                    "one: disable a share of the group instead"
                )
            return frozenset(out)
        case _:
            return None
