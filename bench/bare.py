"""A bare protocol client: Temporal's messages on HTTP/2 and nothing else, so that no SDK is what is measured."""

import asyncio
from types import TracebackType
from typing import Final, Self, TypeVar

from google.protobuf.message import Message
from ngh2 import Connection, DataReceived, ResponseReceived, Role, StreamClosed, TrailersReceived

SERVICE: Final = b"/temporal.api.workflowservice.v1.WorkflowService/"
Field = tuple[bytes, bytes]
T = TypeVar("T", bound=Message)
_STREAMS_MAX: Final = 90
"""Calls at once: servers allow a hundred and more."""


def head_of(method: str) -> list[Field]:
    """Return the headers of a call."""
    return [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", SERVICE + method.encode()),
        (b":authority", b"127.0.0.1"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", b"60S"),
    ]


def framed(message: bytes) -> bytes:
    """Return a message as gRPC has it in the data of a call."""
    return b"\0" + len(message).to_bytes(4, "big") + message


class CallFailed(Exception):
    """A call that was not answered with OK."""

    def __init__(self, method: str, status: int, text: str) -> None:
        super().__init__(f"{method}: status {status}, {text}")
        self.status = status


class BareClient:
    """One connection; any number of calls on it. Use as an async context manager."""

    def __init__(self, port: int, streams_max: int = _STREAMS_MAX) -> None:
        self._port = port
        self._http = Connection(Role.CLIENT)
        self._waiting: dict[int, asyncio.Future[tuple[int, str]]] = {}
        self._bodies: dict[int, bytearray] = {}
        self._statuses: dict[int, tuple[int, str]] = {}
        self._room = asyncio.Semaphore(streams_max)
        self._flushing = False

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._http.initiate_connection({4: 8 << 20})
        self._http.set_local_window_size(64 << 20)
        self._reading = asyncio.ensure_future(self._read())
        self._flush()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reading.cancel()
        self._writer.close()

    async def call(self, method: str, request: Message, reply: type[T]) -> T:
        """Call and return the reply. Raises CallFailed, and ConnectionError when the server goes away."""
        async with self._room:
            if self._reading.done():
                raise ConnectionError("the server closed the connection")
            stream_id = self._http.send_request(head_of(method))
            self._http.send_data(stream_id, framed(request.SerializeToString()), end_stream=True)
            done = self._waiting[stream_id] = asyncio.get_running_loop().create_future()
            self._bodies[stream_id] = bytearray()
            if not self._flushing:
                self._flushing = True
                asyncio.get_running_loop().call_soon(self._flush)
            try:
                status, text = await done
            except asyncio.CancelledError:
                # A poll that nobody waits for any more would be given a task.
                self._forget(stream_id)
                self._bodies.pop(stream_id, None)
                raise
            answer = self._bodies.pop(stream_id)
        if status != 0:
            raise CallFailed(method, status, text)
        return reply.FromString(bytes(answer[5:]))

    def _forget(self, stream_id: int) -> None:
        if self._waiting.pop(stream_id, None) is not None:
            self._http.reset_stream(stream_id)
            self._flush()

    def _flush(self) -> None:
        self._flushing = False
        data = self._http.data_to_send()
        if data:
            self._writer.write(data)

    async def _read(self) -> None:
        try:
            while data := await self._reader.read(1 << 18):
                self._http.receive_data(data)
                for event in self._http.events():
                    self._note(event)
                self._flush()
        except ConnectionError:
            pass  # told below, as an orderly end is
        for done in self._waiting.values():
            if not done.done():
                done.set_exception(ConnectionError("the server closed the connection"))

    def _note(self, event: object) -> None:
        match event:
            case DataReceived() if event.stream_id in self._waiting:
                self._bodies[event.stream_id] += event.data
            case ResponseReceived() | TrailersReceived():
                headers = dict(event.headers)
                if b"grpc-status" in headers:
                    text = headers.get(b"grpc-message", b"").decode()
                    self._statuses[event.stream_id] = (int(headers[b"grpc-status"]), text)
            case StreamClosed():
                done = self._waiting.pop(event.stream_id, None)
                status = self._statuses.pop(event.stream_id, (-1, "the stream was reset"))
                if done is not None and not done.done():
                    done.set_result(status)
            case _:
                pass
