"""How fast a task queue may hand out tasks: as its configuration says (UpdateTaskQueueConfig), else as the worker that
polled last asked (max_tasks_per_second), and for each fairness key as the configuration says.

A limit lets through a second's worth at once, and one task an interval from then on. A limit of 0 lets nothing through.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from temporalio.api.enums.v1 import RateLimitSource
from temporalio.api.taskqueue.v1 import TaskQueueConfig

from stormsail.engine.core.priority import TaskPriority

SYSTEM_RATE: Final = 100_000.0
"""Tasks a second of a queue that nobody limited, as the server we follow reports it. It is not enforced."""
KEYS_MAX: Final = 2_000
"""Fairness keys whose rate is known, per Temporal's `matching.fairnessKeyRateLimitCacheSize`. The others start anew."""
_NEVER_MS: Final = float("inf")
_BURST_MS: Final = 1_000.0
_SLOWEST: Final = 1e-9
_SYSTEM: Final = RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM
_API: Final = RateLimitSource.RATE_LIMIT_SOURCE_API
_WORKER: Final = RateLimitSource.RATE_LIMIT_SOURCE_WORKER


@dataclass(frozen=True, slots=True)
class Pace:
    """A rate. What keeps to it is an instant from which on the next task may go; GCRA, to those who know it."""

    interval_ms: float

    @classmethod
    def of(cls, per_second: float) -> "Pace":
        """Make the pace of so many tasks a second."""
        return cls(1_000 / per_second if per_second > _SLOWEST else _NEVER_MS)

    def spent(self, ready_ms: float, now_ms: float, tasks: int = 1) -> float:
        """Return from when on the next may go after these went now; fewer than none were given back."""
        if self.interval_ms == _NEVER_MS:
            return _NEVER_MS
        return max(now_ms, ready_ms + _BURST_MS) - _BURST_MS + tasks * self.interval_ms

    def capped(self, ready_ms: float, now_ms: float) -> float:
        """Return an instant that a slower pace had put off, as it is now that this one counts."""
        if self.interval_ms == _NEVER_MS:
            return _NEVER_MS
        return min(ready_ms, now_ms + self.interval_ms + _BURST_MS)


@dataclass(slots=True)
class DispatchLimit:
    """The limits of one task queue."""

    by_api: float | None = None
    by_worker: float | None = None
    by_key: float | None = None
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of fairness keys, whatever a task says."""
    _pace: Pace | None = None
    _ready_ms: float = 0.0
    _key_ready_ms: OrderedDict[str, float] = field(default_factory=OrderedDict)

    @classmethod
    def of(cls, config: TaskQueueConfig | None) -> "DispatchLimit":
        """Make the limits of a queue that nobody has polled yet."""
        limit = cls()
        limit.configure(config, 0)
        return limit

    @property
    def effective(self) -> tuple[float, RateLimitSource.ValueType]:
        """How many tasks a second may go, and who says so."""
        asked, source = (self.by_worker, _WORKER) if self.by_api is None else (self.by_api, _API)
        return (SYSTEM_RATE, _SYSTEM) if asked is None or asked >= SYSTEM_RATE else (asked, source)

    @property
    def absent(self) -> bool:
        """Whether there is none, neither for the queue nor for its keys."""
        return self._pace is None and self.by_key is None

    def configure(self, config: TaskQueueConfig | None, now_ms: float) -> None:
        """Take over a configuration."""
        config = config or TaskQueueConfig()
        self.by_api = config.queue_rate_limit.rate_limit.requests_per_second
        if not config.queue_rate_limit.HasField("rate_limit"):
            self.by_api = None
        self.weights = dict(config.fairness_weight_overrides)
        each = config.fairness_keys_rate_limit_default
        self.by_key = each.rate_limit.requests_per_second if each.HasField("rate_limit") else None
        if self.by_key is None or self.by_key == 0:
            # A limit of 0 for each key is none, as on the server we follow: the queue's own limit stops a queue.
            self.by_key = None
            self._key_ready_ms.clear()
        else:
            pace = Pace.of(self.by_key)
            for key, ready_ms in self._key_ready_ms.items():
                self._key_ready_ms[key] = pace.capped(ready_ms, now_ms)
        self._changed(now_ms)

    def ask(self, per_second: float | None, now_ms: float) -> bool:
        """Take note of what a polling worker asks for. Says whether that changed anything."""
        if self.by_worker == per_second:
            return False
        self.by_worker = per_second
        return self._changed(now_ms)

    def wait_ms(self, now_ms: float) -> float:
        """Return how long it is until the queue may hand out a task; 0 when it may now."""
        return max(0.0, self._ready_ms - now_ms) if self._pace is not None else 0.0

    def key_ready_ms(self, key: str) -> float:
        """Return from when on a fairness key's next task may go."""
        return self._key_ready_ms.get(key, 0.0)

    def took(self, priority: TaskPriority, now_ms: float, tasks: int = 1) -> None:
        """Count a task that went out, or, with -1, one that went in vain."""
        if self._pace is not None:
            self._ready_ms = self._pace.spent(self._ready_ms, now_ms, tasks)
        if self.by_key is None:
            return
        key = priority.fairness_key
        pace = Pace.of(self.by_key * self.weight(priority))
        self._key_ready_ms[key] = pace.spent(self._key_ready_ms.get(key, 0.0), now_ms, tasks)
        self._key_ready_ms.move_to_end(key)
        if len(self._key_ready_ms) > KEYS_MAX:
            self._key_ready_ms.popitem(last=False)

    def weight(self, priority: TaskPriority) -> float:
        """Return a task's weight among those of other fairness keys."""
        return priority.weight(self.weights.get(priority.fairness_key))

    def _changed(self, now_ms: float) -> bool:
        per_second, source = self.effective
        pace = None if source == _SYSTEM else Pace.of(per_second)
        if pace == self._pace:
            return False
        self._pace = pace
        self._ready_ms = pace.capped(self._ready_ms, now_ms) if pace is not None else 0.0
        return True
