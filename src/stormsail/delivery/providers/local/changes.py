"""What a token's change does to the records, exactly once, and when it is done. All under the application's lock.

A change is applied by one write of the group's record, which holds the token too. The token's own file comes before,
so that a token seen with another change is noticed, and is written again at the end, so that later calls get the same
answer whatever became of the group.
"""

from typing import Any, Final

from pydantic import TypeAdapter

from stormsail.delivery.model.server_group import Capacity
from stormsail.delivery.providers.errors import Conflict, InvalidLaunch, NotFound, Permanent
from stormsail.delivery.providers.local import haproxy, launch
from stormsail.delivery.providers.local.converge import Situation, launched, refusal
from stormsail.delivery.providers.local.launch import LOOPBACK
from stormsail.delivery.providers.local.specification import INSTANCES_MAX, checked_directory, launch_settings
from stormsail.delivery.providers.local.state import ApplicationFiles, GroupRecord, Home, TokenRecord
from stormsail.delivery.providers.local.weights import misweighed
from stormsail.delivery.providers.provider import (
    Change,
    CreateServerGroup,
    DeregisterInstances,
    DestroyServerGroup,
    EnableServerGroup,
    InstanceChange,
    Progress,
    RegisterInstances,
    ResizeServerGroup,
    ServerGroupChange,
    ShiftTraffic,
    TerminateInstances,
)

_CHANGE: Final[TypeAdapter[Change]] = TypeAdapter(Change)
_FAILURES: Final[dict[str, type[Permanent]]] = {one.kind: one for one in (Conflict, InvalidLaunch, NotFound)}


def ended(home: Home, token: str, change: Change) -> Progress | None:
    """Return or raise how a token ended; None when it has not. Raises Conflict for a token with another change."""
    record = home.token(token)
    return None if record is None else _answer(record, change)


def without_application(change: Change) -> Progress:
    """Answer a change to a group of an application that has no files at all."""
    if isinstance(change, DestroyServerGroup):
        return Progress(done=True, detail=f"server group {change.name} is not there")
    raise _missing(change)


def admit(application: ApplicationFiles, token: str, change: ServerGroupChange, now_ms: int) -> Progress | None:
    """Apply a change unless it was; return its end where there is nothing to wait for."""
    group = application.group(change.name)
    if group is not None and (group.token == token or group.applied(token)):
        return None
    if group is None and not isinstance(change, CreateServerGroup):
        return without_application(change)
    wanted = _wanted(application, group, token, change, now_ms)
    record = application.home.claim_token(TokenRecord(token=token, change=_plain(change)))
    answer = _answer(record, change)
    if answer is None:
        application.write_group(wanted)
    return answer


def settle(application: ApplicationFiles, token: str, change: Change, situation: Situation) -> Progress:
    """Say how an admitted change stands; the first time that it is done, or failed, note that for good."""
    answer = ended(application.home, token, change)
    if answer is not None:
        return answer
    group = situation.group(change.name)
    if group is None:
        return without_application(change)
    if group.failure:
        return Progress(done=False, detail=f"{group.failure}; what was made is being removed")
    if group.destroying and not isinstance(change, DestroyServerGroup):
        raise Conflict(f"server group {group.name} is being destroyed")
    if group.superseded(token):
        raise Conflict(f"server group {group.name} was changed again before this change was done")
    failure = refusal(situation, group)
    if failure and isinstance(change, CreateServerGroup):
        failed = group.model_copy(update={"failure": str(failure), "destroying": True}).sized()
        application.write_group(failed)
        return Progress(done=False, detail=f"{failure}; what was made is being removed")
    if failure and isinstance(change, ResizeServerGroup):
        _revert(application, group, token)
        end(application.home, token, failure_kind=failure.kind, detail=str(failure))
        raise failure
    standing = _standing(application, situation, group, change)
    if standing.done:
        end(application.home, token, detail=standing.detail, output=standing.output)
    return standing


def withdraw(application: ApplicationFiles, token: str, change: Change) -> bool:
    """Put back what a change had set; False when there is nothing to put back or to wait for."""
    record = application.home.token(token)
    group = application.group(change.name)
    if record is None or group is None or _parsed(record) != change:
        return False
    if record.ended and not record.canceled:
        return False
    if isinstance(change, DestroyServerGroup | TerminateInstances):
        return group.applied(token) is not None
    # The token first: from here on nobody applies or continues this change, whenever we are killed.
    end(application.home, token, failure_kind=Conflict.kind, detail="this change was canceled", canceled=True)
    if isinstance(change, CreateServerGroup):
        if group.token != token:
            return False
        application.write_group(group.model_copy(update={"destroying": True}).sized())
        return True
    return _revert(application, group, token)


def standing_of_cancel(situation: Situation, change: Change) -> Progress:
    """Say how far a cancelled change has been put back."""
    group = situation.group(change.name)
    if group is None:
        return Progress(done=True, detail=f"server group {change.name} was removed")
    if group.destroying:
        return Progress(done=False, detail=f"waits for {len(group.instances)} instances to end")
    if isinstance(change, ResizeServerGroup | TerminateInstances):
        return _resized(situation, group)
    if isinstance(change, ShiftTraffic):
        return _weighed(situation, group)
    return _drained(situation, group)


def abandon(application: ApplicationFiles) -> None:
    """Mark every group of an application as to be destroyed without waiting for requests in flight."""
    for group in application.groups():
        launch = group.launch.model_copy(update={"settings": {**group.launch.settings, "drain_seconds": 0}})
        application.write_group(group.model_copy(update={"destroying": True, "launch": launch}).sized())


def claimed(home: Home, token: str, change: Change) -> Progress | None:
    """Claim a token for a change; return or raise how it ended, or None when it has not."""
    return _answer(home.claim_token(TokenRecord(token=token, change=_plain(change))), change)


def end(home: Home, token: str, **how: Any) -> None:
    """Note how a token's change ended, for good."""
    record = home.token(token)
    assert record is not None, f"token {token} was never claimed"
    home.write_token(record.model_copy(update={"ended": True, **how}))


def _answer(record: TokenRecord, change: Change) -> Progress | None:
    if _parsed(record) != change:
        raise Conflict(
            f"token {record.token} was used before for another change ({record.change['kind']} of "
            f"{record.change['name']}): use a new token for each change"
        )
    if not record.ended:
        return None
    if record.failure_kind:
        raise _FAILURES[record.failure_kind](record.detail)
    return Progress(done=True, detail=record.detail, output=record.output)


def _wanted(
    application: ApplicationFiles, group: GroupRecord | None, token: str, change: ServerGroupChange, now_ms: int
) -> GroupRecord:
    """Return the record that a change makes of a group. Raises when the change may not be applied."""
    if isinstance(change, CreateServerGroup):
        if group is not None:
            raise Conflict(f"server group {change.name} exists already: create the next version")
        return _created(application, token, change, now_ms)
    assert group is not None
    if isinstance(change, DestroyServerGroup):
        return group.applying(token, change.kind, destroying=True)
    if group.destroying:
        raise Conflict(f"server group {group.name} is being destroyed")
    if isinstance(change, ResizeServerGroup):
        _check_count(change.capacity.desired)
        if change.expected is not None and change.expected != group.capacity:
            has, expected = group.capacity, change.expected
            raise Conflict(
                f"server group {group.name} has capacity {has.min}/{has.desired}/{has.max} and not "
                f"{expected.min}/{expected.desired}/{expected.max} as expected: look again before resizing it"
            )
        return group.applying(token, change.kind, capacity=change.capacity)
    if isinstance(change, InstanceChange):
        return _instances_changed(group, token, change)
    if isinstance(change, ShiftTraffic):
        return group.applying(token, change.kind, request_percent=change.percent)
    share = group.percent if group.enabled else 0
    if isinstance(change, EnableServerGroup):
        percent, instances = max(share, change.percent), group.with_out(())
        wanted = {"enabled": True, "percent": percent, "enabled_at_ms": now_ms, "instances": instances}
        return group.applying(token, change.kind, **wanted)
    left = min(share, 100 - change.percent)
    # A disabled group keeps 100, the share it would have: `weight_percent` speaks of while it is enabled.
    return group.applying(token, change.kind, enabled=left > 0, percent=left or 100)


def _instances_changed(group: GroupRecord, token: str, change: InstanceChange) -> GroupRecord:
    """Return the record with single instances on their way out, or in or out of traffic."""
    named = {_index(group, instance) for instance in change.instances}
    staying = group.staying()
    if isinstance(change, TerminateInstances):
        capacity = group.capacity
        if change.shrink:
            desired = max(0, capacity.desired - len(named.intersection(staying)))
            capacity = Capacity(min=min(capacity.min, desired), desired=desired, max=capacity.max)
        return group.applying(token, change.kind, instances=group.leaving(named), capacity=capacity)
    out = {one.index for one in group.instances if one.out}
    if isinstance(change, DeregisterInstances):
        return group.applying(token, change.kind, instances=group.with_out(out | named))
    if gone := named.difference(staying):
        raise NotFound(f"server group {group.name} has no instance {group.name}:{min(gone)} any more")
    return group.applying(token, change.kind, instances=group.with_out(out - named))


def _index(group: GroupRecord, instance: str) -> int:
    """Return the index of an instance that the group has or had. Raises NotFound for any other."""
    name, _, number = instance.rpartition(":")
    if name != group.name or not number.isdecimal() or int(number) >= group.next_index:
        has = ", ".join(f"{group.name}:{index}" for index in group.staying()) or "none"
        raise NotFound(f"server group {group.name} has no instance {instance!r}; it has {has}")
    return int(number)


def _created(application: ApplicationFiles, token: str, change: CreateServerGroup, now_ms: int) -> GroupRecord:
    _check_count(change.capacity.desired)
    directory = checked_directory(change.launch)
    settle_entry(application, launch_settings(change.launch).port)
    newest_at_ms = max((group.created_at_ms for group in application.groups()), default=0)
    return GroupRecord(
        name=change.name,
        token=token,
        capacity=change.capacity,
        launch=change.launch,
        directory=directory,
        created_at_ms=max(now_ms, newest_at_ms + 1),
        enabled=change.enabled,
        enabled_at_ms=now_ms if change.enabled else 0,
    ).sized()


def settle_entry(application: ApplicationFiles, wanted: int | None) -> None:
    """Give the application its port, once. Raises Conflict when it cannot have the wanted one."""
    entry = application.entry()
    if entry is not None:
        if wanted is None or wanted == entry.port:
            return
        if application.groups():
            raise Conflict(
                f"application {application.name} is served on port {entry.port}, not {wanted}: leave the launch "
                "setting 'port' out, or destroy its server groups first"
            )
    try:
        application.write_entry(haproxy.settle_port(wanted or 0))
    except launch.NoPort as taken:
        raise Conflict(f"application {application.name}: {taken}; free it or name another in 'port'") from None


def _check_count(count: int) -> None:
    if count > INSTANCES_MAX:
        raise InvalidLaunch(f"the local provider runs at most {INSTANCES_MAX} instances in a group, not {count}")


def _revert(application: ApplicationFiles, group: GroupRecord, token: str) -> bool:
    """Put back what this change had replaced, unless a later one replaced it since; drop the note of it."""
    mine = group.applied(token)
    if mine is None or group.superseded(token):
        return False
    before: dict[str, Any] = {
        "enabled": mine.enabled,
        "percent": mine.percent,
        "enabled_at_ms": mine.enabled_at_ms,
    }
    if mine.kind == "resizeServerGroup":
        before = {"capacity": mine.capacity}
    elif mine.kind == "shiftTraffic":
        before = {"request_percent": mine.request_percent}
    elif mine.kind in ("registerInstances", "deregisterInstances", "enableServerGroup"):
        before = {**(before if mine.kind == "enableServerGroup" else {}), "instances": group.with_out(mine.out)}
    changes = tuple(change for change in group.changes if change is not mine)
    application.write_group(group.model_copy(update={**before, "changes": changes}).sized())
    return True


def _standing(application: ApplicationFiles, situation: Situation, group: GroupRecord, change: Change) -> Progress:
    if isinstance(change, DestroyServerGroup):
        left = f"{len(group.instances)} instances of {group.name}"
        return Progress(done=False, detail=f"waits for {left} to be drained and to end")
    if situation.balancer_failure:
        return Progress(done=False, detail=situation.balancer_failure)
    if isinstance(change, CreateServerGroup | ResizeServerGroup | TerminateInstances):
        standing = _resized(situation, group)
    elif isinstance(change, ShiftTraffic):
        standing = _weighed(situation, group)
    elif isinstance(change, EnableServerGroup | RegisterInstances):
        standing = _enabled(situation, group)
    else:
        standing = _drained(situation, group)
    entry = application.entry()
    address = f"{LOOPBACK}:{entry.port}" if entry else ""
    return standing.model_copy(update={"output": {"server_group": group.name, "address": address}})


def _resized(situation: Situation, group: GroupRecord) -> Progress:
    started, leaving = launched(situation, group), len(group.instances) - len(group.staying())
    wanted = group.capacity.desired
    detail = f"{started} of {wanted} instances started"
    if leaving:
        return Progress(done=False, detail=f"{detail}, {leaving} being drained and stopped")
    return Progress(done=started == wanted, detail=detail)


def _enabled(situation: Situation, group: GroupRecord) -> Progress:
    wanted = group.with_traffic()
    have = sum(situation.takes_traffic(group.name, index) for index in wanted)
    return Progress(done=have == len(wanted), detail=f"{have} of {len(wanted)} instances are healthy and take traffic")


def _weighed(situation: Situation, group: GroupRecord) -> Progress:
    off = misweighed(situation.groups, situation.servers)
    share = (
        "its part by its instances" if group.request_percent is None else f"{group.request_percent}% of the requests"
    )
    return Progress(done=not off, detail=f"{group.name} takes {share}; {len(off)} servers are not weighed so yet")


def _drained(situation: Situation, group: GroupRecord) -> Progress:
    wanted = group.with_traffic()
    draining = [
        server
        for one in group.instances
        if one.index not in wanted and (server := situation.server(group.name, one.index)) is not None
    ]
    in_flight = sum(server.sessions for server in draining)
    if draining:
        return Progress(done=False, detail=f"{len(draining)} instances drain, {in_flight} requests in flight")
    return Progress(done=True, detail=f"{len(wanted)} instances take traffic")


def _missing(change: Change) -> NotFound:
    return NotFound(f"there is no server group {change.name}")


def _parsed(record: TokenRecord) -> Change:
    """Return a token's change. Parsed, as a version of us that knew fewer fields may have written it."""
    return _CHANGE.validate_python(record.change)


def _plain(change: Change) -> dict[str, Any]:
    return change.model_dump(mode="json")
