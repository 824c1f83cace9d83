import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from grpc import aio

from engine.api.rpc import Rpc
from stormsail.engine.api.server import ServerSettings, serve
from stormsail.engine.core.limits import DEFAULT_LIMITS, Limits


@pytest.fixture
async def rpc(tmp_path: Path) -> AsyncIterator[Rpc]:
    """A client of a server that runs in this process."""
    async for client in serving(tmp_path):
        yield client


async def serving(directory: Path, limits: Limits = DEFAULT_LIMITS) -> AsyncIterator[Rpc]:
    """Run a server in this process, and yield a client of it."""
    stop = asyncio.Event()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    settings = ServerSettings(directory / "data", port=0, log_level="error", limits=limits)
    serving = asyncio.ensure_future(serve(settings, stop=stop, started=listening.set_result))
    await asyncio.wait((serving, listening), return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    async with aio.insecure_channel(await listening) as channel:
        yield Rpc(channel)
    stop.set()
    await asyncio.wait_for(serving, 60)
