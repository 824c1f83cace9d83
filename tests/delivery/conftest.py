"""Fixtures: an engine for the whole session, and a stage with a model cloud, workers and a client on it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from delivery.engines import NAMES, EngineProcess
from delivery.stage import Stage


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that stands on an engine, so that none is forgotten."""
    for item in items:
        if isinstance(item, pytest.Function) and {"engine", "own_engine"} & set(item.fixturenames):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", params=NAMES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """One engine process for all tests; each test has its own task queue, account and clusters on it."""
    process = EngineProcess(request.param, tmp_path_factory.mktemp(request.param))
    process.start()
    try:
        asyncio.run(process.answers())
        yield process
    finally:
        process.stop()


@pytest.fixture
async def stage(engine: EngineProcess) -> AsyncIterator[Stage]:
    """A model cloud under an account of its own, with one worker running and a client connected."""
    stage = await Stage.open(engine.address, account=f"model-{uuid.uuid4().hex[:8]}")
    await stage.start_worker()
    try:
        yield stage
    finally:
        await stage.close()


@pytest.fixture(params=NAMES)
async def own_engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[EngineProcess]:
    """An engine of this test alone, which may kill it."""
    process = EngineProcess(request.param, tmp_path)
    process.start()
    try:
        await process.answers()
        yield process
    finally:
        process.stop()
