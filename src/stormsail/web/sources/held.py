"""Readings with a deadline that keep the last good answer: what a source that is away still lets us show, and how old.

A source that fails never turns into an empty answer: there is the last good one with its age and the error, or none.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

DEADLINE_S: Final = 3.0
"""How long a viewer waits for a source before it is shown what there is."""

GIVE_UP_S: Final = 25.0
"""How long a reading that no viewer waits for any more may go on."""

FRESH_MS: Final = 500
"""A reading this young is shown again without asking: many viewers are one question."""

KEYS_MAX: Final = 512


class SourceStatus(StrEnum):
    """What a source's answer is worth."""

    OK = "ok"
    STALE = "stale"
    """It fails now; what is shown is its last good answer, `age_ms` old."""
    FAILED = "failed"
    """It fails now and never answered: nothing of it is shown, which does not mean that there is nothing."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a part of a page comes from, and what that is worth."""

    name: str
    status: SourceStatus
    as_of_ms: int | None
    """When what is shown was read; None when it never was."""
    age_ms: int | None
    error: str = ""
    """Why it fails, in words with what to do next; empty while it does not."""


@dataclass(frozen=True, slots=True)
class Reading(Generic[T]):
    """One source's answer. `value` is None only when the source failed and never answered."""

    value: T | None
    source: Source


class SourceFailed(Exception):
    """A source gave no answer: away, overloaded, too slow. Never used for an answer that says no."""


@dataclass(slots=True)
class _Kept:
    value: Any = None
    as_of_ms: int | None = None
    asking: "asyncio.Task[None] | None" = None
    asked_in: int = 0
    """The era of the question that is out."""
    era: int = 0
    """The era of the question that the value answers."""
    error: str = ""


class Held:
    """The answers of one source by key: each at most one question at a time, the last good answer kept."""

    def __init__(
        self, name: str, now_ms: Callable[[], int], *, keys_max: int = KEYS_MAX, deadline_s: float = DEADLINE_S
    ) -> None:
        self.name = name
        self.asked = 0
        """How many questions went to the source since the start."""
        self._now_ms = now_ms
        self._era = 0
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._keys_max = keys_max
        self._deadline_s = deadline_s

    async def read(
        self,
        key: Hashable,
        fetch: Callable[[], Awaitable[T]],
        *,
        fresh_ms: int = FRESH_MS,
    ) -> Reading[T]:
        """Return the answer, asking unless it is fresh. What `fetch` raises other than SourceFailed passes through."""
        kept = self._of(key)
        old = kept.as_of_ms is None or self._now_ms() - kept.as_of_ms >= fresh_ms
        if old or kept.error or kept.era != self._era:
            if kept.asking is None or kept.asked_in != self._era:
                kept.asked_in = self._era
                kept.asking = asyncio.create_task(self._ask(kept, fetch))
                kept.asking.add_done_callback(_looked_at)
            asking = kept.asking
            await asyncio.wait({asking}, timeout=self._deadline_s)
            if not asking.done():
                return self._shown(kept, kept.error or f"{self.name} has not answered within {self._deadline_s:g} s")
            await asking
        return self._shown(kept, kept.error)

    def outdate(self) -> None:
        """Have everything asked for again, because something was changed: a question that is out may miss it."""
        self._era += 1

    @property
    def kept(self) -> int:
        """How many answers are kept."""
        return len(self._kept)

    async def _ask(self, kept: _Kept, fetch: Callable[[], Awaitable[T]]) -> None:
        self.asked += 1
        era = self._era
        asked_at_ms = self._now_ms()
        try:
            async with asyncio.timeout(GIVE_UP_S):
                value = await fetch()
        except SourceFailed as failed:
            kept.error = str(failed)
        except TimeoutError:
            kept.error = f"{self.name} has not answered within {GIVE_UP_S:g} s"
        else:
            if kept.as_of_ms is None or asked_at_ms >= kept.as_of_ms:
                kept.value, kept.as_of_ms, kept.error, kept.era = value, asked_at_ms, "", era
        finally:
            if kept.asking is asyncio.current_task():
                kept.asking = None

    def _of(self, key: Hashable) -> _Kept:
        kept = self._kept.setdefault(key, _Kept())
        self._kept.move_to_end(key)
        while len(self._kept) > self._keys_max:
            self._kept.popitem(last=False)
        return kept

    def _shown(self, kept: _Kept, error: str) -> Reading[Any]:
        if kept.as_of_ms is None:
            return Reading(None, Source(self.name, SourceStatus.FAILED, None, None, error))
        age_ms = max(self._now_ms() - kept.as_of_ms, 0)
        status = SourceStatus.STALE if error else SourceStatus.OK
        return Reading(kept.value, Source(self.name, status, kept.as_of_ms, age_ms, error))


def _looked_at(task: "asyncio.Task[None]") -> None:
    # A question whose last viewer has gone may fail with nobody there to hear it.
    if not task.cancelled():
        task.exception()
