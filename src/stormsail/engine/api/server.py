"""The engine as one process: opens the store, runs the engine, serves until told to stop."""

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog
import uvloop

from stormsail.engine.api import admission
from stormsail.engine.api.cycles import Aside, collect_seldom
from stormsail.engine.api.front.tls import server_context
from stormsail.engine.api.interceptors import bind
from stormsail.engine.api.keys import Keys, KeysUnusable
from stormsail.engine.api.methods import SERVICES
from stormsail.engine.api.namespaces import register_missing
from stormsail.engine.api.transport import Bounds, PortTaken, Tls, TlsUnusable, Transport
from stormsail.engine.core.limits import DEFAULT_LIMITS, Limits
from stormsail.engine.core.search_attributes import Types
from stormsail.engine.shell.clock import RealClock
from stormsail.engine.shell.engine import Engine
from stormsail.engine.shell.ids import RandomIds
from stormsail.engine.store.errors import DataDirInUse, SchemaTooNew, StorageFailed
from stormsail.engine.store.store import Store

__all__ = [
    "DataDirInUse",
    "KeysUnusable",
    "PortTaken",
    "SchemaTooNew",
    "ServerSettings",
    "StorageFailed",
    "Tls",
    "TlsUnusable",
    "collect_seldom",
    "run",
    "serve",
]

log = structlog.get_logger(__name__)

DRAIN_S: Final = 5.0
"""How long calls in flight may take to end when the server stops."""
SWITCH_INTERVAL_S: Final = 0.0002
"""How soon the event loop lets the writer thread have the interpreter: each SQLite step of a commit asks for it."""


@dataclass(frozen=True)
class ServerSettings:
    """Where the engine keeps its state and listens."""

    data_dir: Path
    ip: str = "127.0.0.1"
    port: int = 7233
    namespaces: tuple[str, ...] = ("default",)
    log_level: str = "info"
    limits: Limits = DEFAULT_LIMITS
    log_format: str = "text"
    """`text`, lines of key=value, or `json`."""
    search_attributes: Types = field(default_factory=dict)
    """Registered in each of the namespaces, where they are not yet."""
    tls: Tls | None = None
    api_keys: Path | None = None
    """Where the hashes of API keys are; with it, nobody is served without one."""


async def serve(
    settings: ServerSettings,
    *,
    stop: asyncio.Event,
    started: Callable[[str], None],
    renew: asyncio.Event | None = None,
) -> None:
    """Serve until `stop` is set, then end calls in flight and close the file. `started` is told the address; whenever
    `renew` is set, the certificates and keys are read again.

    Raises DataDirInUse, PortTaken, TlsUnusable, KeysUnusable and StorageFailed, whose messages are fit to print.
    """
    log_to_stderr(settings.log_level, settings.log_format)
    if settings.tls is not None:
        server_context(settings.tls)  # before the data directory is taken: most mistakes are made here
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    clock = RealClock()
    keys = None if settings.api_keys is None else Keys(settings.api_keys, clock.now_ms)
    store = Store.open(settings.data_dir, now_ms=clock.now_ms, limits=settings.limits)
    try:
        await register_missing(store, settings.namespaces, settings.limits)
        for namespace in settings.namespaces:
            await store.search_attributes.add(namespace, settings.search_attributes)
        engine = await Engine.open(store, clock=clock, ids=RandomIds(), limits=settings.limits)
        try:
            await engine.removal.ended(settings.namespaces)
            await register_missing(store, settings.namespaces, settings.limits)
            await _serve(settings, engine, keys, stop, started, renew or asyncio.Event())
        finally:
            await engine.close()
    finally:
        store.close()


async def _serve(
    settings: ServerSettings,
    engine: Engine,
    keys: Keys | None,
    stop: asyncio.Event,
    started: Callable[[str], None],
    renew: asyncio.Event,
) -> None:
    names = [service.full_name for service in SERVICES]
    bounds = Bounds(message_size_max=settings.limits.grpc_message_size_max)
    line = admission.line(lambda: engine.admission.turns)
    transport = Transport(
        bind(engine, keys), names, bounds=bounds, tls=settings.tls, line=line, new_work=admission.NEW_WORK_PATHS
    )
    port = await transport.start(settings.ip, settings.port)
    try:
        started(f"[{settings.ip}]:{port}" if ":" in settings.ip else f"{settings.ip}:{port}")
        stopping = asyncio.ensure_future(stop.wait())
        failing = asyncio.ensure_future(engine.failed.wait())
        beside = [
            asyncio.ensure_future(_renew(transport, keys, renew)),
            asyncio.ensure_future(Aside().run(lambda: engine.matching.waiting)),
        ]
        try:
            await asyncio.wait((stopping, failing), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            failing.cancel()
            for each in beside:
                each.cancel()
        if engine.failed.is_set():
            raise StorageFailed("the disk or the database file failed; see the log. Acknowledged work is in the file.")
    finally:
        # New calls are turned away at once; closing the engine ends the polls that the old ones wait in.
        draining = asyncio.ensure_future(transport.stop(DRAIN_S))
        await engine.close()
        await draining


async def _renew(transport: Transport, keys: Keys | None, renew: asyncio.Event) -> None:
    """Read certificates and keys again whenever told to. Bad ones are told in the log, and the old ones stay."""
    while True:
        await renew.wait()
        renew.clear()
        try:
            transport.reload_tls()
        except TlsUnusable as unusable:
            log.error("certificates_not_renewed", why=str(unusable))
        else:
            log.info("certificates_renewed")
        if keys is not None:
            try:
                keys.reload()
            except KeysUnusable as unusable:
                log.error("api_keys_not_renewed", why=str(unusable))
            else:
                log.info("api_keys_renewed")


def log_to_stderr(level: str, form: str = "text") -> None:
    """Log to stderr, a line an entry. Tracebacks come without the values of variables: those hold users' payloads."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer()
            if form == "json"
            else structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # whatever stderr is when the line is written
    )


def run(settings: ServerSettings, started: Callable[[str], None]) -> None:
    """Serve in an event loop of its own until SIGTERM or SIGINT."""

    async def until_stopped() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(settings, stop=stop, started=started)

    collect_seldom()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_stopped())


def main() -> None:
    """`python -m stormsail.engine.api.server`: the engine without the command line, for tests that kill it."""
    parser = argparse.ArgumentParser(prog="python -m stormsail.engine.api.server")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--ip", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--namespace", action="append", dest="namespaces")
    parser.add_argument("--log-level", default="info")
    given = parser.parse_args()
    namespaces = tuple(given.namespaces or ("default",))
    settings = ServerSettings(given.data_dir, given.ip, given.port, namespaces, given.log_level)
    try:
        run(settings, started=lambda address: print(f"listening on {address}", flush=True))
    except (DataDirInUse, PortTaken, StorageFailed) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
