"""What befalls one world: which operations begin when, what the weather is, and who is killed at which moment.

A world is a handful of operations on one cloud, with one set of processes. The plan depends on the seed alone, so both
arms play the same one. How often things go wrong all follows from one number, the fault rate: at 0 nothing does.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from stormsail.cli.campaign.kinds import KINDS, Operation, draw_kind
from stormsail.delivery.providers.model.weather import Climate, Trouble, Weather

OPERATIONS_A_WORLD: Final = 20
BEGIN_WITHIN_S: Final = 60.0
"""Operations of a world begin within this time."""
LATE: Final = 10.0
"""An operation that takes this many times its nominal time has not finished."""
SETTLE_S: Final = 60.0
"""What goes on after the last operation ended is seen, too."""

BURSTS_AN_HOUR: Final = 250.0
"""For a fault rate of 1; likewise the next two."""
SLOW_BOOTS: Final = 0.5
KILLS_A_WORLD: Final = 24.0
NETWORK_SHARE: Final = 0.1
"""The share of calls between our own processes that is lost, doubled or reset, each, of the fault rate."""
KILLS_WITHIN_S: Final = 90.0
KILLS_MAX: Final = 4
WORKER_DOWN_S: Final = (1.0, 6.0)
SERVICE_DOWN_S: Final = (1.0, 4.0)


class Victim(StrEnum):
    """Which process is killed."""

    WORKER = "worker kill"
    """The one that makes the calls to the cloud: a delivery worker, or the legacy operations service."""
    SERVICE = "service kill"
    """The one that knows how far operations are: our engine, or the legacy orchestrator."""


@dataclass(frozen=True, slots=True)
class Kill:
    """One SIGKILL, and how long it takes until the process is there again. `cut`: the power fails with it."""

    at_s: float
    victim: Victim
    down_s: float
    cut: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """See the module."""

    seed: str
    climate: Climate
    operations: tuple[Operation, ...]
    kills: tuple[Kill, ...]
    lost: float
    """The share of calls between our processes that is lost, and that is doubled, and that is reset."""


CLASSES: Final = (*(trouble.value for trouble in Trouble), *(victim.value for victim in Victim))
"""Every class of fault."""


def plan_world(seed: int, world: int, fault_rate: float, count: int = OPERATIONS_A_WORLD) -> Plan:
    """Draw a world."""
    name = f"campaign/{seed}/{world}"
    chance = random.Random(f"{name}/plan")
    operations = tuple(
        Operation(
            world * OPERATIONS_A_WORLD + number, draw_kind(chance), f"app{number}", chance.random() * BEGIN_WITHIN_S
        )
        for number in range(OPERATIONS_A_WORLD)
    )
    climate = Climate(
        fault_rate=fault_rate,
        bursts_an_hour=fault_rate * BURSTS_AN_HOUR,
        slow_boots=min(1.0, fault_rate * SLOW_BOOTS),
    )
    return Plan(name, climate, operations[:count], _kills(chance, fault_rate), fault_rate * NETWORK_SHARE)


def plan_nominal() -> Plan:
    """Return a world with one operation of each kind and no trouble, in which instances are as slow as is usual."""
    operations = tuple(Operation(number, kind, f"app{number}", 0.0) for number, kind in enumerate(KINDS))
    slowest_s = Climate(0.0).boot_s[1]
    return Plan("campaign/nominal", Climate(0.0, boot_s=(slowest_s, slowest_s)), operations, (), 0.0)


def weather_over(plan: Plan, now_s: Callable[[], float], lasts_s: float) -> Weather:
    """Return the weather of a world; what operations meet of it is noted with them."""
    of = {operation.application: operation for operation in plan.operations}

    def felt(application: str, trouble: Trouble) -> None:
        of[application].felt.add(trouble)

    return Weather(plan.seed, plan.climate, now_s=now_s, lasts_s=lasts_s, felt=felt)


def _kills(chance: random.Random, fault_rate: float) -> tuple[Kill, ...]:
    kills: list[Kill] = []
    rate = fault_rate * KILLS_A_WORLD / KILLS_WITHIN_S
    at_s = chance.expovariate(rate) if rate else KILLS_WITHIN_S
    while at_s < KILLS_WITHIN_S and len(kills) < KILLS_MAX:
        victim = chance.choice(tuple(Victim))
        down_s = chance.uniform(*(WORKER_DOWN_S if victim is Victim.WORKER else SERVICE_DOWN_S))
        kills.append(Kill(at_s, victim, down_s, cut=chance.random() < 0.5))
        at_s += down_s + chance.expovariate(rate)
    return tuple(kills)
