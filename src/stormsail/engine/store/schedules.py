"""Schedules as stored: a row each, found by name, by when it is due, and by lists."""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from temporalio.api.common.v1 import SearchAttributes as SearchAttributesMessage

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.schedules import pack
from stormsail.engine.core.schedules.state import Schedule, ScheduleKey
from stormsail.engine.core.search_attributes import PREDEFINED, RESERVED_PREFIX
from stormsail.engine.store.database import Database, Member, Statement
from stormsail.engine.store.errors import QueryTooCostly, ScheduleDamaged
from stormsail.engine.store.list_filter import Filter, parse, sql
from stormsail.engine.store.list_values import COLUMNS, Column, Kind, not_supported
from stormsail.engine.store.reader import Reader, Row
from stormsail.engine.store.search_attributes import SearchAttributes

STEPS_MAX: Final = 100_000_000
_ROWS_AT_ONCE: Final = 100
STORED: Final = "namespace, schedule_id, crc, memo, search_attributes, definition, progress"
_COLUMNS: Final = (
    "rid, namespace, schedule_id, created_ms, due_ms, busy, paused, " + STORED.partition("schedule_id, ")[2]
)
PUT: Final = Statement(
    rank=60,
    head=f"INSERT INTO schedule ({_COLUMNS}) VALUES ",  # noqa: S608 - constants of this file only
    row="(" + ", ".join(["?"] * len(_COLUMNS.split(","))) + ")",
    tail=" ON CONFLICT (rid) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _COLUMNS.split(", ")[4:]),
)
MOVE: Final = Statement(
    rank=61,
    head="UPDATE schedule SET due_ms = v.column2, busy = v.column3, paused = v.column4, crc = v.column5, "
    "progress = v.column6 FROM (VALUES ",
    row="(?, ?, ?, ?, ?, ?)",
    tail=") AS v WHERE rid = v.column1",
    exact=True,
)
"""A change of the progress alone: most of them."""
DELETE: Final = Statement(rank=62, head="DELETE FROM schedule WHERE rid IN (", row="?", tail=")")


@dataclass(frozen=True, slots=True)
class SchedulePage:
    """Part of a list. `next_token` is empty at its end."""

    schedules: list[Schedule]
    next_token: bytes


class Schedules:
    """The schedules of one database."""

    def __init__(self, database: Database, attributes: SearchAttributes, *, page_max: int) -> None:
        self._database = database
        self._reader: Reader = database.reader
        self._list_reader: Reader = database.list_reader
        self._attributes = attributes
        self._page_max = page_max
        self._last_rid: int = database.reader.read("SELECT coalesce(min(rid), 0) FROM schedule")[0][0]

    def get(self, key: ScheduleKey) -> Schedule | None:
        """Return a schedule as last committed; None where there is none. Raises ScheduleDamaged."""
        found = self._reader.read(
            f"SELECT {STORED} FROM schedule WHERE namespace = ? AND schedule_id = ?",  # noqa: S608 - as above
            (key.namespace, key.schedule_id),
        )
        return unpacked(found[0]) if found else None

    async def commit(self, before: Schedule | None, after: Schedule | None, due_ms: int | None) -> None:
        """Add a schedule, replace it, or with no `after` delete it. Returns once that is on disk.

        One caller at a time for each schedule: `before` is what is stored.
        """
        schedule = after or before
        assert schedule is not None
        rid = self._rid(schedule.key) if before is not None else self._new_rid()
        rows = _rows(rid, before, after, due_ms)
        if before is None or after is None or before.search_attributes != after.search_attributes:
            old = _attribute_fields(before)
            rows += self._attributes.rows(schedule.key.namespace, rid, old, _attribute_fields(after))
        await self._database.commit(Member(rows, frozenset([("schedule", rid), rid])))

    def due(self, until_ms: int, limit: int) -> list[ScheduleKey]:
        """Return the schedules that must be looked at by then, earliest first."""
        rows = self._reader.read(
            "SELECT namespace, schedule_id FROM schedule WHERE due_ms <= ? ORDER BY due_ms LIMIT ?", (until_ms, limit)
        )
        return [ScheduleKey(*row) for row in rows]

    def due_ms(self, key: ScheduleKey) -> int | None:
        """Return when a schedule must next be looked at."""
        found = self._reader.read(
            "SELECT due_ms FROM schedule WHERE namespace = ? AND schedule_id = ?", (key.namespace, key.schedule_id)
        )
        return found[0][0] if found else None

    def next_due_ms(self) -> int | None:
        """Return when the next schedule must be looked at."""
        found = self._reader.read("SELECT min(due_ms) FROM schedule WHERE due_ms IS NOT NULL")[0][0]
        return None if found is None else int(found)

    def busy(self) -> Iterator[ScheduleKey]:
        """Yield the schedules that have starts to make or workflows to follow."""
        rid = 0
        while rows := self._reader.read(
            "SELECT rid, namespace, schedule_id FROM schedule WHERE busy = 1 AND rid < ? ORDER BY rid DESC LIMIT ?",
            (rid, _ROWS_AT_ONCE),
        ):
            for _, namespace, schedule_id in rows:
                yield ScheduleKey(namespace, schedule_id)
            rid = rows[-1][0]

    def page(self, namespace: str, query: str, page_size: int, token: bytes) -> SchedulePage:
        """Return schedules that a query finds, the last created first. May take long: call it in another thread.

        A schedule is on at most one page, and one that is there meanwhile is on exactly one.
        """
        size = min(page_size, self._page_max) if page_size > 0 else self._page_max
        condition, values = self._where(namespace, query)
        belongs = zlib.crc32(f"{namespace}\0{query}".encode())
        if token:
            created_ms, rid = _unpacked_token(token, belongs)
            condition += " AND run.created_ms <= ? AND (run.created_ms < ? OR run.rid > ?)"
            values += [created_ms, created_ms, rid]
        rows = self._read(
            f"SELECT {STORED}, run.created_ms, run.rid FROM schedule AS run WHERE {condition} "  # noqa: S608 - as above
            "ORDER BY run.created_ms DESC, run.rid LIMIT ?",
            [*values, size + 1],
        )
        more = len(rows) > size
        place = json.dumps([belongs, *rows[size - 1][-2:]]).encode() if more else b""
        return SchedulePage([unpacked(row[:-2]) for row in rows[:size]], place)

    def count(self, namespace: str, query: str) -> int:
        """Count the schedules that a query finds."""
        condition, values = self._where(namespace, query)
        return int(self._read(f"SELECT count(*) FROM schedule AS run WHERE {condition}", values)[0][0])  # noqa: S608

    def _where(self, namespace: str, query: str) -> tuple[str, list[Any]]:
        # The filter's SQL calls what it looks through `run`.
        found: Filter = parse(query, lambda name: self._column(namespace, name))
        if found.order:
            raise not_supported("'ORDER BY' clause for schedules; they are listed as created, the last first")
        condition, values = "run.namespace = ?", [namespace]
        if found.where is not None:
            text, bound = sql(found.where)
            condition += f" AND ({text})"
            values += bound  # type: ignore[arg-type]
        return condition, values

    def _column(self, namespace: str, name: str) -> Column | None:
        """Return what a query means by a name: custom attributes, the schedule's id, and whether it is paused."""
        if name in self._attributes.custom(namespace):
            return self._attributes.column(namespace, name)
        bare = name.removeprefix(RESERVED_PREFIX)
        if bare == "ScheduleId":
            return Column(name, Kind.KEYWORD, "run.schedule_id")
        if bare == "SchedulePaused":
            return Column(name, Kind.BOOL, "run.paused")
        if {name, bare, RESERVED_PREFIX + name} & (COLUMNS.keys() | PREDEFINED.keys()):
            raise InvalidArgument(f'invalid query filter for schedules: cannot filter on "{name}"')
        return None

    def _read(self, statement: str, values: Sequence[Any]) -> Sequence[Row]:
        found = self._list_reader.read_bounded(statement, values, STEPS_MAX)
        if found is None:
            raise QueryTooCostly
        return found

    def _rid(self, key: ScheduleKey) -> int:
        found = self._reader.read(
            "SELECT rid FROM schedule WHERE namespace = ? AND schedule_id = ?", (key.namespace, key.schedule_id)
        )
        assert found, f"{key} is not stored"
        return int(found[0][0])

    def _new_rid(self) -> int:
        self._last_rid -= 1
        return self._last_rid


def _rows(rid: int, before: Schedule | None, after: Schedule | None, due_ms: int | None) -> list[tuple[Statement, Row]]:
    if after is None:
        return [(DELETE, (rid,))]
    progress = pack.progress(after)
    defined = pack.definition(after)
    crc = _crc(after.key, after.memo, after.search_attributes, defined, progress)
    state = (due_ms, int(after.busy), int(after.paused), crc)
    if before is not None and _same_definition(before, after):
        return [(MOVE, (rid, *state, progress))]
    names = (after.key.namespace, after.key.schedule_id, after.created_ms)
    return [(PUT, (rid, *names, *state, after.memo, after.search_attributes, defined, progress))]


def _same_definition(before: Schedule, after: Schedule) -> bool:
    same = before.memo == after.memo and before.search_attributes == after.search_attributes
    return same and before.spec is after.spec and before.action is after.action and before.policies is after.policies


def _attribute_fields(schedule: Schedule | None) -> dict[str, bytes]:
    if schedule is None:
        return {}
    message = SearchAttributesMessage.FromString(schedule.search_attributes)
    return {name: payload.SerializeToString() for name, payload in message.indexed_fields.items()}


def unpacked(row: Row) -> Schedule:
    """Return the schedule of a row of STORED. Raises ScheduleDamaged."""
    namespace, schedule_id, crc, memo, search_attributes, defined, progress = row
    key = ScheduleKey(namespace, schedule_id)
    if _crc(key, memo, search_attributes, defined, progress) != crc:
        raise ScheduleDamaged(str(key), "its checksum does not match")
    try:
        return pack.unpack(key, defined, memo, search_attributes, progress)
    except pack.UnknownVersion as error:
        raise ScheduleDamaged(str(key), str(error)) from error


def _crc(key: ScheduleKey, *parts: bytes) -> int:
    crc = zlib.crc32(str(key).encode())
    for part in parts:
        crc = zlib.crc32(part, zlib.crc32(len(part).to_bytes(8), crc))
    return crc


def _unpacked_token(token: bytes, belongs: int) -> tuple[int, int]:
    try:
        found = json.loads(token)
    except ValueError:
        found = None
    if isinstance(found, list) and len(found) == 3 and all(type(each) is int for each in found):
        crc, created_ms, rid = found
        if crc == belongs and abs(created_ms) < 1 << 62 and abs(rid) < 1 << 62:
            return created_ms, rid
    raise InvalidArgument("invalid next page token: it is not of this query; list again without one")
