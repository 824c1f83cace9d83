"""The audit: every change with who, when, why, before and after, written before the change is made.

An entry whose outcome never came is shown as `unknown`: the process ended, or was cut off, in the middle.
"""

import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Row, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from stormsail.delivery.records.database import Database
from stormsail.delivery.records.tables import AUDIT

CHANGE_MAX_MS: Final = 90_000
"""No change takes longer; one that is open for longer has lost the process that made it."""

RETENTION_DAYS: Final = 400
PAGE: Final = 500
TEXT_MAX: Final = 64_000
"""A before, after or outcome over this is kept as a note of its size."""


class AuditState(StrEnum):
    """How a change ended."""

    PENDING = "pending"
    DONE = "done"
    REFUSED = "refused"
    """It was not made, and the message says why."""
    UNKNOWN = "unknown"
    """It may have been made: the process ended, or the engine went away, in the middle."""


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody is about to change."""

    principal: str
    via: str
    """`api`, `page` or `cli`."""
    verb: str
    """Noun and verb: `operation.retry`, `schedule.pause`."""
    target: str
    """The noun and its name: `operation/0190...`, `server-group/local/hello-v001`."""
    application: str = ""
    account: str = ""
    reason: str = ""
    idempotency_key: str = ""
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One change as it is kept."""

    id: int
    at_ms: int
    ended_at_ms: int | None
    principal: str
    via: str
    verb: str
    target: str
    application: str
    account: str
    reason: str
    idempotency_key: str
    state: AuditState
    message: str
    before: dict[str, Any]
    after: dict[str, Any]
    outcome: dict[str, Any]


class AuditTrail:
    """The audit of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self, retention_days: int = RETENTION_DAYS) -> None:
        """Name the outcomes that processes of this machine took with them, and drop what is past its time."""
        now_ms = self._database.now_ms()
        async with self._database.transaction() as connection:
            rows = await connection.execute(
                select(AUDIT.c.id, AUDIT.c.process).where(AUDIT.c.state == AuditState.PENDING)
            )
            lost = [row.id for row in rows if is_gone(row.process)]
            for start in range(0, len(lost), PAGE):
                await connection.execute(
                    update(AUDIT)
                    .where(AUDIT.c.id.in_(lost[start : start + PAGE]))
                    .values(
                        state=AuditState.UNKNOWN,
                        ended_at_ms=now_ms,
                        message="the process that made the change ended before it heard of the outcome",
                    )
                )
            await connection.execute(delete(AUDIT).where(AUDIT.c.at_ms < now_ms - retention_days * 86_400_000))

    async def begin(self, connection: AsyncConnection, change: Change) -> int:
        """Write a change that is about to be made; return its id. On disk when the transaction is."""
        result = await connection.execute(
            insert(AUDIT).values(
                at_ms=self._database.now_ms(),
                principal=change.principal,
                via=change.via,
                verb=change.verb,
                target=_plain(change.target),
                application=_plain(change.application),
                account=_plain(change.account),
                reason=_plain(change.reason),
                idempotency_key=change.idempotency_key,
                state=AuditState.PENDING,
                message="",
                before=_text(change.before),
                after=_text(change.after),
                outcome="{}",
                process=self._database.process,
            )
        )
        assert result.inserted_primary_key is not None
        return int(result.inserted_primary_key[0])

    async def end(
        self,
        connection: AsyncConnection,
        audit_id: int,
        state: AuditState,
        message: str = "",
        outcome: Mapping[str, Any] | None = None,
    ) -> None:
        """Write how a change ended."""
        await connection.execute(
            update(AUDIT)
            .where(AUDIT.c.id == audit_id)
            .values(state=state, message=_plain(message), outcome=_text(outcome), ended_at_ms=self._database.now_ms())
        )

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
        """Return changes, newest first, from just before a (time, id)."""
        asked = select(AUDIT).order_by(AUDIT.c.at_ms.desc(), AUDIT.c.id.desc()).limit(limit)
        wanted = {"target": target, "application": application, "principal": principal, "verb": verb}
        for name, value in wanted.items():
            if value:
                asked = asked.where(AUDIT.c[name] == value)
        if before is not None:
            at_ms, row_id = before
            asked = asked.where(or_(AUDIT.c.at_ms < at_ms, and_(AUDIT.c.at_ms == at_ms, AUDIT.c.id < row_id)))
        async with self._database.reading() as connection:
            rows = await connection.execute(asked)
            return [self._record(row) for row in rows]

    async def newest_id(self) -> int:
        """Return the id of the newest change, or 0: a cheap way to see that there is news."""
        async with self._database.reading() as connection:
            row = (await connection.execute(select(AUDIT.c.id).order_by(AUDIT.c.id.desc()).limit(1))).first()
            return int(row.id) if row is not None else 0

    async def export(self, since_ms: int = 0, until_ms: int | None = None) -> AsyncIterator[AuditRecord]:
        """Yield all changes of a span of time, oldest first, page by page."""
        after = 0
        while True:
            asked = select(AUDIT).where(AUDIT.c.id > after, AUDIT.c.at_ms >= since_ms).order_by(AUDIT.c.id).limit(PAGE)
            if until_ms is not None:
                asked = asked.where(AUDIT.c.at_ms < until_ms)
            async with self._database.reading() as connection:
                rows = [self._record(row) for row in await connection.execute(asked)]
            for record in rows:
                yield record
            if len(rows) < PAGE:
                return
            after = rows[-1].id

    def _record(self, row: Row[Any]) -> AuditRecord:
        state = AuditState(row.state)
        message = row.message
        if state is AuditState.PENDING and self._database.now_ms() - row.at_ms > CHANGE_MAX_MS:
            state, message = AuditState.UNKNOWN, "its outcome was never heard of"
        return AuditRecord(
            id=row.id,
            at_ms=row.at_ms,
            ended_at_ms=row.ended_at_ms,
            principal=row.principal,
            via=row.via,
            verb=row.verb,
            target=row.target,
            application=row.application,
            account=row.account,
            reason=row.reason,
            idempotency_key=row.idempotency_key,
            state=state,
            message=message,
            before=json.loads(row.before),
            after=json.loads(row.after),
            outcome=json.loads(row.outcome),
        )


def _plain(text: str) -> str:
    """Return a text as every database keeps it: PostgreSQL's may hold no NUL."""
    return text.replace("\0", "\ufffd")


def _text(values: Mapping[str, Any] | None) -> str:
    text = json.dumps(values or {}, ensure_ascii=False, sort_keys=True, default=str)
    return text if len(text) <= TEXT_MAX else json.dumps({"not_kept": f"{len(text)} characters"})


def is_gone(process: str) -> bool:
    """Whether a process is known to have ended; of another machine's nothing is known."""
    host, _, rest = process.partition("/")
    pid = rest.partition("/")[0]
    if host != socket.gethostname() or not pid.isdecimal() or int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
