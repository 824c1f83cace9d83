"""What routes of the API share: finding the process and the caller, and answering with a tag."""

from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from pydantic import TypeAdapter
from starlette.responses import Response

from stormsail.web.changes.change import KEY_MAX, Caller, Done
from stormsail.web.changes.failures import sorted_failures
from stormsail.web.etags import matches, tag_of
from stormsail.web.guard.principals import Principal
from stormsail.web.problems import TITLES, Problem, ProblemView
from stormsail.web.state import Web, principal_of, web_of
from stormsail.web.views.paging import CURSOR_MAX, LIMIT_DEFAULT, LIMIT_MAX

Here = Annotated[Web, Depends(web_of)]
Who = Annotated[Principal, Depends(principal_of)]
Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="How many to return at most.")]
Cursor = Annotated[str, Query(max_length=CURSOR_MAX, description="`next_cursor` of the page before.")]
Text = Annotated[str, Query(max_length=1000)]
IfMatch = Annotated[str, Header(max_length=1000, description="Change it only while it has this ETag.")]
IdempotencyKey = Annotated[
    str, Header(max_length=KEY_MAX, description="The same key again gives the same answer and changes nothing again.")
]

LIMIT = LIMIT_DEFAULT


def answered(request: Request, view: Any) -> Response:
    """Answer a reading: with its tag, or 304 where the caller has it already; 503 where nothing was ever read."""
    if view is None:
        raise Problem("source-away", "the source does not answer", "come again in a moment", retry_after_s=2)
    body = TypeAdapter(type(view)).dump_json(view)
    tag = tag_of(body)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def changed(done: Done) -> Response:
    """Answer a change: the kept answer, its key, and whether it was kept."""
    headers = {"Idempotency-Key": done.idempotency_key, "Cache-Control": "no-store"}
    if done.replayed:
        headers["Idempotent-Replayed"] = "true"
    kind = "application/json" if done.status < 400 else "application/problem+json"
    return Response(done.body, done.status, headers, kind)


def _asker(web: Here, who: Who, idempotency_key: IdempotencyKey = "", if_match: IfMatch = "") -> Caller:
    return Caller(web, who, "api", "", idempotency_key, if_match)


Asker = Annotated[Caller, Depends(_asker)]
"""Whoever asks for a change over the API, with the conditions that the headers state; the body has the reason."""


def problems(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of the problems that a route may answer with, besides those of every route."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in ("bad-request", "not-signed-in", "not-allowed", "invalid", "too-many-requests", "source-away", *kinds):
        status, title = TITLES[kind]
        said = found.setdefault(
            status, {"description": "", "content": {"application/problem+json": {"schema": PROBLEM_SCHEMA}}}
        )
        said["description"] = " / ".join(filter(None, [said["description"], title]))
    return found


PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}

READ = problems()
READ_ONE = problems("not-found")
CHANGE = problems(
    "not-found", "conflict", "changed", "too-large", "engine-refused", "unknown-outcome", "unsupported-media-type"
)

__all__ = [
    "CHANGE",
    "LIMIT",
    "READ",
    "READ_ONE",
    "Asker",
    "Cursor",
    "Here",
    "Limit",
    "ProblemView",
    "Text",
    "Who",
    "answered",
    "changed",
    "problems",
    "sorted_failures",
]
