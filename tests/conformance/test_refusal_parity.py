"""Both servers turn bad requests down alike: same status, same words, same detail."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from grpc import aio

from conformance.servers import DevServer
from engine.api.bad_requests import OTHERS, OURS_ALONE, STARTS
from engine.api.rpc import Rpc

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def temporal() -> AsyncIterator[Rpc]:
    server = DevServer()
    await server.start()
    try:
        async with aio.insecure_channel(server.address) as channel:
            yield Rpc(channel)
    finally:
        await server.stop()


@pytest.mark.parametrize("case", STARTS)
async def test_temporal_refuses_a_bad_start_in_the_words_that_we_use(temporal: Rpc, case: str) -> None:
    request, text = STARTS[case]
    refusal = await temporal.refused(request)
    assert (refusal.code, refusal.text, refusal.detail) == ("INVALID_ARGUMENT", text, "")


@pytest.mark.parametrize("case", sorted(OTHERS.keys() - OURS_ALONE))
async def test_temporal_refuses_a_bad_request_in_the_words_that_we_use(temporal: Rpc, case: str) -> None:
    request, code, text = OTHERS[case]
    refusal = await temporal.refused(request)
    detail = "NotFoundFailure" if code == "NOT_FOUND" else ""
    assert (refusal.code, refusal.text, refusal.detail) == (code, text, detail)
