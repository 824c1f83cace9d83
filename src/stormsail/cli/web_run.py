"""The part of `web start` that serves; imported only when it runs."""

import asyncio
import contextlib
import os

from stormsail.cli.connection import quiet_sdk, tls_from_environment
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.notes import left_note
from stormsail.cli.options import Place
from stormsail.cli.output import note
from stormsail.cli.process import follow_parent
from stormsail.cli.server import stop_on_signals
from stormsail.web.serve import PortTaken, serve
from stormsail.web.settings import WebSettings
from stormsail.web.sources.engine import EngineAddress


def run_until_stopped(
    place: Place, task_queue: str, ip: str, port: int, accounts: tuple[str, ...], parent: int | None
) -> None:
    """Serve until a signal comes."""
    at = EngineAddress(
        place.address, place.namespace, tls_from_environment(), os.environ.get("TEMPORAL_API_KEY"), task_queue
    )
    settings = WebSettings(place.data_dir, at, ip, port, accounts)
    quiet_sdk()

    async def until_stopped() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        follow_parent(parent)
        with contextlib.ExitStack() as notes:

            def started(address: str) -> None:
                notes.enter_context(left_note(place.data_dir / "web.json", address))
                note(f"page:   {address}")
                note(f"API:    {address}/api/v1 (described at {address}/api/v1/openapi.json)")

            await serve(settings, stop=stop, started=started)
        note("page: stopped")

    try:
        asyncio.run(until_stopped())
    except PortTaken as taken:
        raise CommandFailed(
            str(taken),
            next_step="stop what listens there, or choose another --port (0 takes a free one)",
            code=ExitCode.CONFLICT,
        ) from taken
