"""What a queue's tasks cost does not depend on how many wait in another."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from bench.backlog_rows import write_backlog
from engine.shell.conftest import World
from stormsail.engine.core.limits import DEFAULT_LIMITS

ROWS = 5_000
FORGETFUL = replace(DEFAULT_LIMITS, open_runs_cached_max=1, recent_events_size_max=0)
"""Runs are read from the file again and again: what that costs is looked at too."""
Costs = dict[str, tuple[int, int, int, int]]
"""By statement: the most steps of SQLite's machine that one took, and how much it scanned, sorted and indexed."""
_COUNTED = ("VM_STEP", "FULLSCAN_STEP", "SORT", "AUTOINDEX")


@contextmanager
def told_costs() -> Iterator[Costs]:
    """Count what each statement costs on the connections that are opened inside."""
    costs: Costs = defaultdict(lambda: (0, 0, 0, 0))

    def count(event: dict[str, Any]) -> None:
        status = [event["stmt_status"][f"SQLITE_STMTSTATUS_{name}"] for name in _COUNTED]
        costs[event["sql"]] = tuple(map(max, zip(costs[event["sql"]], status, strict=True)))  # type: ignore[assignment]

    def watch(connection: apsw.Connection) -> None:
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, count)

    apsw.connection_hooks.append(watch)
    try:
        yield costs
    finally:
        apsw.connection_hooks.remove(watch)


async def life(world: World) -> None:
    """One workflow with an activity, a timer and a signal from start to end, one call after the other; and one that is
    started again."""
    for number in range(2):
        await world.start(queue="live")
        await world.start("another", queue="live2")
        await world.terminate("another")
        task = await world.poll("live")
        await world.complete(task, [world.schedule_activity(queue="live"), world.start_timer(1, f"t{number}")])
        polled = await world.soon(world.polling_activity("live"))
        assert polled.task_token
        await world.signal()
        await world.clock.advance(2_000)
        await world.complete(await world.poll("live"), [world.complete_workflow()])
        assert await world.event_types()


async def costs_beside(directory: Path, rows: int) -> Costs:
    """Return what a life costs beside so many waiting rows of another queue."""
    world = World(directory, limits=FORGETFUL)
    await world.open()
    await world.start("pattern", queue="live")
    await world.poll("live")
    await world.close()
    if rows:
        write_backlog(directory / "engine.db", "pattern", "waits", rows)
    with told_costs() as costs:
        await world.open()
    await world.terminate("pattern")
    await world.until(lambda: world.engine.recovery.done)
    assert world.engine.matching.waiting == rows
    costs.clear()
    await life(world)
    await world.close()
    return {sql: cost for sql, cost in costs.items() if not sql.startswith(("BEGIN", "COMMIT", "ROLLBACK"))}


@pytest.mark.slow
async def test_no_statement_of_a_life_costs_more_beside_a_backlog_and_none_scans_or_sorts(tmp_path: Path) -> None:
    alone = await costs_beside(tmp_path / "alone", 0)
    beside = await costs_beside(tmp_path / "beside", ROWS)
    assert len(alone) > 8, alone
    # Which turns share a commit, and so a statement, is not always the same: that is worth some steps.
    assert {sql: cost for sql, (cost, *_) in beside.items() if cost > alone.get(sql, (0,))[0] + ROWS // 5} == {}
    assert {sql: rest for sql, (_, *rest) in (alone | beside).items() if any(rest)} == {}
