"""One answer for an idempotency key, however often the request comes and whoever was killed in between.

A key is claimed in the same transaction that writes the audit entry, before the change is made. A claim whose process
was lost is taken over: changes carry request ids drawn from the key, so doing one again does it once.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from stormsail.delivery.records.audit import CHANGE_MAX_MS, AuditState, AuditTrail, Change, is_gone
from stormsail.delivery.records.database import Database, RecordsUnavailable
from stormsail.delivery.records.tables import ANSWERS

KEPT_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class Answered:
    """The key was answered before: this is the answer."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class AnotherRequest:
    """The key came before with another request."""


@dataclass(frozen=True, slots=True)
class InProgress:
    """The same request is being carried out now."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The change is ours to make, and the audit knows of it."""

    audit_id: int


Claim = Answered | AnotherRequest | InProgress | Claimed


class Answers:
    """Keys and answers of one database, written together with its audit."""

    def __init__(self, database: Database, trail: AuditTrail) -> None:
        self._database = database
        self._trail = trail
        self._open: set[tuple[str, str]] = set()

    async def claim(self, change: Change, request: bytes) -> Claim:
        """Claim a change's key for a request, and write the change to the audit. Raises RecordsUnavailable."""
        digest = hashlib.sha256(request).hexdigest()
        name = (change.principal, change.idempotency_key)
        for _ in range(2):
            try:
                return await self._claimed(name, digest, change)
            except RecordsUnavailable as error:
                # Another process claimed the key between our look and our write: look again.
                if not isinstance(error.__cause__, IntegrityError):
                    raise
        return InProgress()

    async def answer(
        self, change: Change, audit_id: int, state: AuditState, message: str, status: int, body: bytes
    ) -> None:
        """Write how the change ended, and the answer that the key has from now on."""
        name = (change.principal, change.idempotency_key)
        self._open.discard(name)
        async with self._database.transaction() as connection:
            await self._trail.end(connection, audit_id, state, message, _outcome(body))
            await connection.execute(
                update(ANSWERS)
                .where(ANSWERS.c.principal == name[0], ANSWERS.c.idempotency_key == name[1])
                .values(status=status, body=body)
            )

    async def release(self, change: Change, audit_id: int, state: AuditState, message: str) -> None:
        """Write how the change ended, and let the key be used again: nothing final can be said."""
        name = (change.principal, change.idempotency_key)
        self._open.discard(name)
        async with self._database.transaction() as connection:
            await self._trail.end(connection, audit_id, state, message)
            await connection.execute(
                delete(ANSWERS).where(ANSWERS.c.principal == name[0], ANSWERS.c.idempotency_key == name[1])
            )

    async def drop_old(self) -> None:
        """Forget the answers of a week ago."""
        async with self._database.transaction() as connection:
            limit = self._database.now_ms() - KEPT_DAYS * 86_400_000
            await connection.execute(delete(ANSWERS).where(ANSWERS.c.at_ms < limit))

    async def _claimed(self, name: tuple[str, str], digest: str, change: Change) -> Claim:
        principal, key = name
        mine = (ANSWERS.c.principal == principal) & (ANSWERS.c.idempotency_key == key)
        now_ms = self._database.now_ms()
        if name in self._open:
            return InProgress()
        self._open.add(name)
        claimed = False
        try:
            async with self._database.transaction() as connection:
                row = (await connection.execute(select(ANSWERS).where(mine))).first()
                if row is not None and row.digest != digest:
                    return AnotherRequest()
                if row is not None and row.status is not None:
                    return Answered(row.status, row.body)
                if row is not None and not self._is_lost(row.process, row.at_ms):
                    return InProgress()
                fresh = {"at_ms": now_ms, "process": self._database.process}
                if row is None:
                    await connection.execute(
                        insert(ANSWERS).values(principal=principal, idempotency_key=key, digest=digest, **fresh)
                    )
                else:
                    await connection.execute(update(ANSWERS).where(mine).values(**fresh))
                audit_id = await self._trail.begin(connection, change)
            claimed = True
            return Claimed(audit_id)
        finally:
            if not claimed:
                self._open.discard(name)

    def _is_lost(self, process: str, at_ms: int) -> bool:
        # Ours and not in `_open`: it was cut off here. Another's is given the time that any change may take.
        ours = process == self._database.process
        return ours or is_gone(process) or self._database.now_ms() - at_ms > CHANGE_MAX_MS


def _outcome(body: bytes) -> dict[str, object]:
    try:
        value = json.loads(body) if body else {}
    except ValueError:
        value = {}
    return value if isinstance(value, dict) else {"answer": value}
