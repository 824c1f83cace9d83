"""Serving the application until told to stop."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from stormsail.delivery.records.database import Database, records_url, wall_ms
from stormsail.delivery.records.keys import Keys
from stormsail.web.app import create_app, open_web
from stormsail.web.settings import WebSettings
from stormsail.web.sources.sources import open_sources

GRACE_S = 2
"""How long open requests get to end; event streams are ended at once and resume elsewhere."""


CONNECTIONS_MAX = 1000
HEADERS_MAX = 64 * 1024


class BadCertificate(Exception):
    """The certificate or its key cannot be used."""


class NoKeys(Exception):
    """Other machines could reach the page, and nobody would need a key."""


class PortTaken(Exception):
    """Something else listens on the address."""


async def serve(settings: WebSettings, *, stop: asyncio.Event, started: Callable[[str], None]) -> None:
    """Serve until `stop` is set. `started` gets the page's address once it answers. Raises PortTaken, NoKeys,
    BadCertificate or RecordsUnavailable."""
    database = await Database.open(records_url(settings.data_dir, settings.records_url))
    if not settings.is_local and not any(key.is_good(wall_ms()) for key in await Keys(database).all()):
        await database.close()
        raise NoKeys(
            f"{settings.host} can be reached from other machines, and there is no key to sign in with: "
            "anybody who reaches it could change what is deployed"
        )
    listening = bound(settings)
    sources = await open_sources(settings.engine, settings.accounts, deadline_s=settings.deadline_s)
    web = open_web(settings, sources, database)
    server = _Server(
        uvicorn.Config(
            create_app(web),
            # Of the two parsers that uvicorn knows, the one that bounds how long a request's headers may be.
            http="h11",
            h11_max_incomplete_event_size=HEADERS_MAX,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            limit_concurrency=CONNECTIONS_MAX,
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
            server_header=False,
        )
    )
    try:
        server.config.load()
    except OSError as error:
        # An SSLError is one too: a certificate that cannot be read, or does not go with its key.
        listening.close()
        await database.close()
        raise BadCertificate(f"{settings.tls_cert} and {settings.tls_key} cannot be used: {error}") from error
    serving = asyncio.create_task(server.serve([listening]))
    ready = asyncio.create_task(server.ready.wait())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({serving, stopping, ready}, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            host, port = listening.getsockname()[:2]
            scheme = "https" if settings.tls_cert else "http"
            started(f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        web.news.close()
        server.should_exit = True
        await serving
    finally:
        ready.cancel()
        stopping.cancel()
        listening.close()


class _Server(uvicorn.Server):
    """Says when it answers. Signals are the command's business, not the server's."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield


def bound(settings: WebSettings) -> socket.socket:
    """Return a socket on the address. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol is named, because asyncio turns Nagle's algorithm off for sockets that say TCP and for no others:
    # with it, each answer that is written in two pieces waits 40 ms for the browser's delayed acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise PortTaken(f"{settings.host}:{settings.port} cannot be listened on: {error.strerror}") from error
    return listening
