"""HTTP/2 frames by hand, for who offers or works off thousands of calls a second and must not take the processor from
who is measured: what is sent is encoded ahead and written at once, and of what comes no more is read than how each call
ended.

What goes over the wire is what the HTTP/2 library of `bench.bare` would send: the same headers, by reference to the
table once they were sent, and one frame of data. It is enough for our own server and fails on what it does not expect.
"""

import asyncio
import struct
import time
from collections.abc import Callable
from typing import Final, cast

from ngh2 import Connection as Http
from ngh2 import ResponseReceived, Role, TrailersReceived

from bench.bare import Field, head_of

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME: Final = struct.Struct(">HBBBL")
"""How a frame begins: its length in three bytes, its type, its flags and its stream."""
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _END_HEADERS, _PADDED, _ACK = 1, 4, 8, 1
_INITIAL_WINDOW_SIZE: Final = 4
_STREAM_WINDOW: Final = 8 << 20
WINDOW: Final = 16 << 20
"""What the server may send on a connection before it is given room for more."""
_WINDOW_AT_FIRST: Final = 65_535
_STATIC: Final = {(b":method", b"POST"): 3, (b":scheme", b"http"): 6}
_STATIC_NAMES: Final = {b":authority": 1, b":path": 4, b"content-type": 31}
_DYNAMIC_FROM: Final = 62
_CUT_OFF: Final = -1
"""The status of a call that the server gave up without one."""


class Heads:
    """The heads of a connection's calls, encoded: the first of a method as it is, the others by reference to it."""

    def __init__(self) -> None:
        self._table: list[Field] = []
        """What was sent before, the last first."""
        self._known: dict[str, bytes] = {}

    def of(self, method: str) -> bytes:
        """Return the header block of the next call of a method."""
        block = self._known.get(method)
        if block is None:
            grown = len(self._table)
            block = b"".join(self._field(field) for field in head_of(method))
            if len(self._table) == grown:
                self._known[method] = block
            else:
                self._known.clear()  # what was sent before has moved in the table
        return block

    def _field(self, field: Field) -> bytes:
        if field in _STATIC:
            return bytes([0x80 | _STATIC[field]])
        if field in self._table:
            return bytes([0x80 | _DYNAMIC_FROM + self._table.index(field)])
        self._table.insert(0, field)
        name, value = field
        known = _STATIC_NAMES.get(name, 0)
        return bytes([0x40 | known]) + (b"" if known else _text(name)) + _text(value)


class Statuses:
    """What the header blocks of a connection's answers say. The library is asked only about blocks that it alone can
    read: one of nothing but references to the table means what it meant before, until another changes the table."""

    def __init__(self) -> None:
        self._http = Http(Role.CLIENT)
        self._http.initiate_connection()
        self._http.receive_data(_frame(_SETTINGS, 0, 0, b""))
        self._http.events()
        self._http.data_to_send()
        self._known: dict[tuple[bytes, bool], int | None] = {}

    def of(self, block: bytes, *, begun: bool) -> int | None:
        """Return the status that a block tells, if any; `begun`: the answer has begun, these are its trailers."""
        key = (block, begun)
        if key in self._known:
            return self._known[key]
        status = self._read(block, begun)
        if min(block) >= 0x80 and 0xFF not in block:
            self._known[key] = status
        else:
            self._known.clear()
        return status

    def _read(self, block: bytes, begun: bool) -> int | None:
        stream_id = self._http.send_request([(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")])
        self._http.data_to_send()
        if begun:
            self._http.receive_data(_frame(_HEADERS, _END_HEADERS, stream_id, b"\x88"))  # :status 200
            self._http.events()
        self._http.receive_data(_frame(_HEADERS, _END_HEADERS | _END_STREAM, stream_id, block))
        for event in self._http.events():
            if isinstance(event, ResponseReceived | TrailersReceived):
                status = dict(event.headers).get(b"grpc-status")
                self._http.reset_stream(stream_id)
                self._http.data_to_send()
                return None if status is None else int(status)
        raise ConnectionError("the server sent headers that the HTTP/2 library does not understand")


class Calls(asyncio.Protocol):
    """One connection. `answered` is told the stream, the status and what came before it, of each call; and again of a
    call that the server resets once it is answered."""

    def __init__(self, answered: Callable[[int, int, bytes], None]) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the server has told its settings; fails when it goes away before."""
        self.lost = asyncio.Event()
        self.read_at_s = 0.0
        """When that was read which is being told."""
        self._answered = answered
        self._transport: asyncio.Transport | None = None
        self._heads = Heads()
        self._statuses = Statuses()
        self._stream_id = -1
        self._out: list[bytes] = []
        self._rest = b""
        self._bodies: dict[int, bytes] = {}
        self._begun: set[int] = set()
        """Calls whose answer has begun."""
        self._room = _WINDOW_AT_FIRST
        self._read_since = 0
        """Bytes of data that the server has not been given room for again."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        settings = struct.pack(">HL", _INITIAL_WINDOW_SIZE, _STREAM_WINDOW)
        self._out += [_PREFACE, _frame(_SETTINGS, 0, 0, settings), _room(WINDOW - _WINDOW_AT_FIRST)]
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        del exc
        self.lost.set()
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the server closed the connection"))

    def send(self, method: str, data: bytes) -> int:
        """Lay a call down to be sent with the next `flush`; return its stream. `data` is a framed message."""
        self._room -= len(data)
        if self._room < 0:
            raise ConnectionError("the server gives no room for more")
        self._stream_id = stream_id = self._stream_id + 2
        block = self._heads.of(method)
        self._out += [_frame(_HEADERS, _END_HEADERS, stream_id, block), _frame(_DATA, _END_STREAM, stream_id, data)]
        return stream_id

    def flush(self) -> None:
        """Send what was laid down."""
        if self._out and self._transport is not None:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self.read_at_s = time.perf_counter()
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while size - at >= _FRAME.size:
            high, low, kind, flags, stream_id = _FRAME.unpack_from(data, at)
            begin = at + _FRAME.size
            end = begin + (high << 8 | low)
            if end > size:
                break
            self._take(kind, flags, stream_id, data[begin:end])
            at = end
        self._rest = data[at:]
        self.flush()

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == _HEADERS:
            if flags & _PADDED or not flags & _END_HEADERS:
                raise ConnectionError("the server sent headers in more than one frame, or padded ones")
            begun = stream_id in self._begun
            status = self._statuses.of(payload, begun=begun)
            if flags & _END_STREAM:
                self._begun.discard(stream_id)
                body = self._bodies.pop(stream_id, b"")
                self._answered(stream_id, _CUT_OFF if status is None else status, body)
            else:
                self._begun.add(stream_id)
        elif kind == _DATA:
            self._bodies[stream_id] = self._bodies.get(stream_id, b"") + payload
            self._read_since += len(payload)
            if self._read_since > WINDOW // 4:
                self._out.append(_room(self._read_since))
                self._read_since = 0
        elif kind == _WINDOW_UPDATE:
            if stream_id == 0:
                self._room += int.from_bytes(payload, "big")
        elif kind == _RST_STREAM:
            self._begun.discard(stream_id)
            self._bodies.pop(stream_id, None)
            self._answered(stream_id, _CUT_OFF, b"")
        elif kind in (_SETTINGS, _PING):
            self._acknowledge(kind, flags, payload)
        elif kind == _GOAWAY:
            raise ConnectionError("the server says that it goes away")

    def _acknowledge(self, kind: int, flags: int, payload: bytes) -> None:
        if not flags & _ACK:
            self._out.append(_frame(kind, _ACK, 0, payload if kind == _PING else b""))
            if not self.ready.done():
                self.ready.set_result(None)


async def connected(port: int, answered: Callable[[int, int, bytes], None]) -> Calls:
    """Connect to a server on this machine."""
    _, calls = await asyncio.get_running_loop().create_connection(lambda: Calls(answered), "127.0.0.1", port)
    await calls.ready
    return calls


def _frame(kind: int, flags: int, stream_id: int, payload: bytes) -> bytes:
    size = len(payload)
    return _FRAME.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + payload


def _room(size: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, 0, size.to_bytes(4, "big"))


def _text(text: bytes) -> bytes:
    assert len(text) < 0x7F
    return bytes([len(text)]) + text
