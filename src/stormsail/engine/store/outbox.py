"""Messages between runs as stored: a row each, from the commit that sends it to the commit that takes it."""

import logging
import zlib
from collections.abc import Iterable, Sequence
from typing import Final

from stormsail.engine.core import messages
from stormsail.engine.core.messages import RunMessage
from stormsail.engine.core.turn import Turn
from stormsail.engine.store.database import Database, Member, Statement
from stormsail.engine.store.reader import Row

TAKE: Final = Statement(
    rank=50,
    head="DELETE FROM outbox WHERE (run_id, event_id, kind) IN (VALUES ",
    row="(?, ?, ?)",
    tail=")",
    one="DELETE FROM outbox WHERE run_id = ? AND event_id = ? AND kind = ?",
)
SEND: Final = Statement(
    rank=60,
    head="INSERT INTO outbox (run_id, event_id, kind, crc, message) VALUES ",
    row="(?, ?, ?, ?, ?)",
    tail=" ON CONFLICT (run_id, event_id, kind) DO UPDATE SET crc = excluded.crc, message = excluded.message",
)
"""One that is still there says the same, unless a reset made its run end twice: then the later end counts."""


_ROWS_READ_AT_ONCE: Final = 32
"""Few, for one message may be megabytes."""
_SELECT_WAITING: Final = "SELECT id, run_id, event_id, kind, crc, message FROM outbox WHERE id > ? ORDER BY id LIMIT ?"


class Outbox:
    """The messages of one database that nobody has taken yet."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settle(self, taken: RunMessage, answers: Sequence[RunMessage]) -> None:
        """Drop a message that no turn takes, and send what answers it, as one. Returns once that is on disk."""
        rows = [(TAKE, taken.name), *((SEND, _row(message)) for message in answers)]
        await self._database.commit(Member(rows, touches=frozenset([taken.name])))

    def waiting(self, most: int, bytes_max: int) -> tuple[list[RunMessage], bool]:
        """Return the messages sent first, in the order of their sending, about so many and so large; and whether these
        are all. One that cannot be read is logged and stays: what it should have said is in histories."""
        found: list[RunMessage] = []
        last_id = size = 0
        while rows := self._database.reader.read(_SELECT_WAITING, (last_id, _ROWS_READ_AT_ONCE)):
            last_id = rows[-1][0]
            for _, run_id, event_id, kind, crc, packed in rows:
                size += len(packed)
                message = _restored(run_id, event_id, kind, crc, packed)
                if message is not None:
                    found.append(message)
            if len(found) >= most or size >= bytes_max:
                return found, False
        return found, True


def unpack(run_id: str, event_id: int, kind: str, crc: int, packed: bytes) -> RunMessage:
    """Return the message of a stored row. Raises ValueError where it is damaged."""
    if _crc(run_id, event_id, kind, packed) != crc:
        raise ValueError("its checksum does not match")
    return messages.unpack(packed)


def _restored(run_id: str, event_id: int, kind: str, crc: int, packed: bytes) -> RunMessage | None:
    try:
        return unpack(run_id, event_id, kind, crc, packed)
    except ValueError as damage:
        log = logging.getLogger(__name__)
        log.error("message %s of event %s of run %s is damaged: %s", kind, event_id, run_id, damage)
        return None


def rows_of(turns: Iterable[Turn]) -> list[tuple[Statement, Row]]:
    """Return what turns change here."""
    rows: list[tuple[Statement, Row]] = []
    for turn in turns:
        if turn.takes is not None:
            rows.append((TAKE, turn.takes.name))
        rows += [(SEND, _row(message)) for message in turn.messages]
    return rows


def _row(message: RunMessage) -> Row:
    packed = messages.pack(message)
    return (*message.name, _crc(*message.name, packed), packed)


def _crc(run_id: str, event_id: int, kind: str, packed: bytes) -> int:
    return zlib.crc32(packed, zlib.crc32(f"{run_id}/{event_id}/{kind}".encode()))
