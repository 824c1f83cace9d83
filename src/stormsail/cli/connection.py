"""The way from a command to the engine: connecting, and turning the client's failures into the command's own."""

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter
from temporalio.service import TLSConfig

from stormsail.cli.errors import CommandFailed, Detached, ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import short_id
from stormsail.delivery import client_types as failures
from stormsail.delivery.client import DeliveryClient
from stormsail.delivery.model.operation import TASK_QUEUE
from stormsail.delivery.reading import NO_WORKER_WAIT_S

Result = TypeVar("Result")

RESTART_SECONDS_MAX: Final = 30.0
"""How long an engine or a worker that `up` is just starting again is waited for."""

_AUTH_STATUS: Final = {"UNAUTHENTICATED", "PERMISSION_DENIED"}


async def connect(place: Place) -> DeliveryClient:
    """Connect to the place's engine. TLS and keys come from Temporal's own TEMPORAL_* variables.

    A key is read from the environment only, because arguments are visible to every user of the machine.
    """
    return await DeliveryClient.connect(
        place.address,
        place.namespace,
        tls=tls_from_environment(),
        api_key=os.environ.get("TEMPORAL_API_KEY"),
        task_queue=os.environ.get("STORMSAIL_TASK_QUEUE") or TASK_QUEUE,
        no_worker_wait_s=RESTART_SECONDS_MAX if place.has_worker_kept_up else NO_WORKER_WAIT_S,
    )


@contextlib.asynccontextmanager
async def connected(place: Place) -> AsyncIterator[DeliveryClient]:
    """Connect for the length of a block; failures of the block and of connecting become CommandFailed."""
    quiet_sdk()
    with clear_failures():
        client = await _connect_patiently(place)
        try:
            yield client
        finally:
            await client.close()


async def _connect_patiently(place: Place) -> DeliveryClient:
    """Connect; an engine that `up` is just starting again is waited for."""
    deadline = time.monotonic() + RESTART_SECONDS_MAX
    while True:
        address = place.address
        try:
            return await connect(place)
        except failures.EngineUnreachable:
            moved = place.address != address
            if time.monotonic() > deadline or not (place.is_kept_up or moved):
                raise
            await asyncio.sleep(0.2)


@functools.cache
def quiet_sdk() -> None:
    """Keep the SDK's own log of retried calls off a person's terminal: what matters of it, commands say in words."""
    if not os.environ.get("STORMSAIL_DEBUG"):
        only_errors = LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
        Runtime.set_default(Runtime(telemetry=TelemetryConfig(logging=only_errors)), error_if_already_set=False)


def run(main: Callable[[], Awaitable[Result]]) -> Result:
    """Run a command's coroutine."""

    async def once() -> Result:
        return await main()

    return asyncio.run(once())


@contextlib.contextmanager
def clear_failures() -> Iterator[None]:
    """Turn what the delivery client raises into CommandFailed with the exit code it stands for."""
    try:
        yield
    except failures.EngineUnreachable as error:
        raise CommandFailed(_unreachable(error), next_step=_next_step(error)) from error
    except failures.DeliveryError as error:
        raise CommandFailed(str(error), next_step=_next_step(error), code=_exit_code(error)) from error


def detached(operation_id: str, place: Place) -> Detached:
    """Return what to raise when Ctrl-C ends a wait."""
    where = f" --engine {place.engine}" if place.engine else ""
    return Detached(
        f"\ndetached: operation {short_id(operation_id)} goes on.\n"
        f"next:  watch it again with `stormsail operation watch {short_id(operation_id)}{where}`,"
        f" or stop it with `stormsail operation cancel {short_id(operation_id)}{where}`",
    )


def _exit_code(error: failures.DeliveryError) -> ExitCode:
    match error:
        case failures.EngineRefused() if error.status in _AUTH_STATUS:
            return ExitCode.AUTH
        case failures.NamespaceNotFound() | failures.OperationNotFound() | failures.ApplicationNotFound():
            return ExitCode.NOT_FOUND
        case (
            failures.OperationConflict()
            | failures.IdempotencyKeyReused()
            | failures.SteeringRefused()
            | failures.OperationEnded()
        ):
            return ExitCode.CONFLICT
        case failures.AmbiguousOperation():
            return ExitCode.USAGE
        case failures.OperationFailed() | failures.OperationCanceled():
            return ExitCode.OPERATION_FAILED
        case _:
            return ExitCode.ERROR


def _unreachable(error: failures.EngineUnreachable) -> str:
    """Say why in a few words; what the network library says is long and no help."""
    reason = "nothing listens there" if "refused" in str(error).lower() else "no answer"
    return f"no engine answers at {error.address}: {reason}"


def _next_step(error: failures.DeliveryError) -> str:
    match error:
        case failures.EngineUnreachable():
            return "start everything here with `stormsail up`, or name another engine with --engine HOST:PORT"
        case failures.NoWorker():
            return "`stormsail up` starts a worker beside the engine; `stormsail status` shows who polls"
        case failures.EngineRefused() if error.status in _AUTH_STATUS:
            return "set TEMPORAL_API_KEY, or the TEMPORAL_TLS_* variables, to what this engine expects"
        case failures.SteeringRefused():
            return "`stormsail operation get OPERATION` shows its steps and what was asked of them"
        case failures.OperationFailed():
            return f"`stormsail operation get {short_id(error.operation_id)}` shows how far it came"
        case _:
            return ""


def tls_from_environment() -> bool | TLSConfig:
    """Read Temporal's standard variables; paths to files that are not there fail by name."""
    names = {
        "client_cert": "TEMPORAL_TLS_CLIENT_CERT_PATH",
        "client_private_key": "TEMPORAL_TLS_CLIENT_KEY_PATH",
        "server_root_ca_cert": "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    }
    read: dict[str, bytes] = {}
    for field, variable in names.items():
        path = os.environ.get(variable)
        if not path:
            continue
        try:
            read[field] = Path(path).read_bytes()
        except OSError as error:
            raise CommandFailed(
                f"{variable}={path} cannot be read: {error.strerror}",
                next_step="correct the path or unset the variable",
                code=ExitCode.USAGE,
            ) from error
    server_name = os.environ.get("TEMPORAL_TLS_SERVER_NAME")
    if read or server_name:
        return TLSConfig(
            client_cert=read.get("client_cert"),
            client_private_key=read.get("client_private_key"),
            server_root_ca_cert=read.get("server_root_ca_cert"),
            domain=server_name,
        )
    return os.environ.get("TEMPORAL_TLS", "").lower() in {"1", "true", "yes"}
