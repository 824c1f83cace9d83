"""The audit as people read it: changes from our records, merged with what the operations themselves keep."""

import json
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from stormsail.delivery.client_types import OperationSummary
from stormsail.delivery.model.operation import RUNNER
from stormsail.delivery.model.steering import SteeringRecord
from stormsail.delivery.records.audit import AuditRecord
from stormsail.web.sources.held import Source, SourceStatus
from stormsail.web.sources.operations import operations_steered
from stormsail.web.sources.sources import Sources
from stormsail.web.views.access import Sees, sees_all
from stormsail.web.views.paging import LIMIT_DEFAULT, BadCursor, cursor_of, token_of

OPERATIONS_LOOKED_AT: Final = 500
FRESH_MS: Final = 1_000
OPERATION: Final = "operation"
"""Where entries come from that the operations themselves keep."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One change: who, when, why, what it was before and what was asked for, and how it ended."""

    id: str
    at_ms: int
    ended_at_ms: int | None
    principal: str
    via: str
    """`api`, `page` or `cli` for changes in our records; `operation` for what the operation itself says of others'."""
    verb: str
    target: str
    application: str
    account: str
    reason: str
    state: str
    """`pending`, `done`, `refused`, or `unknown`: it may have been made."""
    message: str
    before: dict[str, Any]
    after: dict[str, Any]
    outcome: dict[str, Any]
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class AuditView:
    """One page of the audit, newest first."""

    sources: tuple[Source, ...]
    entries: tuple[AuditEntry, ...]
    next_cursor: str


class Trail(Protocol):
    """Where changes are kept."""

    async def page(
        self,
        *,
        limit: int,
        before: tuple[int, int] | None = None,
        target: str = "",
        application: str = "",
        principal: str = "",
        verb: str = "",
    ) -> list[AuditRecord]:
        """Return changes, newest first."""
        ...


async def read_audit(
    sources: Sources,
    trail: Trail,
    *,
    target: str = "",
    application: str = "",
    principal: str = "",
    verb: str = "",
    limit: int = LIMIT_DEFAULT,
    cursor: str = "",
    sees: Sees = sees_all,
) -> AuditView:
    """Read a page. Raises BadCursor.

    What was asked without being written to our records (commands elsewhere, other programs) comes from the newest 500
    operations, for as long as the engine keeps them.
    """
    until = _until(cursor)
    narrow = {"target": target, "application": application, "principal": principal, "verb": verb}
    records = await trail.page(limit=limit + 1, before=until.of_ours if until is not None else None, **narrow)
    held = await sources.held.read("steered", lambda: _steered(sources), fresh_ms=FRESH_MS)
    others = [
        entry
        for entry in held.value or ()
        if all(value in ("", getattr(entry, name)) for name, value in narrow.items())
        and (until is None or _place(entry) < until)
    ]
    merged = sorted([*map(entry_of, records), *others], key=_place, reverse=True)
    page = merged[:limit]
    shown = tuple(entry for entry in page if sees(entry.application or "*", entry.account or "*"))
    own = Source("records", SourceStatus.OK, sources.now_ms(), 0)
    return AuditView((own, held.source), shown, _cursor(page[-1]) if len(merged) > limit else "")


def entry_of(record: AuditRecord) -> AuditEntry:
    """Return the entry of one of our own records."""
    return AuditEntry(
        id=str(record.id),
        at_ms=record.at_ms,
        ended_at_ms=record.ended_at_ms,
        principal=record.principal,
        via=record.via,
        verb=record.verb,
        target=record.target,
        application=record.application,
        account=record.account,
        reason=record.reason,
        state=record.state.value,
        message=record.message,
        before=record.before,
        after=record.after,
        outcome=record.outcome,
        idempotency_key=record.idempotency_key,
    )


class _Place(NamedTuple):
    """Where an entry stands in time. At one instant ours come before (newer than) the operations'."""

    at_ms: int
    is_ours: bool
    number: int
    name: str

    @property
    def of_ours(self) -> tuple[int, int]:
        """From where our own records go on."""
        return (self.at_ms, self.number if self.is_ours else 0)


def _place(entry: AuditEntry) -> _Place:
    if entry.via == OPERATION:
        return _Place(entry.at_ms, False, 0, entry.id)
    return _Place(entry.at_ms, True, int(entry.id), "")


def _cursor(entry: AuditEntry) -> str:
    return cursor_of("audit", json.dumps(_place(entry)).encode())


def _until(cursor: str) -> _Place | None:
    token = token_of("audit", cursor)
    if not token:
        return None
    try:
        at_ms, is_ours, number, name = json.loads(token)
        return _Place(int(at_ms), bool(is_ours), int(number), str(name))
    except (ValueError, TypeError):
        raise BadCursor from None


async def _steered(sources: Sources) -> tuple[AuditEntry, ...]:
    """Return what operations keep of requests that are not in our records: what is there names who asked so."""
    query = f"WorkflowType = '{RUNNER}'"
    found = await operations_steered(sources.engine, query, OPERATIONS_LOOKED_AT)
    return tuple(
        entry
        for summary, asked in found
        for entry in (_start(summary), *(_asked(summary, record) for record in asked))
        if not entry.principal.startswith(("local:", "key:", "cli:"))
    )


def _start(summary: OperationSummary) -> AuditEntry:
    return AuditEntry(
        id=f"start/{summary.operation_id}",
        at_ms=summary.started_at_ms,
        ended_at_ms=summary.started_at_ms,
        principal=summary.requested_by or "somebody",
        via=OPERATION,
        verb=f"operation.start.{summary.operation_type}",
        target=f"operation/{summary.operation_id}",
        application=summary.application,
        account=summary.account,
        reason=summary.reason,
        state="done",
        message="",
        before={},
        after={"cluster": summary.cluster},
        outcome={"operation_id": summary.operation_id},
        idempotency_key="",
    )


def _asked(summary: OperationSummary, record: SteeringRecord) -> AuditEntry:
    return AuditEntry(
        id=f"steer/{record.id}",
        at_ms=record.at_ms,
        ended_at_ms=record.at_ms,
        principal=record.by or "somebody",
        via=OPERATION,
        verb=f"operation.{record.verb.value}",
        target=f"operation/{summary.operation_id}",
        application=summary.application,
        account=summary.account,
        reason=record.reason,
        state="done" if record.accepted else "refused",
        message=record.message,
        before=record.before,
        after={"step": record.step, **({"input": record.after} if record.after else {})},
        outcome={},
        idempotency_key="",
    )
