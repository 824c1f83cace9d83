"""What one seed plays with: how many of everything, and which faults.

Some faults are off in some seeds, for a fault that is always there hides what shows only without it.
"""

import random
from dataclasses import dataclass, replace
from typing import Final

from stormsail.engine.core.limits import DEFAULT_LIMITS, Limits

NAMESPACES: Final = ("alpha", "beta")


@dataclass(frozen=True, slots=True)
class Swarm:
    """The sizes and chances of one seed."""

    shuffled: bool
    workflow_ids: int
    clients: int
    operations: int
    """Of each client."""
    workers: int
    delay_s: float
    """The longest a message usually takes."""
    lost: float
    doubled: float
    reset: float
    power_cuts: bool
    kills: bool
    restarts: bool
    io_errors: bool
    disk_full: bool
    clock_steps: bool
    worker_deaths: bool
    fault_every_s: float
    writing_s: float
    """The longest a commit waits for the disk."""
    checkpoint_pages: int
    sticky: float
    lazy: float
    """The chance of a worker to dawdle until its task has timed out."""
    limits: Limits


def draw(chance: random.Random) -> Swarm:
    """Draw a seed's swarm."""

    def some(most: float) -> float:
        return chance.choice((0.0, most / 4, most))

    limits = replace(
        DEFAULT_LIMITS,
        open_runs_cached_max=chance.choice((2, 5, 20_000)),
        history_page_events_max=chance.choice((3, 7, 1_000)),
        visibility_page_max=chance.choice((2, 5, 1_000)),
        commit_queue_max=chance.choice((8, 20_000, 20_000)),
        buffered_events_max=chance.choice((3, 100)),
        timer_window_ms=chance.choice((1_000, 60_000)),
        activities_inside_max=1,
        recovered_first_runs=1,
        recovered_runs_at_once=1,
        long_poll_ms=20_000,
    )
    return Swarm(
        shuffled=chance.random() < 0.8,
        workflow_ids=chance.randint(1, 3),
        clients=chance.randint(2, 4),
        operations=chance.choice((8, 15, 40)),
        workers=chance.randint(1, 3),
        delay_s=chance.choice((0.001, 0.01, 0.2)),
        lost=some(0.05),
        doubled=some(0.1),
        reset=some(0.05),
        power_cuts=chance.random() < 0.7,
        kills=chance.random() < 0.4,
        restarts=chance.random() < 0.4,
        io_errors=chance.random() < 0.3,
        disk_full=chance.random() < 0.3,
        clock_steps=chance.random() < 0.3,
        worker_deaths=chance.random() < 0.5,
        fault_every_s=chance.choice((1.0, 4.0)),
        writing_s=chance.choice((0.0, 0.002, 0.05, 0.4)),
        checkpoint_pages=chance.choice((10, 60, 400)),
        sticky=chance.choice((0.0, 0.6, 1.0)),
        lazy=some(0.2),
        limits=limits,
    )
