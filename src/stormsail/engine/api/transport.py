"""The gRPC server: a listening socket, the given methods, and health and reflection beside them.

`front/` speaks HTTP/2. Here is what a whole server does: it listens, drains and stops.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from stormsail.engine.api.front.calls import Call, Rpc
from stormsail.engine.api.front.connection import Connection
from stormsail.engine.api.front.front import Bounds, Front, Route
from stormsail.engine.api.front.health import SERVICE_NAME as HEALTH
from stormsail.engine.api.front.health import Health
from stormsail.engine.api.front.line import Line
from stormsail.engine.api.front.reflection import Reflection
from stormsail.engine.api.front.rounds import Rounds
from stormsail.engine.api.front.tls import Tls, TlsUnusable, load, server_context
from stormsail.engine.core.errors import ResourceExhausted, Unimplemented

__all__ = ["Bounds", "Call", "PortTaken", "Rpc", "Tls", "TlsUnusable", "Transport"]

_OUR_PACKAGE: Final = "/temporal.api."
_BACKLOG: Final = 1024
_LAST_WORDS_S: Final = 1.0
"""How long a stop waits for statuses to be written to peers that were cut off."""


class PortTaken(Exception):
    """The address cannot be listened on; the message says why and is fit to print."""


class Transport:
    """A gRPC server of the given methods, with health and reflection beside them."""

    def __init__(
        self,
        methods: Mapping[str, Rpc],
        services: Sequence[str],
        *,
        bounds: Bounds,
        tls: Tls | None = None,
        line: Line | None = None,
        rounds: Rounds | None = None,
        new_work: Collection[str] = (),
    ) -> None:
        """Take the methods by `/service/Method` and the full names of the services that they make up. Calls of those in
        `new_work` stand in the line while the server is busy.

        Raises TlsUnusable.
        """
        self._health = Health(services)
        routes = [Route(method, unary=rpc, new_work=method in new_work) for method, rpc in methods.items()]
        routes += self._health.routes()
        routes += Reflection((*services, HEALTH)).routes()
        self._front = Front(
            {route.method.encode(): route for route in routes},
            _unknown,
            bounds,
            line or Line(_busy, turns=lambda: 0),
            rounds or Rounds(),
        )
        self._tls = tls
        self._context: ssl.SSLContext | None = None if tls is None else server_context(tls)
        self._server: asyncio.Server | None = None

    async def start(self, ip: str, port: int) -> int:
        """Listen, and return the port (port 0 takes a free one). Raises PortTaken."""
        listening = _listening(ip, port)
        handshake_s = None if self._context is None else self._front.bounds.handshake_s
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._front),
            sock=listening,
            ssl=self._context,
            ssl_handshake_timeout=handshake_s,
            backlog=_BACKLOG,
        )
        bound: int = listening.getsockname()[1]
        return bound

    def reload_tls(self) -> None:
        """Read the certificate files again; standing connections go on. Raises TlsUnusable, and keeps the old ones."""
        if self._tls is not None and self._context is not None:
            server_context(self._tls)  # a pair that does not fit would spoil the context in use
            load(self._context, self._tls)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, let the running ones end, and cut off those that have not after `grace_s`."""
        front = self._front
        front.draining = True
        if self._server is not None:
            self._server.close()
        self._health.stop()
        for connection in list(front.connections):
            connection.drain()
        await _emptied(front, grace_s)
        for connection in list(front.connections):
            connection.cut_off()
        await _emptied(front, _LAST_WORDS_S)
        for connection in list(front.connections):
            connection.abort()


async def _emptied(front: Front, at_most_s: float) -> None:
    """Wait until no connection is left, but not for ever."""
    if not front.connections:
        return
    front.closed.clear()
    try:
        async with asyncio.timeout(at_most_s):
            await front.closed.wait()
    except TimeoutError:
        return


async def _unknown(call: Call, _: bytes) -> bytes:
    if call.method.startswith(_OUR_PACKAGE):
        raise Unimplemented(f"{call.method} is not served by Stormsail's engine; docs/protocol.md lists what is.")
    raise Unimplemented(f"no method {call.method!r} here")


def _busy() -> ResourceExhausted:
    return ResourceExhausted("the server is busy: try again later")


def _listening(ip: str, port: int) -> socket.socket:
    """Return a socket that listens there. A second server on the port fails; it does not share its calls."""
    address = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
    listening = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((ip, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        why = {
            errno.EADDRINUSE: "another process listens there",
            errno.EADDRNOTAVAIL: "this machine does not have that address",
            errno.EACCES: "the system does not let this user listen on ports under 1024",
        }.get(error.errno or 0, error.strerror or str(error))
        raise PortTaken(f"cannot listen on {address}: {why}") from error
    listening.setblocking(False)
    return listening
