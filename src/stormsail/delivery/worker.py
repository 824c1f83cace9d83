"""The delivery worker: polls one task queue and serves the accounts it was given. It keeps no state of its own."""

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from stormsail.delivery.activities import CloudActivities
from stormsail.delivery.guard_file import ReadGuards, no_rules
from stormsail.delivery.model.operation import TASK_QUEUE
from stormsail.delivery.operations.installed import installed_operations
from stormsail.delivery.operations.observe import ListApplications, ObserveApplication
from stormsail.delivery.operations.runner import UntypedCloudOperationRunner
from stormsail.delivery.providers.errors import Permanent, ProviderError
from stormsail.delivery.providers.provider import Provider
from stormsail.delivery.strategies.installed import installed_strategies

log: Final = logging.getLogger(__name__)

ACTIVITIES_MAX: Final = 100
"""How many calls to clouds one worker makes at a time; `bulkheads` says how many of them for one account."""

RUNS_CACHED_MAX: Final = 200
GRACE: Final = timedelta(seconds=5)
"""How long calls in flight get to come to a clean point when the worker stops."""

STICKY_TIMEOUT: Final = timedelta(seconds=2)
"""How long the engine waits for the worker that has a run cached before it asks another one."""

HEARTBEAT_THROTTLE: Final = timedelta(milliseconds=800)
"""Heartbeats leave this often, so that a cancel reaches a running call within about a second."""

READY_MAX_S: Final = 10.0
RETRY_PAUSE_S: Final = 0.5
RETRY_PAUSE_MAX_S: Final = 5.0

WORKFLOWS: Final = (UntypedCloudOperationRunner, ObserveApplication, ListApplications)
"""Every workflow that a delivery worker runs; a replayer needs the same."""


def workflow_runner() -> SandboxedWorkflowRunner:
    """Return the sandbox that workflows run in: modules without effects of their own pass through it, loaded once."""
    restrictions = SandboxRestrictions.default.with_passthrough_modules(
        "pydantic",
        "pydantic_core",
        "annotated_types",
        "stormsail.delivery.model",
        "stormsail.delivery.providers",
    )
    return SandboxedWorkflowRunner(restrictions=restrictions)


async def run_worker(
    client: Client,
    providers: Mapping[str, Provider],
    task_queue: str = TASK_QUEUE,
    stop: asyncio.Event | None = None,
    *,
    identity: str | None = None,
    runs_cached_max: int = RUNS_CACHED_MAX,
    activities_max: int = ACTIVITIES_MAX,
    guards: ReadGuards = no_rules,
) -> None:
    """Serve the accounts of `providers` (by account name) until `stop` is set, through any outage of the engine.

    `guards` reads the traffic guards; all workers of a task queue should read the same.

    Each provider is reconciled first, so that its helpers run before a change needs them. Operations and strategies
    that packages offer are loaded before anything else; raises OfferUnusable where one cannot be.
    """
    installed_operations()
    installed_strategies()
    stop = stop or asyncio.Event()
    calls = CloudActivities(providers, guards)
    readying = [asyncio.create_task(_reconciled(account, one, stop)) for account, one in providers.items()]
    try:
        # An account that is not ready for long keeps the others waiting no longer than this.
        ready, _ = await asyncio.wait(readying, timeout=READY_MAX_S) if readying else (set(), set())
        for one in ready:
            one.result()
        await _served(client, calls, task_queue, stop, identity, runs_cached_max, activities_max)
    finally:
        for one in readying:
            one.cancel()
        await asyncio.gather(*readying, return_exceptions=True)


async def _served(
    client: Client,
    calls: CloudActivities,
    task_queue: str,
    stop: asyncio.Event,
    identity: str | None,
    runs_cached_max: int,
    activities_max: int,
) -> None:
    pause = RETRY_PAUSE_S
    while not stop.is_set():
        worker = Worker(
            client,
            task_queue=task_queue,
            identity=identity,
            workflows=WORKFLOWS,
            activities=[
                calls.apply_change,
                calls.cancel_change,
                calls.observe,
                calls.list_applications,
                calls.run_check,
                calls.observe_network,
                calls.wait_for_up_instances,
                calls.wait_for_down_instances,
            ],
            workflow_runner=workflow_runner(),
            max_cached_workflows=runs_cached_max,
            max_concurrent_activities=activities_max,
            graceful_shutdown_timeout=GRACE,
            sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
            max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
            default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        )
        try:
            await _until_stopped(worker, stop)
        except (RPCError, RuntimeError) as error:
            # The SDK ends a worker whose engine was away for long; ours waits for it.
            log.warning("the worker lost its engine and tries again in %.1f s: %s", pause, error)
            await _pause(stop, pause)
            pause = min(pause * 2, RETRY_PAUSE_MAX_S)


async def _until_stopped(worker: Worker, stop: asyncio.Event) -> None:
    running = asyncio.create_task(worker.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            await worker.shutdown()
        await running
    finally:
        stopping.cancel()
        if not running.done():
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


async def _reconciled(account: str, provider: Provider, stop: asyncio.Event) -> None:
    """Reconcile a provider, trying again for as long as that can help. A permanent failure ends the worker."""
    pause = RETRY_PAUSE_S
    while not stop.is_set():
        try:
            await provider.reconcile()
        except Permanent:
            raise
        except ProviderError as error:
            log.warning("account %s is not ready and is tried again in %.1f s: %s", account, pause, error)
            await _pause(stop, pause)
            pause = min(pause * 2, RETRY_PAUSE_MAX_S)
        else:
            return


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
