"""The part of a change that writes it to the records; imported only where there are some."""

import contextlib
from collections.abc import AsyncIterator
from typing import Final

from temporalio.service import RPCError, RPCStatusCode

from stormsail.cli.audited import VERB_MAX, VIA, Entry, Written
from stormsail.cli.errors import CommandFailed, Detached, ExitCode
from stormsail.cli.output import note
from stormsail.cli.whoever import requested_by
from stormsail.delivery.client_types import EngineUnreachable, NoWorker
from stormsail.delivery.records.audit import AuditState, AuditTrail, Change
from stormsail.delivery.records.database import Database, RecordsUnavailable

_UNKNOWN: Final = (EngineUnreachable, NoWorker, TimeoutError, Detached)
"""After these a change may have been made."""

_UNKNOWN_STATUSES: Final = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,
        RPCStatusCode.UNKNOWN,
        RPCStatusCode.INTERNAL,
    }
)
_UNKNOWN_CODES: Final = (ExitCode.ERROR, ExitCode.TIMEOUT)


@contextlib.asynccontextmanager
async def writing(url: str, entry: Entry, by: str) -> AsyncIterator[Written]:
    """Write an entry before the block, and after it how it ended."""
    written = Written(by)
    try:
        database = await Database.open(url)
        try:
            audit_id = await _begin(database, entry, by)
        except RecordsUnavailable:
            await database.close()
            raise
    except RecordsUnavailable as away:
        note(f"warning: this is not written to the audit: {away}")
        yield Written(requested_by())
        return
    try:
        yield written
    except BaseException as error:
        state = AuditState.UNKNOWN if _may_be_made(error) else AuditState.REFUSED
        await _end(database, audit_id, state, str(error) or type(error).__name__, written)
        raise
    else:
        await _end(database, audit_id, AuditState.DONE, "", written)
    finally:
        await database.close()


async def _begin(database: Database, entry: Entry, by: str) -> int:
    change = Change(
        principal=by,
        via=VIA,
        verb=entry.verb[:VERB_MAX],
        target=entry.target,
        application=entry.application,
        account=entry.account,
        reason=entry.reason,
        before=entry.before,
        after=entry.after,
    )
    async with database.transaction() as connection:
        return await AuditTrail(database).begin(connection, change)


async def _end(database: Database, audit_id: int, state: AuditState, message: str, written: Written) -> None:
    try:
        async with database.transaction() as connection:
            await AuditTrail(database).end(connection, audit_id, state, message, written.outcome)
    except RecordsUnavailable as away:
        note(f"warning: how it ended is not written to the audit: {away}")


def _may_be_made(error: BaseException) -> bool:
    if isinstance(error, CommandFailed):
        return error.exit_code in _UNKNOWN_CODES
    if isinstance(error, RPCError):
        return error.status in _UNKNOWN_STATUSES
    return isinstance(error, _UNKNOWN) or not isinstance(error, Exception)
