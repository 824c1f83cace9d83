"""The dialogs of all changes: what it would do is shown first, then done when somebody says so and why."""

import contextlib
import uuid
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import HTMLResponse, Response

from stormsail.web.changes.change import Caller
from stormsail.web.changes.workflows import query_workflow
from stormsail.web.pages.asking import Pages
from stormsail.web.pages.changes import many, operations, schedules, server_groups, workflows
from stormsail.web.pages.changes.change import VALUE_MAX, Field, PageChange, Plan, Values, invalid
from stormsail.web.problems import Problem
from stormsail.web.state import principal_of, web_of

router = APIRouter()

CHANGES: Final = {
    **operations.CHANGES,
    **many.CHANGES,
    **server_groups.CHANGES,
    **workflows.CHANGES,
    **schedules.CHANGES,
}


@router.get("/actions/{key}")
async def dialog(request: Request, key: str, pages: Pages) -> Response:
    """Show the dialog of a change, with its plan."""
    try:
        change = _change(key)
        # What was picked in a list comes as the same name again and again.
        picked = {name: ",".join(request.query_params.getlist(name)) for name in request.query_params}
        values = _subject(change, picked)
        caller = _caller(request, values)
        fields = await change.fields(caller, values)
        filled = {**{field.name: field.value for field in fields}, **values}
        shown: dict[str, Any] = {"plan": await change.plan(caller, filled), "refused": None}
    except Problem as problem:
        return pages.alone("refused.html", problem=problem.view)
    return pages.alone(
        "change.html", key=key, change=change, fields=fields, values=filled, idempotency_key=_new(), **shown
    )


@router.post("/actions/{key}/plan")
async def plan(request: Request, key: str, pages: Pages) -> Response:
    """Show the plan again, with what the fields hold now."""
    found: Plan | None = None
    try:
        change = _change(key)
        values = await _form(request)
        found = await change.plan(_caller(request, values), {**values, **_subject(change, values)})
    except Problem as problem:
        return pages.alone("plan.html", plan=None, refused=problem.view)
    return pages.alone("plan.html", plan=found, refused=None)


@router.post("/actions/{key}")
async def make(request: Request, key: str, pages: Pages) -> Response:
    """Make the change. The same dialog sent twice makes it once: its idempotency key is drawn as it opens."""
    values: Values = {}
    change: PageChange | None = None
    try:
        change = _change(key)
        values = await _form(request)
        values = {**values, **_subject(change, values)}
        where = await change.make(_caller(request, values), values)
    except Problem as problem:
        if change is None:
            return pages.alone("refused.html", problem=problem.view)
        return await _again(request, pages, key, change, values, problem)
    if change.many:
        return pages.alone("many.html", change=change, key=key, values=values)
    # The dialog stays until it hears of the end: an event at an element that was swapped out reaches nobody.
    done = {"HX-Trigger": "stormsail:done", "HX-Reswap": "none"}
    return Response(status_code=200, headers={"HX-Redirect": where} if where else done)


@router.post("/actions/{key}/next")
async def next_of_many(request: Request, key: str, pages: Pages) -> Response:
    """Carry out the next few of many; what comes back asks for those after them. Asked again, it does nothing twice."""
    try:
        values = await _form(request)
        part = await many.go_on(_caller(request, values), _change(key), values)
    except Problem as problem:
        return pages.alone("many_part.html", part=None, problem=problem.view, key=key)
    return pages.alone("many_part.html", part=part, problem=None, key=key)


@router.post("/workflows/query")
async def query(request: Request, pages: Pages) -> HTMLResponse:
    """Ask a workflow something, and show what its worker answers."""
    values = await _form(request)
    try:
        said = workflows.arguments_of(values.get("arguments", ""))
        asked = (values.get("workflow", ""), values.get("run", ""), values.get("query_type", ""))
        answer = await query_workflow(_caller(request, values), *asked, said)
    except Problem as problem:
        return pages.alone("answer.html", problem=problem.view, answer=None)
    return pages.alone("answer.html", problem=None, answer=answer)


async def _again(
    request: Request, pages: Pages, key: str, change: PageChange, values: Values, problem: Problem
) -> Response:
    """Show the dialog again with what was written, and why it was turned down."""
    caller = _caller(request, values)
    try:
        fields = await change.fields(caller, values)
    except Problem:
        return pages.alone("refused.html", problem=problem.view)
    found: Plan | None = None
    with contextlib.suppress(Problem):  # Told above the fields already.
        found = await change.plan(caller, values)
    kept = tuple(_with(field, values) for field in fields)
    return pages.alone(
        "change.html",
        key=key,
        change=change,
        fields=kept,
        values=values,
        # What has an answer under the old key would only get that answer again.
        idempotency_key=_new() if problem.kind != "unknown-outcome" else values.get("idempotency_key", _new()),
        plan=found,
        refused=problem.view,
    )


def _with(field: Field, values: Values) -> Field:
    value = values.get(field.name, field.value)
    return Field(field.name, field.label, field.kind, value, field.hint, field.options, field.required)


def _change(key: str) -> PageChange:
    if key not in CHANGES:
        raise Problem("not-found", f"there is no change called {key!r}", "go back to the page")
    return CHANGES[key]


def _subject(change: PageChange, values: Values) -> dict[str, str]:
    missing = [name for name in change.subject if not values.get(name)]
    if missing:
        raise invalid([(name, "part of the address of this dialog") for name in missing])
    return {name: values[name] for name in change.subject}


async def _form(request: Request) -> dict[str, str]:
    form = await request.form()
    values = {name: value for name, value in form.items() if not isinstance(value, UploadFile)}
    too_long = [name for name, value in values.items() if len(value) > VALUE_MAX]
    if too_long:
        raise invalid([(name, f"at most {VALUE_MAX} characters") for name in too_long])
    return values


def _caller(request: Request, values: Values) -> Caller:
    return Caller(
        web_of(request),
        principal_of(request),
        "page",
        reason=values.get("reason", "").strip(),
        idempotency_key=values.get("idempotency_key", ""),
    )


def _new() -> str:
    return str(uuid.uuid4())
