"""Frames that no honest peer sends: the front answers or hangs up, and goes on serving others."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator

import pytest
import structlog
from ngh2 import Connection, Role

from engine.api.front.peers import MIB, PATIENCE_S, ask_raw, bare_peer, echo, framed, head, serving
from stormsail.engine.api.transport import Bounds

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
GOAWAY = 7


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving({"/s/Echo": echo}, bounds=Bounds(message_size_max=MIB)) as port:
        yield port


@pytest.fixture
async def brisk_port() -> AsyncIterator[int]:
    """Of a server that soon hangs up on a peer that does not answer its pings."""
    bounds = Bounds(message_size_max=MIB, keepalive_s=0.2, keepalive_timeout_s=0.1)
    async with serving({"/s/Echo": echo}, bounds=bounds) as port:
        yield port


def frame(type_: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([type_, flags]) + stream_id.to_bytes(4, "big") + payload


def frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Split what a server sent; yields type and payload."""
    while len(data) >= 9:
        size = int.from_bytes(data[:3], "big")
        yield data[3], data[9 : 9 + size]
        data = data[9 + size :]


def goodbye(data: bytes) -> int | None:
    """Return the error code of the GOAWAY that a server sent."""
    codes = [int.from_bytes(payload[4:8], "big") for type_, payload in frames(data) if type_ == GOAWAY]
    return codes[-1] if codes else None


async def still_serves(port: int) -> None:
    async with bare_peer(port) as peer:
        assert (await peer.answer(peer.call("/s/Echo", b"well"))).message == b"well"


@pytest.mark.parametrize(
    ("what", "data"),
    [
        ("a ping of five bytes", frame(6, 0, 0, b"12345")),
        ("a ping on a stream", frame(6, 0, 1, b"12345678")),
        ("settings on a stream", frame(4, 0, 1, b"")),
        ("settings of five bytes", frame(4, 0, 0, b"12345")),
        ("an acknowledgement with a body", frame(4, 1, 0, b"123456")),
        ("an impossible window", frame(4, 0, 0, b"\0\x04\xff\xff\xff\xff")),
        ("an impossible frame size", frame(4, 0, 0, b"\0\x05\0\0\0\x01")),
        ("data on no stream", frame(0, 0, 0, b"abc")),
        ("data on an idle stream", frame(0, 1, 1, b"abc")),
        ("headers on no stream", frame(1, 4, 0, b"\x82")),
        ("headers on an even stream", frame(1, 5, 2, b"\x82")),
        ("headers that are no HPACK", frame(1, 5, 1, b"\xff\xff\xff\xff\xff\xff\xff")),
        ("a continuation of nothing", frame(9, 4, 1, b"\x82")),
        ("headers cut off by another frame", frame(1, 0, 1, b"\x82") + frame(6, 0, 0, b"12345678")),
        ("padding larger than the frame", frame(1, 0xD, 1, b"\xff\x82")),
        ("a window update of nothing", frame(8, 0, 0, b"\0\0\0\0")),
        ("a window beyond its limit", frame(8, 0, 0, b"\x7f\xff\xff\xff") * 2),
        ("a push from a client", frame(5, 4, 1, b"\0\0\0\x02\x82")),
        ("a reset of an idle stream", frame(3, 0, 1, b"\0\0\0\x08")),
        ("a frame larger than allowed", b"\xff\xff\xff\0\0\0\0\0\x01" + bytes(100)),
    ],
)
async def test_a_breach_of_the_protocol_ends_the_connection_with_a_reason(port: int, what: str, data: bytes) -> None:
    said = await ask_raw(port, PREFACE + SETTINGS + data)
    assert goodbye(said) not in (None, 0), what
    await still_serves(port)


async def test_endless_continuations_end_the_connection(port: int) -> None:
    flood = frame(1, 0, 1, b"\x82") + frame(9, 0, 1, b"\x00\x01a\x01b" * 10) * 5_000
    assert goodbye(await ask_raw(port, PREFACE + SETTINGS + flood)) not in (None, 0)
    await still_serves(port)


async def test_a_flood_of_settings_or_resets_ends_the_connection(port: int) -> None:
    http = Connection(Role.CLIENT)
    http.initiate_connection({})
    sent = bytearray(http.data_to_send())
    for _ in range(25_000):
        stream_id = http.send_request(head("/s/Echo"))
        sent += http.data_to_send()
        http.reset_stream(stream_id)
        sent += http.data_to_send()
    assert goodbye(await ask_raw(port, bytes(sent))) not in (None, 0)
    await still_serves(port)


def conversation() -> bytes:
    """Return what an honest client sends for three calls."""
    http = Connection(Role.CLIENT)
    http.initiate_connection({})
    for size in (0, 100, 3_000):
        stream_id = http.send_request(head("/s/Echo", grpc_timeout="1S", x_bin="AAE"))
        http.send_data(stream_id, framed(bytes(size)), end_stream=True)
    http.ping(b"12345678")
    return http.data_to_send()


def spoilt(honest: bytes, chance: random.Random) -> bytes:
    """Flip, drop, double and insert bytes, mostly behind the preface."""
    data = bytearray(honest)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(PREFACE) if chance.random() < 0.95 else 0, len(data))
        match chance.randrange(5):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + chance.randint(1, 40)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 40))
            case 3:
                data[at:at] = data[at : at + chance.randint(1, 200)]
            case _:
                data[at:at] = frame(
                    chance.randrange(12), chance.randrange(256), chance.randrange(8), chance.randbytes(8)
                )
        if len(data) <= len(PREFACE):
            break
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
async def test_spoilt_conversations_neither_break_nor_hang_the_front(brisk_port: int, seed: int) -> None:
    chance = random.Random(seed)
    honest = conversation()

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", brisk_port)
        data = spoilt(honest, chance)
        cuts = sorted(chance.randrange(len(data)) for _ in range(3))
        try:
            for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
                writer.write(data[begin:end])
                await writer.drain()
            # A peer that owes an answer to a ping, and gives none, is hung up on.
            async with asyncio.timeout(PATIENCE_S):
                await reader.read(-1)
        except ConnectionError:
            return
        finally:
            writer.close()

    with structlog.testing.capture_logs() as lines:
        for _ in range(4):
            await asyncio.gather(*(one() for _ in range(60)))
            await still_serves(brisk_port)
    assert [line for line in lines if line["log_level"] == "error"] == []
