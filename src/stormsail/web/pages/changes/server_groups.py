"""Changing what is deployed: resize, enable, disable and roll back."""

from typing import Any, Final

from stormsail.delivery.model.names import parse_name
from stormsail.web.changes.change import Caller
from stormsail.web.changes.operations import PlanView, plan_operation, start_operation
from stormsail.web.pages.changes.change import (
    Field,
    PageChange,
    Plan,
    Values,
    command,
    count_of,
    gone,
    must_say_why,
    no_fields,
    whole_number,
)
from stormsail.web.views.applications import ServerGroupView, read_application

SUBJECT: Final = ("application", "account", "server_group")


def _resizing(values: Values) -> dict[str, Any]:
    desired = whole_number(values, "desired")
    least, most = (whole_number(values, name) if values.get(name, "").strip() else desired for name in ("min", "max"))
    # Expected: what the plan was made from, so that nobody's change between plan and click is overwritten.
    expected = {name: whole_number(values, f"seen_{name}") for name in ("min", "desired", "max")}
    return {
        "serverGroupName": values["server_group"],
        "capacity": {"min": least, "desired": desired, "max": most},
        "constraints": {"capacity": expected},
    }


async def _resize_fields(caller: Caller, values: Values) -> tuple[Field, ...]:
    group = await _group(caller, values)
    fixed = group.min == group.desired == group.max
    hint = "Empty: the same as instances."
    return (
        Field("desired", "Instances", "number", str(group.desired), required=True),
        Field("min", "Fewest", "number", "" if fixed else str(group.min), hint),
        Field("max", "Most", "number", "" if fixed else str(group.max), hint),
        *(Field(f"seen_{name}", "", "hidden", str(getattr(group, name))) for name in ("min", "desired", "max")),
    )


async def _resize_plan(caller: Caller, values: Values) -> Plan:
    payload = _resizing(values)
    plan = await _planned(caller, "resizeServerGroup", values, payload)
    group, wanted = _in(plan, values), payload["capacity"]
    lines = [
        f"{group.name}: from {count_of(group.desired, 'instance')} to {wanted['desired']}{_between(wanted)}",
        f"{group.up + group.out_of_service} of {group.desired} are healthy now",
    ]
    if wanted["desired"] < group.desired:
        lines.append("Those that go are drained first: what they are answering they answer to its end.")
    warnings = ["It takes traffic, and nothing would be left of it."] if group.enabled and not wanted["desired"] else []
    words = ("server-group", "resize", group.name, str(wanted["desired"]))
    limits = ("--min", str(wanted["min"]), "--max", str(wanted["max"])) if _between(wanted) else ()
    return Plan(tuple(lines), command(*words, *limits, reason=values.get("reason", "")), _warned(plan, warnings))


def _between(capacity: dict[str, int]) -> str:
    return "" if capacity["min"] == capacity["max"] else f", never under {capacity['min']} or over {capacity['max']}"


async def _enable_plan(caller: Caller, values: Values) -> Plan:
    plan = await _planned(caller, "enableServerGroup", values, _named(values))
    group = _in(plan, values)
    lines = (
        f"{group.name} ({group.version or 'without a version label'}) takes traffic once its instances are healthy: "
        f"{group.up + group.out_of_service} of {group.desired} are",
        _others(plan, group, "keep theirs, so both versions serve"),
    )
    return Plan(
        tuple(filter(None, lines)),
        command("server-group", "enable", group.name, reason=values.get("reason", "")),
        _warned(plan, []),
    )


async def _shift_fields(caller: Caller, values: Values) -> tuple[Field, ...]:
    group = await _group(caller, values)
    share = "" if group.request_percent is None else str(group.request_percent)
    hint = "0 to 100; empty gives it its part by its instances again. The other versions that serve share the rest."
    return (Field("percent", "Percent of the requests", "number", share, hint),)


async def _shift_plan(caller: Caller, values: Values) -> Plan:
    payload = _shifting(values)
    plan = await _planned(caller, "shiftTraffic", values, payload)
    group, percent = _in(plan, values), payload["percent"]
    now = "its part by its instances" if group.request_percent is None else f"{group.request_percent} %"
    then = "its part by its instances" if percent is None else f"{percent} %"
    others = _others(plan, group, "share the rest")
    lines = (f"{group.name} ({group.version or 'no label'}) takes {then} of the requests; now {now}", others)
    warnings = [] if others else ["No other version of the cluster takes traffic: it gets every request in any case."]
    if not group.up + group.out_of_service and percent:
        warnings.append("None of its instances is healthy: it would be refused.")
    words = ("--by-instances",) if percent is None else (str(percent),)
    line = command("server-group", "shift", group.name, *words, reason=values.get("reason", ""))
    return Plan(tuple(filter(None, lines)), line, _warned(plan, warnings))


def _shifting(values: Values) -> dict[str, Any]:
    said = values.get("percent", "").strip()
    return {**_named(values), "percent": whole_number(values, "percent", most=100) if said else None}


async def _disable_plan(caller: Caller, values: Values) -> Plan:
    plan = await _planned(caller, "disableServerGroup", values, _named(values))
    group = _in(plan, values)
    others = _others(plan, group, "take its share")
    lines = (f"{group.name} loses its traffic; its instances keep running", others)
    return Plan(
        tuple(filter(None, lines)),
        command("server-group", "disable", group.name, reason=values.get("reason", "")),
        _warned(plan, [] if others else ["No other version of the cluster takes traffic: nothing would serve it."]),
    )


async def _rollback_fields(caller: Caller, values: Values) -> tuple[Field, ...]:
    older = [group for group in await _cluster(caller, values) if group.name != values["server_group"]]
    # Most recently in service first: that is what "back" means unless somebody says otherwise.
    older.sort(key=lambda group: (group.enabled_at_ms, group.created_at_ms), reverse=True)
    options = tuple((group.name, f"{group.name} ({group.version or 'no label'})") for group in older)
    if not options:
        raise gone(f"another version of {parse_name(values['server_group']).cluster}")
    return (Field("to", "Go back to", "select", options[0][0], options=options),)


async def _rollback_plan(caller: Caller, values: Values) -> Plan:
    plan = await _planned(caller, "rollbackServerGroup", values, _rolling_back(values))
    current = _in(plan, values)
    old = next((group for group in plan.server_groups if group.name == values.get("to")), None)
    if old is None:
        raise gone(values.get("to", "the version to go back to"))
    lines = (
        f"{old.name} ({old.version or 'no label'}) takes traffic again once it is seen healthy: "
        f"{old.up + old.out_of_service} of {old.desired} are now",
        f"then {current.name} ({current.version or 'no label'}) loses its traffic and keeps running",
    )
    name = parse_name(current.name)
    parts = (("--stack", name.stack), ("--detail", name.detail), ("--to", old.name))
    words = [word for flag, value in parts if value for word in (flag, value)]
    return Plan(
        lines, command("rollback", values["application"], *words, reason=values.get("reason", "")), _warned(plan, [])
    )


def _rolling_back(values: Values) -> dict[str, Any]:
    name = parse_name(values["server_group"])
    return {
        "application": values["application"],
        "stack": name.stack,
        "detail": name.detail,
        "rollbackServerGroupName": values["server_group"],
        "restoreServerGroupName": values.get("to", ""),
    }


def _named(values: Values) -> dict[str, Any]:
    return {"serverGroupName": values["server_group"]}


async def _start(caller: Caller, operation_type: str, values: Values, payload: dict[str, Any]) -> str:
    must_say_why(values)
    done = await start_operation(caller, operation_type, values["application"], values["account"], payload)
    return f"/operations/{done.value['operation_id']}"


async def _planned(caller: Caller, operation_type: str, values: Values, payload: dict[str, Any]) -> PlanView:
    return await plan_operation(caller, operation_type, values["application"], values["account"], payload)


async def _cluster(caller: Caller, values: Values) -> tuple[ServerGroupView, ...]:
    seen = await read_application(caller.web.sources, values["application"], sees=caller.principal.sees)
    return tuple(
        group
        for cluster in (seen.clusters if seen is not None else ())
        if cluster.account == values["account"] and cluster.name == parse_name(values["server_group"]).cluster
        for group in cluster.server_groups
    )


async def _group(caller: Caller, values: Values) -> ServerGroupView:
    for group in await _cluster(caller, values):
        if group.name == values["server_group"]:
            return group
    raise gone(values["server_group"])


def _in(plan: PlanView, values: Values) -> ServerGroupView:
    for group in plan.server_groups:
        if group.name == values["server_group"]:
            return group
    raise gone(values["server_group"])


def _others(plan: PlanView, group: ServerGroupView, do: str) -> str:
    names = [other.name for other in plan.server_groups if other.enabled and other.name != group.name]
    return f"{', '.join(names)} {do}" if names else ""


def _warned(plan: PlanView, more: list[str]) -> tuple[str, ...]:
    running = [f"Operation {one[:13]} is changing this cluster: this one would be refused." for one in plan.running]
    return (*running, *more)


async def _make_resize(caller: Caller, values: Values) -> str:
    return await _start(caller, "resizeServerGroup", values, _resizing(values))


async def _make_enable(caller: Caller, values: Values) -> str:
    return await _start(caller, "enableServerGroup", values, _named(values))


async def _make_shift(caller: Caller, values: Values) -> str:
    return await _start(caller, "shiftTraffic", values, _shifting(values))


async def _make_disable(caller: Caller, values: Values) -> str:
    return await _start(caller, "disableServerGroup", values, _named(values))


async def _make_rollback(caller: Caller, values: Values) -> str:
    return await _start(caller, "rollbackServerGroup", values, _rolling_back(values))


CHANGES: Final = {
    "resize": PageChange("Resize a server group", "Resize", SUBJECT, _resize_plan, _make_resize, _resize_fields),
    "enable": PageChange("Enable a server group", "Enable", SUBJECT, _enable_plan, _make_enable, no_fields),
    "shift": PageChange("Shift traffic", "Shift", SUBJECT, _shift_plan, _make_shift, _shift_fields),
    "disable": PageChange("Disable a server group", "Disable", SUBJECT, _disable_plan, _make_disable, no_fields, True),
    "rollback": PageChange("Roll back", "Roll back", SUBJECT, _rollback_plan, _make_rollback, _rollback_fields, True),
}
