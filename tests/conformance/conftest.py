from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from conformance.servers import EngineProcess


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[EngineProcess]:
    """Our server in a process of its own."""
    engine = EngineProcess(tmp_path / "data")
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


@pytest.fixture
async def client(engine: EngineProcess) -> Client:
    return await engine.connect()
