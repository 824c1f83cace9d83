"""Where new work waits while the engine is busy, and where it is turned away.

What workers send, completions, heartbeats and polls, never stands in this line: it begins as it comes. New work begins
in the order in which it came, in each round of the event loop as much as keeps the round short, and none while as many
turns as one commit takes wait for the disk. So the line is as long as the engine is behind, whatever it is behind with.
A line that stands for longer than a burst, and is longer than new work should wait, takes nobody more.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from stormsail.engine.api.front.statuses import HEAD, Header, ending_of
from stormsail.engine.core.errors import ResourceExhausted

log = structlog.get_logger(__name__)

_QUOTA_BEGIN: Final = 32
_QUOTA_STEP: Final = 4
_QUOTA_MAX: Final = 512
_SMOOTHED_OVER: Final = 16
"""Rounds over which it is reckoned how long one call holds up the next, and how much else comes."""
_SHARED_FROM: Final = 0.25
"""Calls a round from which on the rounds are shared with workers."""
_STALLED_LOOK_S: Final = 0.002
_TOLD_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class LineBounds:
    """When new work waits, and when it is turned away."""

    turns_max: int = 512
    """Turns on their way to disk, of all callers, from which on new work waits. As many as one commit takes."""
    waiting_max: int = 10_000
    waiting_bytes_max: int = 64 * 1024 * 1024
    waiting_min: int = 100
    """A shorter line turns nobody away, however slow the machine is just now."""
    patience_s: float = 0.25
    """How long new work should have to wait at most once the line stands."""
    burst_s: float = 1.0
    """How long a line may stand before that counts: a burst that passes is no overload."""
    round_s: float = 0.015
    """How long a round of the event loop should take: what is turned away waits for one."""
    shared_round_s: float = 0.002
    """The same while workers are being served: each of their calls waits for a round or two."""
    share: int = 8
    """Where workers alone keep the rounds that long, one of so many calls is new work still."""
    calls_each: int = 2
    """While a line stands and workers are being served, one call begins for so many of theirs: a start is followed by a
    poll and a completion, and what begins faster than those come is not completed sooner."""


class Waiting(Protocol):
    """A call that can stand in the line."""

    def begin(self, message: bytes) -> None:
        """Begin with the request."""
        ...


class Line:
    """See the module. Everything here runs on the event loop; nothing waits."""

    def __init__(
        self,
        refused: Callable[[], ResourceExhausted],
        *,
        turns: Callable[[], int],
        bounds: LineBounds | None = None,
        now_s: Callable[[], float] | None = None,
    ) -> None:
        """`refused` makes what is told to whom is turned away; `turns` says how many turns are on their way to disk;
        `now_s` is the event loop's clock where none is given."""
        self.refused = 0
        self._refused = refused
        self.told: tuple[Header, ...] = (*HEAD, *ending_of("", refused()).trailers())
        """The same as an answer's only headers, made once: to turn away must cost next to nothing."""
        self._turns = turns
        self._bounds = bounds or LineBounds()
        self._now_s = now_s or self._first_now_s
        self._line: OrderedDict[Waiting, bytes] = OrderedDict()
        self._bytes = 0
        self._quota = _QUOTA_BEGIN
        """How much new work may begin in a round."""
        self._begun = 0
        """New work that has begun in this round; the next counts what has begun of the rest."""
        self._others = 0
        self._others_each = 0.0
        """How much of the rest comes in a round, of late."""
        self._watching = False
        """Whether rounds are being counted."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop, once it runs: a line is made before it does, and to ask which one runs is a system call."""
        self._round_at_s = 0.0
        self._standing_since_s = 0.0
        self._moved_at_s = 0.0
        self._each_s = 0.0
        """How long one call in the line holds up the next."""
        self._told_at_s = -_TOLD_EVERY_S

    @property
    def waiting(self) -> int:
        """How much new work waits."""
        return len(self._line)

    @property
    def stands(self) -> bool:
        """Whether it is so long that it may turn calls away."""
        return len(self._line) >= self._bounds.waiting_min

    def pass_by(self) -> None:
        """Count a call that does not stand in the line."""
        self._others += 1

    def enter(self, call: Waiting, message: bytes) -> None:
        """Begin a call, now or when its turn comes. Raises ResourceExhausted when the line is as long as it may be."""
        if not self._watching:
            self._watch(self._now_s())
        if not self._line:
            if self._begun < self._quota and self._turns() < self._bounds.turns_max:
                self._begun += 1
                call.begin(message)
                return
            self._standing_since_s = self._moved_at_s = self._now_s()
        elif self._is_at_its_most(len(message)):
            self.refused += 1
            raise self._refused()
        self._line[call] = message
        self._bytes += len(message)

    def leave(self, call: Waiting) -> None:
        """Forget a call that waits no longer."""
        message = self._line.pop(call, None)
        if message is not None:
            self._bytes -= len(message)

    def turns_away(self) -> bool:
        """Whether a call that comes now is turned away; it is counted then."""
        if not self.stands or not self._is_too_long():
            return False
        self.refused += 1
        return True

    def _first_now_s(self) -> float:
        self._now_s = asyncio.get_running_loop().time  # a line is made before its loop runs, and asks it often
        return self._now_s()

    def _is_at_its_most(self, size: int) -> bool:
        bounds = self._bounds
        return len(self._line) >= bounds.waiting_max or self._bytes + size > bounds.waiting_bytes_max

    def _is_too_long(self) -> bool:
        if self._is_at_its_most(0):
            return True
        now_s, patience_s = self._now_s(), self._bounds.patience_s
        if now_s - self._standing_since_s < self._bounds.burst_s:
            return False
        too_long = len(self._line) * self._each_s > patience_s or now_s - self._moved_at_s > patience_s
        if too_long and now_s - self._told_at_s >= _TOLD_EVERY_S:
            self._told_at_s = now_s
            log.warning("overloaded", waiting=len(self._line), turned_away=self.refused, turns=self._turns())
        return too_long

    def _watch(self, now_s: float) -> None:
        self._watching = True
        self._round_at_s = now_s
        self._begun = self._others = 0
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self._round, self._loop, True)

    def _round(self, loop: asyncio.AbstractEventLoop, follows: bool) -> None:
        """Begin as much as this round may; `follows`: the round before was the event loop's last one."""
        now_s = self._now_s()
        took_s, self._round_at_s = now_s - self._round_at_s, now_s
        if follows:
            self._learn(took_s)
        self._begun = self._others = 0
        while self._line and self._begun < self._quota and self._turns() < self._bounds.turns_max:
            call, message = self._line.popitem(last=False)
            self._bytes -= len(message)
            self._begun += 1
            call.begin(message)
        if self._begun:
            self._moved_at_s = now_s
            loop.call_soon(self._round, loop, True)
        elif self._line:
            # The disk is behind. To go round and round would only take the processor from the writer.
            loop.call_later(_STALLED_LOOK_S, self._round, loop, False)
        else:
            self._watching = False

    def _learn(self, took_s: float) -> None:
        bounds = self._bounds
        if self._line and self._begun:
            self._each_s += (took_s / self._begun - self._each_s) / _SMOOTHED_OVER
        self._others_each += (self._others - self._others_each) / _SMOOTHED_OVER
        wanted_s = bounds.shared_round_s if self._others_each > _SHARED_FROM else bounds.round_s
        quota = self._quota * 3 // 4 if took_s > wanted_s else self._quota + _QUOTA_STEP
        most = _QUOTA_MAX
        if self._line and self._others_each > _SHARED_FROM:
            most = max(1, round(self._others_each / bounds.calls_each))
        self._quota = min(most, max(quota, 1 + int(self._others_each) // bounds.share))
