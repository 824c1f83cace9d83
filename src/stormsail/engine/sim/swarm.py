"""What one seed plays with: how many of everything, and which faults.

Some faults are off in some seeds, for a fault that is always there hides what shows only without it.
"""

import random
from dataclasses import dataclass, replace
from typing import Final

from stormsail.engine.core.limits import DEFAULT_LIMITS, Limits

NAMESPACES: Final = ("alpha", "beta")
FEATURES: Final = (
    "families",
    "updates",
    "queries",
    "schedules",
    "activities",
    "pauses",
    "deletions",
    "retention",
    "resets",
    "crowds",
    "rot",
    "batches",
)
"""What is played beside starts, signals, timers and activities, each in some seeds only.

`families`: children, and workflows that signal and cancel each other. `activities`: people pause, reset and change
them. `pauses`: people pause runs. `crowds`: few workers and slow ones, so that tasks wait. `rot`: in the end bits of
the file change. `batches`: somebody does the same to many runs at once.
"""
RETENTION_S: Final = 20.0
"""How long closed runs of the first namespace stay, where the seed plays it."""


@dataclass(frozen=True, slots=True)
class Swarm:
    """The sizes and chances of one seed."""

    features: frozenset[str]
    shape: str
    """What steps its workflows are made of."""
    shuffled: bool
    workflow_ids: int
    clients: int
    operations: int
    """Of each client."""
    workers: int
    activity_s: float
    """How long an activity takes at most, where it does not hang."""
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

    features = _features(chance)
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
        retention_sweep_ms=3_000,
    )
    return Swarm(
        features=features,
        shape=_shape(features, chance),
        shuffled=chance.random() < 0.8,
        workflow_ids=chance.randint(1, 3) if "crowds" not in features else 6,
        clients=chance.randint(2, 4),
        operations=chance.choice((8, 15, 40) if "schedules" not in features else (4, 8, 15)),
        workers=chance.randint(1, 3) if "crowds" not in features else 1,
        activity_s=0.3 if "crowds" not in features else 2.0,
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


def _features(chance: random.Random) -> frozenset[str]:
    """Draw what is played: one or two things alone and so the more of them, or some of everything."""
    if chance.random() < 0.5:
        drawn = frozenset(chance.sample(FEATURES, chance.randint(1, 2)))
    else:
        drawn = frozenset(one for one in FEATURES if chance.random() < 0.35)
    # A reset carries updates over.
    return drawn | {"updates"} if "resets" in drawn and chance.random() < 0.6 else drawn


def _shape(features: frozenset[str], chance: random.Random) -> str:
    if "families" in features and "resets" not in features:
        return chance.choice(("mixed", "family"))
    return chance.choice(("leaf", "busy")) if features & {"activities", "crowds"} else "leaf"
