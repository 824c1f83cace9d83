"""Batches over the ends of servers, and what is kept of them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.batch.v1 import BatchOperationSignal, BatchOperationUpdateWorkflowExecutionOptions
from temporalio.api.common.v1 import Priority
from temporalio.api.workflow.v1 import WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceResponse,
    StartBatchOperationRequest,
    UpdateWorkflowExecutionOptionsRequest,
)

from engine.store.given import AT_MS, key, started
from stormsail.engine.core.errors import InvalidArgument, NotFound
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.requests import UpdateWorkflowOptions
from stormsail.engine.shell.batches import COMPLETED, FAILED
from stormsail.engine.shell.clock import Alarm, RealClock
from stormsail.engine.shell.engine import Engine
from stormsail.engine.shell.ids import RandomIds
from stormsail.engine.store.batches import RUNNING, Batch
from stormsail.engine.store.errors import StorageFailed, StorageFull
from stormsail.engine.store.namespaces import StoredNamespace
from stormsail.engine.store.store import Store

RUNS = 25


async def opened(directory: Path, full: int = 0) -> Engine:
    """Open an engine; `full`: how often its disk is full when a batch notes how far it got."""
    store: Any = Store.open(directory, now_ms=lambda: AT_MS)
    if full:
        store = FullAtFirst(store, full)
    return await Engine.open(store, clock=HastyClock(), ids=RandomIds(), limits=DEFAULT_LIMITS)


class HastyClock(RealClock):
    """Lets nobody wait for more than a tenth of what they ask for."""

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Alarm:
        return super().call_later(delay_ms / 10, callback)


class FullAtFirst:
    """A store in whose file there is no space for a while, but for the beginnings of batches."""

    def __init__(self, store: Any, times: int) -> None:
        self._store = store
        self._left = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def batches(self) -> Any:
        return self

    def get(self, *name: str) -> Any:
        return self._store.batches.get(*name)

    def runs(self, *which: Any) -> Any:
        return self._store.batches.runs(*which)

    def running(self) -> Any:
        return self._store.batches.running()

    async def begin(self, *what: Any) -> None:
        await self._store.batches.begin(*what)

    async def move(self, batch: Batch) -> None:
        if self._left:
            self._left -= 1
            raise StorageFull(Path("engine.db"))
        await self._store.batches.move(batch)


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
    never = asyncio.get_running_loop().create_future()
    for _ in range(2):
        assert await engine.batches._try(request, "w", "w-1", never)
    assert engine.read("default", "w", "").signals == 1
    await closed(engine)


async def test_what_others_changed_since_a_batch_did_stands_when_it_asks_again(tmp_path: Path) -> None:
    """Seed 343686 of the simulator: the server died before it noted what the batch had done."""
    engine = await opened(tmp_path)
    await engine.store.commit([started(key("w"))])
    wanted, mask = WorkflowExecutionOptions(priority=Priority(priority_key=2)), FieldMask(paths=["priority"])
    update = BatchOperationUpdateWorkflowExecutionOptions(workflow_execution_options=wanted, update_mask=mask)
    request = StartBatchOperationRequest(
        namespace="default", job_id="job", reason="r", update_workflow_options_operation=update
    )
    never = asyncio.get_running_loop().create_future()
    assert await engine.batches._try(request, "w", "w-1", never)
    assert engine.read("default", "w", "").priority == Priority(priority_key=2)
    mine = UpdateWorkflowExecutionOptionsRequest(
        workflow_execution_options=WorkflowExecutionOptions(priority=Priority(priority_key=5)), update_mask=mask
    )
    await engine.execute("default", "w", "w-1", UpdateWorkflowOptions(mine))
    await closed(engine)
    engine = await opened(tmp_path)
    assert await engine.batches._try(request, "w", "w-1", never)
    assert engine.read("default", "w", "").priority == Priority(priority_key=5)
    await closed(engine)


def signalling(per_s: float = 0) -> StartBatchOperationRequest:
    return StartBatchOperationRequest(
        namespace="default",
        job_id="job",
        reason="why",
        visibility_query="WorkflowType = 'Deploy'",
        signal_operation=BatchOperationSignal(signal="s"),
        max_operations_per_second=per_s,
    )


async def ended(engine: Engine) -> Batch:
    async with asyncio.timeout(30):
        while True:
            batch = engine.store.batches.get("default", "job")
            if batch is not None and not batch.running:
                return batch
            await asyncio.sleep(0.01)


async def test_a_batch_goes_on_although_its_caller_has_gone(tmp_path: Path) -> None:
    engine = await opened(tmp_path)
    await engine.store.commit([started(key(f"w{n}")) for n in range(3)])
    asking = asyncio.create_task(engine.batches.begin(signalling()))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert (await ended(engine)).completed == 3
    await closed(engine)


async def test_a_batch_goes_on_once_there_is_space_on_the_disk_again(tmp_path: Path) -> None:
    engine = await opened(tmp_path, full=3)
    await engine.store.commit([started(key(f"w{n}")) for n in range(RUNS)])
    await engine.batches.begin(signalling())
    batch = await ended(engine)
    assert (batch.state, batch.completed, batch.failed) == (COMPLETED, RUNS, 0)
    await closed(engine)


@pytest.mark.parametrize("patient", [True, False], ids=["who waits", "who goes away"])
async def test_a_batch_that_is_stopped_counts_what_it_did_and_does_no_more(tmp_path: Path, patient: bool) -> None:
    engine = await opened(tmp_path, full=1)
    await engine.store.commit([started(key(f"w{n}")) for n in range(RUNS)])
    await engine.batches.begin(signalling(per_s=2))
    stopping = asyncio.create_task(engine.batches.end("default", "job"))
    await asyncio.sleep(0)
    if not patient:
        stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    batch = await ended(engine)
    told = [engine.read("default", f"w{n}", "").signals for n in range(RUNS)]
    assert (batch.state, batch.completed, batch.failed) == (FAILED, sum(told), 0)
    assert 0 < sum(told) < RUNS
    assert max(told) == 1
    with suppress(NotFound):
        await engine.batches.end("default", "job")  # it may be noted as ended and be at its last step: then this waits
    with pytest.raises(NotFound):
        await engine.batches.end("default", "job")
    await closed(engine)


async def test_a_run_that_two_delete_at_once_is_gone_for_both(tmp_path: Path) -> None:
    engine = await opened(tmp_path)
    await engine.store.commit([started(key("w"))])
    both = [engine.delete("default", "w", "w-1", who) for who in ("one", "two")]
    outcomes = await asyncio.gather(*both, return_exceptions=True)
    assert None in outcomes
    assert all(isinstance(one, NotFound | None) for one in outcomes)
    with pytest.raises(NotFound, match="not found for"):
        engine.read("default", "w", "w-1")
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


async def test_a_server_does_not_start_with_a_batch_that_cannot_be_read_and_says_what_to_do(tmp_path: Path) -> None:
    store = Store.open(tmp_path, now_ms=lambda: AT_MS)
    try:
        file = apsw.Connection(str(tmp_path / "engine.db"))
        file.execute(
            "INSERT INTO batch VALUES ('default', CAST(x'ff' AS TEXT), ?, 1, NULL, 1, 0, 0, x'', 0)", (int(RUNNING),)
        )
        file.close()
        with pytest.raises(StorageFailed, match=r"server fsck.*restore the file from a backup"):
            await Engine.open(store, clock=HastyClock(), ids=RandomIds(), limits=DEFAULT_LIMITS)
    finally:
        store.close()
