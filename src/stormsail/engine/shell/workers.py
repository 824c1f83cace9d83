"""What is known of workers: who polled, how busy a queue is, who is alive or stopping. None of it is durable."""

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.taskqueue.v1 import PollerInfo
from temporalio.api.worker.v1 import WorkerHeartbeat

from stormsail.engine.shell.clock import Clock

POLLER_KEPT_MS: Final = 300_000
POLLERS_KEPT_MAX: Final = 1_000
UNLIMITED_RATE: Final = 100_000.0
"""What the server we follow reports for a poller that set no rate limit."""

_HEARTBEAT_KEPT_MS: Final = 600_000
_HEARTBEATS_KEPT_MAX: Final = 10_000
_SHUT_DOWN_KEPT_MS: Final = 30_000
_SHUT_DOWN_KEPT_MAX: Final = 10_000
_RATE_SLOT_MS: Final = 5_000
_RATE_SLOTS: Final = 6


@dataclass(slots=True)
class RateMeter:
    """How many a second, over the last half minute."""

    slots: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_RATE_SLOTS))
    first_ms: int = 0

    def count(self, now_ms: int) -> None:
        """Count one."""
        slot = now_ms // _RATE_SLOT_MS
        self.first_ms = self.first_ms or now_ms
        if self.slots and self.slots[-1][0] == slot:
            self.slots[-1] = (slot, self.slots[-1][1] + 1)
        else:
            self.slots.append((slot, 1))

    def per_second(self, now_ms: int) -> float:
        """Return the rate; a younger meter divides by its age."""
        oldest = now_ms // _RATE_SLOT_MS - _RATE_SLOTS
        counted = sum(count for slot, count in self.slots if slot > oldest)
        covered_ms = (_RATE_SLOTS - 1) * _RATE_SLOT_MS + now_ms % _RATE_SLOT_MS
        age_ms = min(now_ms - self.first_ms, covered_ms)
        return counted * 1000 / max(age_ms, 1000)


@dataclass(slots=True)
class PollerHistory:
    """Who polled one queue in the last minutes."""

    pollers: OrderedDict[str, PollerInfo] = field(default_factory=OrderedDict)

    def saw(
        self,
        identity: str,
        now_ms: int,
        *,
        rate: float = UNLIMITED_RATE,
        capabilities: WorkerVersionCapabilities | None = None,
        deployment: WorkerDeploymentOptions | None = None,
    ) -> None:
        """Remember a poll."""
        poller = PollerInfo(
            identity=identity,
            rate_per_second=rate,
            worker_version_capabilities=capabilities,
            deployment_options=deployment,
        )
        poller.last_access_time.FromMilliseconds(now_ms)
        self.pollers[identity] = poller
        self.pollers.move_to_end(identity)
        while len(self.pollers) > POLLERS_KEPT_MAX:
            self.pollers.popitem(last=False)

    def forget(self, identity: str) -> None:
        """Forget a poller whose worker has stopped."""
        self.pollers.pop(identity, None)

    def recent(self, now_ms: int) -> list[PollerInfo]:
        """Return the pollers of the last minutes, newest first."""
        while self.pollers:
            identity, poller = next(iter(self.pollers.items()))
            if poller.last_access_time.ToMilliseconds() > now_ms - POLLER_KEPT_MS:
                break
            del self.pollers[identity]
        return list(reversed(self.pollers.values()))


class Workers:
    """The workers that send heartbeats, and those that said that they are stopping."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heartbeats: OrderedDict[tuple[str, str], tuple[int, WorkerHeartbeat]] = OrderedDict()
        self._shut_down: OrderedDict[str, int] = OrderedDict()

    def record(self, namespace: str, heartbeats: Iterable[WorkerHeartbeat]) -> None:
        """Remember the newest heartbeat of each worker."""
        now_ms = self._clock.now_ms()
        for heartbeat in heartbeats:
            name = (namespace, heartbeat.worker_instance_key)
            self._heartbeats[name] = (now_ms, heartbeat)
            self._heartbeats.move_to_end(name)
        _trim(self._heartbeats, _HEARTBEATS_KEPT_MAX)

    def alive(self, namespace: str) -> list[WorkerHeartbeat]:
        """Return the newest heartbeats of a namespace's workers."""
        since_ms = self._clock.now_ms() - _HEARTBEAT_KEPT_MS
        return [
            heartbeat
            for (kept_namespace, _), (at_ms, heartbeat) in self._heartbeats.items()
            if kept_namespace == namespace and at_ms > since_ms
        ]

    def shut_down(self, worker_instance_key: str) -> None:
        """Remember that a worker is stopping: polls of its own that are still on their way get nothing."""
        self._shut_down[worker_instance_key] = self._clock.now_ms()
        self._shut_down.move_to_end(worker_instance_key)
        _trim(self._shut_down, _SHUT_DOWN_KEPT_MAX)

    def is_shut_down(self, worker_instance_key: str) -> bool:
        """Whether this worker said a short while ago that it is stopping."""
        at_ms = self._shut_down.get(worker_instance_key) if worker_instance_key else None
        return at_ms is not None and self._clock.now_ms() - at_ms < _SHUT_DOWN_KEPT_MS


def _trim(kept: "OrderedDict[tuple[str, str], tuple[int, WorkerHeartbeat]] | OrderedDict[str, int]", most: int) -> None:
    while len(kept) > most:
        kept.popitem(last=False)
