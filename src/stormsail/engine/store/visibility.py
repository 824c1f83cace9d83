"""Lists and counts of runs: a filter, an order, and pages that stay right while runs come and go."""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any, Final

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.visibility_row import VisibilityRow
from stormsail.engine.store.errors import QueryTooCostly
from stormsail.engine.store.list_filter import Filter, parse, sql
from stormsail.engine.store.list_values import not_supported
from stormsail.engine.store.reader import Reader, Row
from stormsail.engine.store.search_attributes import DIVISION, SearchAttributes

STEPS_MAX: Final = 100_000_000
"""SQLite steps that one list or count may take, about a second of a core."""

_SELECTED: Final = (
    "run.namespace, run.workflow_id, run.run_id, run.workflow_type, run.status, run.start_ms, run.execution_ms, "
    "run.close_ms, run.execution_duration_ms, coalesce(run.history_events, 0), coalesce(run.history_size_bytes, 0), "
    "coalesce(run.state_transitions, 0), run.task_queue, coalesce(attributes.memo, x''), "
    "coalesce(attributes.search_attributes, x''), coalesce(run.parent_workflow_id, ''), "
    "coalesce(run.parent_run_id, ''), coalesce(run.root_workflow_id, ''), coalesce(run.root_run_id, '')"
)
_SELECTED_COLUMNS: Final = 19


@dataclass(frozen=True, slots=True)
class _Key:
    expression: str
    descending: bool


# The order of Temporal's SQL stores: open runs first, then the last closed, the last started, the run id.
# The expressions are those of the index run_listed.
_DEFAULT_ORDER: Final = (
    _Key("coalesce(run.close_ms, 9223372036854775807)", descending=True),
    _Key("run.start_ms", descending=True),
)
_ANY_DIVISION: Final = f"SELECT 1 FROM indexed WHERE attribute = {DIVISION} LIMIT 1"  # noqa: S608 - a number of ours
_NO_DIVISION: Final = f"NOT EXISTS (SELECT 1 FROM indexed WHERE rid = run.rid AND attribute = {DIVISION})"  # noqa: S608
_LAST: Final = _Key("run.run_id", descending=False)
"""Unique in a namespace, so that every order is total."""


@dataclass(frozen=True, slots=True)
class VisibilityPage:
    """Part of a list. `next_token` is empty at its end."""

    rows: list[VisibilityRow]
    next_token: bytes


@dataclass(frozen=True, slots=True)
class CountResult:
    """How many runs. `groups` holds (status, runs), by status, where the query groups."""

    total: int
    groups: tuple[tuple[int, int], ...] = ()


class Visibility:
    """The lists of one database. They may take long: call them in another thread, `asyncio.to_thread`, as you like."""

    def __init__(self, reader: Reader, attributes: SearchAttributes, *, page_max: int) -> None:
        self._reader = reader
        self._attributes = attributes
        self._page_max = page_max

    def list(self, namespace: str, query: str, page_size: int, token: bytes) -> VisibilityPage:
        """Return runs in the query's order, those after the token's. A size of 0, or one too large, is the largest.

        A run is on at most one page, and one that does not change meanwhile is on exactly one.
        """
        filter_ = self._parse(namespace, query)
        if filter_.group_by is not None:
            raise not_supported("'GROUP BY' clause in a list; it is for counts")
        size = min(page_size, self._page_max) if page_size > 0 else self._page_max
        keys = _order(filter_)
        belongs = zlib.crc32(f"{namespace}\0{query}".encode())
        conditions, values = _where(self._reader, namespace, filter_)
        if token:
            after, more = _after(keys, _unpack(token, belongs, len(keys)))
            conditions += after
            values += more
        order = ", ".join(f"{key.expression} {'DESC' if key.descending else 'ASC'}" for key in keys)
        found = self._read(
            f"SELECT {_SELECTED}, {', '.join(key.expression for key in keys)} "  # noqa: S608 - constants of this file only
            f"FROM run LEFT JOIN attributes USING (rid) WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT ?",
            [*values, size + 1],
        )
        rows = [VisibilityRow(*row[:_SELECTED_COLUMNS]) for row in found[:size]]
        more_follow = len(found) > size
        return VisibilityPage(rows, _pack(found[size - 1][_SELECTED_COLUMNS:], belongs) if more_follow else b"")

    def check(self, namespace: str, query: str) -> None:
        """Refuse a query of a list that cannot be."""
        if self._parse(namespace, query).group_by is not None:
            raise not_supported("'GROUP BY' clause in a list; it is for counts")

    def count(self, namespace: str, query: str) -> CountResult:
        """Count runs; with GROUP BY ExecutionStatus by status as well."""
        filter_ = self._parse(namespace, query)
        if filter_.order:
            raise not_supported("'ORDER BY' clause")
        conditions, values = _where(self._reader, namespace, filter_)
        where = " AND ".join(conditions)
        if filter_.group_by is None:
            found = self._read(f"SELECT count(*) FROM run WHERE {where}", values)  # noqa: S608 - as above
            return CountResult(found[0][0])
        groups = self._read(
            f"SELECT run.status, count(*) FROM run WHERE {where} GROUP BY run.status ORDER BY run.status",  # noqa: S608
            values,
        )
        return CountResult(sum(runs for _, runs in groups), tuple((status, runs) for status, runs in groups))

    def _parse(self, namespace: str, query: str) -> Filter:
        return parse(query, partial(self._attributes.column, namespace))

    def _read(self, statement: str, values: Sequence[Any]) -> Sequence[Row]:
        found = self._reader.read_bounded(statement, values, STEPS_MAX)
        if found is None:
            raise QueryTooCostly
        return found


def _where(reader: Reader, namespace: str, filter_: Filter) -> tuple[list[str], list[Any]]:
    conditions, values = ["run.namespace = ?"], [namespace]
    if DIVISION not in filter_.numbers and reader.read(_ANY_DIVISION):
        # Runs of a division are tools' own; they are shown to those who ask for divisions.
        conditions.append(_NO_DIVISION)
    if filter_.where is not None:
        text, bound = sql(filter_.where)
        conditions.append(f"({text})")
        values += bound  # type: ignore[arg-type]
    return conditions, values


def _order(filter_: Filter) -> tuple[_Key, ...]:
    named = tuple(_Key(column.expression, descending) for column, descending in filter_.order)
    return (*(named or _DEFAULT_ORDER), _LAST)


def _after(keys: tuple[_Key, ...], place: list[Any]) -> tuple[list[str], list[Any]]:
    """Return the conditions for being after a place in the order, with their values."""
    ways: list[str] = []
    values: list[Any] = []
    same: list[str] = []
    same_values: list[Any] = []
    for key, value in zip(keys, place, strict=True):
        beyond, bound = _beyond(key, value)
        ways.append(" AND ".join([*same, beyond]))
        values += [*same_values, *bound]
        same.append(f"{key.expression} IS ?")
        same_values.append(value)
    conditions = ["(" + " OR ".join(f"({way})" for way in ways) + ")"]
    if keys[: len(_DEFAULT_ORDER)] == _DEFAULT_ORDER:
        # It follows from the others, and lets SQLite begin at the place in the index.
        conditions.append(f"{keys[0].expression} <= ?")
        values.append(place[0])
    return conditions, values


def _beyond(key: _Key, value: Any) -> tuple[str, list[Any]]:
    """Say what comes after a value in one key. SQLite puts null before every value."""
    if key.descending:
        return ("0", []) if value is None else (f"({key.expression} < ? OR {key.expression} IS NULL)", [value])
    return (f"{key.expression} IS NOT NULL", []) if value is None else (f"{key.expression} > ?", [value])


def _pack(place: tuple[Any, ...], belongs: int) -> bytes:
    return json.dumps([belongs, *place], separators=(",", ":")).encode()


def _unpack(token: bytes, belongs: int, keys: int) -> list[Any]:
    try:
        found = json.loads(token)
    except ValueError:
        found = None
    if not isinstance(found, list) or len(found) != keys + 1 or found[0] != belongs or not all(_fits(found)):
        raise InvalidArgument("invalid next page token: it is not of this query; list again without one")
    return found[1:]


def _fits(values: list[Any]) -> Iterator[bool]:
    for value in values:
        yield (
            value is None
            or isinstance(value, str)
            or (type(value) is int and -(1 << 63) <= value < 1 << 63)
            or (type(value) is float and isfinite(value))
        )
