"""The part of `server-group` that talks to the engine; imported only when one of its commands runs."""

from typing import Any, Final

from stormsail.cli.changes import Plan, carry_out, output_lines, request_for
from stormsail.cli.connection import connected, run
from stormsail.cli.deploy_run import label, no_server_group
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import ChangeOptions, Place
from stormsail.cli.output import Column, Record, instant, show_list, show_one, style, table
from stormsail.delivery.client import ApplicationNotFound, DeliveryClient
from stormsail.delivery.model.names import InvalidName, parse_name
from stormsail.delivery.model.operation import OperationResult
from stormsail.delivery.model.server_group import Health, Observation, ServerGroup

_VERBS: Final = {
    "resizeServerGroup": ("resize", "resized"),
    "enableServerGroup": ("enable", "enabled"),
    "disableServerGroup": ("disable", "disabled"),
    "shiftTraffic": ("shift requests of", "shifted requests of"),
    "destroyServerGroup": ("destroy", "destroyed"),
    "cloneServerGroup": ("clone", "cloned"),
    "terminateInstances": ("terminate instances of", "terminated instances of"),
    "terminateInstanceAndDecrementServerGroup": ("terminate an instance of", "terminated an instance of"),
    "registerInstances": ("register instances of", "registered instances of"),
    "deregisterInstances": ("deregister instances of", "deregistered instances of"),
}


def traffic(record: Record) -> str:
    """Say in words whether a server group takes traffic."""
    if not record["enabled"]:
        return "off"
    return "on" if record["weight_percent"] == 100 else f"{record['weight_percent']} %"


COLUMNS: Final = (
    Column("server group", lambda r: str(r["name"])),
    Column("version", lambda r: r["version"] or "-"),
    Column("traffic", traffic),
    Column("up", lambda r: f"{r['instances_up']}/{r['capacity']['desired']}"),
    Column("min/max", lambda r: f"{r['capacity']['min']}/{r['capacity']['max']}", wide=True),
    Column("created", lambda r: instant(r["created_at_ms"])),
    Column("address", lambda r: r["address"] or "-"),
    Column("command", lambda r: " ".join(r["command"]) or r["image"] or "-", wide=True),
)


def run_list(application: str, place: Place, output: str) -> int:
    """Print the server groups of one application or of all."""

    async def main() -> list[dict[str, Any]]:
        async with connected(place) as client:
            names = [application] if application else await client.applications(place.account)
            return [
                record_of(group, seen)
                for name in names
                if (seen := await _observe_unless_gone(client, place, name, bool(application))) is not None
                for group in seen.server_groups
            ]

    records = run(main)
    empty = "no server groups: deploy something with `stormsail deploy`"
    show_list(records, COLUMNS, "name", output, empty=empty)
    return int(ExitCode.OK)


async def _observe_unless_gone(
    client: DeliveryClient, place: Place, application: str, required: bool
) -> Observation | None:
    """Observe; an application that was destroyed since it was listed is no error, one that was asked for is."""
    try:
        return await client.observe(place.account, application)
    except ApplicationNotFound:
        if required:
            raise
        return None


def run_get(name: str, place: Place, output: str) -> int:
    """Print one server group with its instances."""

    async def main() -> dict[str, Any]:
        async with connected(place) as client:
            group, seen = await find(client, place, name)
            record = record_of(group, seen)
            return record | {"instances": [instance.model_dump(mode="json") for instance in group.instances]}

    record = run(main)
    show_one(record, _described(record), "name", output)
    return int(ExitCode.OK)


def run_change(
    operation_type: str,
    name: str,
    payload: dict[str, Any],
    place: Place,
    change: ChangeOptions,
    output: str,
) -> int:
    """Start a change of one server group and wait as asked."""
    done = _VERBS[operation_type][1]

    def text(result: OperationResult) -> str:
        return "\n".join([f"{done} {name}", *output_lines(result)])

    async def main() -> int:
        async with connected(place) as client:
            group, seen = await find(client, place, name)
            plan = plan_for(operation_type, group, seen, payload)
            # Who says yes to "nothing would answer" says so to the guard too. A group that has become the last one only
            # since we looked is still guarded.
            whole = {
                "serverGroupName": name,
                **payload,
                "allowOutage": takes_last(operation_type, group, seen, payload),
            }
            request = request_for(operation_type, group.moniker.app, whole, change, place.account)
            return await carry_out(client, place, request, plan, change, output, text)

    return run(main)


def plan_for(operation_type: str, group: ServerGroup, seen: Observation, payload: dict[str, Any]) -> Plan:
    """Say what will be done. What destroys, or takes a cluster's last traffic away, needs a yes."""
    verb = _VERBS[operation_type][0]
    line = f"{verb} {label(group)}: traffic {traffic(record_of(group, seen))}, {len(group.instances)} instances"
    capacity = payload.get("capacity")
    if capacity is not None:
        line += f" -> {capacity['desired']} (min {capacity['min']}, max {capacity['max']})"
    if operation_type == "shiftTraffic":
        before, after = group.request_percent, payload["percent"]
        line += f", {_share(before)} of the requests -> {_share(after)}"
    instances = payload.get("instanceIds") or [payload[key] for key in ("instance",) if key in payload]
    line += f": {', '.join(instances)}" if instances else ""
    last = takes_last(operation_type, group, seen, payload)
    match operation_type:
        case "destroyServerGroup" if last:
            needs_yes = f"{group.name} is the only one that serves {group.cluster}, and will be gone for good"
        case "destroyServerGroup":
            needs_yes = f"{group.name} will be gone for good"
        case _ if last:
            needs_yes = f"{group.name} is the only one that serves {group.cluster}: nothing would answer"
        case _:
            needs_yes = ""
    return Plan([line], ask=operation_type == "disableServerGroup", needs_yes=needs_yes)


def _share(percent: int | None) -> str:
    return "its part by its instances" if percent is None else f"{percent} %"


def takes_last(operation_type: str, group: ServerGroup, seen: Observation, payload: dict[str, Any]) -> bool:
    """Tell whether a change takes all traffic from the only group that serves its cluster."""
    others = [other for other in seen.cluster(group.cluster) if other.enabled and other.name != group.name]
    if not group.enabled or others:
        return False
    match operation_type:
        case "destroyServerGroup":
            return True
        case "disableServerGroup":
            return bool(payload.get("desiredPercentage") == 100)
        case "resizeServerGroup":
            return bool(payload["capacity"]["desired"] == 0)
        case "terminateInstances" | "deregisterInstances" | "terminateInstanceAndDecrementServerGroup":
            named = payload.get("instanceIds") or [payload.get("instance")]
            return all(one.id in named for one in group.instances if one.health is Health.UP)
    return False


async def find(client: DeliveryClient, place: Place, name: str) -> tuple[ServerGroup, Observation]:
    """Find a server group by its name, or fail naming those that are there."""
    try:
        moniker = parse_name(name)
    except InvalidName as error:
        raise CommandFailed(
            str(error), next_step="names look like app-stack-detail-v000", code=ExitCode.USAGE
        ) from error
    try:
        seen = await client.observe(place.account, moniker.app)
    except ApplicationNotFound as error:
        raise CommandFailed(
            f"no server group {name!r}: {error}",
            next_step="`stormsail server-group list` shows all",
            code=ExitCode.NOT_FOUND,
        ) from error
    group = seen.find(name)
    if group is None:
        raise no_server_group(name, seen.server_groups)
    return group, seen


def record_of(group: ServerGroup, seen: Observation) -> dict[str, Any]:
    """Return what programs read of a server group; the keys are part of the command line's contract."""
    return {
        "name": group.name,
        "application": seen.application,
        "cluster": group.cluster,
        "account": group.account,
        "location": group.location,
        "version": group.launch.version,
        "enabled": group.enabled,
        "weight_percent": group.weight_percent,
        "capacity": group.capacity.model_dump(),
        "instances_up": group.count(Health.UP) + group.count(Health.OUT_OF_SERVICE),
        "instances_total": len(group.instances),
        "created_at_ms": group.created_at_ms,
        "command": list(group.launch.command),
        "image": group.launch.image,
        "address": seen.address,
        "as_of_ms": seen.as_of_ms,
    }


def _described(record: dict[str, Any]) -> str:
    capacity = record["capacity"]
    rows = {
        "server group": record["name"],
        "version": record["version"] or "-",
        "traffic": traffic(record),
        "capacity": f"{capacity['desired']} (min {capacity['min']}, max {capacity['max']})",
        "created": instant(record["created_at_ms"]),
        "address": record["address"] or "-",
        "runs": " ".join(record["command"]) or record["image"] or "-",
    }
    width = max(map(len, rows))
    lines = [f"{style(key.ljust(width), bold=True)}  {value}" for key, value in rows.items()]
    instances = [
        [item["id"], item["health"], item["address"] or "-", instant(item["launched_at_ms"]), item["detail"]]
        for item in record["instances"]
    ]
    if instances:
        lines += ["", table(["instance", "health", "address", "launched", "detail"], instances)]
    return "\n".join(lines)
