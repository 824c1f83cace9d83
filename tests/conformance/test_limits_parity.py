"""Every limit has the same status on our engine and on Temporal's dev server, just within it and just beyond it."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
import pytest_asyncio
from grpc import aio

from conformance.reference import alike
from conformance.servers import both_servers
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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Rpc, Rpc]]:
    """Clients of both servers, each with an open run: Temporal's first."""
    directory = tmp_path_factory.mktemp("limits")
    async with (
        both_servers(directory, "frontend.WorkflowPauseEnabled=true") as (ours, theirs),
        aio.insecure_channel(theirs.address, options=_OPTIONS) as their_channel,
        aio.insecure_channel(ours.address, options=_OPTIONS) as our_channel,
    ):
        both = (Rpc(their_channel), Rpc(our_channel))
        for rpc in both:
            await rpc.call(start(workflow_id=OPEN))
        yield both


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_request_has_the_same_status_on_both(pair: tuple[Rpc, Rpc], row: Row) -> None:
    if row.differs:
        pytest.skip(row.differs)
    temporals, ours = pair
    for size in (row.most, row.most + 1, min(row.most * 100, 8 * MIB)):

        async def code(rpc: Rpc, size: int = size) -> tuple[int, str]:
            return size, (await status(rpc, row.request(size)))[0]

        await alike(partial(code, temporals), code(ours))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
async def test_a_run_has_the_same_limit_on_both(pair: tuple[Rpc, Rpc], script: Script) -> None:
    temporals, ours = pair
    for many in (script.most, script.most + 1):

        async def code(rpc: Rpc, many: int = many) -> tuple[int, str]:
            return many, (await script.run(rpc, many))[0]

        await alike(partial(code, temporals), code(ours))
