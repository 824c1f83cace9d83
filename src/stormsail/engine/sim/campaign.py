"""Many seeds, on all cores: until the time is over, the count is reached, or a promise is broken."""

import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Final

from stormsail.engine.sim.coverage import Met
from stormsail.engine.sim.mutants import MUTANTS, tampering_of
from stormsail.engine.sim.simulate import Outcome, simulate

AHEAD: Final = 3
"""Seeds handed out for each process, so that none waits for its next."""
MUTANT_SECONDS: Final = 600.0
"""CPU time within which each planted bug must be found."""


@dataclass(slots=True)
class Campaign:
    """What many seeds came to."""

    jobs: int
    began_s: float = field(default_factory=time.monotonic)
    seeds: int = 0
    calls: int = 0
    commits: int = 0
    power_cuts: int = 0
    faults: int = 0
    failed: Outcome | None = None
    seen: Counter[Met] = field(default_factory=Counter)
    """What was met, how often."""

    def count(self, outcome: Outcome) -> None:
        """Add a seed."""
        self.seeds += 1
        self.calls += outcome.calls
        self.commits += outcome.commits
        self.power_cuts += outcome.power_cuts
        self.faults += sum(outcome.faults.values())
        self.seen += outcome.seen
        if outcome.violation is not None and self.failed is None:
            self.failed = outcome

    @property
    def elapsed_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began_s

    @property
    def seeds_a_minute_a_core(self) -> float:
        """How fast it goes."""
        return self.seeds * 60 / max(self.elapsed_s, 0.001) / self.jobs


@dataclass(frozen=True, slots=True)
class Found:
    """How a planted bug fared. `seed` is 0 where nothing found it."""

    mutant: str
    seed: int
    invariant: str
    text: str
    cpu_s: float


def cores() -> int:
    """Return how many processes to use."""
    return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def play_seeds(
    first: int,
    *,
    count: int = 0,
    seconds: float = 0.0,
    mutant: str = "",
    jobs: int = 1,
    report: Callable[[Campaign], None] = lambda _: None,
) -> Campaign:
    """Play seeds from `first` on. Stops at the first one that fails. `report` is called after each."""
    campaign = Campaign(jobs)
    for outcome in _outcomes(campaign, first, count, seconds, mutant, jobs):
        campaign.count(outcome)
        report(campaign)
        if campaign.failed is not None:
            break
    return campaign


def find_mutant(name: str, first: int = 1, seconds: float = MUTANT_SECONDS) -> Found:
    """Play seeds until one finds the planted bug, for a bounded CPU time."""
    began_s = time.process_time()
    seed = first
    while (spent_s := time.process_time() - began_s) < seconds:
        violation = play_one(seed, name).violation
        if violation is not None:
            return Found(name, seed, violation.invariant, violation.text, time.process_time() - began_s)
        seed += 1
    return Found(name, 0, "", "", spent_s)


def find_all(jobs: int, first: int = 1, seconds: float = MUTANT_SECONDS) -> Iterator[Found]:
    """Look for every planted bug; yields each as it is done with."""
    names = list(MUTANTS)
    if jobs == 1:
        for name in names:
            yield find_mutant(name, first, seconds)
        return
    with _processes(jobs) as pool:
        yield from pool.map(find_mutant, names, [first] * len(names), [seconds] * len(names))


def play_one(seed: int, mutant: str = "") -> Outcome:
    """Play one seed, with a planted bug if one is named."""
    return simulate(seed, tampering_of(mutant) if mutant else None)


def _outcomes(campaign: Campaign, first: int, count: int, seconds: float, mutant: str, jobs: int) -> Iterator[Outcome]:
    def over(seed: int) -> bool:
        return bool(count and seed >= first + count) or bool(seconds and campaign.elapsed_s >= seconds)

    seed = first
    if jobs == 1:
        while not over(seed):
            yield play_one(seed, mutant)
            seed += 1
        return
    with _processes(jobs) as pool:
        running: set[Future[Outcome]] = set()
        try:
            while running or not over(seed):
                while len(running) < jobs * AHEAD and not over(seed):
                    running.add(pool.submit(play_one, seed, mutant))
                    seed += 1
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _processes(jobs: int) -> ProcessPoolExecutor:
    # Not forked: a copy of a process with threads may stand still.
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
