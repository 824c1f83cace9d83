"""Changing any workflow: signal, update, reset, cancel, terminate."""

import json
from typing import Any, Final

from stormsail.delivery.records.keys import Role
from stormsail.web.changes import workflows as changing
from stormsail.web.changes.change import Caller
from stormsail.web.pages.changes.change import (
    Field,
    PageChange,
    Plan,
    Values,
    command,
    gone,
    invalid,
    must_say_why,
    no_fields,
    sorted_failures,
    whole_number,
)
from stormsail.web.pages.words import segment
from stormsail.web.views.workflow import WorkflowView, read_workflow

SUBJECT: Final = ("workflow", "run")
_ARGUMENTS_HINT: Final = "JSON: one value, or a list of several. Empty for none."


async def _seen(caller: Caller, values: Values) -> WorkflowView:
    caller.principal.must(Role.READ)
    with sorted_failures():
        view = await read_workflow(caller.web.sources, values["workflow"], values["run"])
    if view is None:
        raise gone(f"workflow {values['workflow']}")
    return view


def arguments_of(text: str) -> list[Any]:
    """Return a field's arguments. Raises Problem."""
    if not text.strip():
        return []
    try:
        value = json.loads(text)
    except ValueError as error:
        raise invalid([("arguments", f"JSON; this is not, because of {error}")]) from None
    return value if isinstance(value, list) else [value]


def _words(verb: str, values: Values, *more: str) -> str:
    said = values.get("reason", "")
    return command("workflow", *verb.split(), "-w", values["workflow"], "-r", values["run"], *more, reason=said)


def _input(values: Values) -> list[str]:
    said = arguments_of(values.get("arguments", ""))
    return [word for value in said for word in ("--input", json.dumps(value, ensure_ascii=False))]


async def _call_fields(_: Caller, __: Values) -> tuple[Field, ...]:
    return (
        Field("name", "Name", required=True),
        Field("arguments", "Arguments", "area", hint=_ARGUMENTS_HINT),
    )


async def _signal_plan(caller: Caller, values: Values) -> Plan:
    await _seen(caller, values)
    name = values.get("name", "")
    text = f"Signal {name} is written into the history; its worker sees it next." if name else "Say which signal."
    return Plan((text,), _words("signal", values, "--name", name or "NAME", *_input(values)))


async def _update_plan(caller: Caller, values: Values) -> Plan:
    await _seen(caller, values)
    name = values.get("name", "")
    text = f"Its worker takes update {name} or turns it down, and answers." if name else "Say which update."
    words = _words("update execute", values, "--name", name or "NAME", *_input(values))
    return Plan((text,), words)


async def _reset_fields(_: Caller, __: Values) -> tuple[Field, ...]:
    options = (
        (changing.ResetTo.LAST.value, "the last workflow task"),
        (changing.ResetTo.FIRST.value, "the first workflow task: from the beginning"),
        ("event", "the event named below"),
    )
    return (
        Field("to", "Go on from", "select", options[0][0], options=options),
        Field(
            "event",
            "Event",
            "number",
            hint="The WorkflowTaskCompleted event to go on after; only with the last choice.",
        ),
    )


def _target(values: Values) -> changing.ResetTo | int:
    if values.get("to") == "event":
        return whole_number(values, "event", most=10_000_000)
    try:
        return changing.ResetTo(values.get("to", ""))
    except ValueError:
        raise invalid([("to", "one of those offered")]) from None


async def _reset_plan(caller: Caller, values: Values) -> Plan:
    view, target = await _seen(caller, values), _target(values)
    where = f"event {target}" if isinstance(target, int) else f"the {target.value.replace('-', ' ')}"
    lines = [f"A new run begins with this one's history up to {where} and goes on from there."]
    if view.workflow.status == "Running":
        lines.append("This run is terminated.")
    flag = ("--event-id", str(target)) if isinstance(target, int) else ("--type", _RESET_TYPES[target])
    return Plan(tuple(lines), _words("reset", values, *flag))


_RESET_TYPES: Final = {
    changing.ResetTo.FIRST: "FirstWorkflowTask",
    changing.ResetTo.LAST: "LastWorkflowTask",
}


async def _cancel_plan(caller: Caller, values: Values) -> Plan:
    view = await _seen(caller, values)
    lines = ("The workflow is asked to cancel itself; what it does then is its own decision.",)
    return Plan(lines, _words("cancel", values), _closed(view))


async def _terminate_plan(caller: Caller, values: Values) -> Plan:
    view = await _seen(caller, values)
    return Plan(
        ("The run ends at once, as terminated.",),
        _words("terminate", values),
        ("Its worker is not asked, and nothing that it did is put back.", *_closed(view)),
    )


def _closed(view: WorkflowView) -> tuple[str, ...]:
    return () if view.workflow.status == "Running" else ("It has ended already: there is nothing to stop.",)


def _name(values: Values) -> str:
    name = values.get("name", "").strip()
    if not name:
        raise invalid([("name", "the name of what the workflow takes")])
    return name


async def _make_signal(caller: Caller, values: Values) -> str:
    must_say_why(values)
    said = arguments_of(values.get("arguments", ""))
    await changing.signal_workflow(caller, values["workflow"], values["run"], _name(values), said)
    return ""


async def _make_update(caller: Caller, values: Values) -> str:
    must_say_why(values)
    said = arguments_of(values.get("arguments", ""))
    await changing.update_workflow(caller, values["workflow"], values["run"], _name(values), said)
    return ""


async def _make_reset(caller: Caller, values: Values) -> str:
    must_say_why(values)
    done = await changing.reset_workflow(caller, values["workflow"], values["run"], _target(values))
    return f"/workflows/{segment(values['workflow'])}/{segment(done.value['run_id'])}"


async def _make_cancel(caller: Caller, values: Values) -> str:
    must_say_why(values)
    await changing.cancel_workflow(caller, values["workflow"], values["run"])
    return ""


async def _make_terminate(caller: Caller, values: Values) -> str:
    must_say_why(values)
    await changing.terminate_workflow(caller, values["workflow"], values["run"])
    return ""


CHANGES: Final = {
    "signal": PageChange("Signal the workflow", "Signal", SUBJECT, _signal_plan, _make_signal, _call_fields),
    "update": PageChange("Update the workflow", "Update", SUBJECT, _update_plan, _make_update, _call_fields),
    "reset": PageChange("Reset the workflow", "Reset", SUBJECT, _reset_plan, _make_reset, _reset_fields, True),
    "cancel-workflow": PageChange(
        "Cancel the workflow", "Cancel it", SUBJECT, _cancel_plan, _make_cancel, no_fields, True
    ),
    "terminate": PageChange(
        "Terminate the workflow", "Terminate", SUBJECT, _terminate_plan, _make_terminate, no_fields, True
    ),
}
