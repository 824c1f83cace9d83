"""The frames that the overload benchmark writes and reads by hand, against our own transport."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.api.workflowservice.v1 import (
    GetSystemInfoRequest,
    GetSystemInfoResponse,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    StartWorkflowExecutionRequest,
)

from bench.bare import SERVICE, framed
from bench.frames import WINDOW, Calls, connected
from bench.offered import RESOURCE_EXHAUSTED, Starts, token_of
from stormsail.engine.api.transport import Bounds, Call, Transport
from stormsail.engine.core.errors import NotFound, ResourceExhausted

LONG = 100_000


async def system_info(call: Call, request: bytes) -> GetSystemInfoResponse:
    assert GetSystemInfoRequest.FromString(request) == GetSystemInfoRequest()
    assert call.deadline_s is not None
    return GetSystemInfoResponse(server_version="x" * LONG)


async def not_found(_: Call, __: bytes) -> bytes:
    raise NotFound("not here")


async def exhausted(_: Call, __: bytes) -> bytes:
    raise ResourceExhausted("too much")


class Answers:
    """What was answered, in its order."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, bytes]] = []
        self._more = asyncio.Event()

    def note(self, stream_id: int, status: int, body: bytes) -> None:
        if stream_id not in {told[0] for told in self.told}:  # what is refused is reset as well
            self.told.append((stream_id, status, body))
            self._more.set()

    async def of(self, calls: Calls, *methods: str) -> list[tuple[int, bytes]]:
        """Call all of them at once; return their statuses and bodies."""
        self.told.clear()
        streams = [calls.send(method, framed(b"")) for method in methods]
        calls.flush()
        async with asyncio.timeout(30):
            while len(self.told) < len(streams):
                self._more.clear()
                await self._more.wait()
        told = {stream_id: (status, body) for stream_id, status, body in self.told}
        return [told[stream_id] for stream_id in streams]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    path = SERVICE.decode()
    methods = {
        f"{path}GetSystemInfo": system_info,
        f"{path}Refuse": not_found,
        f"{path}Exhausted": exhausted,
    }
    transport = Transport(methods, ["s"], bounds=Bounds(message_size_max=1 << 20))
    yield await transport.start("127.0.0.1", 0)
    await transport.stop(0)


async def test_each_call_is_told_its_status_however_the_headers_are_encoded_by_then(port: int) -> None:
    answers = Answers()
    calls = await connected(port, answers.note)
    for _ in range(3):  # the first of each kind comes in letters, the others by reference
        told = await answers.of(calls, "GetSystemInfo", "Refuse", "Exhausted", "Refuse", "Nowhere")
        assert [status for status, _ in told] == [0, 5, RESOURCE_EXHAUSTED, 5, 12]
        assert len(GetSystemInfoResponse.FromString(told[0][1][5:]).server_version) == LONG
    calls.close()


async def test_more_is_read_than_the_server_is_given_room_for_at_once(port: int) -> None:
    answers = Answers()
    calls = await connected(port, answers.note)
    for _ in range(WINDOW // (LONG * 50) + 2):
        told = await answers.of(calls, *["GetSystemInfo"] * 50)
        assert [status for status, _ in told] == [0] * 50
    calls.close()


async def test_a_connection_that_is_closed_says_so(port: int) -> None:
    answers = Answers()
    calls = await connected(port, answers.note)
    await answers.of(calls, "GetSystemInfo")
    assert not calls.lost.is_set()
    calls.close()
    async with asyncio.timeout(30):
        await calls.lost.wait()


def test_starts_differ_in_their_ids_alone() -> None:
    sent = [StartWorkflowExecutionRequest.FromString(message[5:]) for message in Starts("some-queue").more(50)]
    assert len({start.workflow_id for start in sent}) == len({start.request_id for start in sent}) == 50
    assert {(start.namespace, start.task_queue.name, start.workflow_type.name) for start in sent} == {
        ("default", "some-queue", "Offered")
    }
    assert {len(start.workflow_id) for start in sent} == {44}


@pytest.mark.parametrize("size", [1, 127, 128, 20_000])
def test_the_token_of_a_task_is_found_without_reading_the_rest(size: int) -> None:
    reply = PollWorkflowTaskQueueResponse(task_token=b"t" * size, attempt=3)
    reply.workflow_execution.workflow_id = "w"
    rest = RespondWorkflowTaskCompletedRequest(identity="work").SerializeToString()
    told = RespondWorkflowTaskCompletedRequest.FromString(token_of(framed(reply.SerializeToString())) + rest)
    assert told == RespondWorkflowTaskCompletedRequest(task_token=b"t" * size, identity="work")


def test_a_poll_without_a_task_has_no_token_and_a_reply_in_another_order_is_not_guessed_at() -> None:
    assert token_of(framed(b"")) == b""
    with pytest.raises(ConnectionError, match="does not begin with the task's token"):
        token_of(framed(PollWorkflowTaskQueueResponse(attempt=3).SerializeToString()))
