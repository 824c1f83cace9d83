"""Every limit has the same status on our engine and on Temporal's dev server, just within it and just beyond it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from grpc import aio

from conformance.servers import DevServer, EngineProcess
from engine.api.limit_rows import MIB, OPEN, ROWS, Row, start
from engine.api.limit_scripts import SCRIPTS, Script
from engine.api.rpc import Rpc, status

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.long,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(600),
]
_OPTIONS = [("grpc.max_send_message_length", 64 * MIB)]
_READY_S = 30.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Rpc, Rpc]]:
    """Clients of both servers, each with an open run: Temporal's first."""
    data: Path = tmp_path_factory.mktemp("ours") / "data"
    theirs, ours = DevServer("frontend.WorkflowPauseEnabled=true"), EngineProcess(data)
    await asyncio.gather(theirs.start(), ours.start())
    try:
        async with (
            aio.insecure_channel(theirs.address, options=_OPTIONS) as their_channel,
            aio.insecure_channel(ours.address, options=_OPTIONS) as our_channel,
        ):
            both = (Rpc(their_channel), Rpc(our_channel))
            for rpc in both:
                async with asyncio.timeout(_READY_S):
                    while (await status(rpc, start(workflow_id=OPEN)))[0] != "OK":  # noqa: ASYNC110 - it comes up
                        await asyncio.sleep(0.2)
            yield both
    finally:
        await theirs.stop()
        await ours.kill()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_request_has_the_same_status_on_both(pair: tuple[Rpc, Rpc], row: Row) -> None:
    if row.differs:
        pytest.skip(row.differs)
    for size in (row.most, row.most + 1, min(row.most * 100, 8 * MIB)):
        codes = [(await status(rpc, row.request(size)))[0] for rpc in pair]
        assert codes[0] == codes[1], size


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
async def test_a_run_has_the_same_limit_on_both(pair: tuple[Rpc, Rpc], script: Script) -> None:
    for many in (script.most, script.most + 1):
        theirs, ours = [await script.run(rpc, many) for rpc in pair]
        assert theirs[0] == ours[0], (many, theirs, ours)
