"""The way of every change: rights, precondition, audit before, the change itself, audit and answer after.

A change whose outcome is not known is kept as such, and its idempotency key may be used again: the request ids of what
it asks for are drawn from the key, so asking again does it once.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import TypeAdapter

from stormsail.delivery.records.answers import AnotherRequest, Answered, Claimed, InProgress
from stormsail.delivery.records.audit import AuditState, Change
from stormsail.delivery.records.database import RecordsUnavailable
from stormsail.web.changes.failures import sorted_failures
from stormsail.web.etags import etag_of, matches
from stormsail.web.guard.principals import Principal
from stormsail.web.problems import Problem, plain
from stormsail.web.state import Web

log: Final = logging.getLogger(__name__)

CHANGE_MAX_S: Final = 60.0
KEY_MAX: Final = 200
REASON_MAX: Final = 2000

_UNKNOWN: Final = ("unknown-outcome", "source-away", "in-progress")
"""Kinds of problem after which the change may have been made, or may still be."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who changes something, from where, and under which conditions."""

    web: Web
    principal: Principal
    via: str
    """`api` or `page`."""
    reason: str = ""
    idempotency_key: str = ""
    if_match: str = ""
    """The ETag of what the caller saw; empty means whatever is there now."""

    def because(self, reason: str) -> "Caller":
        """Return the same caller with why."""
        return replace(self, reason=reason)

    def under(self, idempotency_key: str) -> "Caller":
        """Return the same caller for one part of a change, under a key of its own."""
        return replace(self, idempotency_key=idempotency_key, if_match="")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be changed."""

    verb: str
    target: str
    application: str = ""
    account: str = ""
    after: Mapping[str, Any] | None = None
    """What was asked for; together with verb and target it tells one request from another."""


@dataclass(frozen=True, slots=True)
class Done:
    """The answer of a change, the same for the same idempotency key."""

    status: int
    body: bytes
    idempotency_key: str
    replayed: bool = False

    @property
    def value(self) -> Any:
        """The body as plain JSON."""
        return json.loads(self.body)


async def carry_out(
    caller: Caller,
    wanted: Wanted,
    make: Callable[[str], Awaitable[Any]],
    *,
    status: int = 200,
    before: Callable[[], Awaitable[Any]] | None = None,
) -> Done:
    """Make a change and return its answer. Rights were checked by whoever calls.

    `make` gets the request id to use and returns a dataclass. `before` reads what is there now: kept in the audit and
    compared with `if_match`. Raises Problem for everything that is turned down; that answer is kept under the key too,
    unless the outcome is unknown.
    """
    _check(caller)
    web = caller.web
    key = caller.idempotency_key or str(uuid.uuid4())
    change = Change(
        principal=caller.principal.name,
        via=caller.via,
        verb=wanted.verb,
        target=wanted.target,
        application=wanted.application,
        account=wanted.account,
        reason=caller.reason,
        idempotency_key=key,
        before=await _before(caller, before),
        after=wanted.after,
    )
    asked = json.dumps([wanted.verb, wanted.target, wanted.after, caller.reason], sort_keys=True, default=str)
    match await web.answers.claim(change, asked.encode()):
        case Answered(kept_status, body):
            return Done(kept_status, body, key, replayed=True)
        case AnotherRequest():
            raise Problem(
                "key-reused",
                f"idempotency key {key!r} was sent before with another request",
                "use a new key for a new request",
                field="Idempotency-Key",
                rule="one key for one request",
            )
        case InProgress():
            raise Problem("in-progress", "this very request is being carried out", "send it again", retry_after_s=1)
        case Claimed(audit_id):
            # Its own task: a caller that goes away must not cut a change off between doing and writing it down.
            making = asyncio.create_task(_make(caller, change, audit_id, make, status, key))
            return await asyncio.shield(making)


async def _make(
    caller: Caller, change: Change, audit_id: int, make: Callable[[str], Awaitable[Any]], status: int, key: str
) -> Done:
    answers = caller.web.answers
    request_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"stormsail:{change.principal}#{key}"))
    try:
        with sorted_failures():
            async with asyncio.timeout(CHANGE_MAX_S):
                made = await make(request_id)
    except TimeoutError:
        problem = Problem(
            "unknown-outcome",
            f"it was not done within {CHANGE_MAX_S:g} s",
            "look whether it was done, or send it again with the same Idempotency-Key",
        )
        await _written(answers.release(change, audit_id, AuditState.UNKNOWN, problem.detail))
        raise problem from None
    except Problem as problem:
        if problem.kind in _UNKNOWN:
            await _written(answers.release(change, audit_id, AuditState.UNKNOWN, problem.detail))
        else:
            body = json.dumps(plain(problem.view)).encode()
            refused = answers.answer(change, audit_id, AuditState.REFUSED, problem.detail, problem.status, body)
            await _written(refused)
        raise
    finally:
        caller.web.sources.outdate()
        caller.web.news.hurry.set()
    body = TypeAdapter(type(made)).dump_json(made)
    await _written(answers.answer(change, audit_id, AuditState.DONE, "", status, body))
    return Done(status, body, key)


async def _written(writing: Awaitable[None]) -> None:
    """Write the outcome down; where that fails the change is made all the same, and shown as unknown."""
    try:
        await writing
    except RecordsUnavailable as error:
        log.error("the outcome of a change could not be written down: %s", error)


async def _before(caller: Caller, before: Callable[[], Awaitable[Any]] | None) -> dict[str, Any]:
    if before is None:
        return {}
    if caller.if_match:
        caller.web.sources.outdate()
    seen = await before()
    if caller.if_match and not matches(caller.if_match, etag_of(seen)):
        raise Problem(
            "changed",
            "it is not any more what If-Match says",
            "read it again, and decide again",
            field="If-Match",
            rule="the ETag of what is there now",
        )
    if seen is None:
        return {}
    shown: dict[str, Any] = TypeAdapter(type(seen)).dump_python(seen, mode="json")
    shown.pop("sources", None)
    return shown


def _check(caller: Caller) -> None:
    for field, value, most in (
        ("Idempotency-Key", caller.idempotency_key, KEY_MAX),
        ("reason", caller.reason, REASON_MAX),
    ):
        if len(value) > most or (not value.isprintable() and field != "reason"):
            raise Problem(
                "invalid",
                f"{field} breaks a rule",
                "shorten it",
                field=field,
                rule=f"at most {most} printable characters",
            )
