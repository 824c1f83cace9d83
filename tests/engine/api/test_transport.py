"""The gRPC front, seen by a plain grpcio client."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Mapping

import grpc
import pytest
import structlog
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure
from temporalio.api.workflowservice.v1 import service_pb2

from stormsail.engine.api.transport import Bounds, Call, PortTaken, Rpc, Transport
from stormsail.engine.core.errors import Cancelled, NamespaceNotFound

SERVICE = service_pb2.DESCRIPTOR.services_by_name["WorkflowService"].full_name
LIMIT = 1024
BOUNDS = Bounds(message_size_max=LIMIT)


async def echo(_: Call, request: bytes) -> bytes:
    return request


async def tell_call(call: Call, _: bytes) -> bytes:
    left = "none" if call.deadline_s is None else f"{call.deadline_s / 3_600:.0f} h"
    return f"{call.name} {left} {call.metadata.get('x-test')}".encode()


async def refuse(_: Call, __: bytes) -> bytes:
    raise NamespaceNotFound("größe")


async def give_up(_: Call, __: bytes) -> bytes:
    raise Cancelled("the worker is shutting down")


async def break_down(_: Call, __: bytes) -> bytes:
    raise ZeroDivisionError("secret payload")


async def reply_message(_: Call, __: bytes) -> NamespaceNotFoundFailure:
    return NamespaceNotFoundFailure(namespace="n")


METHODS: Mapping[str, Rpc] = {
    "/s/Echo": echo,
    "/s/TellCall": tell_call,
    "/s/Refuse": refuse,
    "/s/GiveUp": give_up,
    "/s/BreakDown": break_down,
    "/s/ReplyMessage": reply_message,
}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    transport = Transport(METHODS, [SERVICE], bounds=BOUNDS)
    yield await transport.start("127.0.0.1", 0)
    await transport.stop(0)


@pytest.fixture
async def channel(port: int) -> AsyncIterator[aio.Channel]:
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


async def refusal(channel: aio.Channel, method: str, request: bytes = b"") -> aio.AioRpcError:
    with pytest.raises(aio.AioRpcError) as raised:
        await channel.unary_unary(method)(request, timeout=60)
    return raised.value


async def test_bytes_pass_through(channel: aio.Channel) -> None:
    assert await channel.unary_unary("/s/Echo")(b"\x00abc") == b"\x00abc"


async def test_a_message_is_serialised(channel: aio.Channel) -> None:
    answer = await channel.unary_unary("/s/ReplyMessage")(b"")
    assert NamespaceNotFoundFailure.FromString(answer).namespace == "n"


async def test_a_request_compressed_with_gzip_is_read(port: int) -> None:
    async with aio.insecure_channel(f"127.0.0.1:{port}", compression=grpc.Compression.Gzip) as channel:
        request = b"a" * LIMIT
        assert len(gzip.compress(request)) < LIMIT
        assert await channel.unary_unary("/s/Echo")(request) == request


async def test_the_handler_learns_the_deadline_and_the_metadata(channel: aio.Channel) -> None:
    call = channel.unary_unary("/s/TellCall")
    assert await call(b"", timeout=2 * 3_600, metadata=(("x-test", "yes"),)) == b"TellCall 2 h yes"
    assert await call(b"", metadata=(("x-test", "yes"),)) == b"TellCall none yes"


async def test_a_refusal_has_its_status_and_temporals_detail(channel: aio.Channel) -> None:
    error = await refusal(channel, "/s/Refuse")
    assert error.code() == grpc.StatusCode.NOT_FOUND
    assert error.details() == "Namespace größe is not found."
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    status = Status.FromString(packed)
    assert (status.code, status.message) == (5, "Namespace größe is not found.")
    detail = NamespaceNotFoundFailure()
    assert status.details[0].Unpack(detail)
    assert detail.namespace == "größe"


async def test_a_refusal_without_detail_has_no_trailer(channel: aio.Channel) -> None:
    error = await refusal(channel, "/s/GiveUp")
    assert error.code() == grpc.StatusCode.CANCELLED
    assert "grpc-status-details-bin" not in dict(error.trailing_metadata())


async def test_a_breakdown_tells_the_client_an_id_and_nothing_else(channel: aio.Channel) -> None:
    with structlog.testing.capture_logs() as lines:
        error = await refusal(channel, "/s/BreakDown")
    assert error.code() == grpc.StatusCode.INTERNAL
    (line,) = lines
    assert line["method"] == "/s/BreakDown"
    assert line["id"] in (error.details() or "")
    assert "secret" not in (error.details() or "")
    assert "Zero" not in (error.details() or "")


@pytest.mark.parametrize("size", [LIMIT + 1, LIMIT * 10])
async def test_a_request_over_the_limit_is_refused_in_words_the_sdks_know(channel: aio.Channel, size: int) -> None:
    error = await refusal(channel, "/s/Echo", b"x" * size)
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (error.details() or "").startswith(f"grpc: received message larger than max ({size} vs. {LIMIT})")


async def test_a_request_far_over_the_limit_is_cut_off(channel: aio.Channel) -> None:
    error = await refusal(channel, "/s/Echo", b"x" * (LIMIT * 17))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_request_of_the_limit_passes(channel: aio.Channel) -> None:
    assert len(await channel.unary_unary("/s/Echo")(b"x" * LIMIT)) == LIMIT


@pytest.mark.parametrize("method", ["/temporal.api.testservice.v1.TestService/Sleep", f"/{SERVICE}/InventTime"])
async def test_a_method_of_temporals_that_is_unknown_is_named(channel: aio.Channel, method: str) -> None:
    error = await refusal(channel, method)
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED
    assert method in (error.details() or "")


async def test_a_strange_method_is_unimplemented(channel: aio.Channel) -> None:
    assert (await refusal(channel, "/other.Service/Do")).code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("service", ["", SERVICE])
async def test_health_says_serving(channel: aio.Channel, service: str) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_health_of_an_unknown_service_is_not_found(channel: aio.Channel) -> None:
    with pytest.raises(aio.AioRpcError) as raised:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="x"))
    assert raised.value.code() == grpc.StatusCode.NOT_FOUND


async def test_watching_health_hears_of_the_stop() -> None:
    transport = Transport(METHODS, [SERVICE], bounds=BOUNDS)
    port = await transport.start("127.0.0.1", 0)
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.ensure_future(transport.stop(5))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        await stopping


async def test_reflection_lists_and_describes_the_services(channel: aio.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    ask = reflection_pb2.ServerReflectionRequest
    listed, described = [
        answer
        async for answer in stub.ServerReflectionInfo(
            iter([ask(list_services=""), ask(file_containing_symbol=SERVICE)])
        )
    ]
    names = {service.name for service in listed.list_services_response.service}
    assert {SERVICE, "grpc.health.v1.Health"} <= names
    assert any(b"StartWorkflowExecution" in file for file in described.file_descriptor_response.file_descriptor_proto)


async def test_a_taken_port_is_refused_with_the_reason(port: int) -> None:
    with pytest.raises(PortTaken, match=rf"cannot listen on 127\.0\.0\.1:{port}: another process listens there"):
        await Transport(METHODS, [SERVICE], bounds=BOUNDS).start("127.0.0.1", port)


async def test_a_port_that_another_server_shares_is_refused_too() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(PortTaken):
            await Transport(METHODS, [SERVICE], bounds=BOUNDS).start("127.0.0.1", other.getsockname()[1])


async def test_an_address_of_another_machine_is_refused_with_the_reason() -> None:
    with pytest.raises(PortTaken, match="this machine does not have that address"):
        await Transport(METHODS, [SERVICE], bounds=BOUNDS).start("192.0.2.1", 0)


async def test_a_stop_lets_calls_in_flight_end() -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def wait(_: Call, __: bytes) -> bytes:
        begun.set()
        await release.wait()
        return b"done"

    transport = Transport({"/s/Wait": wait}, [SERVICE], bounds=BOUNDS)
    port = await transport.start("127.0.0.1", 0)
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = asyncio.ensure_future(channel.unary_unary("/s/Wait")(b"", timeout=60))
        await asyncio.wait_for(begun.wait(), 60)
        stopping = asyncio.ensure_future(transport.stop(60))
        await asyncio.sleep(0)
        release.set()
        assert await call == b"done"
        await asyncio.wait_for(stopping, 60)


async def test_a_client_that_hangs_up_cancels_its_handler() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(_: Call, __: bytes) -> bytes:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()
        return b""

    transport = Transport({"/s/Wait": wait}, [SERVICE], bounds=BOUNDS)
    port = await transport.start("127.0.0.1", 0)
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/s/Wait")(b"")
        await asyncio.wait_for(begun.wait(), 60)
        call.cancel()
        await asyncio.wait_for(ended.wait(), 60)
    await transport.stop(0)
