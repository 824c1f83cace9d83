"""Both servers turn bad requests down alike: same status, same words, same detail."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from google.protobuf.message import Message
from grpc import aio

from conformance.reference import confirmed
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
    await confirmed(("INVALID_ARGUMENT", text, ""), lambda: refusal(temporal, request))


@pytest.mark.parametrize("case", sorted(OTHERS.keys() - OURS_ALONE))
async def test_temporal_refuses_a_bad_request_in_the_words_that_we_use(temporal: Rpc, case: str) -> None:
    request, code, text = OTHERS[case]
    detail = "NotFoundFailure" if code == "NOT_FOUND" else ""
    await confirmed((code, text, detail), lambda: refusal(temporal, request))


async def refusal(temporal: Rpc, request: Message) -> tuple[str, str, str]:
    refused = await temporal.refused(request)
    return refused.code, refused.text, refused.detail
