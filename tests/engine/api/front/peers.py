"""Peers for tests of the front: a bare HTTP/2 client that does as it is told, and a server of simple methods."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ngh2 import (
    Configuration,
    Connection,
    DataReceived,
    Event,
    GoAwayReceived,
    ResponseReceived,
    Role,
    StreamClosed,
    TrailersReceived,
)

from stormsail.engine.api.front.rounds import Rounds
from stormsail.engine.api.transport import Bounds, Call, Rpc, Tls, Transport

PATIENCE_S = 30.0
MIB = 1024 * 1024


async def echo(_: Call, request: bytes) -> bytes:
    return request


class Hanging:
    """A method that never answers; says how many calls hang in it."""

    def __init__(self) -> None:
        self.hanging = 0
        self.begun = 0
        self.changed = asyncio.Condition()

    async def __call__(self, _: Call, __: bytes) -> bytes:
        await self._count(1)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await self._count(-1)
        return b""

    async def _count(self, more: int) -> None:
        self.hanging += more
        self.begun += more > 0
        async with self.changed:
            self.changed.notify_all()

    async def until(self, count: int) -> None:
        """Wait until as many calls hang."""
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: self.hanging == count)

    async def until_begun(self, count: int) -> None:
        """Wait until as many calls have come, whether or not they hang still."""
        async with asyncio.timeout(PATIENCE_S), self.changed:
            await self.changed.wait_for(lambda: self.begun >= count)


@asynccontextmanager
async def serving(
    methods: Mapping[str, Rpc], *, bounds: Bounds | None = None, tls: Tls | None = None, rounds: Rounds | None = None
) -> AsyncIterator[int]:
    """Serve the methods; yields the port."""
    transport = Transport(methods, ["s"], bounds=bounds or Bounds(message_size_max=4 * MIB), tls=tls, rounds=rounds)
    try:
        yield await transport.start("127.0.0.1", 0)
    finally:
        await transport.stop(0)


def head(path: str, **more: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of a call; `grpc_timeout="1S"` adds a header, underscores for dashes."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"test"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *((key.replace("_", "-").encode(), value.encode()) for key, value in more.items()),
    ]


def framed(message: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(message).to_bytes(4, "big") + message


@dataclass
class Answer:
    """What came back on one stream."""

    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    closed: int | None = None

    @property
    def status(self) -> int:
        told = self.trailers.get(b"grpc-status", self.headers.get(b"grpc-status"))
        assert told is not None, self
        return int(told)

    @property
    def text(self) -> str:
        return self.trailers.get(b"grpc-message", self.headers.get(b"grpc-message", b"")).decode()

    @property
    def message(self) -> bytes:
        assert len(self.body) == 5 + int.from_bytes(self.body[1:5], "big")
        return bytes(self.body[5:])


class BarePeer:
    """An HTTP/2 client without a mind of its own. It reads only when it is asked to wait."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, **config: Any) -> None:
        self._reader = reader
        self.writer = writer
        self.http = Connection(Role.CLIENT, Configuration(**config))
        self.answers: dict[int, Answer] = {}
        self.goodbyes: list[GoAwayReceived] = []
        self.events: list[Event] = []
        self.eof = False

    def call(self, path: str, message: bytes | None, **more: str) -> int:
        """Send a whole call; with None, only its head."""
        stream_id = self.http.send_request(head(path, **more))
        self.answers[stream_id] = Answer()
        if message is not None:
            self.http.send_data(stream_id, framed(message), end_stream=True)
        return stream_id

    def data(self, stream_id: int, part: bytes, *, end: bool = False) -> None:
        self.http.send_data(stream_id, part, end_stream=end)

    def flush(self) -> None:
        self.writer.write(self.http.data_to_send())

    async def answer(self, stream_id: int) -> Answer:
        """Wait until a stream is closed."""
        await self.until(lambda: self.answers[stream_id].closed is not None)
        return self.answers[stream_id]

    async def until(self, done: Any) -> None:
        """Read until a condition holds."""
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                assert not self.eof, "the server closed the connection"
                await self.read()

    async def until_eof(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not self.eof:
                await self.read()

    async def read(self) -> None:
        """Write what there is, read once, and take note of what it says."""
        self.flush()
        try:
            data = await self._reader.read(65_536)
        except ConnectionResetError:
            data = b""
        if not data:
            self.eof = True
            return
        self.http.receive_data(data)
        for event in self.http.events():
            self.events.append(event)
            self._note(event)
        self.flush()

    def _note(self, event: Event) -> None:
        match event:
            case ResponseReceived():
                self.answers[event.stream_id].headers = dict(event.headers)
            case DataReceived():
                self.answers[event.stream_id].body += event.data
            case TrailersReceived():
                self.answers[event.stream_id].trailers = dict(event.headers)
            case StreamClosed() if event.stream_id in self.answers:
                self.answers[event.stream_id].closed = event.error_code
            case GoAwayReceived():
                self.goodbyes.append(event)


@asynccontextmanager
async def bare_peer(port: int, settings: Mapping[int, int] | None = None, **config: Any) -> AsyncIterator[BarePeer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    peer = BarePeer(reader, writer, **config)
    peer.http.initiate_connection(dict(settings or {}))
    try:
        yield peer
    finally:
        writer.close()


async def ask_raw(port: int, data: bytes) -> bytes:
    """Send bytes and return all that comes until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(PATIENCE_S):
            return await reader.read(-1)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
