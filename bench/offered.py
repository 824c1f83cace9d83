"""The two sides of the overload benchmark, each a process of its own: who offers starts, and who works.

Starts come at a fixed rate whatever is answered, and each is timed from when it was due: a slow server cannot slow
down who measures it. Workers ask for the next task when they are done with one, as workers do.
"""

import argparse
import asyncio
import json
import time
import uuid
from collections.abc import Awaitable
from typing import Any, Final

import uvloop
from temporalio.api.workflowservice.v1 import (
    PollWorkflowTaskQueueRequest,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedRequest,
    RespondWorkflowTaskCompletedResponse,
    StartWorkflowExecutionRequest,
    StartWorkflowExecutionResponse,
)

from bench.bare import BareClient, CallFailed
from bench.engines import NAMESPACE
from bench.lives import complete_command

RESOURCE_EXHAUSTED: Final = 8
_TICK_S: Final = 0.002
_CONNECTIONS: Final = 4
_STREAMS_MAX: Final = 10_000
_PATIENCE_S: Final = 20.0


async def offer(port: int, queue: str, rate: float, seconds: float) -> dict[str, Any]:
    """Offer starts at a rate; tell what became of them and how long each answer took."""
    accepted: list[float] = []
    refused: list[float] = []
    refused_since_sent: list[float] = []
    late: list[float] = []
    failed: dict[str, int] = {}

    async def start(client: BareClient, due: float) -> None:
        request = StartWorkflowExecutionRequest(
            namespace=NAMESPACE, workflow_id=f"offered-{uuid.uuid4()}", request_id=str(uuid.uuid4()), identity="offer"
        )
        request.workflow_type.name = "Offered"
        request.task_queue.name = queue
        began = time.perf_counter()
        try:
            await client.call("StartWorkflowExecution", request, StartWorkflowExecutionResponse)
            accepted.append(time.perf_counter() - due)
        except CallFailed as error:
            if error.status == RESOURCE_EXHAUSTED:
                refused.append(time.perf_counter() - due)
                refused_since_sent.append(time.perf_counter() - began)
            else:
                failed[str(error)] = failed.get(str(error), 0) + 1

    clients = [await BareClient(port, _STREAMS_MAX).__aenter__() for _ in range(_CONNECTIONS)]
    running: set[asyncio.Task[None]] = set()
    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter()) < began + seconds:
        while (due := began + sent / rate) <= now:
            late.append(now - due)
            task = asyncio.ensure_future(start(clients[sent % _CONNECTIONS], due))
            running.add(task)
            task.add_done_callback(running.discard)
            sent += 1
        await asyncio.sleep(max(_TICK_S, due - now))
    if running:
        await asyncio.wait(running, timeout=_PATIENCE_S)
    for client in clients:
        await client.__aexit__(None, None, None)
    return {
        "began_s": began,
        "sent": sent,
        "accepted": len(accepted),
        "refused": len(refused),
        "failed": failed,
        "unanswered": len(running),
        "refusal_ms": spread(refused),
        "refusal_since_sent_ms": spread(refused_since_sent),
        "accepted_ms": spread(accepted),
        "own_lateness_ms": spread(late),
    }


async def work(port: int, queue: str, pollers: int) -> None:
    """Take tasks and complete their runs until killed; tell every so often how many there were."""
    done = refused = 0

    async def tried(call: Awaitable[Any]) -> Any:
        nonlocal refused
        try:
            return await call
        except CallFailed as error:
            if error.status != RESOURCE_EXHAUSTED:
                raise
            refused += 1
            return None

    async def lane(client: BareClient) -> None:
        nonlocal done
        command = complete_command()
        while True:
            poll = PollWorkflowTaskQueueRequest(namespace=NAMESPACE, identity="work")
            poll.task_queue.name = queue
            task = await tried(client.call("PollWorkflowTaskQueue", poll, PollWorkflowTaskQueueResponse))
            if task is None or not task.task_token:
                continue
            answer = RespondWorkflowTaskCompletedRequest(
                namespace=NAMESPACE, identity="work", task_token=task.task_token, commands=[command]
            )
            if await tried(client.call("RespondWorkflowTaskCompleted", answer, RespondWorkflowTaskCompletedResponse)):
                done += 1

    async def tell() -> None:
        while True:
            print(json.dumps({"done": done, "refused": refused, "at_s": time.perf_counter()}), flush=True)
            await asyncio.sleep(0.1)

    async with BareClient(port, _STREAMS_MAX) as client:
        await asyncio.gather(tell(), *(lane(client) for _ in range(pollers)))


def spread(seconds: list[float]) -> dict[str, float]:
    """Return the middle and the ends in milliseconds; empty when there is nothing."""
    ordered = sorted(seconds)
    if not ordered:
        return {}
    return {
        name: round(ordered[min(len(ordered) - 1, int(len(ordered) * part))] * 1000, 2)
        for name, part in (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
    }


def main() -> None:
    """Run as one of the two."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["offer", "work"])
    parser.add_argument("port", type=int)
    parser.add_argument("queue")
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--pollers", type=int, default=0)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if given.side == "work":
            runner.run(work(given.port, given.queue, given.pollers))
        else:
            print(json.dumps(runner.run(offer(given.port, given.queue, given.rate, given.seconds))))


if __name__ == "__main__":
    main()
