"""One call on a connection: gathers the request, runs the handler, sends the reply and the status."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from google.protobuf.message import Message
from google.rpc.code_pb2 import Code

from stormsail.engine.api.front.calls import Call, Metadata, Rpc, StreamRpc
from stormsail.engine.api.front.framing import PREFIX_SIZE, declared_size, only_message, timeout_s, too_large, unpacked
from stormsail.engine.api.front.front import Front
from stormsail.engine.api.front.statuses import Ending, Header, ending_of
from stormsail.engine.core.errors import ResourceExhausted
from stormsail.engine.shell.driven import Driven

if TYPE_CHECKING:
    from stormsail.engine.api.front.connection import Connection

_LATE: Final = Ending(Code.DEADLINE_EXCEEDED, "the caller's deadline is over")
_TIMEOUT_MAX_S: Final = 365 * 86_400.0


class Request:
    """The head of a call: what the caller said before the body."""

    __slots__ = ("accepts", "encoding", "headers", "method", "until_s")

    def __init__(self, method: str, fields: Mapping[bytes, bytes], headers: tuple[Header, ...], now_s: float) -> None:
        """Raises Malformed."""
        self.method = method
        self.headers = headers
        self.encoding = fields.get(b"grpc-encoding", b"identity")
        self.accepts = fields.get(b"grpc-accept-encoding", b"")
        timeout = fields.get(b"grpc-timeout")
        self.until_s = None if timeout is None else now_s + min(timeout_s(timeout), _TIMEOUT_MAX_S)

    def call(self, now_s: float, peer: str) -> Call:
        """Return it as handlers see it."""
        left_s = None if self.until_s is None else max(0.0, self.until_s - now_s)
        return Call(self.method, Metadata(self.headers), left_s, peer)


class Exchange(Protocol):
    """What a connection knows of a call that it carries."""

    def data(self, part: bytes, end: bool) -> None:
        """Take part of the body. Raises Refused."""
        ...

    def gone(self) -> None:
        """Nobody waits for the answer any more: stop."""
        ...

    def late(self) -> None:
        """The caller's deadline is over: say so, and stop."""
        ...


class _Running:
    """What the calls of both kinds have in common."""

    __slots__ = ("_connection", "_front", "_held", "_request", "_serving", "_stream_id")

    def __init__(self, connection: "Connection", front: Front, stream_id: int, request: Request) -> None:
        self._connection = connection
        self._front = front
        self._stream_id = stream_id
        self._request = request
        self._held = 0
        self._serving: Driven[Any] | asyncio.Task[None] | None = None
        if request.until_s is not None:
            connection.deadlines.add(stream_id, request.until_s)

    def gone(self) -> None:
        """See Exchange."""
        self._over()
        if self._serving is not None:
            self._serving.cancel()

    def late(self) -> None:
        """See Exchange."""
        self._connection.end(self._stream_id, _LATE)
        self.gone()

    def _over(self) -> None:
        if self._held:
            self._front.release(self._held)
            self._held = 0

    def _hold(self, size: int) -> None:
        self._front.hold(size)
        self._held += size


class UnaryExchange(_Running):
    """One message in, one out."""

    __slots__ = ("_body", "_new_work", "_rpc")

    def __init__(
        self, connection: "Connection", front: Front, stream_id: int, request: Request, rpc: Rpc, new_work: bool
    ) -> None:
        super().__init__(connection, front, stream_id, request)
        self._rpc = rpc
        self._new_work = new_work
        self._body: bytes | bytearray = b""

    def data(self, part: bytes, end: bool) -> None:
        """See Exchange."""
        if not self._body:
            self._body = part
        else:
            if not isinstance(self._body, bytearray):
                self._body = bytearray(self._body)
            self._body += part
        size_max = self._front.bounds.message_size_max
        if len(self._body) >= PREFIX_SIZE and declared_size(self._body) > size_max:
            raise too_large(declared_size(self._body), size_max)
        if len(self._body) > size_max + PREFIX_SIZE:
            raise too_large(len(self._body) - PREFIX_SIZE, size_max)
        if not end:
            self._hold(len(part))
            return
        message = only_message(self._body, self._request.encoding, size_max)
        self._body = b""
        self._over()
        if self._new_work:
            self._front.line.enter(self, message)
        else:
            self._front.line.pass_by()
            self.begin(message)

    def begin(self, message: bytes) -> None:
        """Run the handler: at once, or once the line has come to this call."""
        connection = self._connection
        call = self._request.call(connection.loop.time(), connection.peer)
        self._serving = Driven(self._rpc(call, message), self._ended)
        self._serving.go()

    def gone(self) -> None:
        """See Exchange."""
        super().gone()
        if self._new_work and self._serving is None:
            self._front.line.leave(self)

    def _ended(self, reply: "bytes | Message | None", error: BaseException | None) -> None:
        connection, request = self._connection, self._request
        self._serving = None
        if reply is not None:
            try:
                body = reply if isinstance(reply, bytes) else reply.SerializeToString()
                connection.answer(self._stream_id, body, request.accepts)
            except Exception as failed:
                error = failed
        if isinstance(error, Exception):
            connection.end(self._stream_id, ending_of(request.method, error))


class StreamExchange(_Running):
    """Any number of messages in and out. Only health and reflection have such methods."""

    __slots__ = ("_body", "_messages")

    def __init__(
        self, connection: "Connection", front: Front, stream_id: int, request: Request, rpc: StreamRpc
    ) -> None:
        super().__init__(connection, front, stream_id, request)
        self._body = bytearray()
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._serving = connection.loop.create_task(self._run(rpc))

    def data(self, part: bytes, end: bool) -> None:
        """See Exchange."""
        bounds = self._front.bounds
        self._hold(len(part))
        self._body += part
        while len(self._body) >= PREFIX_SIZE:
            size = declared_size(self._body)
            if size > bounds.message_size_max:
                raise too_large(size, bounds.message_size_max)
            if len(self._body) < PREFIX_SIZE + size:
                break
            packed = bytes(self._body[PREFIX_SIZE : PREFIX_SIZE + size])
            message = unpacked(self._body[0], packed, self._request.encoding, bounds.message_size_max)
            del self._body[: PREFIX_SIZE + size]
            if self._messages.qsize() >= bounds.stream_messages_max:
                raise ResourceExhausted("too many messages wait in this call: read the answers first")
            self._messages.put_nowait(message)
        if end:
            self._messages.put_nowait(None)

    async def _requests(self) -> AsyncIterator[bytes]:
        while (message := await self._messages.get()) is not None:
            self._front.release(min(self._held, len(message) + PREFIX_SIZE))
            self._held = max(0, self._held - len(message) - PREFIX_SIZE)
            yield message

    async def _run(self, rpc: StreamRpc) -> None:
        connection, request = self._connection, self._request
        try:
            call = request.call(connection.loop.time(), connection.peer)
            async for reply in rpc(call, self._requests()):
                connection.send_part(self._stream_id, reply)
            connection.finish(self._stream_id)
        except Exception as error:
            connection.end(self._stream_id, ending_of(request.method, error))
        self._over()


def not_grpc(fields: dict[bytes, bytes]) -> bytes:
    """Return HTTP's status for a request that is no gRPC call; empty when it is one."""
    if fields.get(b":method") != b"POST":
        return b"405"
    if not fields.get(b"content-type", b"").startswith(b"application/grpc"):
        return b"415"
    return b""
