"""The same asked of many operations: picked in a list, planned together, made a few at a time."""

from dataclasses import dataclass
from typing import Final

from stormsail.web.changes.bulk import OPERATIONS_MAX, BulkVerb, OneOfMany, steer_many
from stormsail.web.changes.change import Caller
from stormsail.web.changes.failures import invalid
from stormsail.web.pages.changes.change import (
    PageChange,
    Plan,
    Values,
    command,
    count_of,
    must_say_why,
    no_fields,
    sorted_failures,
    whole_number,
)
from stormsail.web.pages.words import spaced
from stormsail.web.problems import Problem
from stormsail.web.views.operation import read_operation

AT_A_TIME: Final = 5
"""How many are asked for before the dialog is told how far it is."""

NAMED_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class Part:
    """What became of a few, and what is left."""

    results: tuple[OneOfMany, ...]
    values: dict[str, str]
    """What the dialog sends to go on."""
    done_so_far: int
    of: int

    @property
    def over(self) -> bool:
        """Whether none is left."""
        return self.done_so_far >= self.of


def picked(values: Values) -> list[str]:
    """Return the ids that were picked, each once. Raises Problem."""
    ids = list(dict.fromkeys(one.strip() for one in values.get("operations", "").split(",") if one.strip()))
    if not 1 <= len(ids) <= OPERATIONS_MAX:
        raise invalid([("operations", f"pick from 1 to {OPERATIONS_MAX} operations in the list")])
    return ids


async def go_on(caller: Caller, change: PageChange, values: Values) -> Part:
    """Carry out the next few."""
    must_say_why(values)
    verb = next((verb for verb, one in _CHANGE_OF.items() if one is change), None)
    if verb is None:
        raise Problem("not-found", f"{change.title} is not made of many", "go back to the page")
    ids = picked(values)
    begin = whole_number(values, "from")
    few = ids[begin : begin + AT_A_TIME]
    made = await steer_many(caller, verb, few)
    kept = {name: values.get(name, "") for name in ("operations", "reason", "idempotency_key")}
    return Part(made.results, {**kept, "from": str(begin + len(few))}, begin + len(few), len(ids))


async def _plan(caller: Caller, values: Values, verb: BulkVerb, lines: tuple[str, ...]) -> Plan:
    ids = picked(values)
    named = []
    for one in ids[:NAMED_MAX]:
        with sorted_failures():
            view = await read_operation(caller.web.sources, one)
        if view is None or not caller.principal.sees(view.operation.application, view.operation.account):
            named.append(f"{one[:13]}: not known")
            continue
        named.append(f"{spaced(view.operation.operation_type)} of {view.operation.cluster} ({one[:13]})")
    if len(ids) > NAMED_MAX:
        named.append(f"and {len(ids) - NAMED_MAX} more")
    reason = values.get("reason", "")
    words = "\n".join(command("operation", verb.value, one[:13], reason=reason) for one in ids)
    return Plan((f"{count_of(len(ids), 'operation')}, each by itself:", *named, *lines), words)


async def _retry_plan(caller: Caller, values: Values) -> Plan:
    lines = ("The step that waits or backs off is tried now; steps that are done are not done again.",)
    return await _plan(caller, values, BulkVerb.RETRY, lines)


async def _cancel_plan(caller: Caller, values: Values) -> Plan:
    lines = ("Each stops, puts back what it can, and names what it could not.",)
    return await _plan(caller, values, BulkVerb.CANCEL, lines)


async def _check(_: Caller, values: Values) -> str:
    """Check what was sent before the first of them: the dialog then goes on by itself."""
    must_say_why(values)
    picked(values)
    return ""


CHANGES: Final = {
    "retry-many": PageChange(
        "Retry the picked operations", "Retry all", ("operations",), _retry_plan, _check, no_fields, many=True
    ),
    "cancel-many": PageChange(
        "Cancel the picked operations",
        "Cancel all",
        ("operations",),
        _cancel_plan,
        _check,
        no_fields,
        danger=True,
        many=True,
    ),
}

_CHANGE_OF: Final = {BulkVerb.RETRY: CHANGES["retry-many"], BulkVerb.CANCEL: CHANGES["cancel-many"]}
