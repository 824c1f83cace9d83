"""The filter language of list and count, as Temporal's SQL stores speak it: text in, a syntax tree out.

Texts of errors follow Temporal's, except that a position counts from the query's own first character.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.store.list_values import (
    COLUMNS,
    Column,
    Kind,
    Literal,
    Value,
    invalid_expression,
    not_supported,
    unquoted,
    value_of,
)

QUERY_LENGTH_MAX: Final = 65_536
NESTING_MAX: Final = 50
TERMS_MAX: Final = 500
"""Conditions and values in one query; SQLite bounds the depth of an expression at 1,000."""


@dataclass(frozen=True, slots=True)
class Compare:
    """A column against a value; `operator` is SQL's."""

    column: Column
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class Among:
    """A column's value is one of these."""

    column: Column
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """A column's value is in a range, its ends included."""

    column: Column
    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class StartsWith:
    """A text column's value begins so; case matters."""

    column: Column
    prefix: str


@dataclass(frozen=True, slots=True)
class Missing:
    """A column has no value."""

    column: Column


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite; unknown stays unknown, as in SQL."""

    part: "Node"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds."""

    parts: "tuple[Node, ...]"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One part holds."""

    parts: "tuple[Node, ...]"


Node = Compare | Among | Between | StartsWith | Missing | Not | AllOf | AnyOf


@dataclass(frozen=True, slots=True)
class Filter:
    """A query. `order` is empty where it names none."""

    where: Node | None = None
    order: tuple[tuple[Column, bool], ...] = ()
    """Columns, each with whether it descends."""
    group_by: Column | None = None


def parse(query: str) -> Filter:
    """Parse a query; an empty one finds everything. Raises InvalidArgument naming the place and the rule."""
    if len(query) > QUERY_LENGTH_MAX:
        raise InvalidArgument(f"invalid query: longer than {QUERY_LENGTH_MAX} characters")
    return _Parser(query).parse()


def sql(node: Node) -> tuple[str, list[Value]]:
    """Return a tree as a condition of SQL with its bound values. No text of the query gets into the SQL."""
    match node:
        case Compare(column, operator, value):
            return f"{column.expression} {operator} ?", [value]
        case Among(column, values):
            return f"{column.expression} IN ({', '.join('?' * len(values))})", list(values)
        case Between(column, low, high):
            return f"{column.expression} BETWEEN ? AND ?", [low, high]
        case StartsWith(column, prefix):
            begin = prefix.encode()
            # SQLite's substr of an empty blob is null, which here must stay what only a missing value is.
            start = f"coalesce(substr(CAST({column.expression} AS BLOB), 1, {len(begin)}), x'')"
            return f"iif({column.expression} IS NULL, NULL, {start} = CAST(? AS BLOB))", [prefix]
        case Missing(column):
            return f"{column.expression} IS NULL", []
        case Not(part):
            inner, values_ = sql(part)
            return f"NOT ({inner})", values_
        case AllOf(parts) | AnyOf(parts):
            word = " AND " if isinstance(node, AllOf) else " OR "
            done = [sql(part) for part in parts]
            return "(" + word.join(text for text, _ in done) + ")", [value for _, more in done for value in more]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    """`word`, `name` (in backquotes), `text`, `number`, `sign` or `end`."""
    text: str
    at: int

    def says(self, *words: str) -> bool:
        """Whether this is one of these words or signs; the case of words does not matter."""
        return self.kind in ("word", "sign") and self.text.upper() in words


_TOKEN: Final = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
    |(?P<name>`[^`]+`)
    |(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)
    |(?P<word>[A-Za-z_@][\w@$]*(?:\.[A-Za-z_]\w*)*)
    |(?P<sign><=>|<>|!=|<=|>=|&&|\|\||[=<>(),!;+*/%-])""",
    re.VERBOSE | re.DOTALL,
)
_COMPARISONS: Final = ("=", "!=", "<>", "<", "<=", ">", ">=")
_COMPARING: Final = ("IN", "IS", "BETWEEN", "STARTS_WITH", "LIKE", "REGEXP", "RLIKE")
_KEYWORDS: Final = frozenset(
    {*_COMPARING, "AND", "OR", "NOT", "NULL", "TRUE", "FALSE", "ORDER", "GROUP", "BY", "ASC", "DESC", "LIMIT"}
)


def _tokens(query: str) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    while at < len(query):
        found = _TOKEN.match(query, at)
        if found is None:
            _malformed(_Token("sign", query[at:].split()[0], at))
        kind = found.lastgroup
        assert kind is not None
        if kind != "skip":
            tokens.append(_Token(kind, found.group(), at))
        at = found.end()
    while tokens and tokens[-1].says(";"):
        tokens.pop()
    return tokens


def _malformed(token: _Token) -> NoReturn:
    near = "" if token.kind == "end" else f" near '{token.text}'"
    raise InvalidArgument(f"invalid query: malformed SQL query: syntax error at position {token.at + 1}{near}")


class _Parser:
    """Recursive descent: OR binds loosest, then AND, then NOT, then one condition."""

    def __init__(self, query: str) -> None:
        self._tokens = _tokens(query)
        self._end = _Token("end", "", len(query))
        self._next = 0
        self._depth = 0
        self._terms = 0

    def parse(self) -> Filter:
        where = group_by = None
        order: tuple[tuple[Column, bool], ...] = ()
        if not self._peek().says("ORDER", "GROUP") and self._peek().kind != "end":
            where = self._either()
        if self._take("GROUP"):
            group_by = self._group_by()
        if self._take("ORDER"):
            order = self._order_by()
        if self._peek().says("LIMIT"):
            raise not_supported("'LIMIT' clause")
        if self._peek().kind != "end":
            _malformed(self._peek())
        return Filter(where, order, group_by)

    def _group_by(self) -> Column:
        self._expect("BY")
        column = self._column()
        if self._peek().says(","):
            raise not_supported("'GROUP BY' clause supports only a single field")
        if column.kind is not Kind.STATUS:
            raise not_supported(f"'GROUP BY' clause is not supported for search attribute {column.name}")
        return column

    def _order_by(self) -> tuple[tuple[Column, bool], ...]:
        self._expect("BY")
        order: dict[Column, bool] = {}
        while True:
            column = self._column()
            descending = self._take("DESC")
            if not descending:
                self._take("ASC")
            order.setdefault(column, descending)
            if not self._take(","):
                return tuple(order.items())

    def _either(self) -> Node:
        self._depth += 1
        if self._depth > NESTING_MAX:
            raise InvalidArgument(f"invalid query: nested deeper than {NESTING_MAX}")
        parts = self._several(self._both, "OR", "||")
        self._depth -= 1
        return parts[0] if len(parts) == 1 else AnyOf(parts)

    def _both(self) -> Node:
        parts = self._several(self._negated, "AND", "&&")
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def _several(self, one: Callable[[], Node], *words: str) -> tuple[Node, ...]:
        parts = [one()]
        while self._take(*words):
            parts.append(one())
        return tuple(parts)

    def _negated(self) -> Node:
        negations = 0
        while self._take("NOT"):
            negations += 1
        inner = self._condition()
        return Not(inner) if negations % 2 else inner

    def _condition(self) -> Node:
        if self._take("("):
            inner = self._either()
            self._expect(")")
            return inner
        self._count()
        column = self._column()
        token = self._pop()
        if token.says("IS"):
            return self._is(column)
        if token.says(*_COMPARISONS):
            return Compare(column, "!=" if token.text == "<>" else token.text, self._value(column))
        negated = token.says("NOT")
        if negated:
            token = self._pop()
        node = self._worded(column, token, "NOT " if negated else "")
        return Not(node) if negated else node

    def _worded(self, column: Column, token: _Token, negation: str) -> Node:
        """Parse what follows a column and one of the operators that are words."""
        if token.says("IN"):
            self._expect("(")
            values = [self._value(column)]
            while self._take(","):
                self._count()
                values.append(self._value(column))
            self._expect(")")
            return Among(column, tuple(values))
        if token.says("BETWEEN"):
            low = self._value(column)
            self._expect("AND")
            return Between(column, low, self._value(column))
        if token.says("STARTS_WITH"):
            value = self._value(column)
            if column.kind is not Kind.KEYWORD:
                raise self._wrong_operator(column, negation + "STARTS_WITH")
            assert isinstance(value, str)
            return StartsWith(column, value)
        if token.says("LIKE", "REGEXP", "RLIKE", "<=>"):
            raise self._wrong_operator(column, negation + token.text.upper())
        if not negation and (token.kind == "end" or token.says("AND", "OR", "&&", "||", ")", "ORDER", "GROUP")):
            raise invalid_expression("incomplete expression")
        _malformed(token)

    def _is(self, column: Column) -> Node:
        negated = self._take("NOT")
        if self._take("TRUE", "FALSE"):
            raise invalid_expression("'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'")
        self._expect("NULL")
        return Not(Missing(column)) if negated else Missing(column)

    def _wrong_operator(self, column: Column, operator: str) -> InvalidArgument:
        kind = column.kind.type_name
        return not_supported(f"operator '{operator}' not supported for {kind} type search attribute '{column.name}'")

    def _column(self) -> Column:
        token = self._pop()
        if token.kind in ("text", "number") or token.says("-", "+", "!"):
            raise invalid_expression(f"must be a column name but was {token.text}")
        if token.kind not in ("word", "name") or (token.kind == "word" and token.text.upper() in _KEYWORDS):
            _malformed(token)
        if self._peek().says("("):
            raise not_supported("function expression")
        name = token.text.strip("`")
        if name not in COLUMNS:
            raise InvalidArgument(f"invalid query: invalid search attribute: {name}")
        return COLUMNS[name]

    def _value(self, column: Column) -> Value:
        return value_of(column, self._literal())

    def _literal(self) -> Literal:
        token = self._pop()
        negative = False
        if token.says("-", "+") and self._peek().kind == "number":
            negative, token = token.text == "-", self._pop()
        if token.kind == "text":
            return unquoted(token.text)
        if token.kind == "number":
            return _number(token.text, negative=negative)
        if token.says("TRUE", "FALSE"):
            return token.says("TRUE")
        if token.says("NULL"):
            raise invalid_expression("unexpected value type NULL (did you mean IS NULL?)")
        if token.kind in ("word", "name") and token.text.upper() not in _KEYWORDS:
            if self._peek().says("("):
                raise not_supported("nested func")
            raise not_supported(
                "column name on the right side of comparison expression "
                f'(did you forget to quote "{token.text.strip("`")}"?)'
            )
        _malformed(token)

    def _count(self) -> None:
        self._terms += 1
        if self._terms > TERMS_MAX:
            raise InvalidArgument(f"invalid query: more than {TERMS_MAX} conditions and values")

    def _peek(self) -> _Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else self._end

    def _pop(self) -> _Token:
        token = self._peek()
        self._next += 1
        return token

    def _take(self, *words: str) -> bool:
        if self._peek().says(*words):
            self._next += 1
            return True
        return False

    def _expect(self, word: str) -> None:
        if not self._take(word):
            _malformed(self._peek())


def _number(text: str, *, negative: bool) -> Literal:
    if text.isdigit() and len(text) <= 19:
        whole = -int(text) if negative else int(text)
        if -(1 << 63) <= whole < 1 << 63:
            return whole
    number = float(text)
    if number == float("inf"):
        raise invalid_expression(f'unable to parse value "{text}"')
    return -number if negative else number
