"""Errors as RFC 9457 problem details: what is the matter, which field breaks which rule, and what to do next."""

from dataclasses import dataclass
from typing import Any, Final

from starlette.responses import JSONResponse, Response

MEDIA_TYPE: Final = "application/problem+json"

TITLES: Final = {
    "bad-request": (400, "The request cannot be understood"),
    "bad-cursor": (400, "The cursor is not one that this list gave out"),
    "not-signed-in": (401, "Sign in first"),
    "not-allowed": (403, "Not allowed"),
    "wrong-host": (403, "Not asked for under our own name"),
    "wrong-origin": (403, "Asked for by another site's page"),
    "no-csrf-token": (403, "The token against forged requests is missing or wrong"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This cannot be done to that address"),
    "conflict": (409, "Something else is in the way"),
    "in-progress": (409, "The same request is being carried out"),
    "changed": (412, "It has changed since it was read"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The body is not of the expected kind"),
    "invalid": (422, "The request breaks a rule"),
    "key-reused": (422, "The idempotency key belongs to another request"),
    "too-many-requests": (429, "Too many requests"),
    "internal": (500, "This is a bug in Stormsail"),
    "engine-refused": (502, "The engine refused"),
    "source-away": (503, "A source does not answer"),
    "records-away": (503, "The records do not answer"),
    "too-many-viewers": (503, "Too many viewers"),
    "unknown-outcome": (504, "It is not known whether it was done"),
}
"""Every kind of problem with its status and title. `docs/api.md` lists the same."""


@dataclass(frozen=True, slots=True)
class Violation:
    """One field that breaks one rule."""

    field: str
    rule: str


@dataclass(frozen=True, slots=True)
class ProblemView:
    """A problem as it is answered, media type application/problem+json."""

    type: str
    """`urn:stormsail:problem:` and the kind."""
    title: str
    status: int
    detail: str
    """What is the matter with this request, in words for a person."""
    next: str = ""
    """What to do about it."""
    field: str = ""
    """The field that breaks a rule, as it is written in the request; empty where it is none."""
    rule: str = ""
    errors: tuple[Violation, ...] = ()
    """Every field that breaks a rule, where there are several."""


@dataclass(eq=False)
class Problem(Exception):
    """A request that is turned down; raised anywhere below a route, answered as problem details."""

    kind: str
    detail: str
    next: str = ""
    field: str = ""
    rule: str = ""
    errors: tuple[Violation, ...] = ()
    retry_after_s: int = 0

    def __post_init__(self) -> None:
        """Keep the text where tracebacks look for it."""
        super().__init__(self.detail)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return TITLES[self.kind][0]

    @property
    def view(self) -> ProblemView:
        """What is answered."""
        status, title = TITLES[self.kind]
        return ProblemView(
            f"urn:stormsail:problem:{self.kind}",
            title,
            status,
            self.detail,
            self.next,
            self.field,
            self.rule,
            self.errors,
        )


def answer_of(problem: Problem) -> Response:
    """Return the response of a problem."""
    headers = {"Cache-Control": "no-store"}
    if problem.retry_after_s:
        headers["Retry-After"] = str(problem.retry_after_s)
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="stormsail"'
    return JSONResponse(plain(problem.view), problem.status, headers, MEDIA_TYPE)


def plain(view: ProblemView) -> dict[str, Any]:
    """Return a problem without the members that say nothing."""
    shown: dict[str, Any] = {
        "type": view.type,
        "title": view.title,
        "status": view.status,
        "detail": view.detail,
    }
    shown |= {name: value for name in ("next", "field", "rule") if (value := getattr(view, name))}
    if view.errors:
        shown["errors"] = [{"field": one.field, "rule": one.rule} for one in view.errors]
    return shown
