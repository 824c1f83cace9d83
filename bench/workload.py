"""The client's side of W1 to W3, in a process of its own: worker and callers on the public Python SDK.

`python -m bench.workload PORT SECONDS [--count-calls]` prints one line of JSON.

It runs on uvloop (docs/decisions/0039-the-benchs-client-on-uvloop.md).
"""

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from temporalio import activity, workflow
from temporalio.client import Client, GrpcCompression
from temporalio.runtime import MetricBuffer, Runtime, TelemetryConfig
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from bench.processes import on_uvloop

QUEUE: Final = "bench"
IN_FLIGHT: Final = 50
IN_A_ROW: Final = 10
SEQUENTIAL_MAX: Final = 200


@activity.defn
async def greet(name: str) -> str:
    """Do next to nothing: the engine is what is measured."""
    return f"hello {name}"


@workflow.defn
class Greet:
    """One activity, or several in a row."""

    @workflow.run
    async def run(self, times: int) -> str:
        """Call it so many times."""
        said = ""
        for _ in range(times):
            said = await workflow.execute_activity(greet, "you", start_to_close_timeout=timedelta(seconds=30))
        return said


def cpu_s() -> float:
    """Return the CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def in_sequence(one: Callable[[], Awaitable[object]], seconds: float) -> list[float]:
    """Run one after the other; return how many milliseconds each took."""
    took_ms: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and len(took_ms) < SEQUENTIAL_MAX:
        began = time.perf_counter()
        await one()
        took_ms.append((time.perf_counter() - began) * 1000)
    return took_ms


async def in_flight(one: Callable[[], Awaitable[object]], seconds: float, at_once: int = IN_FLIGHT) -> dict[str, float]:
    """Keep so many going; return how many ended, in how many seconds."""
    done = 0
    began = time.perf_counter()

    async def lane() -> None:
        nonlocal done
        while time.perf_counter() < began + seconds:
            await one()
            done += 1

    await asyncio.gather(*(lane() for _ in range(at_once)))
    return {"done": done, "seconds": time.perf_counter() - began}


async def run(
    port: int,
    seconds: float,
    *,
    count_calls: bool = False,
    w2_alone: bool = False,
    hurried: bool = False,
    mark: Callable[[str], None],
) -> dict[str, Any]:
    """Run the three workloads; `mark` is told where each begins and ends. `hurried`: with eager start, and without
    compressing what goes to the same machine."""
    metrics = MetricBuffer(100_000) if count_calls else None
    runtime = Runtime(telemetry=TelemetryConfig(metrics=metrics))
    compression = GrpcCompression.NONE if hurried else GrpcCompression.GZIP
    client = await Client.connect(f"127.0.0.1:{port}", runtime=runtime, grpc_compression=compression)
    number = 0

    async def one(times: int = 1) -> None:
        nonlocal number
        number += 1
        await client.execute_workflow(
            Greet.run, times, id=f"bench-{port}-{number}", task_queue=QUEUE, request_eager_start=hurried
        )

    worker = Worker(
        client,
        task_queue=QUEUE,
        workflows=[Greet],
        activities=[greet],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_workflow_tasks=100,
        max_concurrent_activities=100,
    )
    async with worker:
        for _ in range(5):
            await one()
        if metrics is not None:
            metrics.retrieve_updates()
        mark("w1")
        sequential = [] if w2_alone else await in_sequence(one, seconds)
        mark("w2")
        used_s = cpu_s()
        concurrent = await in_flight(one, seconds)
        concurrent["client_cpu_s"] = cpu_s() - used_s
        mark("w3")
        calls = 0
        if metrics is not None:
            names = ("temporal_request", "temporal_long_request")
            calls = sum(int(each.value) for each in metrics.retrieve_updates() if each.metric.name in names)
        rows = [] if count_calls or w2_alone else await in_sequence(lambda: one(IN_A_ROW), seconds)
        mark("end")
    return {"w1_ms": sequential, "w2": concurrent, "w3_ms": rows, "calls": calls}


def main() -> None:
    """Run as a process: marks go to standard output as they come, the figures as the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--count-calls", action="store_true")
    parser.add_argument("--hurried", action="store_true", help="W2 alone, eager start, no compression")
    parser.add_argument("--plain", action="store_true", help="W2 alone, on the event loop that Python comes with")
    given = parser.parse_args()

    def mark(name: str) -> None:
        print(json.dumps({"mark": name}), flush=True)

    w2_alone = given.hurried or given.plain
    running = run(
        given.port, given.seconds, count_calls=given.count_calls, w2_alone=w2_alone, hurried=given.hurried, mark=mark
    )
    print(json.dumps(asyncio.run(running) if given.plain else on_uvloop(running)), flush=True)


if __name__ == "__main__":
    main()
