"""The audit over the API: page by page, or whole as JSON lines."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import TypeAdapter
from starlette.responses import Response, StreamingResponse

from stormsail.delivery.records.keys import Role
from stormsail.web.api.context import LIMIT, READ, Cursor, Here, Limit, Text, Who, answered, sorted_failures
from stormsail.web.views.audit import AuditEntry, AuditView, entry_of, read_audit

router = APIRouter(prefix="/audit", tags=["audit"])

Instant = Annotated[int, Query(ge=0, le=253_402_300_799_000)]
_ENTRY: TypeAdapter[AuditEntry] = TypeAdapter(AuditEntry)


@router.get("", response_model=AuditView, responses=READ)
async def list_audit(
    request: Request,
    web: Here,
    who: Who,
    target: Text = "",
    application: Text = "",
    principal: Text = "",
    verb: Text = "",
    limit: Limit = LIMIT,
    cursor: Cursor = "",
) -> Response:
    """List changes, newest first: who, when, why, before, after, and how each ended."""
    with sorted_failures():
        view = await read_audit(
            web.sources,
            web.trail,
            target=target,
            application=application,
            principal=principal,
            verb=verb,
            limit=limit,
            cursor=cursor,
            sees=who.sees,
        )
    return answered(request, view)


@router.get("/export", response_class=StreamingResponse, responses=READ)
async def export_audit(web: Here, who: Who, since_ms: Instant = 0, until_ms: Instant | None = None) -> Response:
    """Write our own records of a span of time as JSON lines, oldest first; needs a grant to read everything."""
    who.must(Role.READ)

    async def lines() -> AsyncIterator[bytes]:
        async for record in web.trail.export(since_ms, until_ms):
            yield _ENTRY.dump_json(entry_of(record)) + b"\n"

    return StreamingResponse(lines(), media_type="application/jsonl", headers={"Cache-Control": "no-store"})
