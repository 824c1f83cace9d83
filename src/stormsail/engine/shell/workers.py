"""The workers that send heartbeats, and those that said that they are stopping. None of it is durable: they repeat it.

What is kept is bounded in number and in bytes; those heard of longest ago are forgotten first.
"""

import json
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.limits import Limits
from stormsail.engine.shell.clock import Clock

_SHUT_DOWN_KEPT_MS: Final = 30_000
_SHUT_DOWN_KEPT_MAX: Final = 10_000
_SYSTEM_PREFIX: Final = "temporal-sys-"
_SHUT_DOWN: Final = WorkerStatus.WORKER_STATUS_SHUTDOWN
_SHUTTING_DOWN: Final = WorkerStatus.WORKER_STATUS_SHUTTING_DOWN

WorkerName = tuple[str, str]
"""Namespace and worker instance key."""


@dataclass(frozen=True, slots=True)
class WorkerPage:
    """Some of the workers, by instance key. `next_token` is empty at the end."""

    workers: list[WorkerHeartbeat]
    next_token: bytes = b""


class Workers:
    """All workers."""

    def __init__(self, clock: Clock, limits: Limits) -> None:
        self._clock = clock
        self._limits = limits
        self._heartbeats: OrderedDict[WorkerName, tuple[int, int, WorkerHeartbeat]] = OrderedDict()
        """When it came, its size, and what it says; the oldest first."""
        self._size_bytes = 0
        self._stopping: OrderedDict[str, int] = OrderedDict()

    def record(self, namespace: str, heartbeats: Iterable[WorkerHeartbeat]) -> None:
        """Remember the newest heartbeat of each worker; one that has shut down is forgotten."""
        now_ms = self._clock.now_ms()
        for heartbeat in heartbeats:
            name = (namespace, heartbeat.worker_instance_key)
            self._forget(name)
            if heartbeat.status != _SHUT_DOWN:
                size = heartbeat.ByteSize()
                self._heartbeats[name] = (now_ms, size, heartbeat)
                self._size_bytes += size
        self._expire()

    def alive(
        self, namespace: str, wanted: Callable[[WorkerHeartbeat], bool] = lambda _: True, *, system: bool = False
    ) -> list[WorkerHeartbeat]:
        """Return the newest heartbeats of a namespace's workers, by instance key; those of the server's own task queues
        only when asked for."""
        self._expire()
        return [
            heartbeat
            for (kept_namespace, _), (_, _, heartbeat) in sorted(self._heartbeats.items(), key=lambda item: item[0])
            if kept_namespace == namespace
            and (system or not heartbeat.task_queue.startswith(_SYSTEM_PREFIX))
            and wanted(heartbeat)
        ]

    def page(self, workers: list[WorkerHeartbeat], size: int, token: bytes) -> WorkerPage:
        """Return part of a list of workers: those after the one that the token names."""
        after = _decoded(token) if token else None
        rest = [one for one in workers if after is None or one.worker_instance_key > after]
        shown = rest[: size or len(rest)]
        if len(shown) == len(rest):
            return WorkerPage(shown)
        return WorkerPage(shown, json.dumps({"l": shown[-1].worker_instance_key}, separators=(",", ":")).encode())

    def get(self, namespace: str, worker_instance_key: str) -> WorkerHeartbeat | None:
        """Return the newest heartbeat of a worker; None when it has not been heard of lately."""
        self._expire()
        found = self._heartbeats.get((namespace, worker_instance_key))
        return None if found is None else found[2]

    def shut_down(self, namespace: str, worker_instance_key: str) -> None:
        """Remember that a worker is stopping: polls of its own that are still on their way get nothing."""
        self._stopping[worker_instance_key] = self._clock.now_ms()
        self._stopping.move_to_end(worker_instance_key)
        if len(self._stopping) > _SHUT_DOWN_KEPT_MAX:
            self._stopping.popitem(last=False)
        found = self._heartbeats.get((namespace, worker_instance_key))
        if found is not None:
            found[2].status = _SHUTTING_DOWN

    def is_shut_down(self, worker_instance_key: str) -> bool:
        """Whether this worker said a short while ago that it is stopping."""
        at_ms = self._stopping.get(worker_instance_key) if worker_instance_key else None
        return at_ms is not None and self._clock.now_ms() - at_ms < _SHUT_DOWN_KEPT_MS

    def _forget(self, name: WorkerName) -> None:
        found = self._heartbeats.pop(name, None)
        if found is not None:
            self._size_bytes -= found[1]

    def _expire(self) -> None:
        limits = self._limits
        since_ms = self._clock.now_ms() - limits.worker_kept_ms
        while self._heartbeats:
            name, (at_ms, _, _) = next(iter(self._heartbeats.items()))
            full = len(self._heartbeats) > limits.workers_kept_max or self._size_bytes > limits.workers_kept_bytes_max
            if at_ms > since_ms and not full:
                return
            self._forget(name)


def _decoded(token: bytes) -> str:
    try:
        after = json.loads(token)["l"]
    except (ValueError, KeyError, TypeError):
        after = None
    if not isinstance(after, str):
        raise InvalidArgument("invalid next_page_token")
    return after
