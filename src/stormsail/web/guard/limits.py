"""How many requests a principal may make in a span of time; who asks for more is told when to come again."""

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final

REQUESTS: Final = 60
SPAN_S: Final = 10.0
PRINCIPALS_MAX: Final = 10_000


class RateLimit:
    """A sliding span for each principal: never more than `requests` in any `span_s` seconds."""

    def __init__(self, requests: int, span_s: float, now_s: Callable[[], float]) -> None:
        self.requests = requests
        self.span_s = span_s
        self._now_s = now_s
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, principal: str) -> int:
        """Take one request; return 0, or in how many whole seconds the next may come."""
        now = self._now_s()
        taken = self._taken.setdefault(principal, deque())
        self._taken.move_to_end(principal)
        while len(self._taken) > PRINCIPALS_MAX:
            self._taken.popitem(last=False)
        while taken and now - taken[0] >= self.span_s:
            taken.popleft()
        if len(taken) >= self.requests:
            return max(1, math.ceil(taken[0] + self.span_s - now))
        taken.append(now)
        return 0
