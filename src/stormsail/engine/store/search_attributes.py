"""Custom search attributes, registered by namespace and all held in memory; and the rows by which runs are found.

An attribute that is removed keeps its number: registered again with the same type, it finds what it found before.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from temporalio.api.common.v1 import Payload

from stormsail.engine.core import search_attributes as core
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.search_attributes import PER_TYPE_MAX, PREDEFINED, SETTABLE, TYPE_NAMES, Type, Types
from stormsail.engine.store.checksum import sealed
from stormsail.engine.store.database import Database, Member, Statement
from stormsail.engine.store.list_values import COLUMNS, Column, Kind, indexed_column
from stormsail.engine.store.reader import Row

NAME_LENGTH_MAX: Final = 1_000
FIRST_CUSTOM_NUMBER: Final = 1_000
PREDEFINED_NUMBERS: Final[Mapping[str, int]] = {
    "TemporalChangeVersion": 1,
    "BinaryChecksums": 2,
    "BuildIds": 3,
    "BatcherNamespace": 4,
    "BatcherUser": 5,
    "TemporalScheduledStartTime": 6,
    "TemporalScheduledById": 7,
    "TemporalSchedulePaused": 8,
    "TemporalNamespaceDivision": 9,
    "TemporalPauseInfo": 10,
    "TemporalReportedProblems": 11,
    "TemporalWorkerDeploymentVersion": 12,
    "TemporalWorkflowVersioningBehavior": 13,
    "TemporalWorkerDeployment": 14,
    "TemporalUsedWorkerDeploymentVersions": 15,
    "TemporalExternalPayloadCount": 16,
    "TemporalExternalPayloadSizeBytes": 17,
}
"""They are in files: a number is never given to another attribute."""
DIVISION: Final = PREDEFINED_NUMBERS["TemporalNamespaceDivision"]

PUT: Final = Statement(
    rank=52,
    head="INSERT INTO search_attribute (namespace, name, type, number, field, live, crc) VALUES ",
    row="(?, ?, ?, ?, ?, ?, ?)",
    tail=" ON CONFLICT (number) DO UPDATE SET field = excluded.field, live = excluded.live, crc = excluded.crc",
)
SELECT: Final = "SELECT namespace, name, type, number, field, live, crc FROM search_attribute"
DELETE_INDEXED: Final = Statement(rank=41, head="DELETE FROM indexed WHERE rid IN (", row="?", tail=")")
INSERT_INDEXED: Final = Statement(rank=42, head="INSERT INTO indexed (rid, attribute, value) VALUES ", row="(?, ?, ?)")

_KINDS: Final[Mapping[int, Kind]] = {
    core.TEXT: Kind.TEXT,
    core.KEYWORD: Kind.KEYWORD,
    core.INT: Kind.INT,
    core.DOUBLE: Kind.DOUBLE,
    core.BOOL: Kind.BOOL,
    core.DATETIME: Kind.DATETIME,
    core.KEYWORD_LIST: Kind.KEYWORD_LIST,
}


@dataclass(frozen=True, slots=True)
class Registered:
    """One custom attribute. `field`, its place among those of its type, is what DescribeNamespace shows."""

    namespace: str
    name: str
    value_type: Type
    number: int
    field: str
    live: bool


class SearchAttributes:
    """The custom search attributes of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._all: dict[int, Registered] = {}
        self._live: dict[str, dict[str, Registered]] = {}
        self._turn = asyncio.Lock()
        """Numbers and fields are given one change after the other."""
        for row in database.reader.read(SELECT):
            namespace, name, value_type, number, field, live = database.reader.checked(row)
            self._remember(Registered(namespace, name, value_type, number, field, bool(live)))

    def custom(self, namespace: str) -> Mapping[str, Registered]:
        """Return the attributes registered in a namespace, by name."""
        return self._live.get(namespace, {})

    def types(self, namespace: str) -> Types:
        """Return the attributes that may be set on a run of a namespace, with their types."""
        custom = self.custom(namespace)
        return {**SETTABLE, **{name: one.value_type for name, one in custom.items()}} if custom else SETTABLE

    def column(self, namespace: str, name: str) -> Column | None:
        """Return what a query means by a name: a custom attribute, else one of the server's, also without its prefix.

        A schedule's id is the workflow id of what it starts, unless an attribute of that name is registered.
        """
        registered = self.custom(namespace).get(name)
        if registered is not None:
            return indexed_column(name, _KINDS[registered.value_type], registered.number)
        for spelling in (name, f"{core.RESERVED_PREFIX}{name}", name.removeprefix(core.RESERVED_PREFIX)):
            if spelling in COLUMNS:
                return replace(COLUMNS[spelling], name=name)
            if spelling in PREDEFINED:
                return indexed_column(name, _KINDS[PREDEFINED[spelling]], PREDEFINED_NUMBERS[spelling])
        if name.removeprefix(core.RESERVED_PREFIX) == "ScheduleId":
            return replace(COLUMNS["WorkflowId"], name=name)
        return None

    async def add(self, namespace: str, wanted: Mapping[str, Type]) -> None:
        """Register attributes; those of a known name stay as they are. Returns once they are on disk."""
        for name in wanted:
            _check_name(name)
        async with self._turn:
            new: list[Registered] = []
            for name, value_type in wanted.items():
                if name not in self.custom(namespace):
                    new.append(self._placed(namespace, name, value_type, new))
            await self._put(namespace, new)

    async def alias(self, namespace: str, wanted: Mapping[str, str]) -> None:
        """Register attributes at the places that are named, `Keyword01` for one; an empty name takes the one back that
        is there. Returns once that is on disk."""
        async with self._turn:
            there = {one.field: one for one in self.custom(namespace).values()}
            changed: list[Registered] = []
            for field, name in wanted.items():
                found = there.get(field)
                if not name:
                    changed += [replace(found, live=False)] if found is not None else []
                elif found is not None and found.name != name:
                    raise InvalidArgument("Custom search attribute field name already allocated.")
                elif found is None:
                    changed.append(self._at_place(namespace, name, field, changed))
            await self._put(namespace, changed)

    async def remove(self, namespace: str, names: Sequence[str]) -> None:
        """Take attributes back. Runs keep what was set; nothing finds them by it. Unknown names are passed over."""
        async with self._turn:
            known = self.custom(namespace)
            for name in names:
                if name not in known and (name in core.SYSTEM or name in PREDEFINED):
                    raise InvalidArgument(f"Unable to remove non-custom search attributes: {name}.")
            gone = [replace(known[name], live=False) for name in dict.fromkeys(names) if name in known]
            await self._put(namespace, gone)

    def rows(
        self, namespace: str, rid: int, before: Mapping[str, bytes], after: Mapping[str, bytes]
    ) -> list[tuple[Statement, Row]]:
        """Return what the commit of a run writes so that it is found by its attributes."""
        if before == after:
            return []
        rows: list[tuple[Statement, Row]] = [(DELETE_INDEXED, (rid,))] if before else []
        custom = self.custom(namespace)
        for name, packed in sorted(after.items()):  # a protobuf map has another order in every process
            registered = custom.get(name)
            if registered is not None:
                value_type, number = registered.value_type, registered.number
            elif name in PREDEFINED:
                value_type, number = PREDEFINED[name], PREDEFINED_NUMBERS[name]
            else:
                continue
            values = core.indexed(Payload.FromString(packed), value_type)
            rows += [(INSERT_INDEXED, (rid, number, value)) for value in values]
        return rows

    def _placed(self, namespace: str, name: str, value_type: Type, new: Sequence[Registered]) -> Registered:
        taken = {one.field for one in (*self.custom(namespace).values(), *new)}
        type_name = TYPE_NAMES.get(value_type, "Unspecified")
        allowed = PER_TYPE_MAX.get(value_type, 0)
        free = [field for n in range(1, allowed + 1) if (field := f"{type_name}{n:02d}") not in taken]
        if not free:
            raise InvalidArgument(
                f"Unable to create search attributes: cannot have more than {allowed} search attribute of type"
                f" {type_name}."
            )
        return self._numbered(namespace, name, value_type, free[0], new)

    def _at_place(self, namespace: str, name: str, field: str, new: Sequence[Registered]) -> Registered:
        """Return an attribute for a place that somebody named."""
        kind = {text: value_type for value_type, text in TYPE_NAMES.items()}.get(field[:-2])
        allowed = PER_TYPE_MAX[kind] if kind is not None else 0
        if kind is None or field[-2:] not in {f"{n:02d}" for n in range(1, allowed + 1)}:
            raise InvalidArgument(
                f"{field} is no place for a search attribute: name a type and a number, as Keyword01."
            )
        if core.is_reserved(name):
            raise InvalidArgument(f"Search attribute {name} is reserved by system.")
        if name in self.custom(namespace) or any(one.live and one.name == name for one in new):
            raise InvalidArgument(f"Search attribute {name} is registered already, at another place.")
        _check_name(name)
        return self._numbered(namespace, name, kind, field, new)

    def _numbered(
        self, namespace: str, name: str, value_type: Type, field: str, new: Sequence[Registered]
    ) -> Registered:
        """Return an attribute with the number that it had before, else with a new one."""
        for one in self._all.values():
            if (one.namespace, one.name, one.value_type) == (namespace, name, value_type):
                return replace(one, field=field, live=True)
        number = max([FIRST_CUSTOM_NUMBER - 1, *self._all, *(one.number for one in new)]) + 1
        return Registered(namespace, name, value_type, number, field, live=True)

    async def _put(self, namespace: str, changed: Sequence[Registered]) -> None:
        if not changed:
            return
        rows = [(PUT, _row(one)) for one in changed]
        await self._database.commit(Member(rows, frozenset([("search attributes", namespace)])))
        for one in changed:
            self._remember(one)

    def _remember(self, one: Registered) -> None:
        self._all[one.number] = one
        live = dict(self._live.get(one.namespace, {}))
        if one.live:
            live[one.name] = one
        else:
            live.pop(one.name, None)
        self._live[one.namespace] = live


def _row(one: Registered) -> Row:
    return sealed(one.namespace, one.name, int(one.value_type), one.number, one.field, int(one.live))


def _check_name(name: str) -> None:
    if not name or len(name.encode()) > NAME_LENGTH_MAX:
        raise InvalidArgument(
            f"Search attribute name is {len(name.encode())} bytes long; give one of 1 to {NAME_LENGTH_MAX}."
        )
