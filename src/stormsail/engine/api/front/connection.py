"""One connection: feeds what the socket brings to the HTTP/2 library, and its events to the calls that it carries."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from google.rpc.code_pb2 import Code
from ngh2 import (
    DataReceived,
    DenialOfServiceError,
    ErrorCode,
    NGH2Error,
    PingAcknowledged,
    PingReceived,
    RequestReceived,
    StreamClosed,
    TrailersReceived,
)

from stormsail.engine.api.front.deadlines import Deadlines
from stormsail.engine.api.front.exchange import Exchange, StreamExchange, UnaryExchange, not_grpc
from stormsail.engine.api.front.farewell import close_once_read, goaway
from stormsail.engine.api.front.framing import framed
from stormsail.engine.api.front.front import UNAVAILABLE_TEXT, Front, Route
from stormsail.engine.api.front.greeting import PREFACE, TEXT, peer_of, stranger
from stormsail.engine.api.front.http import greet, new_http
from stormsail.engine.api.front.liveness import Liveness
from stormsail.engine.api.front.statuses import (
    GZIP_HEAD,
    HEAD,
    HEAD_WITH_ENCODINGS,
    OK_TRAILERS,
    Ending,
    ending_of,
)
from stormsail.engine.api.front.unread import Unread, unread
from stormsail.engine.core.errors import Refused

_DRAIN_PING: Final = b"draining"
_DRAIN_PING_S: Final = 0.5
"""How long a drained peer may take to show that it has read the first GOAWAY."""


class Connection(asyncio.Protocol):
    """See the module. Everything here runs on the event loop; nothing waits."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._http = new_http(front.bounds)
        self.loop = asyncio.get_running_loop()
        self.peer = ""
        self._transport: asyncio.Transport | None = None
        self._greeting: bytes | None = b""
        """What came before the whole preface was there; None afterwards."""
        self._calls: dict[int, Exchange] = {}
        """Calls that are not answered."""
        self.deadlines = Deadlines(self.loop, self._calls, self._late)
        self._rest: deque[Any] = deque()
        """What was read and is not handled."""
        self._put_off = False
        """Whether that is for later rounds of the event loop. Nothing more is read until then."""
        self._compress = False
        self._begun: set[int] = set()
        """Streaming calls whose answer has begun."""
        self._paused = False
        self._unread = Unread(front)
        self._flushing = False
        self._pings = 0
        self._draining = False
        self._said_goodbye = False
        self._deaf = False
        """Nothing that still comes counts."""
        self._liveness: Liveness | None = None
        self._on: dict[type, Callable[[Any], None]] = {
            TrailersReceived: lambda event: self._take(event.stream_id, b"", True),
            StreamClosed: self._stream_closed,
            PingReceived: self._ping,
            PingAcknowledged: self._ping_acknowledged,
        }

    # What asyncio tells us.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        front, bounds = self._front, self._front.bounds
        self._transport = cast(asyncio.Transport, transport)
        if front.draining or len(front.connections) >= bounds.connections_max:
            self._transport.abort()
            return
        self.peer, on_loopback = peer_of(transport.get_extra_info("peername"))
        self._compress = bounds.compress_on_loopback or not on_loopback
        front.connections.add(self)
        greet(self._http, bounds)
        self._liveness = Liveness(
            self.loop,
            silence_s=bounds.keepalive_s,
            answer_s=bounds.keepalive_timeout_s,
            ping=self._ping_peer,
            give_up=self.abort,
        )

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._deaf:
            return
        if self._liveness is not None:
            self._liveness.heard()
        if self._greeting is not None:
            data = self._greet(self._greeting + data)
            if not data:
                return
        try:
            self._http.receive_data(data)
            self._sort(self._http.events())
        except NGH2Error as error:
            self._spoilt(error)
            return
        rounds = self._front.rounds
        if not self._rest:
            self._flush()
        elif not self._put_off and (rounds.over() or not self.go_on()):
            self._put_off = True
            rounds.put_off(self)
            if self._transport is not None and not self._transport.is_closing():
                self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        del exc
        if self._liveness is not None:
            self._liveness.stop()
        self.deadlines.stop()
        self._deaf = True
        self._rest.clear()
        calls = list(self._calls.values())
        self._calls.clear()
        for call in calls:
            call.gone()
        self._unread.count(0)
        self._front.connections.discard(self)
        if not self._front.connections:
            self._front.closed.set()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._paused = False
        self._flush()

    # What the rounds of the event loop tell us.

    def go_on(self) -> bool:
        """See Unfinished: handle what was read."""
        self._flushing = True  # below, once for all that is answered at once
        rest, rounds = self._rest, self._front.rounds
        try:
            while rest:
                event = rest.popleft()
                if type(event) is DataReceived:
                    self._take(event.stream_id, event.data, event.end_stream)
                else:
                    self._on[type(event)](event)
                if rest and rounds.over():
                    break
        except NGH2Error as error:
            self._spoilt(error)
        else:
            self._flush()
        if rest:
            return False
        if self._put_off:
            self._put_off = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()
        return True

    # What calls tell us.

    def answer(self, stream_id: int, message: bytes, fields: Mapping[bytes, bytes]) -> None:
        """Send a reply and the status OK, or that the peer reads too slowly; `fields` are the call's headers."""
        if self._calls.pop(stream_id, None) is None:
            return
        http = self._http
        if self._unread.is_too_much(http.queued_body_size()):
            self._end_stream(stream_id, ending_of("", unread()))
            return
        gzip = (
            self._compress
            and len(message) >= self._front.bounds.compress_from_size
            and b"gzip" in fields.get(b"grpc-accept-encoding", b"")
        )
        try:
            http.send_response(stream_id, GZIP_HEAD if gzip else HEAD)
            http.send_data(stream_id, framed(message, gzip=gzip))
            http.send_trailers(stream_id, OK_TRAILERS)
        except NGH2Error:
            return  # the caller went away just now, and the event that says so is still to come
        self._flush_soon()

    def end(self, stream_id: int, ending: Ending) -> None:
        """Send a status that is not OK."""
        if self._calls.pop(stream_id, None) is not None:
            self._end_stream(stream_id, ending)

    def send_part(self, stream_id: int, message: bytes) -> None:
        """Send one of several replies. Raises ResourceExhausted when the peer reads too slowly."""
        if stream_id not in self._calls:
            return
        if self._unread.is_too_much(self._http.queued_body_size()):
            raise unread()
        try:
            if stream_id not in self._begun:
                self._begun.add(stream_id)
                self._http.send_response(stream_id, HEAD_WITH_ENCODINGS)
            self._http.send_data(stream_id, framed(message))
        except NGH2Error:
            return
        self._flush_soon()

    def finish(self, stream_id: int) -> None:
        """End a call of several replies with OK."""
        if self._calls.pop(stream_id, None) is None:
            return
        try:
            if stream_id in self._begun:
                self._begun.discard(stream_id)
                self._http.send_trailers(stream_id, OK_TRAILERS)
            else:
                self._http.send_response(stream_id, [*HEAD, *OK_TRAILERS], end_stream=True)
        except NGH2Error:
            return
        self._flush_soon()

    # What the server tells us.

    def drain(self) -> None:
        """Tell the peer to go elsewhere, let its calls end, then close."""
        if self._transport is None or self._draining:
            return
        self._draining = True
        if self._greeting is not None:
            self._close()
            return
        try:
            # A first GOAWAY that still allows every call, then one that names the last call seen: what the peer sent
            # in between is answered, and what it sends after the second it knows to be untouched.
            self._http.send_shutdown_notice()
            self._http.ping(_DRAIN_PING)
        except NGH2Error:
            self._close()
            return
        self.loop.call_later(_DRAIN_PING_S, self._say_goodbye)
        self._flush()

    def cut_off(self) -> None:
        """Give up the calls that still run, and close."""
        ending = Ending(Code.UNAVAILABLE, UNAVAILABLE_TEXT)
        for stream_id, call in list(self._calls.items()):
            self.end(stream_id, ending)
            call.gone()
        self._say_goodbye()
        self._flush()
        self._close()

    def abort(self) -> None:
        """Close now, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()

    # HTTP/2's events.

    def _sort(self, events: Iterable[Any]) -> None:
        """Look at the heads of calls at once, and lay down in its order what else there is to do. So who is turned away
        hears of it before anything is done for the others that came with it."""
        line = self._front.line
        stands, refused = line.stands, line.refused
        calls, rest, part = self._calls, self._rest, None
        self._flushing = True
        for event in events:
            kind = type(event)
            if kind is RequestReceived:
                self._pings = 0
                if not (stands and self._turned_away(event)):
                    self._request(event)
            elif kind is DataReceived:
                stream_id = event.stream_id
                if stream_id not in calls:
                    continue
                if event.end_stream and part is not None and part.stream_id == stream_id and not event.data:
                    # Most peers end a call with a frame of its own, that holds nothing.
                    rest[-1] = DataReceived(stream_id, part.data, True)
                    part = None
                else:
                    rest.append(event)
                    part = event
            elif kind is StreamClosed or kind is TrailersReceived:
                if event.stream_id in calls:
                    rest.append(event)
                    part = None
            elif kind in self._on:
                rest.append(event)
                part = None
        self._flushing = False
        if rest and line.refused != refused:
            self._flush()

    def _request(self, event: RequestReceived) -> None:
        stream_id, front = event.stream_id, self._front
        fields = dict(event.headers)
        if odd := not_grpc(fields):
            self._send_http(stream_id, odd)
            return
        path = fields.get(b":path", b"")
        route = front.routes.get(path) or Route(path.decode("ascii", "replace"), unary=front.unknown)
        if front.draining:
            self._end_stream(stream_id, Ending(Code.UNAVAILABLE, UNAVAILABLE_TEXT))
            return
        call = UnaryExchange if route.stream is None else StreamExchange
        try:
            self._calls[stream_id] = call(self, front, stream_id, route, fields)
        except Refused as refused:
            self._end_stream(stream_id, ending_of(route.method, refused))
            return
        if event.end_stream:
            self._take(stream_id, b"", True)

    def _take(self, stream_id: int, part: bytes, end: bool) -> None:
        call = self._calls.get(stream_id)
        if call is None:
            return  # answered already: the peer will hear of it
        try:
            call.data(part, end)
        except Refused as refused:
            self.end(stream_id, ending_of("", refused))
            call.gone()

    def _stream_closed(self, event: StreamClosed) -> None:
        self._begun.discard(event.stream_id)
        call = self._calls.pop(event.stream_id, None)
        if call is not None:
            call.gone()

    def _ping(self, _: PingReceived) -> None:
        """The library answers it; we only count."""
        self._pings += 1
        if self._pings > self._front.bounds.pings_max and not self._said_goodbye:
            self._said_goodbye = True
            self._http.send_goaway(ErrorCode.ENHANCE_YOUR_CALM, debug_data=b"too_many_pings")
            self._flush()
            self._close()

    def _ping_acknowledged(self, event: PingAcknowledged) -> None:
        if event.opaque_data == _DRAIN_PING:
            self._say_goodbye()

    # Ours.

    def _late(self, stream_id: int) -> None:
        self._calls[stream_id].late()

    def _greet(self, data: bytes) -> bytes:
        """Look at the first bytes; return them once they are the start of HTTP/2."""
        who = stranger(data)
        if who is not None:
            if who.told:
                self._front.tell_once(who.told, self.peer)
            self._write(who.answer)
            self._close()
            return b""
        if len(data) < len(PREFACE):
            self._greeting = data
            return b""
        self._greeting = None
        self._flush()  # before anything can go wrong: a GOAWAY is only understood after our settings
        return data

    def _end_stream(self, stream_id: int, ending: Ending) -> None:
        http = self._http
        try:
            if stream_id in self._begun:
                self._begun.discard(stream_id)
                http.send_trailers(stream_id, ending.trailers())
            else:
                http.send_response(stream_id, [*HEAD_WITH_ENCODINGS, *ending.trailers()], end_stream=True)
                if not self._paused:
                    # A peer that is still sending may stop. First out with the status: a reset drops what is queued.
                    self._flush()
                    http.reset_stream(stream_id, ErrorCode.NO_ERROR)
        except NGH2Error:
            return
        self._flush_soon()

    def _turned_away(self, event: RequestReceived) -> bool:
        """Refuse new work before its body is there, without a word to the socket yet: others come with the same bytes.
        Return whether that was to be done."""
        front = self._front
        if not front.is_new_work(event.headers) or not front.line.turns_away():
            return False
        try:
            self._http.send_response(event.stream_id, front.line.told, end_stream=True)
        except NGH2Error:
            return True  # it went away just now
        return True

    def _send_http(self, stream_id: int, status: bytes) -> None:
        """Answer what is HTTP/2 but not gRPC as HTTP does."""
        try:
            self._http.send_response(
                stream_id,
                [(b":status", status), (b"content-type", b"text/plain; charset=utf-8")],
                end_stream=False,
            )
            self._http.send_data(stream_id, TEXT, end_stream=True)
        except NGH2Error:
            return
        self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        if self._deaf:
            return
        http = self._http
        if self._paused:
            self._unread.count(http.queued_body_size())
            return
        try:
            data = http.data_to_send()
        except NGH2Error:
            self._break_off(ErrorCode.INTERNAL_ERROR)
            return
        if data:
            self._write(data)
        size = http.queued_body_size()
        if size != self._unread.size:
            self._unread.count(size)
        if not http.want_write and (not http.want_read or self._all_said()):
            self._close()

    def _all_said(self) -> bool:
        return self._said_goodbye and not self._calls and not self._http.queued_body_size()

    def _write(self, data: bytes) -> None:
        transport = self._transport
        if data and transport is not None and not transport.is_closing():
            transport.write(data)

    def _close(self) -> None:
        if self._transport is not None and not self._deaf:
            self._deaf = True
            close_once_read(self._transport, self.loop)

    def _spoilt(self, error: NGH2Error) -> None:
        """End a connection whose peer does what it must not."""
        self._rest.clear()
        flood = isinstance(error, DenialOfServiceError)
        self._break_off(ErrorCode.ENHANCE_YOUR_CALM if flood else ErrorCode.PROTOCOL_ERROR)

    def _break_off(self, code: ErrorCode) -> None:
        """After an error that leaves the library unusable."""
        self._write(goaway(code))
        self._close()

    def _say_goodbye(self) -> None:
        if self._said_goodbye or self._greeting is not None:
            return
        self._said_goodbye = True
        try:
            self._http.send_goaway(ErrorCode.NO_ERROR)
        except NGH2Error:
            self._close()
            return
        self._flush()

    def _ping_peer(self) -> bool:
        """Ask a silent peer for a sign of life; return whether that can be done."""
        if self._greeting is not None:
            return False
        try:
            self._http.ping(b"liveness")
        except NGH2Error:
            return False
        self._flush()
        return True
