"""How long one round of the event loop may be busy with what peers sent; what is left then goes on in the next rounds.

Whoever sends something meanwhile, and be it a call that is to be turned away, is heard between two rounds, not after
all that others have sent. The time is shared by all connections, and those that have more to do take turns.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

ROUND_S: Final = 0.015


class Unfinished(Protocol):
    """Who has more to do than there was time for."""

    def go_on(self) -> bool:
        """Do a step, and others until the round is over; return whether that was all."""
        ...


class Rounds:
    """The rounds of one event loop, and who waits for the next. Everything here runs on it; nothing waits."""

    def __init__(self, *, round_s: float = ROUND_S, now_s: Callable[[], float] = time.perf_counter) -> None:
        """`now_s` must move on within a round, which the event loop's own clock does not."""
        self._round_s = round_s
        self._now_s = now_s
        self._until_s: float | None = None
        """When the round is over; None where nothing was done in it yet."""
        self._next_comes = False
        self._unfinished: deque[Unfinished] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop, once it runs: rounds are made before it does, and to ask which one runs is a system call."""

    def over(self) -> bool:
        """Whether the rest is for the next round. Never so before the first thing that is done in one."""
        if self._until_s is None:
            self._until_s = self._now_s() + self._round_s
            self._call_next()
            return False
        return self._now_s() >= self._until_s

    def put_off(self, who: Unfinished) -> None:
        """Let somebody go on in later rounds, until that is all. Not for who is put off already."""
        self._unfinished.append(who)
        self._call_next()

    def _call_next(self) -> None:
        if not self._next_comes:
            self._next_comes = True
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._loop.call_soon(self._next)

    def _next(self) -> None:
        """Between two rounds the event loop has looked at all sockets."""
        self._next_comes = False
        self._until_s = None
        if self._unfinished:
            self._call_next()  # first: should a step fail, the others go on with theirs
        for _ in range(len(self._unfinished)):
            if self.over():
                return
            who = self._unfinished.popleft()
            self._unfinished.append(who)
            if who.go_on():
                self._unfinished.remove(who)
