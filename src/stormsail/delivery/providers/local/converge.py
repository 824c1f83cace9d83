"""One pass brings what is there closer to what the records want. Short, synchronous, under the application's lock.

A pass never waits for a drain, a slow start or a stopping process: it takes the next step of each and says what it
found. Whoever wants the end runs passes until the found state is the wanted one. Killed anywhere, the next pass, of
whatever process, carries on, because every step is chosen by looking and none by remembering.

The order inside a pass keeps requests safe: servers that come are added before others are drained, an instance
is stopped only when the load balancer no longer knows it, and known instances are forgotten last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stormsail.delivery.providers.errors import InvalidLaunch, Transient
from stormsail.delivery.providers.local import files, haproxy, process
from stormsail.delivery.providers.local.health import Check
from stormsail.delivery.providers.local.process import Found, Order
from stormsail.delivery.providers.local.runtime import RuntimeSocket, Server, server_name
from stormsail.delivery.providers.local.specification import launch_settings
from stormsail.delivery.providers.local.state import ApplicationFiles, GroupRecord
from stormsail.delivery.providers.local.weights import misweighed, server_weights

RESTART_SECONDS_MAX: Final = 60.0

Key = tuple[str, int]
"""A server group's name and an instance's index."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What there is of one application at one moment."""

    groups: tuple[GroupRecord, ...] = ()
    found: Mapping[Key, Found] = field(default_factory=dict)
    servers: Mapping[str, Server] = field(default_factory=dict)
    balancer_failure: str = ""
    """Why there is no load balancer, or empty."""

    def group(self, name: str) -> GroupRecord | None:
        """Return a group's record, or None when it is gone."""
        return next((group for group in self.groups if group.name == name), None)

    def server(self, group: str, index: int) -> Server | None:
        """Return the load balancer's server for an instance, or None when it has none."""
        return self.servers.get(server_name(group, index))

    def takes_traffic(self, group: str, index: int) -> bool:
        """Tell whether requests go to an instance's present process."""
        server, found = self.server(group, index), self.found.get((group, index))
        live = found is not None and found.alive and found.run is not None
        return server is not None and live and server.takes_traffic and server.port == _port(found)

    def gets_requests(self, group: str, index: int) -> bool:
        """Tell whether an instance takes traffic and has a part of it."""
        server = self.server(group, index)
        return server is not None and server.weight > 0 and self.takes_traffic(group, index)

    def to_check(self) -> tuple[Key, ...]:
        """Return the instances whose health decides what the next pass does."""
        return tuple(
            (group.name, index)
            for group in self.groups
            for index in group.staying()
            if (found := self.found.get((group.name, index))) and found.alive
            if not found.was_healthy or (index in group.with_traffic() and not self.takes_traffic(group.name, index))
        )


def look(application: ApplicationFiles) -> Situation:
    """Read everything and change nothing. Raises Transient when the load balancer runs and does not answer."""
    groups = application.groups()
    found = {
        (group.name, one.index): process.look(application.instance_directory(group.name, one.index))
        for group in groups
        for one in group.instances
    }
    if not haproxy.running(application):
        return Situation(groups, found, balancer_failure=f"the load balancer of {application.name} is not running")
    return Situation(groups, found, RuntimeSocket(application.balancer).servers())


def converge(application: ApplicationFiles, checks: Mapping[Key, Check], now_ms: int) -> Situation:
    """Take the next step of everything that is not as wanted; return what there is afterwards."""
    if not application.groups():
        haproxy.stop(application, now_ms)
        return Situation()
    for (group, index), check in checks.items():
        _note_health(application.instance_directory(group, index), check)
    _start_missing(application, now_ms)
    failure = _start_balancer(application)
    situation = look(application)
    if not failure:
        _send_traffic(application, situation, checks)
        _weigh(application, situation)
        _take_traffic(application, situation, now_ms)
        situation = look(application)
        entry = application.entry()
        assert entry is not None, f"application {application.name} has no port"
        haproxy.write_configuration(application, entry.port, _backends(situation))
    _stop_leaving(application, situation, now_ms)
    situation = look(application)
    if not situation.groups:
        haproxy.stop(application, now_ms)
    return Situation(situation.groups, situation.found, situation.servers, failure or situation.balancer_failure)


def restart_due_ms(found: Found) -> int:
    """Return when an instance that ended is to be started again: at once if it was healthy, else later each time."""
    run, ending = found.run, found.ending
    if run is None:
        return 0
    ended_at_ms = ending.at_ms if ending else run.started_at_ms
    if found.was_healthy:
        return ended_at_ms
    return ended_at_ms + int(1000 * min(RESTART_SECONDS_MAX, 2.0 ** (run.starts - 1)))


def refusal(situation: Situation, group: GroupRecord) -> InvalidLaunch | None:
    """Return the error for a group of which a command could not be executed at all."""
    for index in group.staying():
        found = situation.found.get((group.name, index))
        if found and not found.alive and found.ending and found.ending.refused:
            return InvalidLaunch(f"server group {group.name}: {found.ending.refused}")
    return None


def launched(situation: Situation, group: GroupRecord) -> int:
    """Count the instances that stay and have been started."""
    return sum(1 for index in group.staying() if (one := situation.found.get((group.name, index))) and one.run)


def _note_health(directory: Path, check: Check) -> None:
    found = process.look(directory)
    same = found.run is not None and (found.run.pid, found.run.start_ticks) == (check.pid, check.start_ticks)
    if check.healthy and same and found.run is not None and not found.was_healthy:
        process.note_healthy(directory, found.run)


def _start_missing(application: ApplicationFiles, now_ms: int) -> None:
    due: list[tuple[Path, Order]] = []
    for group in application.groups():
        for index in group.staying():
            directory = application.instance_directory(group.name, index)
            found = process.look(directory)
            if found.alive or restart_due_ms(found) > now_ms:
                continue
            if found.run is None or process.clear_leftovers(directory):
                due.append((directory, _order(application, group, index)))
    for directory, order in due:
        process.give_order(directory, order)
    refusals = process.start([directory for directory, _ in due])
    for directory, reason in refusals.items():
        ending = process.look(directory).ending
        if ending is None or not ending.refused:
            raise Transient(f"cannot start an instance in {directory}: {reason}")


def _order(application: ApplicationFiles, group: GroupRecord, index: int) -> Order:
    marks = {
        "STORMSAIL_SERVER_GROUP": group.name,
        "STORMSAIL_VERSION": group.launch.version,
        "STORMSAIL_INSTANCE": f"{group.name}:{index}",
        "STORMSAIL_DATA_DIR": str(application.home.data_dir),
    }
    return Order(
        command=group.launch.command,
        environment=process.instance_environment(group.launch.environment, marks),
        directory=group.directory,
        log=str(application.log(group.name, index)),
    )


def _start_balancer(application: ApplicationFiles) -> str:
    """Start the load balancer if it does not run; return why it cannot, or an empty text."""
    if haproxy.running(application):
        return ""
    groups = [group for group in application.groups() if not group.destroying]
    if not groups:
        return f"the load balancer of {application.name} is not running and has nothing left to serve"
    found = {
        (group.name, index): process.look(application.instance_directory(group.name, index))
        for group in groups
        for index in group.with_traffic()
    }
    if not process.clear_leftovers(application.balancer):
        return f"the load balancer of {application.name} is still ending"
    try:
        haproxy.start(application, _backends(Situation(tuple(groups), found)))
    except Transient as failure:
        return str(failure)
    return ""


def _backends(situation: Situation) -> Sequence[haproxy.Backend]:
    """Return the servers that a load balancer started now would get."""
    weights = server_weights(situation.groups)
    return [
        haproxy.Backend(name, _port(found), group.launch.health_path, weights[name])
        for group in situation.groups
        for index in group.with_traffic()
        if (found := situation.found.get((group.name, index))) and found.alive and found.was_healthy
        if (name := server_name(group.name, index))
    ]


def _send_traffic(application: ApplicationFiles, situation: Situation, checks: Mapping[Key, Check]) -> None:
    line = RuntimeSocket(application.balancer)
    weights = server_weights(situation.groups)
    for group in situation.groups:
        for index in group.with_traffic():
            found = situation.found[(group.name, index)]
            server = situation.server(group.name, index)
            if not _checked_healthy(found, checks.get((group.name, index))):
                continue
            if server is None:
                name = server_name(group.name, index)
                line.add(name, _port(found), group.launch.health_path, weights[name])
            elif not server.ready and server.port == _port(found):
                line.ready(server.name)
            else:
                continue
            _note_draining(application, group.name, index, 0)


def _weigh(application: ApplicationFiles, situation: Situation) -> None:
    """Have groups share the requests as is wanted; those that were just added have their weight."""
    line = RuntimeSocket(application.balancer)
    for name, weight in misweighed(situation.groups, situation.servers).items():
        line.weigh(name, weight)


def _take_traffic(application: ApplicationFiles, situation: Situation, now_ms: int) -> None:
    """Drain the servers that are not to have traffic, and remove those that are drained or out of time."""
    line = RuntimeSocket(application.balancer)
    owners = {server_name(group.name, one.index): (group, one) for group in situation.groups for one in group.instances}
    for name, server in situation.servers.items():
        if name not in owners:
            if server.ready:
                line.drain(name)
            elif server.sessions == 0:
                line.remove(name)
            continue
        group, one = owners[name]
        found = situation.found[(group.name, one.index)]
        if one.index in group.with_traffic() and found.alive and server.port == _port(found):
            continue
        if server.ready:
            line.drain(name)
            _note_draining(application, group.name, one.index, now_ms)
            continue
        if not one.draining_since_ms:
            # Drained by somebody who was killed, or could not write, before noting it.
            _note_draining(application, group.name, one.index, now_ms)
        limit_ms = int(launch_settings(group.launch).drain_seconds * 1000)
        late = one.draining_since_ms > 0 and now_ms - one.draining_since_ms >= limit_ms
        if server.sessions == 0 or late:
            line.remove(name, cut_off=late)


def _stop_leaving(application: ApplicationFiles, situation: Situation, now_ms: int) -> None:
    """Stop the instances that leave and have no server any more, and forget those that are gone."""
    for group in situation.groups:
        grace_ms = int(launch_settings(group.launch).stop_seconds * 1000)
        gone = set()
        for one in group.instances:
            directory = application.instance_directory(group.name, one.index)
            free = one.leaving and situation.server(group.name, one.index) is None
            if free and process.stop(directory, now_ms, grace_ms):
                files.remove_tree(directory)
                gone.add(one.index)
        record = application.group(group.name)
        if record is None:
            continue
        if gone:
            kept = tuple(one for one in record.instances if one.index not in gone)
            record = record.model_copy(update={"instances": kept})
            application.write_group(record)
        if record.destroying and not record.instances:
            application.remove_group(record)


def _note_draining(application: ApplicationFiles, name: str, index: int, since_ms: int) -> None:
    record = application.group(name)
    assert record is not None, f"server group {name} vanished under its lock"
    instances = tuple(
        one.model_copy(update={"draining_since_ms": since_ms}) if one.index == index else one
        for one in record.instances
    )
    if instances != record.instances:
        application.write_group(record.model_copy(update={"instances": instances}))


def _checked_healthy(found: Found, check: Check | None) -> bool:
    """Tell whether the check passed and was of the process that runs now."""
    run = found.run
    return (
        found.alive
        and run is not None
        and check is not None
        and check.healthy
        and (check.pid, check.start_ticks) == (run.pid, run.start_ticks)
    )


def _port(found: Found | None) -> int:
    return found.run.port if found is not None and found.run is not None else 0
