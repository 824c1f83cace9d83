"""Bugs planted in batches."""

import asyncio
import uuid
from typing import Any

from stormsail.engine.shell.engine import Engine
from stormsail.engine.sim.planted_store import Before
from stormsail.engine.store.batches import Batch


class ForgetsProgress(Before):
    """How far a batch got is in memory alone, until it ends."""

    @property
    def batches(self) -> Any:
        return _ProgressForgotten(self._inner.batches)


class _ProgressForgotten:
    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def move(self, batch: Batch) -> None:
        if not batch.running:
            await self._inner.move(batch)


def passes_runs_over(engine: Engine) -> None:
    """Every fourth run is counted as done, and is not."""
    do = engine.batches._do
    seen = [0]

    async def passing(request: Any, workflow_id: str, run_id: str) -> None:
        seen[0] += 1
        if seen[0] % 4:
            await do(request, workflow_id, run_id)

    engine.batches._do = passing  # type: ignore[method-assign]


def asks_anew(engine: Engine) -> None:
    """What a batch asks of a run has another request id each time, and so happens again after a crash."""
    runs = engine.batches._runs

    class Anew:
        def __getattr__(self, name: str) -> Any:
            return getattr(runs, name)

        async def execute(self, namespace: str, workflow_id: str, run_id: str, asked: Any) -> Any:
            drawn = engine.runs._ids.uuid()
            if "request_id" in asked.request.DESCRIPTOR.fields_by_name:
                asked.request.request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, drawn))
            return await runs.execute(namespace, workflow_id, run_id, asked)

    engine.batches._runs = Anew()  # type: ignore[assignment]


def leaves_batches(engine: Engine) -> None:
    """A batch that was under way when the engine ended is not taken up."""
    for work in engine.batches._working.values():
        work.task.cancel()


def stops_in_words(engine: Engine) -> None:
    """A stop is acknowledged, and nothing is stopped."""

    async def end(_namespace: str, _job_id: str) -> None:
        await asyncio.sleep(0)

    engine.batches.end = end  # type: ignore[method-assign, assignment]
