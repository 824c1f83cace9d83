"""What is kept of workers' heartbeats is bounded in time, number and size."""

from dataclasses import replace
from typing import Any

from temporalio.api.worker.v1 import WorkerHeartbeat

from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.shell.workers import Workers


def heartbeat(key: str, identity: str = "") -> WorkerHeartbeat:
    return WorkerHeartbeat(worker_instance_key=key, worker_identity=identity)


def keys(workers: Workers, namespace: str = "n") -> list[str]:
    return [one.worker_instance_key for one in workers.alive(namespace)]


async def test_a_worker_not_heard_of_for_minutes_is_forgotten(clock: Any) -> None:
    workers = Workers(clock, DEFAULT_LIMITS)
    workers.record("n", [heartbeat("a"), heartbeat("b")])
    assert keys(workers, "another") == []
    await clock.advance(200_000)
    workers.record("n", [heartbeat("a")])
    await clock.advance(100_000)
    assert keys(workers) == ["a"]
    assert workers.get("n", "b") is None
    assert workers.get("n", "a") == heartbeat("a")


async def test_past_the_bound_those_heard_of_longest_ago_are_forgotten(clock: Any) -> None:
    workers = Workers(clock, replace(DEFAULT_LIMITS, workers_kept_max=2))
    for key in "abac":
        workers.record("n", [heartbeat(key)])
    assert keys(workers) == ["a", "c"]
    size = heartbeat("a", "x" * 100).ByteSize()
    workers = Workers(clock, replace(DEFAULT_LIMITS, workers_kept_bytes_max=2 * size))
    for key in "abb":
        workers.record("n", [heartbeat(key, "x" * 100)])
    assert keys(workers) == ["a", "b"]
    workers.record("n", [heartbeat("c", "x" * 100)])
    assert keys(workers) == ["b", "c"]
