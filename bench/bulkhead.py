"""`make bench ARGS="--backlog 1000000"`: does a long backlog in one queue slow another down?

Two engines at once, one with so many tasks waiting in queue `backlog`, which nobody polls, and one with none. Both do
the same in queue `live`, in turns, so that a noisy moment of the machine falls on both.
"""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)

from bench.backlog_rows import write_backlog
from bench.bare import BareClient
from bench.engines import NAMESPACE, engines
from bench.lives import answering, complete_command
from bench.offered import spread

LIVE: Final = "live"
PATTERN: Final = "pattern"
_LANES: Final = 8
_PART: Final = 400
"""Workflows in a turn."""
_TASKS_READ_S: Final = 600.0


async def _start(client: BareClient, workflow_id: str) -> None:
    request = StartWorkflowExecutionRequest(namespace=NAMESPACE, workflow_id=workflow_id, request_id=workflow_id)
    request.workflow_type.name = "Live"
    request.task_queue.name = LIVE
    await client.call("StartWorkflowExecution", request, StartWorkflowExecutionResponse)


async def _finish(client: BareClient) -> None:
    poll = PollWorkflowTaskQueueRequest(namespace=NAMESPACE, identity="bench")
    poll.task_queue.name = LIVE
    task = await client.call("PollWorkflowTaskQueue", poll, PollWorkflowTaskQueueResponse)
    answer = RespondWorkflowTaskCompletedRequest(
        namespace=NAMESPACE, identity="bench", task_token=task.task_token, commands=[complete_command()]
    )
    await client.call("RespondWorkflowTaskCompleted", answer, RespondWorkflowTaskCompletedResponse)


async def part(client: BareClient, name: str) -> list[float]:
    """Do workflows from start to end, some at a time; return how long each took."""
    took: list[float] = []

    async def lane(number: int) -> None:
        for each in range(_PART // _LANES):
            began = time.perf_counter()
            await _start(client, f"{name}-{number}-{each}")
            await _finish(client)
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(lane(number) for number in range(_LANES)))
    return took


async def _quiet(server: Any) -> None:
    """Wait until the engine has read what waits: it serves meanwhile, but that is not what is measured."""
    async with asyncio.timeout(_TASKS_READ_S):
        used_s = -1.0
        while server.cpu_s() - used_s > 0.1:
            used_s = server.cpu_s()
            await asyncio.sleep(1.0)


async def bulkhead(place: Path, rows: int, rounds: int) -> dict[str, Any]:
    """Return the latencies beside no backlog and beside one."""
    ours = engines()[0]
    empty, full, log = place / "empty", place / "full", place / "server.log"
    async with answering(ours, full, log) as (_, port, _), BareClient(port) as client:
        await _start(client, PATTERN)
    write_backlog(full / "engine.db", PATTERN, "backlog", rows)
    async with (
        answering(ours, empty, log) as (without, port, _),
        BareClient(port) as alone,
        answering(ours, full, log) as (server, port, answers_s),
        BareClient(port) as beside,
    ):
        await _finish(beside)
        await _quiet(server)
        taken = server.resident_bytes() - without.resident_bytes()
        took: dict[str, list[float]] = {"alone": [], "beside": []}
        for number in range(rounds + 1):
            for name, client in (("alone", alone), ("beside", beside)):
                found = await part(client, f"{name}-{number}")
                took[name] += found if number else []  # the first round warms up
        return {
            "rows": rows,
            "alone_ms": spread(took["alone"]),
            "beside_ms": spread(took["beside"]),
            "answers_s": answers_s,
            "bytes_a_task": taken / rows,
            "memory_mib": server.resident_bytes() / 2**20,
        }


def told(found: dict[str, Any]) -> list[str]:
    """Return the figures as lines for a person."""
    alone, beside = found["alone_ms"], found["beside_ms"]
    return [
        f"backlog                {found['rows']} tasks in another queue",
        f"a workflow alone       p50 {alone['p50']:.1f} ms, p99 {alone['p99']:.1f} ms",
        f"a workflow beside it   p50 {beside['p50']:.1f} ms, p99 {beside['p99']:.1f} ms:"
        f" {beside['p99'] / alone['p99']:.2f} times (target: 1.2 at most)",
        f"memory                 {found['bytes_a_task']:.0f} bytes a waiting task, beyond what the engine beside it holds",
        f"server's memory        {found['memory_mib']:.0f} MiB; first answer after {found['answers_s']:.1f} s",
    ]
