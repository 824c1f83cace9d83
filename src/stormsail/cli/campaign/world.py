"""One world from beginning to end, whichever arm plays it: the loop, the clock, the cloud, and the judging.

An arm brings what runs an operation and what a kill does. The verdict is read from the cloud, twice: when the operation
was said to be over (or its time was), and once more when all is at rest.
"""

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from stormsail.cli.campaign.kinds import ACCOUNT, Operation, amiss, prepare
from stormsail.cli.campaign.plan import LATE, SETTLE_S, Kill, Plan, weather_over
from stormsail.delivery.providers.model.cloud import ModelCloud
from stormsail.delivery.providers.model.provider import ModelProvider
from stormsail.engine.sim.loop import Deadlock, Endless, SimLoop, run

NOMINAL_MAX_S: Final = 400.0
"""How long an operation may take where nothing goes wrong, while that is being found out."""
STEPS_MAX: Final = 5_000_000
EPOCH_S: Final = 1_700_000_000.0


class Broken(Exception):
    """A process of the world did what it must never do: the campaign is stopped, and shows the world's number."""


@dataclass(frozen=True, slots=True)
class Said:
    """What an orchestrator says of an operation at its end."""

    ok: bool
    detail: str = ""


class Arm(Protocol):
    """One way to run operations."""

    async def open(self) -> None:
        """Start its processes."""
        ...

    async def operate(self, operation: Operation) -> Said:
        """Run an operation to its end."""
        ...

    async def kill(self, kill: Kill) -> None:
        """Kill a process, and start it again after its time."""
        ...

    def close(self) -> None:
        """Let go of everything, after the world has ended."""
        ...


@dataclass(slots=True)
class Stage:
    """What an arm plays on."""

    plan: Plan
    loop: asyncio.AbstractEventLoop
    cloud: ModelCloud
    provider: ModelProvider
    broken: Callable[[str], None]
    """Told when a process did what it must never do."""
    began_s: float = 0.0
    """What the loop's clock showed when the world began."""

    def time_s(self) -> float:
        """Return how old the world is."""
        return self.loop.time() - self.began_s

    def wall_s(self) -> float:
        """Return the time of day."""
        return EPOCH_S + self.time_s()


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one operation went. `wrong` is empty where all is as intended."""

    number: int
    kind: str
    wrong: str
    took_s: float
    felt: tuple[str, ...]
    """The classes of fault that it met, sorted."""
    detail: str = ""
    effects: tuple[str, ...] = ()
    """What the cloud did, in order."""


STATE, TWICE, UNFINISHED, GIVEN_UP = "wrong end state", "done twice", "not finished", "given up"
"""Ways to be wrong. Given up: its orchestrator says it failed, although the cloud came to be as intended."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a world went."""

    verdicts: tuple[Verdict, ...]
    kills: tuple[tuple[str, bool], ...]
    """Of each kill: its class, and whether an operation that was under way then ended wrong."""
    simulated_s: float


def play(plan: Plan, nominal_s: Mapping[str, float], arm_on: Callable[[Stage], Arm]) -> Outcome:
    """Play a world. Without a kind's nominal time, its operations have NOMINAL_MAX_S."""
    loop = SimLoop(random.Random(f"{plan.seed}/loop"))
    loop.steps_max = STEPS_MAX
    troubles: list[str] = []
    stage = set_up(plan, loop, nominal_s, troubles.append)
    arm = arm_on(stage)
    was_collecting, was_logging = gc.isenabled(), logging.root.manager.disable
    gc.disable()  # a collection would close abandoned coroutines at a moment that no seed decides
    logging.disable(logging.CRITICAL)
    loop.set_exception_handler(lambda _, context: troubles.append(_told(context)) if "handle" in context else None)
    try:
        run(loop, play_out(stage, arm, nominal_s))
    except (Deadlock, Endless) as stuck:
        troubles.append(str(stuck))
    finally:
        arm.close()
        logging.disable(was_logging)
        if was_collecting:
            gc.enable()
    if troubles:
        raise Broken(f"world {plan.seed}: {troubles[0]}")
    return outcome_of(stage)


def set_up(
    plan: Plan, loop: asyncio.AbstractEventLoop, nominal_s: Mapping[str, float], broken: Callable[[str], None]
) -> Stage:
    """Make the cloud of a world, with what is there before, under its weather."""
    lasts_s = 60 + LATE * max(nominal_s.values(), default=NOMINAL_MAX_S / LATE) + SETTLE_S
    began_s = loop.time()

    def time_s() -> float:
        return loop.time() - began_s

    def now_ms() -> int:
        return int((EPOCH_S + time_s()) * 1000)

    weather = weather_over(plan, time_s, lasts_s)
    cloud = ModelCloud(now_ms, boots_ms=weather.boots_ms, capacity_limit=10_000)
    provider = ModelProvider(cloud, ACCOUNT, line=weather, clock_ms=now_ms)
    weather.settled = True
    for operation in plan.operations:
        prepare(cloud, operation)
    weather.settled = False
    cloud.effects.clear()
    return Stage(plan, loop, cloud, provider, broken, began_s)


async def play_out(stage: Stage, arm: Arm, nominal_s: Mapping[str, float]) -> None:
    """Play a world that is set up, to its rest."""
    await _World(stage, arm, nominal_s).play()


def outcome_of(stage: Stage) -> Outcome:
    """Judge a world that has been played."""
    return Outcome(_verdicts(stage), _kills(stage), stage.time_s())


class _World:
    def __init__(self, stage: Stage, arm: Arm, nominal_s: Mapping[str, float]) -> None:
        self._stage = stage
        self._arm = arm
        self._nominal_s = nominal_s

    async def play(self) -> None:
        await self._arm.open()
        loop = self._stage.loop
        killing = [loop.create_task(self._killed(kill)) for kill in self._stage.plan.kills]
        working = [loop.create_task(self._operated(operation)) for operation in self._stage.plan.operations]
        await asyncio.gather(*working, *killing)
        await asyncio.sleep(SETTLE_S)

    async def _operated(self, operation: Operation) -> None:
        await asyncio.sleep(operation.starts_at_s)
        operation.starts_at_s = self._stage.time_s()
        within_s = LATE * self._nominal_s.get(operation.kind.name, NOMINAL_MAX_S / LATE)
        try:
            said = await asyncio.wait_for(self._arm.operate(operation), within_s)
        except TimeoutError:
            said = None
        if said is not None:
            operation.ended_at_s = self._stage.time_s()
            operation.said_ok, operation.said = said.ok, said.detail
        operation.seen_at_end = amiss(self._stage.cloud, operation)

    async def _killed(self, kill: Kill) -> None:
        await asyncio.sleep(kill.at_s)
        self._felt(kill)
        await self._arm.kill(kill)
        self._felt(kill)  # those too that began while the process was not there

    def _felt(self, kill: Kill) -> None:
        for operation in self._stage.plan.operations:
            if _under_way(operation, kill.at_s, self._stage.time_s()):
                operation.felt.add(kill.victim)


def _under_way(operation: Operation, from_s: float, to_s: float) -> bool:
    """Tell whether an operation was under way at some moment of a time."""
    return operation.starts_at_s <= to_s and (operation.ended_at_s is None or operation.ended_at_s > from_s)


def _verdicts(stage: Stage) -> tuple[Verdict, ...]:
    effects: dict[str, list[str]] = {operation.application: [] for operation in stage.plan.operations}
    for effect in stage.cloud.effects:
        effects[effect.name.rpartition("-")[0]].append(f"{effect.kind} {effect.name} {effect.detail}".strip())
    return tuple(_verdict(stage, operation, effects[operation.application]) for operation in stage.plan.operations)


def _verdict(stage: Stage, operation: Operation, effects: list[str]) -> Verdict:
    ended_at_s = operation.ended_at_s
    state = operation.seen_at_end or amiss(stage.cloud, operation)
    made = sum(effect.startswith("create ") for effect in effects)
    if made > operation.kind.creates:
        wrong, detail = TWICE, f"{made} server groups were made; {operation.said}"
    elif ended_at_s is None:
        wrong, detail = UNFINISHED, state
    elif state:
        wrong, detail = STATE, f"{state}; {operation.said if not operation.said_ok else 'said to be done'}"
    elif not operation.said_ok:
        wrong, detail = GIVEN_UP, operation.said
    else:
        wrong, detail = "", ""
    took_s = (ended_at_s if ended_at_s is not None else stage.time_s()) - operation.starts_at_s
    felt = tuple(sorted(operation.felt))
    return Verdict(operation.number, operation.kind.name, wrong, took_s, felt, detail, tuple(effects))


def _kills(stage: Stage) -> tuple[tuple[str, bool], ...]:
    """Say of each kill whether it was followed by a wrong end of something that it hit."""
    wrong = {verdict.number for verdict in _verdicts(stage) if verdict.wrong}
    return tuple(
        (
            str(kill.victim),
            any(
                _under_way(one, kill.at_s, kill.at_s + kill.down_s) and one.number in wrong
                for one in stage.plan.operations
            ),
        )
        for kill in stage.plan.kills
    )


def _told(context: dict[str, object]) -> str:
    return f"{context.get('message')}: {context.get('exception')!r}"
