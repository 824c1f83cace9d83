"""All sources of one web process, each holding its last good answers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from stormsail.web.sources.engine import EngineAddress, EngineSource
from stormsail.web.sources.followed import Followed
from stormsail.web.sources.held import DEADLINE_S, Held
from stormsail.web.sources.kept import Kept

HISTORY_PAGES_MAX: Final = 32


def wall_ms() -> int:
    """Return the wall clock's time: ages are shown to people."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Sources:
    """What every reading takes. `accounts` holds one source an account, so that one that fails leaves the others."""

    engine: EngineSource
    held: Held
    """Answers of the engine itself."""
    histories: Held
    """Pages of histories, which may be large: few are kept."""
    timelines: Kept
    """Pages of timelines that can only ever say the same."""
    workers: Held
    """Answers of running operations about themselves, which only a worker can give."""
    accounts: dict[str, Held]
    """Answers of each account's cloud, read through a worker."""
    followed: Followed
    clouds_read_at_ms: "ReadAt"
    now_ms: Callable[[], int] = wall_ms

    @property
    def asked(self) -> int:
        """How many questions went out since the start, to all sources together."""
        return (
            self.held.asked
            + self.histories.asked
            + self.workers.asked
            + sum(held.asked for held in self.accounts.values())
        )

    def outdate(self, *, clouds: bool = True) -> None:
        """Have everything asked for again, because something was changed."""
        for held in (self.held, self.histories, self.workers, *(self.accounts.values() if clouds else ())):
            held.outdate()


@dataclass(slots=True)
class ReadAt:
    """When a viewer last read something."""

    value: int = 0


async def open_sources(
    at: EngineAddress,
    accounts: Sequence[str],
    now_ms: Callable[[], int] = wall_ms,
    *,
    deadline_s: float = DEADLINE_S,
) -> Sources:
    """Return sources for an engine, which need not be there yet."""
    return Sources(
        engine=await EngineSource.open(at),
        held=Held("engine", now_ms, deadline_s=deadline_s),
        histories=Held("engine", now_ms, keys_max=HISTORY_PAGES_MAX, deadline_s=deadline_s),
        timelines=Kept(),
        workers=Held("worker", now_ms, deadline_s=deadline_s),
        accounts={name: Held(f"account {name}", now_ms, deadline_s=deadline_s) for name in accounts},
        followed=Followed(),
        clouds_read_at_ms=ReadAt(),
        now_ms=now_ms,
    )
