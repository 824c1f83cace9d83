"""The filter language: what it means, shown against a plain model in Python, and how it turns bad queries down."""

import asyncio
import datetime
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import SearchAttributes

from engine.store.given import AT_MS, completed, key, started, upserted
from stormsail.engine.core import search_attributes as sa
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.visibility_row import VisibilityRow, visibility_row
from stormsail.engine.store.list_filter import QUERY_LENGTH_MAX, TERMS_MAX, parse, sql
from stormsail.engine.store.list_values import STATUSES
from stormsail.engine.store.store import Store

TEXTS = ["", "a", "A", "ab", "a'b", 'a"b', "a%b", "a_b", "a\\b", "é", "z", "Deploy", "a\nb"]
INSTANTS = [AT_MS + n * 500 for n in range(4)]
DOUBLES = [-1.5, 0.0, 2.5, 1e300]
WORDS = ["", "Quick brown-fox", "brown", "Fóx 42", "the quick   BROWN", "?!"]
CUSTOM = {
    "Word": sa.KEYWORD,
    "Number": sa.INT,
    "Share": sa.DOUBLE,
    "Done": sa.BOOL,
    "At": sa.DATETIME,
    "Tags": sa.KEYWORD_LIST,
    "Story": sa.TEXT,
}
Model = Callable[[VisibilityRow], bool | None]


def text_of(row: VisibilityRow, name: str) -> str | None:
    """Return a text attribute; a missing parent has no value."""
    found: str = getattr(row, name)
    return found if found or not name.startswith("parent") else None


def custom(name: str) -> Callable[[VisibilityRow], Any]:
    """Read a custom attribute of a row, as its type means it."""

    return partial(custom_text, name=name)


def custom_text(row: VisibilityRow, name: str) -> Any:
    """Read an attribute of a row as JSON has it."""
    fields = SearchAttributes.FromString(row.search_attributes).indexed_fields
    return json.loads(fields[name].data) if name in fields else None


def instant_of(row: VisibilityRow) -> int | None:
    """Read the attribute At."""
    found = custom_text(row, "At")
    if found is None:
        return None
    whole, _, rest = found.removesuffix("Z").partition(".")
    return int(datetime.datetime.fromisoformat(whole + "+00:00").timestamp()) * 1_000_000_000 + int(rest)


ATTRIBUTES: dict[str, tuple[str, Callable[[VisibilityRow], Any]]] = {
    "WorkflowId": ("text", lambda row: row.workflow_id),
    "RunId": ("text", lambda row: row.run_id),
    "WorkflowType": ("text", lambda row: row.workflow_type),
    "TaskQueue": ("text", lambda row: row.task_queue),
    "ParentWorkflowId": ("text", lambda row: text_of(row, "parent_workflow_id")),
    "RootRunId": ("text", lambda row: row.root_run_id),
    "ExecutionStatus": ("status", lambda row: row.status),
    "StartTime": ("instant", lambda row: row.start_ms * 1_000_000),
    "ExecutionTime": ("instant", lambda row: row.execution_ms * 1_000_000),
    "CloseTime": ("instant", lambda row: None if row.close_ms is None else row.close_ms * 1_000_000),
    "ExecutionDuration": (
        "duration",
        lambda row: None if row.execution_duration_ms is None else row.execution_duration_ms * 1_000_000,
    ),
    "HistoryLength": ("number", lambda row: None if row.close_ms is None else row.history_events),
    "HistorySizeBytes": ("number", lambda row: None if row.close_ms is None else row.history_size_bytes),
    "Word": ("text", custom("Word")),
    "Number": ("number", custom("Number")),
    "Share": ("number", custom("Share")),
    "Done": ("bool", custom("Done")),
    "At": ("instant", instant_of),
    "Tags": ("list", custom("Tags")),
    "Story": ("story", custom("Story")),
    "BuildIds": ("list", custom("BuildIds")),
    "ChangeVersion": ("list", custom("TemporalChangeVersion")),
    "TemporalScheduledById": ("text", custom("TemporalScheduledById")),
}
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def quoted(text: str) -> str:
    """Write a text as a literal of the language."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def rfc3339(nanoseconds: int) -> str:
    """Write an instant as the language reads it."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    whole = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"'{whole:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z'"


@st.composite
def literals(draw: st.DrawFn, kind: str) -> tuple[str, Any]:
    """Return a literal of a kind as text and as its value."""
    if kind == "bool":
        chosen = draw(st.booleans())
        return draw(st.sampled_from([str(chosen).lower(), str(chosen).upper()])), chosen
    if kind == "story":
        words = draw(
            st.lists(st.sampled_from(["brown", "QUICK", "fox", "brown-fox", "quick-fox", "42", "?"]), min_size=1)
        )
        return quoted(" ".join(words)), words
    if kind in ("text", "list"):
        text = draw(st.sampled_from([*TEXTS, "w1", "w3-1"]) | st.text(st.characters(codec="utf-8"), max_size=3))
        return quoted(text), text
    if kind == "status":
        spelling = draw(st.sampled_from(sorted(STATUSES)))
        return draw(st.sampled_from([quoted(spelling), str(STATUSES[spelling])])), STATUSES[spelling]
    if kind == "instant":
        nanoseconds = draw(st.sampled_from(INSTANTS)) * 1_000_000 + draw(st.sampled_from([-1, 0, 0, 1]))
        return draw(st.sampled_from([rfc3339(nanoseconds), str(nanoseconds)])), nanoseconds
    if kind == "duration":
        ms = draw(st.sampled_from([0, 500, 1_000, 1_500, 3_600_000]))
        return draw(st.sampled_from([f"'{ms}ms'", f"'{ms / 1_000}s'", str(ms * 1_000_000)])), ms * 1_000_000
    number = draw(st.integers(-3, 5) | st.sampled_from([2.5, 1e30, -0.5]))
    return str(number), number


def compared(value: Callable[[VisibilityRow], Any], test: Callable[[Any], bool]) -> Model:
    """Return a model that is unknown where there is no value."""
    return lambda row: None if value(row) is None else test(value(row))


@st.composite
def conditions(draw: st.DrawFn) -> tuple[str, Model]:
    """Return one condition as text and as its meaning."""
    name = draw(st.sampled_from(sorted(ATTRIBUTES)))
    kind, value = ATTRIBUTES[name]
    shown = draw(st.sampled_from([name, f"`{name}`"]))
    if kind in ("list", "story"):
        return draw(several(kind, shown, value))
    forms = ["compare", "in", "null"] + (["starts"] if kind == "text" else []) + (["between"] if kind != "bool" else [])
    form = draw(st.sampled_from(forms))
    negated = draw(st.booleans()) and form != "compare"
    word = draw(st.sampled_from(["NOT ", "not "])) if negated else ""
    if form == "compare":
        operator = draw(st.sampled_from(sorted(OPERATORS)))
        text, constant = draw(literals(kind))
        return f"{shown} {operator} {text}", compared(value, lambda v: OPERATORS[operator](v, constant))
    if form == "in":
        chosen = draw(st.lists(literals(kind), min_size=1, max_size=3))
        inside = [constant for _, constant in chosen]
        query = f"{shown} {word}IN ({', '.join(text for text, _ in chosen)})"
        return query, compared(value, lambda v: (v in inside) != negated)
    if form == "between":
        (low, low_value), (high, high_value) = draw(literals(kind)), draw(literals(kind))
        query = f"{shown} {word}between {low} AND {high}"
        return query, compared(value, lambda v: (low_value <= v <= high_value) != negated)
    if form == "starts":
        text, constant = draw(literals(kind))
        return f"{shown} {word}STARTS_WITH {text}", compared(value, lambda v: v.startswith(constant) != negated)
    return f"{shown} IS {word}NULL", lambda row: (value(row) is None) != negated


@st.composite
def several(draw: st.DrawFn, kind: str, shown: str, value: Callable[[VisibilityRow], Any]) -> tuple[str, Model]:
    """Return a condition on what may have several values: never unknown, also where there are none."""
    negated = draw(st.booleans())
    form = draw(st.sampled_from(["compare", "in", "null"] if kind == "list" else ["compare", "null"]))
    if form == "null":
        return f"{shown} IS {'NOT ' if negated else ''}NULL", lambda row: (not present(value(row))) != negated
    if kind == "story":
        text, phrases = draw(literals(kind))
        return f"{shown} {'!=' if negated else '='} {text}", lambda row: tells(value(row), phrases) != negated
    if form == "compare":
        text, constant = draw(literals(kind))
        return f"{shown} {'!=' if negated else '='} {text}", lambda row: (constant in (value(row) or ())) != negated
    chosen = draw(st.lists(literals(kind), min_size=1, max_size=3))
    inside = {constant for _, constant in chosen}
    query = f"{shown} {'NOT IN' if negated else 'in'} ({', '.join(text for text, _ in chosen)})"
    return query, lambda row: bool(inside.intersection(value(row) or ())) != negated


def present(value: Any) -> bool:
    """An empty list is no value; an empty text is one."""
    return value is not None and value != []


def tells(story: str | None, phrases: list[str]) -> bool:
    """Whether one of the phrases stands in a text, word for word, whatever the case and the accents."""
    told = re.findall(r"[a-z0-9]+", (story or "").lower().replace("ó", "o"))
    for phrase in phrases:
        asked = re.findall(r"[a-z0-9]+", phrase.lower())
        if asked and any(told[n : n + len(asked)] == asked for n in range(len(told))):
            return True
    return False


def both(a: bool | None, b: bool | None) -> bool | None:
    """AND with unknown."""
    if a is False or b is False:
        return False
    return None if a is None or b is None else True


def negation(a: bool | None) -> bool | None:
    """NOT with unknown."""
    return None if a is None else not a


def joined(left: tuple[str, Model], right: tuple[str, Model], word: str) -> tuple[str, Model]:
    """Join two queries, each in parentheses."""
    query = f"({left[0]}) {word} ({right[0]})"
    if word.upper() in ("AND", "&&"):
        return query, lambda row: both(left[1](row), right[1](row))
    return query, lambda row: negation(both(negation(left[1](row)), negation(right[1](row))))


QUERIES = st.recursive(
    conditions(),
    lambda inner: (
        st.builds(joined, inner, inner, st.sampled_from(["AND", "or", "OR", "and", "&&", "||"]))
        | inner.map(lambda one: (f"NOT ({one[0]})", lambda row: negation(one[1](row))))
    ),
    max_leaves=6,
)


def some_turns() -> list[list[Any]]:
    """Runs that differ in everything a query can ask for."""
    runs = []
    for n, text in enumerate(TEXTS * 2):
        first = started(
            key(f"w{n}" if n % 3 else text or "empty", f"w{n}-1"),
            at_ms=INSTANTS[n % 4],
            workflow_type=text or "T",
            queue=TEXTS[-n % len(TEXTS)],
            memo={"m": text.encode()} if n % 2 else None,
            attributes=attributes_of(n, text),
        )
        if n % 5 == 1:
            first.state.start.parent_workflow_execution.workflow_id = text or "parent"
        runs.append([first, completed(first.state, at_ms=first.now_ms + 500 * (n % 4))] if n % 3 else [first])
    return [turns for n, turns in enumerate(runs) if turns[0].state.key.workflow_id not in names_before(runs, n)]


def attributes_of(n: int, text: str) -> dict[str, object]:
    """The search attributes of the nth run: some of each kind, some of none."""
    values: dict[str, object] = {
        "Word": text,
        "Number": n % 5 - 2,
        "Share": DOUBLES[n % 4],
        "Done": n % 2 == 0,
        "At": json.loads(rfc3339(INSTANTS[n % 4] * 1_000_000 + n % 2).replace("'", '"')),
        "Tags": [text, TEXTS[n % len(TEXTS)]],
        "Story": WORDS[n % len(WORDS)],
        "BuildIds": [TEXTS[n % len(TEXTS)]],
        "TemporalChangeVersion": ["a", "a-1"],
        "TemporalScheduledById": text,
    }
    return {name: value for place, (name, value) in enumerate(values.items()) if (n + place) % 3}


def names_before(runs: list[list[Any]], n: int) -> set[str]:
    """The workflow ids of the runs before the nth."""
    return {turns[0].state.key.workflow_id for turns in runs[:n]}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, list[VisibilityRow]]]:
    """A store with runs, and what lists must show, in their order."""
    store = Store.open(tmp_path_factory.mktemp("lists"), now_ms=lambda: AT_MS)

    async def commit() -> list[VisibilityRow]:
        await store.search_attributes.add("default", CUSTOM)
        rows = []
        for turns in some_turns():
            for turn in turns:
                await store.commit([turn])
            rows.append(visibility_row(turns[-1].state))
        await store.commit([started(key("w1", "elsewhere", namespace="other"))])
        return rows

    rows = asyncio.run(commit())
    yield store, sorted(rows, key=lambda row: (-(row.close_ms or 1 << 62), -row.start_ms, row.run_id))
    store.close()


Filled = tuple[Store, list[VisibilityRow]]


@pytest.mark.slow
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(query=QUERIES)
@example(query=("TaskQueue STARTS_WITH ''", lambda _: True))
@example(query=("NOT TaskQueue STARTS_WITH 'a'", lambda row: not row.task_queue.startswith("a")))
def test_a_query_finds_what_it_says_in_order(filled: Filled, query: tuple[str, Model]) -> None:
    store, rows = filled
    text, model = query
    expected = [row for row in rows if model(row)]
    assert store.visibility.list("default", text, 0, b"").rows == expected
    assert store.visibility.count("default", text).total == len(expected)
    grouped = store.visibility.count("default", f"{text} GROUP BY ExecutionStatus")
    statuses = [row.status for row in expected]
    assert grouped.groups == tuple((status, statuses.count(status)) for status in sorted(set(statuses)))
    assert grouped.total == len(expected)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    query=st.text(max_size=60)
    | st.lists(
        st.sampled_from(["WorkflowId", "CloseTime", "=", "'a'", "(", ")", "AND", "NOT", "IN", ",", "1", '"', "-"])
    ).map(" ".join)
)
def test_any_text_is_a_query_or_an_invalid_argument(query: str) -> None:
    try:
        parse(query)
    except InvalidArgument as refused:
        assert refused.message.startswith("invalid query: ")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "WorkflowType != 'z'",
        "ORDER BY TaskQueue",
        "ORDER BY CloseTime DESC, HistoryLength",
        "ORDER BY Share DESC, Word",
        "Number > -2 ORDER BY Tags",
    ],
)
@pytest.mark.parametrize("size", [1, 2, 7, 1_000])
def test_pages_hold_every_run_once(filled: Filled, query: str, size: int) -> None:
    store, _ = filled
    whole = store.visibility.list("default", query, 0, b"").rows
    got, token = [], b""
    while True:
        page = store.visibility.list("default", query, size, token)
        assert len(page.rows) <= size
        got += page.rows
        token = page.next_token
        if not token:
            break
    assert got == whole
    assert len({row.run_id for row in got}) == len(got)


def test_a_named_order_is_kept_with_missing_values_first_when_it_rises(filled: Filled) -> None:
    store, _ = filled
    rows = store.visibility.list("default", "ORDER BY CloseTime, WorkflowId DESC", 0, b"").rows
    by_id = sorted(rows, key=lambda row: row.run_id)
    by_id.sort(key=lambda row: row.workflow_id, reverse=True)
    assert rows == sorted(by_id, key=lambda row: row.close_ms or 0)


async def test_pages_stay_right_while_runs_come_and_close(tmp_path: Path) -> None:
    store = Store.open(tmp_path, now_ms=lambda: AT_MS)
    turns = [started(key(f"w{n}"), at_ms=AT_MS + n) for n in range(10)]
    await store.commit(turns)
    page = store.visibility.list("default", "", 4, b"")
    assert [row.workflow_id for row in page.rows] == ["w9", "w8", "w7", "w6"]
    await store.commit([started(key("new"), at_ms=AT_MS + 99)])
    await store.commit([completed(turns[9].state)])
    rest = store.visibility.list("default", "", 100, page.next_token)
    assert [row.workflow_id for row in rest.rows] == ["w5", "w4", "w3", "w2", "w1", "w0", "w9"]
    assert rest.rows[-1] != page.rows[0], "a run that closes meanwhile moves to where the closed ones are"
    store.close()


def test_a_namespace_sees_only_its_own(filled: Filled) -> None:
    store, _ = filled
    assert [row.run_id for row in store.visibility.list("other", "", 0, b"").rows] == ["elsewhere"]
    assert store.visibility.list("none", "WorkflowId = 'w1' OR WorkflowId != 'w1'", 0, b"").rows == []
    assert store.visibility.count("other", "WorkflowId = 'x' OR WorkflowId = 'w1'").total == 1


@pytest.mark.parametrize("token", [b"x", b"[]", b"{}", b"\xff", b"[1,2,3,4]", b"null", b'[0,{"a":1},1,"x"]'])
def test_a_token_that_is_not_of_this_query_is_refused(filled: Filled, token: bytes) -> None:
    store, _ = filled
    with pytest.raises(InvalidArgument, match="next page token"):
        store.visibility.list("default", "", 1, token)


def test_a_token_of_another_query_or_namespace_is_refused(filled: Filled) -> None:
    store, _ = filled
    token = store.visibility.list("default", "", 1, b"").next_token
    for namespace, query in (("default", "WorkflowId = 'a'"), ("other", ""), ("default", "ORDER BY RunId")):
        with pytest.raises(InvalidArgument):
            store.visibility.list(namespace, query, 1, token)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("", "run_listed"),
        ("ExecutionStatus = 'Running'", "run_listed"),
        ("WorkflowType = 'Deploy' AND StartTime > '2020-01-01T00:00:00Z'", "run_listed"),
        ("WorkflowId = 'w1'", "run_chain"),
        ("RunId = 'w1-1' AND WorkflowType = 'T'", "run_key"),
        ("Word = 'w1'", "indexed_value"),
        ("Tags IN ('a', 'b') AND ExecutionStatus = 'Running'", "indexed_value"),
    ],
)
def test_lists_go_along_an_index(filled: Filled, query: str, index: str) -> None:
    store, _ = filled
    names = partial(store.search_attributes.column, "default")
    where, values = sql(parse(query, names).where) if query else ("1", [])
    plan = store._database.list_reader.read(
        f"EXPLAIN QUERY PLAN SELECT rid FROM run WHERE run.namespace = ? AND {where} "
        "ORDER BY coalesce(run.close_ms, 9223372036854775807) DESC, run.start_ms DESC, run.run_id LIMIT 2",
        ["default", *values],
    )
    told = " ".join(str(row[-1]) for row in plan)
    assert f"INDEX {index}" in told
    assert index != "run_listed" or "TEMP B-TREE" not in told


REFUSED = [
    ("workflowid = 'a'", "invalid search attribute: workflowid"),
    ("Foo = 1", "invalid search attribute: Foo"),
    ("WorkflowId = a", 'column name on the right side of comparison expression (did you forget to quote "a"?)'),
    ("WorkflowId", "invalid expression: incomplete expression"),
    ("WorkflowId = 1", "invalid value type for search attribute WorkflowId of type Keyword: 1 (type: int64)"),
    ("WorkflowId = true", "invalid value type for search attribute WorkflowId of type Keyword: true (type: bool)"),
    ("WorkflowId IN ('a', 1)", "invalid value type for search attribute WorkflowId"),
    ("HistoryLength > '1'", 'invalid value type for search attribute HistoryLength of type Int: "1" (type: string)'),
    ("StartTime > 'x'", "unable to parse datetime 'x'"),
    ("StartTime > '2024-01-01'", "unable to parse datetime '2024-01-01'"),
    ("StartTime > '2024-02-30T00:00:00Z'", "unable to parse datetime"),
    ("StartTime > '0001-01-01T00:00:00+23:59'", "unable to parse datetime"),
    ("StartTime > 1.5", "invalid value type for search attribute StartTime of type Datetime: 1.5 (type: float64)"),
    ("ExecutionStatus = 'running'", "invalid ExecutionStatus value 'running'"),
    ("ExecutionStatus = 99", "invalid ExecutionStatus value 99"),
    ("ExecutionDuration > 'x'", "invalid duration value for search attribute ExecutionDuration: x"),
    ("ExecutionDuration > 1.5", "unexpected value type float64 for search attribute ExecutionDuration"),
    ("Number = 'a'", 'invalid value type for search attribute Number of type Int: "a" (type: string)'),
    ("Done = 1", "invalid value type for search attribute Done of type Bool: 1 (type: int64)"),
    ("Share > '2020-01-01T00:00:00Z'", "invalid value type for search attribute Share of type Double"),
    ("At = 1.5", "invalid value type for search attribute At of type Datetime: 1.5 (type: float64)"),
    ("At = 'a'", "unable to parse datetime 'a'"),
    ("Tags > 'a'", "operator '>' not supported for KeywordList type search attribute 'Tags'"),
    ("Tags STARTS_WITH 'a'", "operator 'STARTS_WITH' not supported for KeywordList type search attribute 'Tags'"),
    ("Tags BETWEEN 'a' AND 'b'", "cannot do range condition on search attribute 'Tags' of type KeywordList"),
    ("Done BETWEEN true AND false", "cannot do range condition on search attribute 'Done' of type Bool"),
    ("Tags = 1", "invalid value type for search attribute Tags of type KeywordList: 1 (type: int64)"),
    ("Story IN ('a')", "operator 'IN' not supported for Text type search attribute 'Story'"),
    ("Story < 'a'", "operator '<' not supported for Text type search attribute 'Story'"),
    ("Story = ''", "unexpected value for Text type search attribute (no tokens found)"),
    ("ORDER BY Story", "unable to sort by search attribute type Text"),
    ("GROUP BY Word", "'GROUP BY' clause is not supported for search attribute Word"),
    ("Story = '" + "a " * 501 + "'", "more than 500 conditions"),
    ("CloseTime = null", "unexpected value type NULL"),
    ("CloseTime IS true", "'IS' operator can only be used as 'IS NULL' or 'IS NOT NULL'"),
    ("WorkflowId LIKE 'a%'", "operator 'LIKE' not supported for Keyword type search attribute 'WorkflowId'"),
    ("WorkflowId NOT LIKE 'a%'", "operator 'NOT LIKE' not supported for Keyword"),
    ("HistoryLength STARTS_WITH 1", "operator 'STARTS_WITH' not supported for Int type search attribute"),
    ("lower(WorkflowId) = 'a'", "operation is not supported: function expression"),
    ("'a' = WorkflowId", "must be a column name but was 'a'"),
    ("1 = 1", "must be a column name but was 1"),
    ("StartTime > now()", "operation is not supported: nested func"),
    ("GROUP BY WorkflowId", "'GROUP BY' clause is not supported for search attribute WorkflowId"),
    ("GROUP BY ExecutionStatus, WorkflowId", "'GROUP BY' clause supports only a single field"),
    ("WorkflowId = 'a' LIMIT 1", "'LIMIT' clause"),
    ("WorkflowId IN ()", "malformed SQL query: syntax error at position 16 near ')'"),
    ("WorkflowId = 'a' AND", "malformed SQL query: syntax error at position 21"),
    ("(WorkflowId = 'a'", "malformed SQL query: syntax error at position 18"),
    ("WorkflowId = 'a' RunId = 'b'", "malformed SQL query: syntax error at position 18 near 'RunId'"),
    ("WorkflowId == 'a'", "malformed SQL query: syntax error at position 13 near '='"),
    ("WorkflowId = 'a", "malformed SQL query: syntax error at position 14 near ''a'"),
    ("WorkflowId = 'a'; DROP TABLE run", "syntax error at position 17 near ';'"),
    ("WorkflowId = 'a' UNION SELECT 1", "syntax error at position 18 near 'UNION'"),
    ("not", "syntax error at position 4"),
    ("HistoryLength = 1e999", "unable to parse value"),
    ("(" * 200 + "RunId = 'a'" + ")" * 200, "nested deeper than"),
    (" OR ".join(["RunId = 'a'"] * (TERMS_MAX + 1)), "more than 500 conditions"),
    ("x" * (QUERY_LENGTH_MAX + 1), "longer than"),
]


@pytest.mark.parametrize(("query", "message"), REFUSED, ids=[query[:40] for query, _ in REFUSED])
def test_a_bad_query_is_turned_down_naming_the_place_and_the_rule(filled: Filled, query: str, message: str) -> None:
    store, _ = filled
    with pytest.raises(InvalidArgument) as refused:
        parse(query, partial(store.search_attributes.column, "default"))
    assert refused.value.message.startswith("invalid query: ")
    assert message in refused.value.message


def test_the_longest_query_allowed_is_answered(filled: Filled) -> None:
    store, rows = filled
    query = " OR ".join([f"RunId = 'w{n}-1'" for n in range(TERMS_MAX)])
    assert len(store.visibility.list("default", query, 0, b"").rows) == len(rows)


@pytest.mark.parametrize(
    ("literal", "nanoseconds"),
    [
        ("1h30m", 5_400_000_000_000),
        ("1.5d", 129_600_000_000_000),
        ("01:02:03", 3_723_000_000_000),
        ("-2s", -2_000_000_000),
        ("5µs", 5_000),
        ("17", 17),
        ("0.1s", 100_000_000),
    ],
)
def test_durations_are_read_as_temporal_reads_them(literal: str, nanoseconds: int) -> None:
    where = parse(f"ExecutionDuration = '{literal}'").where
    assert where == replace(parse("ExecutionDuration = 0").where, value=nanoseconds)


def test_a_schedules_id_is_a_workflow_id_unless_an_attribute_has_the_name(filled: Filled) -> None:
    store, _ = filled
    asked = store.visibility.list("default", "WorkflowId = 'w1'", 0, b"").rows
    for name in ("ScheduleId", "TemporalScheduleId"):
        assert store.visibility.list("default", f"{name} = 'w1'", 0, b"").rows == asked


async def test_a_run_is_found_by_what_it_was_last_given(tmp_path: Path) -> None:
    store = Store.open(tmp_path, now_ms=lambda: AT_MS)
    await store.search_attributes.add("default", CUSTOM)
    first = started(key("w"), attributes={"Word": "a", "Tags": ["x", "y"], "Story": "once upon"})
    await store.commit([first])
    changed = upserted(first.state, {"Word": "b", "Tags": [], "Number": 7})
    await store.commit([changed])
    store.close()
    store = Store.open(tmp_path, now_ms=lambda: AT_MS)
    found = ["Word = 'b'", "Tags IS NULL", "Number = 7", "Story = 'upon'", "Tags != 'x'"]
    lost = ["Word = 'a'", "Tags = 'x'", "Number IS NULL"]
    assert [query for query in found + lost if store.visibility.count("default", query).total] == found
    await store.search_attributes.remove("default", ["Word"])
    with pytest.raises(InvalidArgument, match="invalid search attribute: Word"):
        store.visibility.list("default", "Word = 'b'", 0, b"")
    await store.search_attributes.add("default", {"Word": sa.INT})
    assert store.visibility.count("default", "Word IS NULL").total == 1, "of another type, it is another attribute"
    await store.search_attributes.remove("default", ["Word"])
    await store.search_attributes.add("default", {"Word": sa.KEYWORD})
    assert store.visibility.count("default", "Word = 'b'").total == 1
    store.close()


async def test_runs_of_a_division_are_shown_to_those_who_ask_for_it(tmp_path: Path) -> None:
    store = Store.open(tmp_path, now_ms=lambda: AT_MS)
    await store.commit([started(key("mine"))])
    await store.commit([started(key("tool"), attributes={"TemporalNamespaceDivision": "D"})])
    for query, names in (
        ("", ["mine"]),
        ("TemporalNamespaceDivision = 'D'", ["tool"]),
        ("NamespaceDivision IS NULL OR TemporalNamespaceDivision IS NOT NULL", ["mine", "tool"]),
    ):
        assert sorted(row.workflow_id for row in store.visibility.list("default", query, 0, b"").rows) == names
    store.close()


async def test_as_many_attributes_of_a_type_as_temporal_allows(tmp_path: Path) -> None:
    store = Store.open(tmp_path, now_ms=lambda: AT_MS)
    for value_type, most in sa.PER_TYPE_MAX.items():
        names = [f"{sa.TYPE_NAMES[value_type]}{n}" for n in range(most)]
        await asyncio.gather(*(store.search_attributes.add("default", {name: value_type}) for name in names))
        with pytest.raises(InvalidArgument, match=f"cannot have more than {most} search attribute of type"):
            await store.search_attributes.add("default", {"more": value_type})
        await store.search_attributes.add("default", {names[0]: value_type})
        await store.search_attributes.add("other", {names[0]: value_type})
    assert len({one.number for one in store.search_attributes.custom("default").values()}) == 28
    for name in ("", "x" * 1_001):
        with pytest.raises(InvalidArgument):
            await store.search_attributes.add("third", {name: sa.INT})
    await store.search_attributes.add("third", {"x" * 1_000: sa.INT})
    store.close()


def test_comments_and_a_closing_semicolon_are_skipped() -> None:
    assert parse("WorkflowId = 'a' -- why") == parse("WorkflowId/* x */='a';") == parse('`WorkflowId` = "a"')
