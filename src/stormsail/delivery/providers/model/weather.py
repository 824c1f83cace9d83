"""Weather over a model cloud: how long calls take, which go wrong and how, and which instances are slow to start.

All of it comes from one seed. Bursts of trouble lie at set times and hit every caller alike; single faults are drawn
call by call from a stream of the application's own, so what befalls one application is not moved by another's calls.
"""

import asyncio
import random
import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from stormsail.delivery.model.names import InvalidName, parse_name
from stormsail.delivery.providers.errors import ProviderError, Transient, UnknownOutcome

T = TypeVar("T")


class Trouble(StrEnum):
    """What can befall an operation through its cloud."""

    THROTTLE = "throttle"
    """The call is turned away at once; nothing happened."""
    ERROR_BEFORE = "5xx before effect"
    """The cloud fails before it does anything. The caller cannot know that."""
    CUT_AFTER = "cut after effect"
    """The call has its effect and the reply is lost."""
    TIMEOUT = "timeout"
    """No reply comes for a long time; the call had its effect as often as not."""
    SLOW_HEALTH = "slow health"
    """An instance takes many times as long as usual to become healthy."""


SINGLE_SHARES: Final = (
    (Trouble.THROTTLE, 0.40),
    (Trouble.ERROR_BEFORE, 0.25),
    (Trouble.CUT_AFTER, 0.20),
    (Trouble.TIMEOUT, 0.15),
)
"""What single faults are."""

BURST_KINDS: Final = (Trouble.THROTTLE, Trouble.ERROR_BEFORE)
BURST_HITS: Final = 0.9
"""The share of calls that a burst turns away."""


@dataclass(frozen=True, slots=True)
class Climate:
    """How the weather is drawn. `fault_rate` is the chance of a single call to go wrong; the rest follows from it."""

    fault_rate: float
    latency_s: tuple[float, float] = (0.05, 0.6)
    """Of each way, there and back."""
    timeout_s: float = 10.0
    bursts_an_hour: float = 0.0
    burst_s: tuple[float, float] = (3.0, 15.0)
    boot_s: tuple[float, float] = (2.0, 6.0)
    slow_boots: float = 0.0
    """The chance that an instance is slow to become healthy."""
    slow_boot_s: tuple[float, float] = (12.0, 36.0)


class Weather:
    """See the module. It is the Line of a ModelProvider; `felt` hears which application was hit by what.

    `settled` instances are healthy at once: those that are there before the weather begins.
    """

    def __init__(
        self,
        seed: str,
        climate: Climate,
        *,
        now_s: Callable[[], float],
        lasts_s: float,
        felt: Callable[[str, Trouble], None] = lambda _application, _trouble: None,
    ) -> None:
        self._seed = seed
        self._climate = climate
        self._now_s = now_s
        self._felt = felt
        self._streams: dict[str, random.Random] = {}
        self._bursts = _bursts(random.Random(f"{seed}/bursts"), climate, lasts_s)
        self._burst_begins = [begin for begin, _, _ in self._bursts]
        self.settled = False

    def boots_ms(self, instance_id: str) -> int:
        """Return how long an instance takes to become healthy."""
        if self.settled:
            return 0
        chance = random.Random(f"{self._seed}/{instance_id}")
        slow = chance.random() < self._climate.slow_boots
        if slow:
            self._felt(application_of(instance_id.rpartition("-")[0]), Trouble.SLOW_HEALTH)
        return int(chance.uniform(*(self._climate.slow_boot_s if slow else self._climate.boot_s)) * 1000)

    async def carry(self, verb: str, kind: str, about: str, call: Callable[[], T]) -> T:  # noqa: ARG002
        """See Line."""
        application = application_of(about)
        chance = self._stream(application)
        there_s, back_s = chance.uniform(*self._climate.latency_s), chance.uniform(*self._climate.latency_s)
        drawn, which, done = chance.random(), chance.random(), chance.random()
        await asyncio.sleep(there_s)
        trouble = self._burst(drawn) or (_share(which) if drawn < self._climate.fault_rate else None)
        if trouble is None:
            answer = call()
            await asyncio.sleep(back_s)
            return answer
        self._felt(application, trouble)
        if trouble is Trouble.THROTTLE:
            raise Transient(f"{verb}: the model cloud throttles")
        if trouble is Trouble.CUT_AFTER or (trouble is Trouble.TIMEOUT and done < 0.5):
            _effect_alone(call)
        await asyncio.sleep(self._climate.timeout_s if trouble is Trouble.TIMEOUT else back_s)
        raise UnknownOutcome(f"{verb}: {_SAID[trouble]}")

    def _burst(self, drawn: float) -> Trouble | None:
        now_s = self._now_s()
        place = bisect_right(self._burst_begins, now_s) - 1
        if place < 0 or now_s >= self._bursts[place][1] or drawn >= BURST_HITS:
            return None
        return self._bursts[place][2]

    def _stream(self, application: str) -> random.Random:
        if application not in self._streams:
            self._streams[application] = random.Random(f"{self._seed}/{zlib.crc32(application.encode())}")
        return self._streams[application]


_SAID: Final = {
    Trouble.ERROR_BEFORE: "500 internal error",
    Trouble.CUT_AFTER: "the connection was reset",
    Trouble.TIMEOUT: "no reply",
}


def application_of(about: str) -> str:
    """Return the application of a server group's name, or the name itself."""
    try:
        return parse_name(about).app
    except InvalidName:
        return about


def _effect_alone(call: Callable[[], T]) -> None:
    """Have a call done whose answer nobody gets, be it good or bad."""
    try:
        call()
    except ProviderError:
        return


def _share(drawn: float) -> Trouble:
    for trouble, share in SINGLE_SHARES:
        if drawn < share:
            return trouble
        drawn -= share
    return SINGLE_SHARES[-1][0]


def _bursts(chance: random.Random, climate: Climate, lasts_s: float) -> list[tuple[float, float, Trouble]]:
    """Return (begin, end, what) of every burst, one after the other."""
    bursts: list[tuple[float, float, Trouble]] = []
    if climate.bursts_an_hour <= 0:
        return bursts
    at_s = chance.expovariate(climate.bursts_an_hour / 3600)
    while at_s < lasts_s:
        end_s = at_s + chance.uniform(*climate.burst_s)
        bursts.append((at_s, end_s, chance.choice(BURST_KINDS)))
        at_s = end_s + chance.expovariate(climate.bursts_an_hour / 3600)
    return bursts
