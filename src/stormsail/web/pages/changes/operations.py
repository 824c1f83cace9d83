"""Steering a running operation: retry, edit and rerun, skip, cancel."""

import json
from typing import Any, Final

from stormsail.delivery.model.operation import RolloutProgress
from stormsail.delivery.model.steering import Verb
from stormsail.web.changes.change import Caller
from stormsail.web.changes.operations import cancel_operation, steer_operation
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
from stormsail.web.pages.words import pretty, spaced
from stormsail.web.views.operation import OperationView, StepView, read_operation

SUBJECT: Final = ("operation", "call", "attempt")
_MISSING: Final = object()


async def _seen(caller: Caller, values: Values) -> OperationView:
    with sorted_failures():
        view = await read_operation(caller.web.sources, values["operation"])
    if view is None or not caller.principal.sees(view.operation.application, view.operation.account):
        raise gone(f"operation {values['operation'][:13]}")
    return view


async def _step(caller: Caller, values: Values) -> tuple[OperationView, StepView]:
    view = await _seen(caller, values)
    for step in view.steps or ():
        if step.call == values["call"] and step.steerable:
            return view, step
    raise gone(f"step {values['call']}, as one that runs or waits,")


def _words(verb: str, view: OperationView, values: Values, *more: str) -> str:
    short = view.operation.operation_id[:13]
    return command("operation", verb, short, "--step", values["call"], *more, reason=values.get("reason", ""))


async def _retry_plan(caller: Caller, values: Values) -> Plan:
    view, step = await _step(caller, values)
    what = f"{spaced(step.name)} {step.target}".strip()
    first = (
        f"{what} is tried again from where it failed"
        if step.status == "PAUSED"
        else f"{what} is tried now instead of when its next attempt is due"
    )
    return Plan((first, "Steps that are done are not done again."), _words("retry", view, values))


async def _skip_plan(caller: Caller, values: Values) -> Plan:
    view, step = await _step(caller, values)
    what = f"{spaced(step.name)} {step.target}".strip()
    return Plan(
        (f"The operation goes on as if {what} had been done.",),
        _words("skip", view, values),
        ("What the step would have done is not done, and nothing is made healthy by it.",),
    )


async def _rerun_fields(caller: Caller, values: Values) -> tuple[Field, ...]:
    _, step = await _step(caller, values)
    hint = "Change values; what the step is about (its kind, its server group) stays."
    return (Field("input", "Input of the step", "area", pretty(step.input), hint, required=True),)


async def _rerun_plan(caller: Caller, values: Values) -> Plan:
    view, step = await _step(caller, values)
    changes = _changed(step.input, values)
    pairs = _pairs(changes)
    if not pairs:
        return Plan(("Nothing is changed yet: edit the input above.",), _words("rerun", view, values))
    sets = [word for path, value in pairs for word in ("--set", f"{path}={_said(value)}")]
    lines = tuple(f"{path} becomes {_said(value)}" for path, value in pairs)
    return Plan(
        (f"{spaced(step.name)} is tried again with another input:", *lines), _words("rerun", view, values, *sets)
    )


async def _cancel_plan(caller: Caller, values: Values) -> Plan:
    view = await _seen(caller, values)
    if not view.can_cancel:
        raise gone(f"operation {view.operation.operation_id[:13]}, as one that runs,")
    done = [step for step in view.steps or () if step.status == "SUCCEEDED"]
    return Plan(
        (
            f"{spaced(view.operation.operation_type)} of {view.operation.cluster} stops",
            f"{len(done)} steps are done; what they changed is put back where it can be",
            "It ends as cancelled and names what it could not put back.",
        ),
        command("operation", "cancel", view.operation.operation_id[:13], reason=values.get("reason", "")),
    )


async def _led(caller: Caller, values: Values) -> tuple[OperationView, RolloutProgress]:
    view = await _seen(caller, values)
    if view.rollout is None:
        raise gone("a rollout in steps, as one that runs,")
    return view, view.rollout


def _lead_words(verb: str, view: OperationView, values: Values, *more: str) -> str:
    short = view.operation.operation_id[:13]
    return command("operation", verb, short, *more, reason=values.get("reason", ""))


async def _approve_plan(caller: Caller, values: Values) -> Plan:
    view, rollout = await _led(caller, values)
    lines = (f"The rollout goes on after step {rollout.step} of {rollout.steps}.", _share(rollout))
    return Plan(lines, _lead_words("approve", view, values))


async def _promote_fields(_: Caller, __: Values) -> tuple[Field, ...]:
    options = (("", "what it waits for now"), ("full", "all steps that are left: the new version takes over"))
    return (Field("full", "Pass over", "select", "", options=options),)


async def _promote_plan(caller: Caller, values: Values) -> Plan:
    view, rollout = await _led(caller, values)
    full = values.get("full") == "full"
    line = "The new version takes every request, without the steps that are left." if full else f"{rollout.doing} ends."
    words = _lead_words("promote", view, values, *(("--full",) if full else ()))
    return Plan((line, _share(rollout)), words, ("Nothing that was passed over is looked at.",))


async def _hold_plan(caller: Caller, values: Values) -> Plan:
    view, rollout = await _led(caller, values)
    lines = ("The rollout waits for a person before its next step.", _share(rollout))
    return Plan(lines, _lead_words("pause", view, values))


async def _abort_plan(caller: Caller, values: Values) -> Plan:
    view, rollout = await _led(caller, values)
    lines = ("The rollout is given up: every request goes back to the older version.", _share(rollout))
    return Plan(lines, _lead_words("abort", view, values))


def _share(rollout: RolloutProgress) -> str:
    return f"The new version gets {rollout.weight} % of the requests now."


def _changed(before: dict[str, Any], values: Values) -> dict[str, Any]:
    """Return the fields of the edited input that differ. Raises Problem."""
    try:
        after = json.loads(values.get("input", ""))
    except ValueError as error:
        raise invalid([("input", f"JSON; this is not, because of {error}")]) from None
    if not isinstance(after, dict):
        raise invalid([("input", "a JSON object, with the fields that the step has now")])
    taken = [name for name in before if name not in after]
    if taken:
        raise invalid([("input", f"every field that the step has now; {', '.join(taken)} is missing")])
    return _differing(before, after)


def _differing(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name, value in after.items():
        old = before.get(name, _MISSING)
        if isinstance(old, dict) and isinstance(value, dict):
            if inner := _differing(old, value):
                changes[name] = inner
        elif value != old:
            changes[name] = value
    return changes


def _pairs(changes: dict[str, Any], at: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for name, value in changes.items():
        path = f"{at}{name}"
        pairs += _pairs(value, f"{path}.") if isinstance(value, dict) and value else [(path, value)]
    return pairs


def _said(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


async def _steer(caller: Caller, verb: Verb, values: Values, changes: dict[str, Any] | None = None) -> str:
    must_say_why(values)
    attempt = whole_number(values, "attempt")
    await steer_operation(caller, values["operation"], verb, step=values["call"], attempt=attempt, changes=changes)
    return ""


async def _make_retry(caller: Caller, values: Values) -> str:
    return await _steer(caller, Verb.RETRY, values)


async def _make_skip(caller: Caller, values: Values) -> str:
    return await _steer(caller, Verb.SKIP, values)


async def _make_rerun(caller: Caller, values: Values) -> str:
    _, step = await _step(caller, values)
    return await _steer(caller, Verb.RERUN, values, _changed(step.input, values))


async def _make_cancel(caller: Caller, values: Values) -> str:
    must_say_why(values)
    await cancel_operation(caller, values["operation"])
    return ""


async def _make_lead(caller: Caller, verb: Verb, values: Values) -> str:
    must_say_why(values)
    attempt = whole_number(values, "attempt") if values.get("attempt") else 0
    full = {"full": True} if values.get("full") == "full" else None
    await steer_operation(caller, values["operation"], verb, step=values.get("call", ""), attempt=attempt, changes=full)
    return ""


async def _make_approve(caller: Caller, values: Values) -> str:
    return await _make_lead(caller, Verb.APPROVE, values)


async def _make_promote(caller: Caller, values: Values) -> str:
    return await _make_lead(caller, Verb.PROMOTE, values)


async def _make_hold(caller: Caller, values: Values) -> str:
    return await _make_lead(caller, Verb.PAUSE, values)


async def _make_abort(caller: Caller, values: Values) -> str:
    return await _make_lead(caller, Verb.ABORT, values)


CHANGES: Final = {
    "approve": PageChange("Approve", "Approve", SUBJECT, _approve_plan, _make_approve, no_fields),
    "promote": PageChange("Promote", "Promote", ("operation",), _promote_plan, _make_promote, _promote_fields),
    "hold": PageChange("Hold before the next step", "Hold", ("operation",), _hold_plan, _make_hold, no_fields),
    "abort": PageChange("Abort the rollout", "Abort", ("operation",), _abort_plan, _make_abort, no_fields, True),
    "retry": PageChange("Retry this step", "Retry now", SUBJECT, _retry_plan, _make_retry, no_fields),
    "rerun": PageChange("Edit input and rerun", "Rerun", SUBJECT, _rerun_plan, _make_rerun, _rerun_fields),
    "skip": PageChange("Skip this step", "Skip", SUBJECT, _skip_plan, _make_skip, no_fields, True),
    "cancel": PageChange(
        "Cancel and put back", "Cancel it", ("operation",), _cancel_plan, _make_cancel, no_fields, True
    ),
}
