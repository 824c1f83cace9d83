"""The part of `worker start` that talks to the engine; imported only when it runs."""

import asyncio
import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client
from temporalio.service import RPCError

from stormsail.cli.connection import clear_failures, connect
from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.notes import left_note
from stormsail.cli.options import ACCOUNT, Place
from stormsail.cli.output import note
from stormsail.cli.process import follow_parent
from stormsail.cli.server import stop_on_signals
from stormsail.delivery.accounts_file import FILE as ACCOUNTS
from stormsail.delivery.accounts_file import Account, AccountsWrong, read_accounts
from stormsail.delivery.client import DeliveryClient, EngineUnreachable
from stormsail.delivery.guard_file import FILE, ReadGuards, guards_in
from stormsail.delivery.offers import OfferUnusable
from stormsail.delivery.providers.catalog import UnknownProvider, check_provider, open_account
from stormsail.delivery.providers.errors import ProviderError
from stormsail.delivery.providers.provider import Provider
from stormsail.delivery.reading import pollers
from stormsail.delivery.worker import run_worker

STOP_SECONDS_MAX: Final = 8.0
"""How long calls in flight get to end: the SDK takes its time without an engine, and killing a worker is safe."""

SHOWN_SECONDS_MAX: Final = 20.0
"""How long an engine may take to show a worker that polls it."""

_RETRY_SECONDS: Final = 0.25
_LOOK_SECONDS: Final = 0.05


def run_until_stopped(
    place: Place,
    task_queue: str,
    connect_timeout: float,
    parent: int | None,
    guard_file: Path | None,
    accounts_file: Path | None,
) -> None:
    """Run a worker until a signal comes."""
    guards = _readable(guard_file or place.data_dir / FILE)
    accounts = _accounts(place, accounts_file)
    try:
        with clear_failures():
            asyncio.run(_until_stopped(place, task_queue, connect_timeout, parent, guards, accounts))
    except OfferUnusable as error:
        raise CommandFailed(
            str(error),
            next_step="correct or uninstall the package; docs/own-operations.md shows what one offers",
            code=ExitCode.USAGE,
        ) from error
    except ProviderError as error:
        raise CommandFailed(
            f"an account cannot be served: {error}",
            next_step="`stormsail doctor` checks what the local provider needs; docs/providers/aws.md what AWS does",
        ) from error


def _accounts(place: Place, given: Path | None) -> tuple[Account, ...]:
    """Read which accounts to serve; one that no provider knows ends the worker before it begins."""
    try:
        accounts = read_accounts(given or place.data_dir / ACCOUNTS, place.data_dir, must_exist=given is not None)
        for account in accounts:
            check_provider(account.provider)
    except (AccountsWrong, UnknownProvider) as wrong:
        raise CommandFailed(
            str(wrong), next_step="docs/providers/aws.md shows what the file may say", code=ExitCode.USAGE
        ) from wrong
    return accounts


async def _until_stopped(
    place: Place,
    task_queue: str,
    connect_timeout: float,
    parent: int | None,
    guards: ReadGuards,
    accounts: tuple[Account, ...],
) -> None:
    stop = asyncio.Event()
    stop_on_signals(stop)
    follow_parent(parent)
    client = await _connected(place, connect_timeout, stop)
    if client is None:
        return
    providers: dict[str, Provider] = {}
    try:
        for one in accounts:
            providers[one.name] = await open_account(one.provider, one.name, one.settings)
        ended = await _work(place, client, providers, task_queue, stop, guards)
        if not ended:
            note("worker: stopped; calls in flight are carried on by the next worker")
            os._exit(0)
    finally:
        for provider in providers.values():
            await provider.close()
        await client.close()
    note("worker: stopped")


def _readable(guard_file: Path) -> ReadGuards:
    """Read the traffic guards once, so that a mistake in them is told before anything depends on them."""
    guards = guards_in(guard_file)
    try:
        guards()
    except ProviderError as wrong:
        raise CommandFailed(
            str(wrong),
            next_step="docs/traffic-guards.md shows what the file may say",
            code=ExitCode.USAGE,
        ) from wrong
    return guards


async def _work(
    place: Place,
    client: DeliveryClient,
    providers: Mapping[str, Provider],
    task_queue: str,
    stop: asyncio.Event,
    guards: ReadGuards,
) -> bool:
    """Work until stopped; return whether all calls in flight came to their end.

    That it polls is said, and noted for others, once the engine shows it.
    """
    working = asyncio.create_task(run_worker(client.client, providers, task_queue=task_queue, stop=stop, guards=guards))
    stopping = asyncio.create_task(stop.wait())
    with contextlib.ExitStack() as notes:
        if await _polls(client.client, task_queue, working, stop):
            notes.enter_context(left_note(place.data_dir / "worker.json", place.address))
            note(f"worker: polling task queue {task_queue!r} on {place.address}, namespace {place.namespace!r}")
            if [*providers] != [ACCOUNT]:
                note(f"worker: serving accounts {', '.join(providers)}")
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({working}, timeout=STOP_SECONDS_MAX)
    stopping.cancel()
    if working.done():
        await working
    return working.done()


async def _polls(client: Client, task_queue: str, working: "asyncio.Task[None]", stop: asyncio.Event) -> bool:
    """Return whether the engine shows this worker at both of its task queues, waiting until it does.

    A cluster may show only some of who polls, so the wait has an end, after which we believe it.
    """
    believed_at = time.monotonic() + SHOWN_SECONDS_MAX
    kinds = [TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY]
    while not working.done() and not stop.is_set():
        with contextlib.suppress(RPCError):
            shown = [{poller.identity for poller in await pollers(client, task_queue, kind)} for kind in kinds]
            if all(client.identity in identities for identities in shown):
                return True
        if time.monotonic() >= believed_at:
            return True
        await asyncio.wait({working}, timeout=_LOOK_SECONDS)
    return False


async def _connected(place: Place, connect_timeout: float, stop: asyncio.Event) -> DeliveryClient | None:
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
