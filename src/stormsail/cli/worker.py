"""`stormsail worker`: a worker alone, in the foreground."""

import asyncio
import contextlib
import time
from typing import Any, Final

import click

from stormsail.cli.errors import CommandFailed
from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.notes import left_note
from stormsail.cli.options import ACCOUNT, Duration, Place, place_options, task_queue_option
from stormsail.cli.output import note
from stormsail.cli.process import follow_parent
from stormsail.cli.server import make_data_dir, stop_on_signals

worker = LazyGroup(
    "worker",
    lazy={"start": Lazy("stormsail.cli.worker:start", "Run a worker here until it is stopped.", ("run",))},
    help="Run a worker alone. `stormsail up` runs it together with an engine.",
)

_RETRY_SECONDS: Final = 0.25


@click.command()
@place_options
@task_queue_option
@click.option(
    "--connect-timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long to wait for an engine that does not answer yet.",
)
@click.option("--follow-parent", type=int, hidden=True, help="Stop when the process of this id, our parent, is gone.")
def start(place: Place, task_queue: str, connect_timeout: float, follow_parent: int | None) -> None:
    """Run a worker here until SIGTERM or Ctrl-C.

    The worker carries out operations on this machine: it starts the processes of a server group, drives the load
    balancer, and keeps what it must remember under DATA-DIR/local. It can be killed at any moment.

    \b
    Example:
      stormsail worker start --engine 127.0.0.1:7233 --data-dir ./state
    """
    make_data_dir(place.data_dir)
    _run(place, task_queue, connect_timeout, follow_parent)


def _run(place: Place, task_queue: str, connect_timeout: float, parent: int | None) -> None:
    from stormsail.cli.connection import clear_failures, connect
    from stormsail.delivery.client import DeliveryClient, EngineUnreachable
    from stormsail.delivery.providers.catalog import open_account
    from stormsail.delivery.providers.errors import ProviderError
    from stormsail.delivery.worker import run_worker

    async def connected(stop: asyncio.Event) -> DeliveryClient | None:
        """Connect, waiting for an engine that is just starting; None when we were stopped meanwhile."""
        deadline = time.monotonic() + connect_timeout
        told = False
        while not stop.is_set():
            try:
                return await connect(place)
            except EngineUnreachable:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    note(f"worker: waiting for the engine at {place.address}")
                    told = True
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), _RETRY_SECONDS)
        return None

    async def until_stopped() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        follow_parent(parent)
        client = await connected(stop)
        if client is None:
            return
        provider: Any = await open_account("local", ACCOUNT, {"data_dir": str(place.data_dir)})
        try:
            with left_note(place.data_dir / "worker.json", place.address):
                note(f"worker: polling task queue {task_queue!r} on {place.address}, namespace {place.namespace!r}")
                await run_worker(client.client, {ACCOUNT: provider}, task_queue=task_queue, stop=stop)
        finally:
            await provider.close()
            await client.close()
        note("worker: stopped")

    try:
        with clear_failures():
            asyncio.run(until_stopped())
    except ProviderError as error:
        raise CommandFailed(
            f"account {ACCOUNT} cannot be served: {error}",
            next_step="`stormsail doctor` checks what the local provider needs",
        ) from error
