"""What all connections of a server share: its methods, its bounds, and how much it holds for its callers."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from stormsail.engine.api.front.calls import Rpc, StreamRpc
from stormsail.engine.api.front.line import Line
from stormsail.engine.api.front.rounds import Rounds
from stormsail.engine.api.front.statuses import Header
from stormsail.engine.core.errors import ResourceExhausted

if TYPE_CHECKING:
    from stormsail.engine.api.front.connection import Connection

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a peer may make us hold or wait for. Sizes in bytes."""

    message_size_max: int
    bodies_size_max: int = 512 * 1024 * 1024
    """Of all requests that are not whole yet, on all connections."""
    unsent_size_max: int = 64 * 1024 * 1024
    """Of replies that wait for one peer to read them."""
    unsent_total_max: int = 512 * 1024 * 1024
    """Of all of them, on all connections. Past that a peer that has a share of it is refused more."""
    unsent_share: int = 1024 * 1024
    """What a peer may have waiting however much waits for others."""
    connections_max: int = 10_000
    streams_max: int = 20_000
    """Calls at once on one connection: SDKs keep all their polls on one."""
    headers_size_max: int = 64 * 1024
    window_size: int = 1024 * 1024
    """What a caller may send of one request without hearing from us."""
    connection_window_size: int = 16 * 1024 * 1024
    pings_max: int = 1_000
    """Pings between two calls. The SDKs' core pings each 30 s, others each time data comes; more is a flood."""
    stream_messages_max: int = 100
    """Messages of one streaming call that wait to be handled."""
    keepalive_s: float = 60.0
    """After such a silence we ping: a client whose machine is gone would keep its polls open for ever."""
    keepalive_timeout_s: float = 20.0
    handshake_s: float = 10.0
    compress_from_size: int = 16 * 1024
    """Replies from this size are compressed for peers that accept it and are not on this machine."""
    compress_on_loopback: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A method and the coroutine that serves it: one message each way, or any number."""

    method: str
    unary: Rpc | None = None
    stream: StreamRpc | None = None
    new_work: bool = False
    """Whether its calls stand in the line while the server is busy."""


@dataclass(eq=False)
class Front:
    """See the module."""

    routes: Mapping[bytes, Route]
    """By the path of a request."""
    unknown: Rpc
    """Answers calls of methods that are not there."""
    bounds: Bounds
    line: Line
    rounds: Rounds
    connections: "set[Connection]" = field(default_factory=set)
    draining: bool = False
    bodies_size: int = 0
    """Of all requests that are not whole yet."""
    unsent_size: int = 0
    """Of all replies that wait to be read."""
    told: set[str] = field(default_factory=set)
    """Oddities that were logged: each once, or a stray client would fill the log."""
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the last connection is gone."""

    def is_new_work(self, headers: Iterable[Header]) -> bool:
        """Whether a call with these headers stands in the line; no more of them is read than its path, which is among
        the first."""
        for name, value in headers:
            if name == b":path":
                route = self.routes.get(value)
                return route is not None and route.new_work
        return False

    def hold(self, size: int) -> None:
        """Count part of a body. Raises ResourceExhausted when it is too much."""
        if self.bodies_size + size > self.bounds.bodies_size_max:
            raise ResourceExhausted("the server holds as much of unfinished requests as it will: try again later")
        self.bodies_size += size

    def release(self, size: int) -> None:
        """Count it no longer."""
        self.bodies_size -= size

    def tell_once(self, what: str, peer: str) -> None:
        """Log an oddity, unless it was logged before."""
        if what not in self.told:
            self.told.add(what)
            log.warning(what, peer=peer)


UNAVAILABLE_TEXT: Final = "the server is shutting down"
