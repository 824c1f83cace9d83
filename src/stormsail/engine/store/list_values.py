"""What a query may name and compare with: the search attributes all workflows have, and how literals are read."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from temporalio.api.enums.v1 import WorkflowExecutionStatus

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.search_attributes import nanoseconds

Literal = str | int | float | bool
Value = str | int | float

INT64_MAX: Final = (1 << 63) - 1
_NANOSECONDS: Final = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
_SPAN: Final = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h|d)", re.ASCII)
_CLOCK: Final = re.compile(r"(\d{1,9}):([0-5]?\d):([0-5]?\d)", re.ASCII)


class Kind(Enum):
    """How a search attribute's literals are read."""

    KEYWORD = "Keyword"
    KEYWORD_LIST = "KeywordList"
    TEXT = "Text"
    DATETIME = "Datetime"
    INT = "Int"
    DOUBLE = "Double"
    BOOL = "Bool"
    STATUS = "Status"
    DURATION = "Duration"

    @property
    def type_name(self) -> str:
        """The type as Temporal names it: a status is a keyword to it, a duration a number."""
        return {"Status": "Keyword", "Duration": "Int"}.get(self.value, self.value)


@dataclass(frozen=True, slots=True)
class Column:
    """A search attribute: its name, its kind and its value in SQL, whose unit is that of the literals."""

    name: str
    kind: Kind
    expression: str
    number: int = 0
    """Of a search attribute whose values are in the table `indexed`; 0 for those that are columns of `run`."""

    @property
    def several(self) -> bool:
        """Whether it is a set of values, members or words: a run without any differs from every value."""
        return self.kind in (Kind.KEYWORD_LIST, Kind.TEXT)


def indexed_column(name: str, kind: Kind, number: int) -> Column:
    """Return a search attribute whose values are in the table `indexed`. A list is put in order by its least member."""
    value = "min(value)" if kind is Kind.KEYWORD_LIST else "value"
    stored = f"(SELECT {value} FROM indexed WHERE indexed.rid = run.rid AND attribute = {number:d})"  # noqa: S608
    return Column(name, kind, stored, number)


COLUMNS: Final = {
    column.name: column
    for column in (
        Column("WorkflowId", Kind.KEYWORD, "run.workflow_id"),
        Column("RunId", Kind.KEYWORD, "run.run_id"),
        Column("WorkflowType", Kind.KEYWORD, "run.workflow_type"),
        Column("TaskQueue", Kind.KEYWORD, "run.task_queue"),
        Column("ExecutionStatus", Kind.STATUS, "run.status"),
        Column("StartTime", Kind.DATETIME, "run.start_ms * 1000000"),
        Column("ExecutionTime", Kind.DATETIME, "run.execution_ms * 1000000"),
        Column("CloseTime", Kind.DATETIME, "run.close_ms * 1000000"),
        Column("ExecutionDuration", Kind.DURATION, "run.execution_duration_ms * 1000000"),
        Column("HistoryLength", Kind.INT, "run.history_events"),
        Column("HistorySizeBytes", Kind.INT, "run.history_size_bytes"),
        Column("StateTransitionCount", Kind.INT, "run.state_transitions"),
        Column("ParentWorkflowId", Kind.KEYWORD, "run.parent_workflow_id"),
        Column("ParentRunId", Kind.KEYWORD, "run.parent_run_id"),
        Column("RootWorkflowId", Kind.KEYWORD, "run.root_workflow_id"),
        Column("RootRunId", Kind.KEYWORD, "run.root_run_id"),
    )
}

STATUSES: Final[dict[str, int]] = {
    spelling: number
    for name, number in WorkflowExecutionStatus.items()
    for spelling in (name, name.removeprefix("WORKFLOW_EXECUTION_STATUS_").title().replace("_", ""))
}
"""By both spellings: `Running` and `WORKFLOW_EXECUTION_STATUS_RUNNING`."""


def invalid_expression(rule: str) -> InvalidArgument:
    """A query whose words are in place but whose meaning is not."""
    return InvalidArgument(f"invalid query: invalid expression: {rule}")


def not_supported(what: str) -> InvalidArgument:
    """A query that asks for what the language leaves out."""
    return InvalidArgument(f"invalid query: operation is not supported: {what}")


def value_of(column: Column, literal: Literal) -> Value:
    """Read a literal as a value of this column."""
    match column.kind:
        case Kind.STATUS:
            return _status(column, literal)
        case Kind.DURATION:
            return _duration(column, literal)
        case Kind.DATETIME if isinstance(literal, str):
            return _datetime(literal)
        case Kind.DATETIME if type(literal) is int:
            return literal
        case Kind.KEYWORD | Kind.KEYWORD_LIST | Kind.TEXT if isinstance(literal, str):
            return literal
        case Kind.INT | Kind.DOUBLE if type(literal) in (int, float):
            return literal
        case Kind.BOOL if isinstance(literal, bool):
            return int(literal)
    kind, found = column.kind.type_name, _type_name(literal)
    raise invalid_expression(
        f"invalid value type for search attribute {column.name} of type {kind}: {_shown(literal)} (type: {found})"
    )


def unquoted(text: str) -> str:
    """Return what a string literal means: backslash escapes, and a doubled quote for one."""
    quote, body = text[0], text[1:-1]
    return re.sub(
        rf"\\(.)|{quote}{quote}",
        lambda found: _ESCAPES.get(found[1], found[1]) if found[1] is not None else quote,
        body,
        flags=re.DOTALL,
    )


_ESCAPES: Final = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}


def _status(column: Column, literal: Literal) -> int:
    if isinstance(literal, str):
        if literal in STATUSES:
            return STATUSES[literal]
        raise invalid_expression(f"invalid {column.name} value '{literal}'")
    if type(literal) is int:
        if literal in STATUSES.values():
            return literal
        raise invalid_expression(f"invalid {column.name} value {literal}")
    raise invalid_expression(f"unexpected value type {_type_name(literal)} for search attribute {column.name}")


def _duration(column: Column, literal: Literal) -> int:
    """Return nanoseconds. Read are numbers of them, `1h30m`, `1.5d` and `hh:mm:ss`."""
    if type(literal) is int:
        return literal
    if not isinstance(literal, str):
        raise invalid_expression(f"unexpected value type {_type_name(literal)} for search attribute {column.name}")
    body = literal.removeprefix("-").removeprefix("+")
    sign = -1 if literal.startswith("-") else 1
    total: int | None = None
    if re.fullmatch(r"\d{1,19}", body, re.ASCII):
        total = int(body)
    elif clock := _CLOCK.fullmatch(literal):
        hours, minutes, seconds = map(int, clock.groups())
        total = ((hours * 60 + minutes) * 60 + seconds) * _NANOSECONDS["s"]
    elif body and re.fullmatch(f"(?:{_SPAN.pattern})+", body, re.ASCII):
        total = sum(_exact(number, _NANOSECONDS[unit]) for number, unit in _SPAN.findall(body))
    if total is None or total > INT64_MAX:
        raise invalid_expression(f"invalid duration value for search attribute {column.name}: {literal}")
    return sign * total


def _exact(number: str, unit: int) -> int:
    whole, _, fraction = number.partition(".")
    return int(whole or 0) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)


def _datetime(literal: str) -> int:
    """Return nanoseconds since the epoch."""
    try:
        return nanoseconds(literal)
    except ValueError:
        raise invalid_expression(f"unable to parse datetime '{literal}'") from None


def _type_name(literal: Literal) -> str:
    return {bool: "bool", int: "int64", float: "float64", str: "string"}[type(literal)]


def _shown(literal: Literal) -> str:
    if isinstance(literal, bool):
        return str(literal).lower()
    return f'"{literal}"' if isinstance(literal, str) else str(literal)
