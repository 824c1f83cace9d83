"""Batches over the ends of servers, and what is kept of them."""

import asyncio
from pathlib import Path

import pytest
from temporalio.api.batch.v1 import BatchOperationSignal
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse, StartBatchOperationRequest

from engine.store.given import AT_MS, key, started
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.shell.clock import RealClock
from stormsail.engine.shell.engine import Engine
from stormsail.engine.shell.ids import RandomIds
from stormsail.engine.store.namespaces import StoredNamespace
from stormsail.engine.store.store import Store

RUNS = 25


async def opened(directory: Path) -> Engine:
    store = Store.open(directory, now_ms=lambda: AT_MS)
    return await Engine.open(store, clock=RealClock(), ids=RandomIds(), limits=DEFAULT_LIMITS)


async def closed(engine: Engine) -> None:
    await engine.close()
    engine.store.close()


async def until_done(engine: Engine, at_least: int) -> None:
    async with asyncio.timeout(60):
        while True:
            batch = engine.store.batches.get("default", "job")
            assert batch is not None
            if batch.completed + batch.failed >= at_least:
                return
            await asyncio.sleep(0.01)


async def test_a_batch_goes_on_where_it_was_and_signals_every_run_once(tmp_path: Path) -> None:
    engine = await opened(tmp_path)
    await engine.store.commit([started(key(f"w{n}")) for n in range(RUNS)])
    request = StartBatchOperationRequest(
        namespace="default",
        job_id="job",
        reason="why",
        visibility_query="WorkflowType = 'Deploy'",
        signal_operation=BatchOperationSignal(signal="s"),
    )
    await engine.batches.begin(request)
    await until_done(engine, 1)
    await closed(engine)
    engine = await opened(tmp_path)
    batch = engine.store.batches.get("default", "job")
    assert batch is not None
    assert batch.running
    await until_done(engine, RUNS)
    batch = engine.store.batches.get("default", "job")
    assert batch is not None
    assert (batch.total, batch.completed, batch.failed, batch.running) == (RUNS, RUNS, 0, False)
    assert [engine.read("default", f"w{n}", "").signals for n in range(RUNS)] == [1] * RUNS
    assert engine.store.batches.runs(batch, 0, RUNS) == [], "which runs it concerned is kept until it ends"
    await closed(engine)


async def test_a_run_that_was_done_and_not_noted_is_not_signalled_again(tmp_path: Path) -> None:
    engine = await opened(tmp_path)
    await engine.store.commit([started(key("w"))])
    request = StartBatchOperationRequest(
        namespace="default", job_id="job", reason="r", signal_operation=BatchOperationSignal(signal="s")
    )
    for _ in range(2):
        assert await engine.batches._try(request, "w", "w-1")
    assert engine.read("default", "w", "").signals == 1
    await closed(engine)


async def test_an_ended_batch_is_forgotten_with_its_namespaces_retention(tmp_path: Path) -> None:
    engine = await opened(tmp_path)
    described = DescribeNamespaceResponse()
    described.config.workflow_execution_retention_ttl.FromSeconds(3_600)
    await engine.store.namespaces.register(StoredNamespace("default", "id", described))
    request = StartBatchOperationRequest(namespace="default", job_id="job", reason="r", visibility_query="")
    request.signal_operation.signal = "s"
    await engine.batches.begin(request)
    async with asyncio.timeout(60):
        while (batch := engine.store.batches.get("default", "job")) is not None and batch.running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert batch is not None
    assert batch.closed_ms is not None
    await engine.batches.forget("default", batch.closed_ms - 1)
    assert engine.store.batches.get("default", "job") is not None
    await engine.batches.forget("default", batch.closed_ms)
    assert engine.store.batches.get("default", "job") is None
    await closed(engine)


@pytest.mark.parametrize("token", [b"x", b"[]", b"[1]", b'["a", 1]', b"[1, 2]", b"{}", b"null", b"[1e999, 2]"])
async def test_a_token_of_another_list_is_refused(tmp_path: Path, token: bytes) -> None:
    engine = await opened(tmp_path)
    with pytest.raises(InvalidArgument):
        engine.store.batches.page("default", 10, token)
    await closed(engine)
