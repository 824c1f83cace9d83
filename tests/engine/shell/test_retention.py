"""Deleting runs: by hand, and once their retention is over."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from engine.store.given import AT_MS, completed, key, signaled, started
from stormsail.engine.core.errors import NotFound, ResourceExhausted
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.shell.clock import RealClock
from stormsail.engine.shell.engine import Engine
from stormsail.engine.shell.ids import RandomIds
from stormsail.engine.shell.retention import Retention
from stormsail.engine.store.namespaces import StoredNamespace
from stormsail.engine.store.store import Store

HOUR_MS = 3_600_000


class SetClock(RealClock):
    """The machine's, but for what time it is."""

    at_ms = AT_MS

    def now_ms(self) -> int:
        return self.at_ms


@pytest.fixture
async def engine(tmp_path):
    clock = SetClock()
    store = Store.open(tmp_path / "data", now_ms=clock.now_ms)
    for name, hours in (("default", 1), ("long", 48)):
        described = DescribeNamespaceResponse()
        described.config.workflow_execution_retention_ttl.FromSeconds(hours * 3_600)
        await store.namespaces.register(StoredNamespace(name, name, described))
    limits = replace(DEFAULT_LIMITS, retention_batch_max=3, retention_sweep_ms=HOUR_MS)
    engine = await Engine.open(store, clock=clock, ids=RandomIds(), limits=limits)
    yield engine
    await engine.close()
    store.close()


def rows(engine: Engine) -> dict[str, int]:
    """How many rows each table of runs has."""
    read = engine.store._database.reader.read
    return {table: read(f"SELECT count(*) FROM {table}")[0][0] for table in ("run", "history", "attributes", "indexed")}


async def closed(engine: Engine, named: RunKey, at_ms: int) -> None:
    first = started(named, memo={"m": b"1"}, attributes={"BuildIds": ["b"]})
    await engine.store.commit([first])
    await engine.store.commit([completed(first.state, at_ms=at_ms)])


async def test_runs_go_when_their_namespaces_retention_is_over_and_not_before(engine: Engine) -> None:
    for n in range(7):
        await closed(engine, key(f"w{n}"), AT_MS)
    await closed(engine, key("later"), AT_MS + 1)
    await closed(engine, key("kept", namespace="long"), AT_MS)
    await engine.store.commit([started(key("open"))])
    engine.clock.at_ms = AT_MS + HOUR_MS - 1
    assert await engine.retention.sweep() == 0
    engine.clock.at_ms = AT_MS + HOUR_MS
    assert await engine.retention.sweep() == 7
    shown = [row.workflow_id for row in engine.store.visibility.list("default", "", 0, b"").rows]
    assert shown == ["open", "later"]
    assert rows(engine) == {"run": 3, "history": 5, "attributes": 2, "indexed": 2}
    with pytest.raises(NotFound):
        engine.read("default", "w1", "")


@pytest.mark.parametrize(("places", "swept"), [(2, 7), (0, 0)])
async def test_a_sweep_goes_on_while_some_of_its_runs_find_a_place_in_the_queue_of_commits(
    places: int, swept: int
) -> None:
    """Seed 131617 of the simulator: with more to delete than places, a sweep ended with the first that had none."""
    left = [key(f"w{n}") for n in range(7)]
    under_way: list[RunKey] = []

    async def delete(named: RunKey) -> bool:
        if len(under_way) >= places:
            raise ResourceExhausted("the queue of commits is full")
        under_way.append(named)
        await asyncio.sleep(0)
        under_way.remove(named)
        left.remove(named)
        return True

    async def forget(namespace: str, until_ms: int) -> None:
        pass

    retention = Retention(
        SetClock(),
        replace(DEFAULT_LIMITS, retention_batch_max=5),
        lasts_ms=lambda: [("default", HOUR_MS)],
        closed_by=lambda _namespace, _until_ms, limit: left[:limit],
        looked_for=lambda _key: False,
        delete=delete,
        forget=forget,
    )
    with contextlib.nullcontext() if places else pytest.raises(ResourceExhausted):
        await retention.sweep()
    assert 7 - len(left) == swept


async def test_a_deleted_run_leaves_nothing_and_its_id_may_be_used_again(engine: Engine) -> None:
    await engine.store.commit([started(key("other"))])
    first = started(key("w"), attributes={"BuildIds": ["b"]})
    await engine.store.commit([first])
    await engine.store.commit([signaled(first.state, b"x" * 9_000)])
    before = rows(engine)
    await engine.delete("default", "w", "", "me")
    assert before["run"] == 2
    assert rows(engine) == {"run": 1, "history": 1, "attributes": 0, "indexed": 0}
    assert engine.store.current("default", "w") is None
    with pytest.raises(NotFound):
        await engine.delete("default", "w", "", "me")
    await engine.store.commit([started(key("w", "w-2"))])
    assert engine.read("default", "w", "").open


async def test_the_newest_of_the_runs_left_is_the_current_one(engine: Engine) -> None:
    await closed(engine, key("w", "w-1"), AT_MS)
    await closed(engine, key("w", "w-2"), AT_MS)
    assert engine.read("default", "w", "").key.run_id == "w-2"
    await engine.delete("default", "w", "w-2", "me")
    assert engine.read("default", "w", "").key.run_id == "w-1"


async def test_what_waits_for_an_open_run_learns_that_it_is_gone(engine: Engine) -> None:
    await engine.store.commit([started(key("w"))])
    await asyncio.gather(*(engine.delete("default", "w", "w-1", "me") for _ in range(3)), return_exceptions=True)
    assert rows(engine)["run"] == 0
    assert engine.store.due(1 << 60, 10) == []
    assert engine.store.waiting_tasks().tasks == []
