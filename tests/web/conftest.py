"""Fixtures: the application on records of its own, with or without an engine and a model cloud behind it."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from delivery.engines import EngineProcess
from delivery.stage import Stage
from stormsail.delivery.records.database import Database, records_url
from stormsail.web.app import create_app, open_web
from stormsail.web.settings import WebSettings
from stormsail.web.sources.engine import EngineAddress
from stormsail.web.sources.sources import open_sources, wall_ms
from stormsail.web.state import Web

NOBODY = "127.0.0.1:1"
"""An address where nothing listens."""

PATIENCE_S = 25.0
"""How long a page waits for a source: what is late on a busy machine is not away."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that stands on an engine, so that none is forgotten."""
    for item in items:
        if isinstance(item, pytest.Function) and "engine" in item.fixturenames:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of records with all tables made."""
    directory = tmp_path_factory.mktemp("records")

    async def make() -> None:
        await (await Database.open(records_url(directory))).close()

    asyncio.run(make())
    return (directory / "delivery.db").read_bytes()


@asynccontextmanager
async def opened(settings: WebSettings, migrated: bytes, now_ms: Callable[[], int] = wall_ms) -> AsyncIterator[Web]:
    """Open everything that requests find."""
    if not (settings.data_dir / "delivery.db").exists():
        (settings.data_dir / "delivery.db").write_bytes(migrated)
    database = await Database.open(records_url(settings.data_dir))
    web = open_web(settings, await open_sources(settings.engine, settings.accounts, now_ms), database)
    try:
        yield web
    finally:
        await database.close()


def client_of(web: Web, now_s: Callable[[], float] | None = None, **more: str) -> httpx.AsyncClient:
    """Return a client of the application; `more` are headers."""
    app = create_app(web, now_s) if now_s is not None else create_app(web)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=more)


@pytest.fixture
async def lonely(tmp_path: Path, migrated: bytes) -> AsyncIterator[Web]:
    """A web process whose engine is not there."""
    async with opened(WebSettings(tmp_path, EngineAddress(NOBODY)), migrated) as web:
        yield web


@pytest.fixture(scope="session")
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """Our engine, or Temporal's for those tests that ask for both."""
    process = EngineProcess(getattr(request, "param", "stormsail"), tmp_path_factory.mktemp("engine"))
    process.start()
    try:
        asyncio.run(process.answers())
        yield process
    finally:
        process.stop()


@pytest.fixture
async def stage(engine: EngineProcess) -> AsyncIterator[Stage]:
    """A model cloud under an account of its own, with one worker running."""
    stage = await Stage.open(engine.address, account=f"model-{uuid.uuid4().hex[:8]}")
    await stage.start_worker()
    try:
        yield stage
    finally:
        await stage.close()


@pytest.fixture
async def web(stage: Stage, tmp_path: Path, migrated: bytes) -> AsyncIterator[Web]:
    """A web process on the stage."""
    at = EngineAddress(stage.address, task_queue=stage.account)
    settings = WebSettings(tmp_path, at, accounts=(stage.account,), requests_max=100_000, deadline_s=PATIENCE_S)
    async with opened(settings, migrated) as web:
        yield web
