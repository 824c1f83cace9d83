"""How fast a task queue may hand out tasks, where its workers asked for a limit (max_tasks_per_second)."""

from dataclasses import dataclass


@dataclass(slots=True)
class DispatchLimit:
    """A token bucket that holds a second's worth of tasks, and at least one. A limit of 0 lets nothing through."""

    per_second: float
    tokens: float
    at_ms: int

    @classmethod
    def full(cls, per_second: float, now_ms: int) -> "DispatchLimit":
        """Make one that lets a second's worth through at once."""
        return cls(per_second, max(1.0, per_second) if per_second > 0 else 0.0, now_ms)

    def take(self, now_ms: int) -> float:
        """Take a token and return 0, or return after how many milliseconds there will be one."""
        gained = max(0, now_ms - self.at_ms) * self.per_second / 1000
        self.tokens = min(max(1.0, self.per_second), self.tokens + gained)
        self.at_ms = now_ms
        if self.tokens >= 1:
            self.tokens -= 1
            return 0
        if self.per_second <= 0:
            return _NEVER_MS
        return (1 - self.tokens) * 1000 / self.per_second


_NEVER_MS = 60_000.0
"""A limit of nothing: look again now and then, for the limit may have changed."""
