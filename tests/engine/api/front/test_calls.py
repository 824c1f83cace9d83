"""Calls over the front, by a bare HTTP/2 peer that can do what gRPC libraries do not."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping

import pytest
from ngh2 import ErrorCode, PingAcknowledged, Setting

from engine.api.front.peers import MIB, PATIENCE_S, Hanging, ask_raw, bare_peer, echo, framed, serving
from stormsail.engine.api.front.calls import Metadata
from stormsail.engine.api.transport import Bounds, Call, Rpc, Transport

LIMIT = 4 * MIB


async def tell_binary(call: Call, _: bytes) -> bytes:
    assert isinstance(call.metadata, Metadata)
    return call.metadata.binary("x-bin") or b"none"


async def a_lot(_: Call, request: bytes) -> bytes:
    return b"z" * int(request)


METHODS: Mapping[str, Rpc] = {"/s/Echo": echo, "/s/TellBinary": tell_binary, "/s/ALot": a_lot}


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(METHODS) as port:
        yield port


async def test_a_reply_ends_with_trailers(port: int) -> None:
    async with bare_peer(port) as peer:
        answer = await peer.answer(peer.call("/s/Echo", b"abc"))
    assert (answer.headers[b":status"], answer.headers[b"content-type"]) == (b"200", b"application/grpc")
    assert b"grpc-status" not in answer.headers
    assert b"grpc-accept-encoding" not in answer.headers  # only who is refused needs to know
    assert (answer.message, answer.trailers) == (b"abc", {b"grpc-status": b"0"})


async def test_a_body_in_single_bytes_is_put_together(port: int) -> None:
    async with bare_peer(port) as peer:
        stream_id = peer.call("/s/Echo", None)
        for byte in framed(b"one by one"):
            peer.data(stream_id, bytes([byte]))
            peer.flush()
            await peer.writer.drain()
        peer.data(stream_id, b"", end=True)
        assert (await peer.answer(stream_id)).message == b"one by one"


@pytest.mark.parametrize("order", ["aAbB", "abAB", "abBA", "baAB", "aabAbB", "aAbbB", "a0AbB", "ab0aAB"])
async def test_bodies_whose_end_comes_in_an_empty_frame_are_told_apart(port: int, order: str) -> None:
    """Small letters are frames of two calls' bodies, capitals their ends; 0 is an empty frame before an end."""
    async with bare_peer(port) as peer:
        calls, frames = {"a": peer.call("/s/Echo", None), "b": peer.call("/s/Echo", None)}, [peer.http.data_to_send()]
        message = {each: each.encode() * 1_000 * order.count(each) for each in "ab"}
        left = {each: framed(message[each]) for each in "ab"}
        for at, frame in enumerate(order):
            each = "a" if frame == "0" else frame.lower()
            last = each not in order[at + 1 :]
            part = b"" if frame in "AB0" else left[each] if last else left[each][:1_000]
            left[each] = left[each][len(part) :]
            peer.data(calls[each], part, end=frame in "AB")
            frames.append(peer.http.data_to_send())
        peer.writer.write(b"".join(frames))
        for each in "ab":
            assert (await peer.answer(calls[each])).message == message[each]


async def test_binary_metadata_are_decoded(port: int) -> None:
    async with bare_peer(port) as peer:
        assert (await peer.answer(peer.call("/s/TellBinary", b"", x_bin="AAEC/w"))).message == b"\x00\x01\x02\xff"


@pytest.mark.parametrize("on_loopback", [True, False])
async def test_a_large_reply_is_compressed_where_that_is_worth_it_and_understood(on_loopback: bool) -> None:
    bounds = Bounds(message_size_max=LIMIT, compress_on_loopback=on_loopback)
    async with serving(METHODS, bounds=bounds) as port, bare_peer(port) as peer:
        large = await peer.answer(peer.call("/s/ALot", b"100000", grpc_accept_encoding="identity,gzip"))
        small = await peer.answer(peer.call("/s/ALot", b"100", grpc_accept_encoding="identity,gzip"))
        plain = await peer.answer(peer.call("/s/ALot", b"100000", grpc_accept_encoding="identity"))
    if on_loopback:
        assert (large.headers[b"grpc-encoding"], large.body[0]) == (b"gzip", 1)
        assert gzip.decompress(large.message) == b"z" * 100_000
    else:
        assert large.message == b"z" * 100_000
    assert b"grpc-encoding" not in small.headers | plain.headers
    assert (len(small.message), len(plain.message)) == (100, 100_000)


async def test_an_unknown_compression_is_refused_naming_the_known_ones(port: int) -> None:
    async with bare_peer(port) as peer:
        stream_id = peer.call("/s/Echo", None, grpc_encoding="snappy")
        peer.data(stream_id, framed(b"abc", 1), end=True)
        answer = await peer.answer(stream_id)
    assert (answer.status, answer.headers[b"grpc-accept-encoding"]) == (12, b"identity,gzip,deflate")


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 12), (framed(b"a") + framed(b"b"), 12), (b"\0\0\0\0\x09abc", 12), (framed(b"a", 7), 13)],
)
async def test_what_is_not_one_message_is_refused(port: int, body: bytes, status: int) -> None:
    async with bare_peer(port) as peer:
        stream_id = peer.call("/s/Echo", None)
        peer.data(stream_id, body, end=True)
        assert (await peer.answer(stream_id)).status == status
        assert (await peer.answer(peer.call("/s/Echo", b"next"))).message == b"next"


async def test_an_overlarge_request_is_refused_by_its_prefix_alone(port: int) -> None:
    async with bare_peer(port) as peer:
        stream_id = peer.call("/s/Echo", None)
        peer.data(stream_id, b"\0" + (LIMIT + 1).to_bytes(4, "big") + b"only the beginning")
        answer = await peer.answer(stream_id)
        assert (answer.status, answer.closed) == (8, 0)
        assert "larger than max (4194305 vs. 4194304)" in answer.text
        assert (await peer.answer(peer.call("/s/Echo", b"next"))).message == b"next"


async def test_all_callers_together_cannot_make_the_server_hold_more_than_it_will() -> None:
    bounds = Bounds(message_size_max=LIMIT, bodies_size_max=100_000)
    async with serving(METHODS, bounds=bounds) as port, bare_peer(port) as one, bare_peer(port) as other:
        waiting = one.call("/s/Echo", None)
        one.data(waiting, framed(b"x" * 95_000)[:-1])
        await one.answer(one.call("/s/Echo", b"what came before is read"))
        refused = other.call("/s/Echo", None)
        other.data(refused, framed(b"y" * 20_000)[:-1])
        assert (await other.answer(refused)).status == 8
        one.data(waiting, b"x", end=True)
        assert len((await one.answer(waiting)).message) == 95_000
        again = other.call("/s/Echo", None)
        other.data(again, framed(b"y" * 20_000)[:-1])
        other.data(again, b"y", end=True)
        assert (await other.answer(again)).status == 0


@pytest.mark.parametrize("size", [4 * MIB, 4 * MIB - 1])
async def test_messages_of_the_limit_pass_both_ways(port: int, size: int) -> None:
    async with bare_peer(port) as peer:
        message = bytes(size)
        answer = await peer.answer(peer.call("/s/Echo", message))
        assert answer.message == message


async def test_a_peer_that_opens_its_window_by_and_by_gets_all(port: int) -> None:
    async with bare_peer(port, {Setting.INITIAL_WINDOW_SIZE: 1_000}) as peer:
        answers = [peer.call("/s/ALot", b"200000") for _ in range(5)]
        assert [len((await peer.answer(one)).message) for one in answers] == [200_000] * 5


async def test_a_reply_waits_for_the_window_and_others_pass_it(port: int) -> None:
    async with bare_peer(port, {Setting.INITIAL_WINDOW_SIZE: 10}, auto_window_update=False) as peer:
        blocked = peer.call("/s/ALot", b"100")
        small = await peer.answer(peer.call("/s/Echo", b"tiny"))
        assert small.message == b"tiny"
        assert peer.answers[blocked].closed is None
        peer.http.set_local_window_size(1_000, stream_id=blocked)
        assert len((await peer.answer(blocked)).message) == 100


async def test_a_peer_that_reads_nothing_is_refused_more() -> None:
    bounds = Bounds(message_size_max=LIMIT, unsent_size_max=1_000_000)
    async with (
        serving(METHODS, bounds=bounds) as port,
        bare_peer(port, {Setting.INITIAL_WINDOW_SIZE: 0}, auto_window_update=False) as peer,
    ):
        for _ in range(4):
            peer.call("/s/ALot", b"400000")
        refused = await peer.answer(peer.call("/s/ALot", b"400000"))
        assert (refused.status, refused.body) == (8, b"")


async def test_when_all_peers_together_read_too_little_those_with_a_share_of_it_are_refused_more() -> None:
    bounds = Bounds(message_size_max=LIMIT, unsent_total_max=600_000, unsent_share=500_000)
    deaf = {Setting.INITIAL_WINDOW_SIZE: 0}
    async with (
        serving(METHODS, bounds=bounds) as port,
        bare_peer(port, deaf, auto_window_update=False) as first,
        bare_peer(port, deaf, auto_window_update=False) as second,
        bare_peer(port) as reading,
    ):
        for peer, size in ((first, b"400000"), (first, b"200000"), (second, b"300000")):
            stream_id = peer.call("/s/ALot", size)
            await peer.until(lambda peer=peer, stream_id=stream_id: peer.answers[stream_id].headers)
        assert (await first.answer(first.call("/s/ALot", b"1"))).status == 8
        second.call("/s/ALot", b"1")
        assert len((await reading.answer(reading.call("/s/ALot", b"300000"))).message) == 300_000


async def test_five_hundred_calls_hang_while_others_pass_and_are_all_cancelled() -> None:
    hanging = Hanging()
    async with serving({**METHODS, "/s/Hang": hanging}) as port, bare_peer(port) as peer:
        calls = [peer.call("/s/Hang", b"") for _ in range(100)]
        await peer.answer(peer.call("/s/Echo", b""))
        calls += [peer.call("/s/Hang", b"") for _ in range(400)]
        assert (await peer.answer(peer.call("/s/Echo", b"passes"))).message == b"passes"
        await hanging.until(500)
        for stream_id in calls:
            peer.http.reset_stream(stream_id, ErrorCode.CANCEL)
        peer.flush()
        await hanging.until(0)
        assert (await peer.answer(peer.call("/s/Echo", b"still"))).message == b"still"


async def test_a_lost_connection_cancels_its_calls() -> None:
    hanging = Hanging()
    async with serving({"/s/Hang": hanging}) as port:
        async with bare_peer(port) as peer:
            peer.call("/s/Hang", b"")
            peer.flush()
            await hanging.until(1)
        await hanging.until(0)


async def test_a_deadline_ends_the_call_and_cancels_its_handler() -> None:
    hanging = Hanging()
    async with serving({"/s/Hang": hanging}) as port, bare_peer(port) as peer:
        answer = await peer.answer(peer.call("/s/Hang", b"", grpc_timeout="50m"))
        assert answer.status == 4
        await hanging.until(0)


async def test_a_deadline_ends_a_call_whose_request_never_ends(port: int) -> None:
    async with bare_peer(port) as peer:
        stream_id = peer.call("/s/Echo", None, grpc_timeout="50m")
        assert (await peer.answer(stream_id)).status == 4


async def test_a_strange_deadline_is_refused(port: int) -> None:
    async with bare_peer(port) as peer:
        answer = await peer.answer(peer.call("/s/Echo", b"", grpc_timeout="soon"))
    assert answer.status == 13
    assert "grpc-timeout" in answer.text


@pytest.mark.parametrize(
    ("change", "status"), [({b":method": b"GET"}, b"405"), ({b"content-type": b"text/html"}, b"415")]
)
async def test_what_is_no_grpc_is_answered_as_http_does(port: int, change: dict[bytes, bytes], status: bytes) -> None:
    async with bare_peer(port) as peer:
        stream_id = peer.call("/s/Echo", None)
        peer.http.reset_stream(stream_id)
        headers = {b":method": b"POST", b":scheme": b"http", b":path": b"/", b":authority": b"x"}
        stream_id = peer.http.send_request([*(headers | change).items()], end_stream=True)
        peer.answers[stream_id] = type(peer.answers[1])()
        answer = await peer.answer(stream_id)
    assert answer.headers[b":status"] == status
    assert b"gRPC" in answer.body


async def test_calls_past_the_most_at_once_are_refused_untouched() -> None:
    hanging = Hanging()
    bounds = Bounds(message_size_max=LIMIT, streams_max=5)
    async with serving({"/s/Hang": hanging}, bounds=bounds) as port, bare_peer(port) as peer:
        calls = [peer.call("/s/Hang", b"") for _ in range(7)]
        await peer.until(lambda: sum(peer.answers[one].closed is not None for one in calls) == 2)
        assert [peer.answers[one].closed for one in calls[5:]] == [ErrorCode.REFUSED_STREAM] * 2
        await hanging.until(5)


@pytest.mark.parametrize("headers", [{"x": "v" * 70_000}, {f"x-{number}": "v" for number in range(300)}])
async def test_overlarge_headers_end_the_connection(port: int, headers: dict[str, str]) -> None:
    async with bare_peer(port, max_send_header_block_length=1_000_000) as peer:
        stream_id = peer.call("/s/Echo", None, **headers)
        peer.data(stream_id, framed(b"abc"), end=True)
        await peer.until_eof()
        assert [one.error_code for one in peer.goodbyes] == [ErrorCode.ENHANCE_YOUR_CALM]
        assert not peer.answers[stream_id].body


async def test_pings_are_answered_and_a_flood_of_them_ends_the_connection() -> None:
    bounds = Bounds(message_size_max=LIMIT, pings_max=50)
    async with serving(METHODS, bounds=bounds) as port, bare_peer(port) as peer:
        peer.http.ping(b"12345678")
        await peer.until(lambda: any(isinstance(event, PingAcknowledged) for event in peer.events))
        for _ in range(50):
            peer.http.ping(b"12345678")
            peer.flush()
        await peer.until_eof()
    assert [(one.error_code, one.debug_data) for one in peer.goodbyes] == [
        (ErrorCode.ENHANCE_YOUR_CALM, b"too_many_pings")
    ]


async def test_pings_between_calls_are_no_flood() -> None:
    bounds = Bounds(message_size_max=LIMIT, pings_max=10)
    async with serving(METHODS, bounds=bounds) as port, bare_peer(port) as peer:
        for _ in range(10):
            for _ in range(5):
                peer.http.ping(b"12345678")
            assert (await peer.answer(peer.call("/s/Echo", b""))).status == 0


async def test_a_peer_that_fell_silent_is_given_up() -> None:
    hanging = Hanging()
    bounds = Bounds(message_size_max=LIMIT, keepalive_s=0.05, keepalive_timeout_s=0.05)
    async with serving({"/s/Hang": hanging}, bounds=bounds) as port, bare_peer(port) as peer:
        peer.call("/s/Hang", b"")
        peer.flush()
        await hanging.until_begun(1)
        await hanging.until(0)  # the peer reads nothing, so it answers no ping


@pytest.mark.slow
async def test_a_peer_that_answers_pings_is_kept() -> None:
    hanging = Hanging()
    bounds = Bounds(message_size_max=LIMIT, keepalive_s=0.02, keepalive_timeout_s=5.0)
    async with serving({"/s/Hang": hanging, "/s/Echo": echo}, bounds=bounds) as port, bare_peer(port) as peer:
        peer.call("/s/Hang", b"")
        await peer.until(lambda: sum(type(event).__name__ == "PingReceived" for event in peer.events) >= 2)
        assert hanging.hanging == 1


async def test_a_connection_that_says_nothing_is_given_up() -> None:
    bounds = Bounds(message_size_max=LIMIT, keepalive_s=0.05)
    async with serving(METHODS, bounds=bounds) as port:
        assert await ask_raw(port, b"PRI * HT") == b""


async def test_connections_past_the_most_are_turned_away() -> None:
    bounds = Bounds(message_size_max=LIMIT, connections_max=1)
    async with serving(METHODS, bounds=bounds) as port, bare_peer(port) as peer:
        assert (await peer.answer(peer.call("/s/Echo", b""))).status == 0
        assert await ask_raw(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") == b""


async def test_http_1_is_told_what_the_port_speaks(port: int) -> None:
    answer = await ask_raw(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 505 ")
    assert b"Temporal SDK" in answer


async def test_tls_on_a_port_without_is_hung_up_on(port: int) -> None:
    assert await ask_raw(port, bytes.fromhex("16030100050100000100")) == b""


async def test_a_stop_says_goodbye_twice_and_lets_calls_end() -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def wait(_: Call, __: bytes) -> bytes:
        begun.set()
        await release.wait()
        return b"done"

    transport = Transport({"/s/Wait": wait}, ["s"], bounds=Bounds(message_size_max=LIMIT))
    port = await transport.start("127.0.0.1", 0)
    async with bare_peer(port) as peer:
        call = peer.call("/s/Wait", b"")
        peer.flush()
        await begun.wait()
        stopping = asyncio.ensure_future(transport.stop(PATIENCE_S))
        await peer.until(lambda: len(peer.goodbyes) == 1)
        assert peer.goodbyes[0].last_stream_id == 2**31 - 1
        await peer.until(lambda: len(peer.goodbyes) == 2)
        assert (peer.goodbyes[1].last_stream_id, peer.goodbyes[1].error_code) == (call, 0)
        release.set()
        assert (await peer.answer(call)).message == b"done"
        await peer.until_eof()
    await asyncio.wait_for(stopping, PATIENCE_S)


async def test_a_stop_cuts_off_what_does_not_end_within_its_bound() -> None:
    hanging = Hanging()
    transport = Transport({"/s/Hang": hanging}, ["s"], bounds=Bounds(message_size_max=LIMIT))
    port = await transport.start("127.0.0.1", 0)
    async with bare_peer(port) as peer, bare_peer(port) as deaf:
        call = peer.call("/s/Hang", b"")
        peer.flush()
        deaf.call("/s/Hang", b"")
        deaf.flush()
        await hanging.until(2)
        stopping = asyncio.ensure_future(transport.stop(0.05))
        assert (await peer.answer(call)).status == 14
        await asyncio.wait_for(stopping, PATIENCE_S)
        assert hanging.hanging == 0


async def test_a_call_that_comes_while_the_server_stops_is_told_so() -> None:
    hanging = Hanging()
    transport = Transport({"/s/Hang": hanging}, ["s"], bounds=Bounds(message_size_max=LIMIT))
    port = await transport.start("127.0.0.1", 0)
    async with bare_peer(port) as peer:
        early = peer.call("/s/Hang", b"")
        peer.flush()
        await hanging.until(1)
        stopping = asyncio.ensure_future(transport.stop(PATIENCE_S))
        await asyncio.sleep(0)
        late = peer.call("/s/Hang", b"")
        assert (await peer.answer(late)).status == 14
        peer.http.reset_stream(early)
        peer.flush()
        await asyncio.wait_for(stopping, PATIENCE_S)
