"""Pages of lists against a plain model in Python: any filter, any order, any size, and runs that change meanwhile."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.store.given import AT_MS, completed, key, started, upserted
from engine.store.test_list_filter import ATTRIBUTES, QUERIES, Filled, Model, filled, present
from stormsail.engine.core.state import RunState
from stormsail.engine.core.visibility_row import VisibilityRow
from stormsail.engine.store.store import Store

__all__ = ["filled"]

SORTABLE = sorted(name for name, (kind, _) in ATTRIBUTES.items() if kind != "story")
CHANGES = ("start", "close", "upsert", "nothing")


def rank(name: str) -> Callable[[VisibilityRow], tuple[bool, Any]]:
    """Return what puts a row into its place: no value before every value, a list by its least member."""
    kind, value = ATTRIBUTES[name]

    def place(row: VisibilityRow) -> tuple[bool, Any]:
        found = value(row)
        if kind == "list":
            found = min(found) if present(found) else None
        return (found is not None, 0 if found is None else found)

    return place


def ordered(rows: list[VisibilityRow], order: list[tuple[str, bool]]) -> list[VisibilityRow]:
    """Put rows into an order; what it leaves open, their run ids decide."""
    rows = sorted(rows, key=lambda row: row.run_id)
    for name, descending in reversed(order):
        rows = sorted(rows, key=rank(name), reverse=descending)
    return rows


def pages(store: Store, namespace: str, query: str, size: int) -> Iterator[list[VisibilityRow]]:
    """Read page after page."""
    token = b""
    while True:
        page = store.visibility.list(namespace, query, size, token)
        assert len(page.rows) <= size
        yield page.rows
        token = page.next_token
        if not token:
            return


@pytest.mark.slow
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    query=st.none() | QUERIES,
    order=st.lists(st.tuples(st.sampled_from(SORTABLE), st.booleans()), max_size=3, unique_by=lambda column: column[0]),
    size=st.integers(1, 9),
)
def test_the_pages_of_any_query_in_any_order_are_what_the_model_says(
    filled: Filled,
    query: tuple[str, Model] | None,
    order: list[tuple[str, bool]],
    size: int,
) -> None:
    store, rows = filled
    text, model = query or ("", lambda _row: True)
    expected = [row for row in rows if model(row)]
    if order:
        expected = ordered(expected, order)
        text += " ORDER BY " + ", ".join(f"{name} {'DESC' if down else 'ASC'}" for name, down in order)
    assert list(itertools.chain(*pages(store, "default", text, size))) == expected


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Iterator[int]]]:
    """A store, and a number for each example's own namespace."""
    directory: Path = tmp_path_factory.mktemp("changing")
    store = Store.open(directory, now_ms=lambda: AT_MS)
    yield store, itertools.count()
    store.close()


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    runs=st.integers(0, 12),
    size=st.integers(1, 5),
    query=st.sampled_from(
        ["", "ORDER BY StartTime", "ORDER BY CloseTime DESC", "WorkflowType = 'Deploy'", "BuildIds IS NULL"]
    ),
    changes=st.lists(st.tuples(st.sampled_from(CHANGES), st.integers(0, 20)), max_size=10),
)
def test_a_run_that_does_not_change_is_on_one_page_whatever_the_others_do(
    changing: tuple[Store, Iterator[int]], runs: int, size: int, query: str, changes: list[tuple[str, int]]
) -> None:
    store, numbers = changing
    namespace = f"n{next(numbers)}"
    states: dict[str, RunState] = {}
    changed: set[str] = set()

    async def change(what: str, which: int) -> None:
        if what == "start":
            turn = started(key(f"{namespace}-w{len(states)}", namespace=namespace), at_ms=AT_MS + which * 100)
        elif what == "nothing" or not (open_ := [state for state in states.values() if state.open]):
            return
        else:
            state = open_[which % len(open_)]
            turn = completed(state) if what == "close" else upserted(state, {"BuildIds": ["b"]})
            changed.add(state.key.run_id)
        await store.commit([turn])
        states[turn.state.key.run_id] = turn.state

    async def play() -> tuple[set[str], list[str]]:
        for number in range(runs):
            await change("start", number % 4)
        there = set(states)
        seen: list[str] = []
        waiting = iter(changes)
        for page in pages(store, namespace, query, size):
            seen += [row.run_id for row in page]
            for what, which in itertools.islice(waiting, 2):
                await change(what, which)
        return there, seen

    there, seen = asyncio.run(play())
    same = there - changed
    assert sorted(run_id for run_id in seen if run_id in same) == sorted(same)
    began = [run_id for run_id in seen if run_id not in there and run_id not in changed]
    assert len(began) == len(set(began))
