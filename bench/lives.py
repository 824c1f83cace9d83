"""W4 to W6, by a bare protocol client: runs parked on timers, recovery after kill -9, and a cold start."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType
from temporalio.api.workflowservice.v1 import (
    GetSystemInfoRequest,
    GetSystemInfoResponse,
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    SignalWorkflowExecutionRequest,
    SignalWorkflowExecutionResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)

from bench.bare import BareClient, CallFailed
from bench.engines import NAMESPACE, Engine
from bench.processes import Measured, free_port, size_bytes

QUEUE: Final = "parked"
_MONTH_S: Final = 30 * 86_400
_LANES: Final = 50
_START_S: Final = 60.0
_BATCH: Final = 10_000
_SIGNALS_MAX: Final = 9_000
_CACHES_FULL: Final = 50_000
"""Runs after which a server's caches hold what they may: what memory grows by from there on is the runs'."""
_IDENTITY: Final = "bench"


@asynccontextmanager
async def answering(engine: Engine, directory: Path, log: Path) -> AsyncIterator[tuple[Measured, int, float]]:
    """Start an engine and wait for its first answer; yields the process, its port and the seconds that took."""
    assert engine.command is not None
    port = free_port()
    process = Measured.start(engine.command(directory, port), log)
    try:
        yield process, port, await _first_answer(process, port)
    finally:
        process.stop()


async def _first_answer(process: Measured, port: int) -> float:
    while time.monotonic() < process.began_s + _START_S:
        if process.process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.process.returncode}; see the log")
        try:
            async with BareClient(port) as client:
                await client.call("GetSystemInfo", GetSystemInfoRequest(), GetSystemInfoResponse)
                await _namespace_is_there(client)
                return time.monotonic() - process.began_s
        except (ConnectionError, CallFailed):
            await asyncio.sleep(0.01)
    raise RuntimeError("the server did not answer in time; see the log")


async def _namespace_is_there(client: BareClient) -> None:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeNamespaceResponse

    await client.call("DescribeNamespace", DescribeNamespaceRequest(namespace=NAMESPACE), DescribeNamespaceResponse)


async def start_many(client: BareClient, count: int, seconds: float) -> tuple[int, float]:
    """Start runs until there are so many or the time is over; return how many there are and the seconds."""
    started = 0
    began = time.perf_counter()

    async def lane() -> None:
        nonlocal started
        while started < count and time.perf_counter() < began + seconds:
            started += 1
            request = StartWorkflowExecutionRequest(
                namespace=NAMESPACE,
                workflow_id=f"parked-{uuid.uuid4()}",
                request_id=str(uuid.uuid4()),
                identity=_IDENTITY,
            )
            request.workflow_type.name = "Parked"
            request.task_queue.name = QUEUE
            await client.call("StartWorkflowExecution", request, StartWorkflowExecutionResponse)

    await asyncio.gather(*(lane() for _ in range(_LANES)))
    return started, time.perf_counter() - began


async def answer_tasks(client: BareClient, count: int, command: Command) -> float:
    """Take workflow tasks and answer each with one command; return the seconds until the first one was handed out."""
    left = count
    first_s: float | None = None
    began = time.perf_counter()

    async def lane() -> None:
        nonlocal left, first_s
        while left > 0:
            request = PollWorkflowTaskQueueRequest(namespace=NAMESPACE, identity=_IDENTITY)
            request.task_queue.name = QUEUE
            task = await client.call("PollWorkflowTaskQueue", request, PollWorkflowTaskQueueResponse)
            if not task.task_token:
                continue
            if first_s is None:
                first_s = time.perf_counter() - began
            done = RespondWorkflowTaskCompletedRequest(
                namespace=NAMESPACE, identity=_IDENTITY, task_token=task.task_token, commands=[command]
            )
            await client.call("RespondWorkflowTaskCompleted", done, RespondWorkflowTaskCompletedResponse)
            left -= 1
            if left <= 0:
                over.set()

    over = asyncio.Event()
    lanes = [asyncio.ensure_future(lane()) for _ in range(min(_LANES, count))]
    await over.wait()
    for each in lanes:
        each.cancel()
    await asyncio.gather(*lanes, return_exceptions=True)
    assert first_s is not None
    return first_s


def timer_command() -> Command:
    """Wait for thirty days."""
    command = Command(command_type=CommandType.COMMAND_TYPE_START_TIMER)
    command.start_timer_command_attributes.timer_id = "1"
    command.start_timer_command_attributes.start_to_fire_timeout.seconds = _MONTH_S
    return command


def complete_command() -> Command:
    """End the run."""
    command = Command(command_type=CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION)
    command.complete_workflow_execution_command_attributes.SetInParent()
    return command


async def parked(engine: Engine, place: Path, count: int, seconds: float) -> dict[str, Any]:
    """W4: start runs that wait for thirty days; what does each take in memory and on disk, how fast do they start?

    In batches, each parked before the next is started: what is measured is runs that wait for a timer.
    """
    directory, log = place / "data", place / "server.log"
    async with answering(engine, directory, log) as (process, port, _), BareClient(port) as client:
        await start_many(client, 20, seconds)
        await answer_tasks(client, 20, timer_command())
        empty_memory, empty_disk = process.resident_bytes(), size_bytes(directory) if directory.exists() else 0
        started, took_s, start_cpu_s, early, memory = 0, 0.0, 0.0, 0, empty_memory
        while started < count and took_s < seconds:
            used_s = process.cpu_s()
            more, more_s = await start_many(client, min(_BATCH, count - started), seconds - took_s)
            start_cpu_s += process.cpu_s() - used_s
            await answer_tasks(client, more, timer_command())
            started, took_s = started + more, took_s + more_s
            if not early and started >= _CACHES_FULL:
                early, memory = started, process.resident_bytes()
        full_memory = process.resident_bytes()
    told = {
        "started": started,
        "starts_a_s": started / took_s,
        "start_cpu_ms": start_cpu_s * 1000 / started,
        "memory_bytes": (full_memory - empty_memory) / started,
        "memory_mib": full_memory / 2**20,
    }
    if early and started > early:
        told["memory_beyond_caches_bytes"] = (full_memory - memory) / (started - early)
    if engine.durable:
        told["disk_bytes"] = (size_bytes(directory) - empty_disk) / started
        async with answering(engine, place / "empty", log) as (process, port, _), BareClient(port) as client:
            await start_many(client, 20, seconds)
            await answer_tasks(client, 20, timer_command())
            fresh_memory = process.resident_bytes()
        async with answering(engine, directory, log) as (process, port, open_s), BareClient(port) as client:
            await start_many(client, 20, seconds)
            await answer_tasks(client, 20, timer_command())
            told["memory_after_restart_bytes"] = (process.resident_bytes() - fresh_memory) / started
            told["restart_s"] = open_s
    return told


async def recovered(
    engine: Engine, place: Path, count: int, within_s: float, *, complete: bool = True
) -> dict[str, Any]:
    """W5: kill the server with runs in flight; how long until it hands out the first task, and until all are done?
    Where they are not to be completed, one task is taken of all that wait."""
    directory, log = place / "data", place / "server.log"
    async with answering(engine, directory, log) as (process, port, _):
        async with BareClient(port) as client:
            started, _ = await start_many(client, count, within_s)
        process.kill()
    began = time.monotonic()
    async with answering(engine, directory, log) as (process, port, answers_s), BareClient(port) as client:
        before_s = time.monotonic() - began
        told: dict[str, Any] = {"in_flight": started, "answers_s": answers_s}
        told["first_task_s"] = before_s + await answer_tasks(client, started if complete else 1, complete_command())
        if complete:
            told["all_done_s"] = time.monotonic() - began
        else:
            told["first_task_cpu_s"] = process.cpu_s()
        return told


async def signalled(engine: Engine, place: Path, seconds: float) -> dict[str, Any]:
    """Fifty senders signal one run at once, each its next as soon as the one before is acknowledged."""
    async with (
        answering(engine, place / "data", place / "server.log") as (process, port, _),
        BareClient(port) as client,
    ):
        await start_many(client, 1, seconds)
        workflow_id = f"signalled-{uuid.uuid4()}"
        start = StartWorkflowExecutionRequest(
            namespace=NAMESPACE, workflow_id=workflow_id, request_id=str(uuid.uuid4()), identity=_IDENTITY
        )
        start.workflow_type.name = "Signalled"
        start.task_queue.name = QUEUE
        await client.call("StartWorkflowExecution", start, StartWorkflowExecutionResponse)
        sent = 0
        used_s, began = process.cpu_s(), time.perf_counter()

        async def sender() -> None:
            nonlocal sent
            # One run takes no more than ten thousand.
            while sent < _SIGNALS_MAX and time.perf_counter() < began + seconds:
                sent += 1
                signal = SignalWorkflowExecutionRequest(
                    namespace=NAMESPACE, signal_name="go", request_id=str(uuid.uuid4()), identity=_IDENTITY
                )
                signal.workflow_execution.workflow_id = workflow_id
                await client.call("SignalWorkflowExecution", signal, SignalWorkflowExecutionResponse)

        await asyncio.gather(*(sender() for _ in range(_LANES)))
        took_s = time.perf_counter() - began
        return {"signals_a_s": sent / took_s, "signal_cpu_ms": (process.cpu_s() - used_s) * 1000 / sent}


async def cold(engine: Engine, place: Path) -> dict[str, Any]:
    """W6: from nothing to the first answered call."""
    async with answering(engine, place / "data", place / "server.log") as (process, _, answers_s):
        return {"answers_s": answers_s, "memory_mib": process.resident_bytes() / 2**20}


async def timed_out(what: Callable[[], Awaitable[dict[str, Any]]], seconds: float) -> dict[str, Any]:
    """Run a part with a bound; a part that fails says why."""
    try:
        async with asyncio.timeout(seconds):
            return await what()
    except TimeoutError:
        return {"failed": f"took more than {seconds:.0f} s"}
    except (RuntimeError, CallFailed, ConnectionError) as error:
        return {"failed": str(error)}
