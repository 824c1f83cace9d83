"""A whole campaign: worlds handed out to processes, counted in order, written down now and then, taken up again.

Memory is bounded: a world is forgotten once it is counted, and a process is replaced after some of them.
"""

import gc
import itertools
import json
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from stormsail.cli.campaign.durable import SOUND, DurableArm
from stormsail.cli.campaign.figures import Tally
from stormsail.cli.campaign.kinds import KINDS
from stormsail.cli.campaign.legacy import LegacyArm
from stormsail.cli.campaign.mutants import MUTANTS
from stormsail.cli.campaign.plan import OPERATIONS_A_WORLD, plan_nominal, plan_world
from stormsail.cli.campaign.world import Arm, Stage, play
from stormsail.cli.process import follow_parent

ARMS: Final = ("durable", "legacy")
WORLDS_A_CHUNK: Final = 5
AHEAD: Final = 4
"""Chunks handed out for each process, so that none waits for its next."""
CHUNKS_A_PROCESS: Final = 40
"""After so many a process is replaced, and whatever it had not freed is."""
CHECKPOINT_S: Final = 10.0
NOMINAL_MIN_S: Final = 20.0
"""Shorter operations are judged as if they took this long: else a single burst of faults were ten times their time."""

Nominal = dict[str, float]


class Unusable(Exception):
    """A checkpoint cannot be taken up; the message names the file and the rule."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is played. The same settings give the same figures."""

    operations: int
    fault_rate: float
    seed: int
    arms: tuple[str, ...]
    mutant: str = ""

    @property
    def worlds(self) -> int:
        """How many worlds that takes; the last one may be smaller."""
        return -(-self.operations // OPERATIONS_A_WORLD)

    @property
    def chunks(self) -> int:
        """How many chunks that are."""
        return -(-self.worlds // WORLDS_A_CHUNK)


@dataclass(slots=True)
class Campaign:
    """How far it is."""

    settings: Settings
    nominal_s: Nominal
    chunks_done: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    spent_s: float = 0.0
    """Wall clock time of this and earlier goes."""

    @property
    def operations_done(self) -> int:
        """How many operations each arm has played."""
        return min(self.settings.operations, self.chunks_done * WORLDS_A_CHUNK * OPERATIONS_A_WORLD)

    @property
    def over(self) -> bool:
        """Whether all was played."""
        return self.chunks_done >= self.settings.chunks

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        said = {
            "settings": asdict(self.settings),
            "nominal_s": self.nominal_s,
            "chunks_done": self.chunks_done,
            "spent_s": self.spent_s,
            "tallies": {arm: tally.to_json() for arm, tally in self.tallies.items()},
        }
        draft = path.with_name(f"{path.name}.new")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(said, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


def begin(settings: Settings) -> Campaign:
    """Begin a campaign."""
    return Campaign(settings, nominal_times(), tallies={arm: Tally() for arm in settings.arms})


def take_up(settings: Settings, path: Path) -> Campaign:
    """Take up a campaign where its checkpoint has it. Raises Unusable."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        tallies = {arm: Tally.from_json(one) for arm, one in said["tallies"].items()}
        before: dict[str, Any] = said["settings"]
        nominal_s: Nominal = {str(kind): float(time_s) for kind, time_s in said["nominal_s"].items()}
        done, spent_s = int(said["chunks_done"]), float(said["spent_s"])
    except FileNotFoundError:
        raise Unusable(f"there is no checkpoint {path}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise Unusable(f"{path} is no checkpoint of a campaign: {type(wrong).__name__} {wrong}") from wrong
    now = json.loads(json.dumps(asdict(settings)))
    for name, value in now.items():
        if before.get(name) != value:
            raise Unusable(f"{path} was begun with {name} {before.get(name)!r}, not {value!r}")
    if set(nominal_s) != {kind.name for kind in KINDS}:
        raise Unusable(f"{path} was begun by a version with other kinds of operation: begin a new campaign")
    return Campaign(settings, nominal_s, done, tallies, spent_s)


def run_campaign(
    campaign: Campaign, jobs: int, *, checkpoint: Path | None = None, report: Callable[[Campaign], None]
) -> None:
    """Play what is left. `report` is called after each chunk; a checkpoint is written now and then and at every end."""
    began_s, before_s = time.monotonic(), campaign.spent_s
    saved_s = began_s
    if checkpoint is not None:
        campaign.save(checkpoint)  # so that it can be taken up however soon it is killed
    try:
        for tallies in _tallies(campaign, jobs):
            for arm, tally in tallies.items():
                campaign.tallies[arm].add(tally)
            campaign.chunks_done += 1
            campaign.spent_s = before_s + time.monotonic() - began_s
            report(campaign)
            if checkpoint is not None and time.monotonic() - saved_s >= CHECKPOINT_S:
                campaign.save(checkpoint)
                saved_s = time.monotonic()
    finally:
        if checkpoint is not None:
            campaign.save(checkpoint)


def play_chunk(settings: Settings, chunk: int, nominal_s: Nominal) -> dict[str, Tally]:
    """Play the worlds of one chunk, in every arm."""
    tallies = {arm: Tally() for arm in settings.arms}
    first = chunk * WORLDS_A_CHUNK
    for world in range(first, min(first + WORLDS_A_CHUNK, settings.worlds)):
        count = min(OPERATIONS_A_WORLD, settings.operations - world * OPERATIONS_A_WORLD)
        for arm, tally in tallies.items():
            plan = plan_world(settings.seed, world, settings.fault_rate, count)
            tally.count(play(plan, nominal_s, _arm_on(arm, settings.mutant)), nominal_s)
    gc.collect()
    return tallies


def nominal_times() -> Nominal:
    """Return how long each kind of operation takes when nothing goes wrong, in the slower of the two arms."""
    nominal_s: Nominal = {}
    for arm in ARMS:
        for verdict in play(plan_nominal(), {}, _arm_on(arm, "")).verdicts:
            assert not verdict.wrong, f"{arm}: {verdict}"
            nominal_s[verdict.kind] = max(NOMINAL_MIN_S, verdict.took_s, nominal_s.get(verdict.kind, 0.0))
    return nominal_s


def _arm_on(arm: str, mutant: str) -> Callable[[Stage], Arm]:
    if arm == "legacy":
        return LegacyArm
    plant = MUTANTS[mutant].plant if mutant else SOUND
    return lambda stage: DurableArm(stage, plant)


def _tallies(campaign: Campaign, jobs: int) -> Iterator[dict[str, Tally]]:
    """Yield the chunks that are left, in order."""
    settings = campaign.settings
    left = iter(range(campaign.chunks_done, settings.chunks))
    if jobs == 1:
        for chunk in left:
            yield play_chunk(settings, chunk, campaign.nominal_s)
        return
    spawning = multiprocessing.get_context("spawn")  # not forked: a copy of a process with threads may stand still
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=spawning,
        initializer=_settle,
        initargs=(os.getpid(),),
        max_tasks_per_child=CHUNKS_A_PROCESS,
    )
    playing: deque[Future[dict[str, Tally]]] = deque()
    try:
        while True:
            for chunk in itertools.islice(left, jobs * AHEAD - len(playing)):
                playing.append(pool.submit(play_chunk, settings, chunk, campaign.nominal_s))
            if not playing:
                return
            yield playing.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _settle(parent: int) -> None:
    """In a new process: end with the one that began it. What is loaded stays, so collections need not look at it."""
    follow_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that counts
    gc.freeze()
