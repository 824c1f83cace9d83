"""The part of `web start` that serves; imported only when it runs."""

import asyncio
import contextlib
import os
from typing import Any

from stormsail.cli.connection import quiet_sdk, tls_from_environment
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.notes import left_note
from stormsail.cli.options import Place
from stormsail.cli.output import note
from stormsail.cli.process import follow_parent
from stormsail.cli.server import stop_on_signals
from stormsail.delivery.records.database import RecordsUnavailable
from stormsail.web.serve import BadCertificate, NoKeys, PortTaken, serve
from stormsail.web.settings import WebSettings
from stormsail.web.sources.engine import EngineAddress


def run_until_stopped(
    place: Place,
    task_queue: str,
    ip: str,
    port: int,
    accounts: tuple[str, ...],
    guard: dict[str, Any],
    parent: int | None,
) -> None:
    """Serve until a signal comes."""
    at = EngineAddress(
        place.address, place.namespace, tls_from_environment(), os.environ.get("TEMPORAL_API_KEY"), task_queue
    )
    settings = WebSettings(
        place.data_dir,
        at,
        ip,
        port,
        accounts,
        records_url=guard["records_url"],
        tls_cert=guard["tls_cert"],
        tls_key=guard["tls_key"],
        allowed_hosts=guard["allowed_hosts"],
        sign_in=guard["sign_in"],
        requests_max=guard["rate_limit"],
        audit_days=guard["audit_days"],
    )
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
    except NoKeys as open_to_all:
        raise CommandFailed(
            str(open_to_all),
            next_step=f"make a key with `stormsail auth key create --data-dir {place.data_dir}`, or use --ip 127.0.0.1",
            code=ExitCode.USAGE,
        ) from open_to_all
    except BadCertificate as bad:
        raise CommandFailed(
            str(bad), next_step="give a PEM certificate and the key that it was made with", code=ExitCode.USAGE
        ) from bad
    except RecordsUnavailable as away:
        raise CommandFailed(
            str(away), next_step="look at the disk (`stormsail doctor`) or at what --records-url names"
        ) from away
