"""What a task queue knows of its workers: who polled, and how busy they were kept. None of it is durable."""

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.taskqueue.v1 import PollerInfo

POLLER_KEPT_MS: Final = 300_000
POLLERS_KEPT_MAX: Final = 1_000

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


class _Poll(NamedTuple):
    at_ms: int
    rate: float
    capabilities: WorkerVersionCapabilities | None
    deployment: WorkerDeploymentOptions | None


@dataclass(slots=True)
class PollerHistory:
    """Who polled one queue in the last minutes."""

    pollers: OrderedDict[str, _Poll] = field(default_factory=OrderedDict)
    """Each one's last poll, by identity; the last to poll is the last."""

    def saw(
        self,
        identity: str,
        now_ms: int,
        *,
        rate: float,
        capabilities: WorkerVersionCapabilities | None = None,
        deployment: WorkerDeploymentOptions | None = None,
    ) -> None:
        """Remember a poll."""
        self.pollers[identity] = _Poll(now_ms, rate, capabilities, deployment)
        self.pollers.move_to_end(identity)
        while len(self.pollers) > POLLERS_KEPT_MAX:
            self.pollers.popitem(last=False)

    def forget(self, identity: str) -> None:
        """Forget a poller whose worker has stopped."""
        self.pollers.pop(identity, None)

    def recent(self, now_ms: int) -> list[PollerInfo]:
        """Return the pollers of the last minutes, newest first."""
        while self.pollers:
            identity, poll = next(iter(self.pollers.items()))
            if poll.at_ms > now_ms - POLLER_KEPT_MS:
                break
            del self.pollers[identity]
        return [_told(identity, poll) for identity, poll in reversed(self.pollers.items())]


def _told(identity: str, poll: _Poll) -> PollerInfo:
    poller = PollerInfo(
        identity=identity,
        rate_per_second=poll.rate,
        worker_version_capabilities=poll.capabilities,
        deployment_options=poll.deployment,
    )
    poller.last_access_time.FromMilliseconds(poll.at_ms)
    return poller
