"""One call on a connection: gathers the request, runs the handler, sends the reply and the status."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from google.protobuf.message import Message
from google.rpc.code_pb2 import Code

from stormsail.engine.api.front.calls import Call, Metadata, StreamRpc
from stormsail.engine.api.front.framing import (
    PREFIX_SIZE,
    check_part,
    declared_size,
    only_message,
    timeout_s,
    too_large,
    unpacked,
)
from stormsail.engine.api.front.front import Front, Route
from stormsail.engine.api.front.statuses import Ending, ending_of
from stormsail.engine.core.errors import ResourceExhausted
from stormsail.engine.shell.driven import Driven

if TYPE_CHECKING:
    from stormsail.engine.api.front.connection import Connection

_LATE: Final = Ending(Code.DEADLINE_EXCEEDED, "the caller's deadline is over")
_GRPC: Final = b"application/grpc"


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

    __slots__ = (
        "_body",
        "_connection",
        "_fields",
        "_front",
        "_held",
        "_route",
        "_serving",
        "_stream_id",
        "_until_s",
    )

    def __init__(
        self,
        connection: "Connection",
        front: Front,
        stream_id: int,
        route: Route,
        fields: Mapping[bytes, bytes],
    ) -> None:
        """`fields` are the headers by name; of a repeated name the last value. Raises Malformed."""
        self._connection = connection
        self._front = front
        self._stream_id = stream_id
        self._route = route
        self._fields = fields
        self._body: bytes | bytearray = b""
        self._held = 0
        self._serving: Driven[Any] | asyncio.Task[None] | None = None
        self._until_s: float | None = None
        timeout = fields.get(b"grpc-timeout")
        if timeout is not None:
            self._until_s = connection.loop.time() + timeout_s(timeout)
            connection.deadlines.add(stream_id, self._until_s)

    def gone(self) -> None:
        """See Exchange."""
        self._over()
        if self._serving is not None:
            self._serving.cancel()

    def late(self) -> None:
        """See Exchange."""
        self._connection.end(self._stream_id, _LATE)
        self.gone()

    def _call(self) -> Call:
        """Return the call as handlers see it."""
        connection, left_s = self._connection, None
        if self._until_s is not None:
            left_s = self._until_s - connection.loop.time()
            left_s = left_s if left_s > 0 else 0.0
        return Call(self._route.method, Metadata(self._fields), left_s, connection.peer)

    def _encoding(self) -> bytes:
        return self._fields.get(b"grpc-encoding", b"identity")

    def _over(self) -> None:
        if self._held:
            self._front.release(self._held)
            self._held = 0

    def _hold(self, size: int) -> None:
        self._front.hold(size)
        self._held += size


class UnaryExchange(_Running):
    """One message in, one out."""

    __slots__ = ()

    def data(self, part: bytes, end: bool) -> None:
        """See Exchange."""
        front, body = self._front, self._body
        if not body:
            body = part
        elif part:
            if not isinstance(body, bytearray):
                body = bytearray(body)
            body += part
        if not end:
            self._body = body
            check_part(body, front.bounds.message_size_max)
            self._hold(len(part))
            return
        message = only_message(body, self._encoding(), front.bounds.message_size_max)
        if self._held:
            self._body = b""
            self._over()
        if self._route.new_work:
            front.line.enter(self, message)
        else:
            front.line.pass_by()
            self.begin(message)

    def begin(self, message: bytes) -> None:
        """Run the handler: at once, or once the line has come to this call."""
        serve = self._route.unary
        assert serve is not None
        try:
            work = serve(self._call(), message)
        except Exception as error:
            self._ended(None, error)
            return
        self._serving = serving = Driven(work, self._ended)
        serving.go()

    def gone(self) -> None:
        """See Exchange."""
        super().gone()
        if self._route.new_work and self._serving is None:
            self._front.line.leave(self)

    def _ended(self, reply: "bytes | Message | None", error: BaseException | None) -> None:
        self._serving = None
        if reply is not None:
            try:
                body = reply if isinstance(reply, bytes) else reply.SerializeToString()
                self._connection.answer(self._stream_id, body, self._fields)
            except Exception as failed:
                error = failed
        if isinstance(error, Exception):
            self._connection.end(self._stream_id, ending_of(self._route.method, error))


class StreamExchange(_Running):
    """Any number of messages in and out. Only health and reflection have such methods."""

    __slots__ = ("_messages",)

    _body: bytearray

    def __init__(
        self,
        connection: "Connection",
        front: Front,
        stream_id: int,
        route: Route,
        fields: Mapping[bytes, bytes],
    ) -> None:
        """Raises Malformed."""
        super().__init__(connection, front, stream_id, route, fields)
        assert route.stream is not None
        self._body = bytearray()
        self._messages: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._serving = connection.loop.create_task(self._run(route.stream))

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
            message = unpacked(self._body[0], packed, self._encoding(), bounds.message_size_max)
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
        connection = self._connection
        try:
            async for reply in rpc(self._call(), self._requests()):
                connection.send_part(self._stream_id, reply)
            connection.finish(self._stream_id)
        except Exception as error:
            connection.end(self._stream_id, ending_of(self._route.method, error))
        self._over()


def not_grpc(fields: dict[bytes, bytes]) -> bytes:
    """Return HTTP's status for a request that is no gRPC call; empty when it is one."""
    if fields.get(b":method") != b"POST":
        return b"405"
    kind = fields.get(b"content-type", b"")
    return b"" if kind == _GRPC or kind.startswith(_GRPC) else b"415"
