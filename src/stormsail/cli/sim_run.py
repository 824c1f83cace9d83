"""What `stormsail sim` does: plays seeds, shows progress, and says how to play a failing one again."""

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.engine.sim import coverage
from stormsail.engine.sim.campaign import Campaign, Found, cores, find_all, play_seeds
from stormsail.engine.sim.mutants import MUTANTS, tampering_of
from stormsail.engine.sim.simulate import Outcome, simulate

PROGRESS_S: Final = 5.0
TAIL_LINES: Final = 25
MINUTES: Final = 1.0
ENOUGH_SEEDS: Final = 10
"""From so many on it is worth saying what was met in them."""
_TABLE_HEAD: Final = """# Planted bugs

Written by `stormsail sim --all-mutants --table docs/mutants.md`. Each line is a bug that can be planted between two
parts of the engine (`src/stormsail/engine/sim/mutants.py`), the first seed from {first} on that found it, and what was
found broken. A simulator that misses one of them has a hole.

| # | mutant | what it does | seed | CPU s | found as |
| --- | --- | --- | --- | --- | --- |
"""


def play(seed: int | None, seeds: int | None, minutes: float | None, mutant: str, jobs: int | None) -> int:
    """Play seeds until one fails; return the exit code."""
    first = random.SystemRandom().randrange(1 << 31) if seed is None else seed
    if seeds is None and minutes is None:
        seeds, minutes = (1, None) if seed is not None else (None, MINUTES)
    jobs = 1 if seeds == 1 else jobs or cores()
    bound = f"{seeds} seed{'s' if seeds != 1 else ''}" if seeds else f"{minutes:g} minutes"
    planted = f", with {mutant} planted" if mutant else ""
    click.echo(f"sim: seed {first} on, {bound}, {jobs} process{'es' if jobs > 1 else ''}{planted}", err=True)
    campaign = play_seeds(
        first, count=seeds or 0, seconds=(minutes or 0) * 60, mutant=mutant, jobs=jobs, report=_progress()
    )
    click.echo(_summary(campaign))
    if campaign.seeds >= ENOUGH_SEEDS:
        click.echo("\n".join(["features seen:", *coverage.report(campaign.seen)]))
    if campaign.failed is None:
        return int(ExitCode.OK)
    _show_failure(campaign.failed, mutant)
    return int(ExitCode.ERROR)


def show_steps(seed: int | None, mutant: str) -> int:
    """Play one seed and print its trace."""
    number = 1 if seed is None else seed
    outcome = simulate(number, tampering_of(mutant) if mutant else None, show=click.echo)
    if outcome.violation is None:
        click.echo(f"seed {number}: every promise was kept; trace {outcome.digest}")
        return int(ExitCode.OK)
    click.echo(f"seed {number}: {outcome.violation}")
    return int(ExitCode.ERROR)


def list_mutants() -> int:
    """Print the planted bugs."""
    for number, mutant in enumerate(MUTANTS.values(), 1):
        click.echo(f"{number:>2}  {mutant.name:<26} {mutant.says}")
    return int(ExitCode.OK)


def find_mutants(first: int, jobs: int | None, table: str | None) -> int:
    """Look for every planted bug; return whether all were found."""
    found: list[Found] = []
    for one in find_all(jobs or cores(), first):
        found.append(one)
        how = f"seed {one.seed}: {one.invariant}" if one.seed else "NOT FOUND"
        click.echo(f"{len(found):>2}/{len(MUTANTS)} {one.mutant:<26} {one.cpu_s:6.1f} s  {how}")
    missed = [one.mutant for one in found if not one.seed]
    if table:
        Path(table).write_text(_table(first, found), encoding="utf-8")
    click.echo(f"{len(found) - len(missed)} of {len(found)} planted bugs found")
    if missed:
        click.echo(f"not found: {', '.join(missed)}", err=True)
    return int(ExitCode.ERROR if missed else ExitCode.OK)


def check_mutant(name: str) -> None:
    """Refuse a mutant that is none."""
    try:
        tampering_of(name)
    except KeyError:
        raise CommandFailed(
            f"--mutant {name!r} is no planted bug", next_step="`stormsail sim --list-mutants`", code=ExitCode.USAGE
        ) from None


def _progress() -> Callable[[Campaign], None]:
    """Show progress on stderr now and then."""
    last_s = time.monotonic()

    def report(campaign: Campaign) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= PROGRESS_S:
            last_s = time.monotonic()
            click.echo(_summary(campaign), err=True)
            sys.stderr.flush()

    return report


def _summary(campaign: Campaign) -> str:
    return (
        f"{campaign.seeds} seeds in {campaign.elapsed_s:.0f} s ({campaign.seeds_a_minute_a_core:.0f} a minute a core): "
        f"{campaign.calls} calls, {campaign.commits} commits, {campaign.faults} faults, "
        f"{campaign.power_cuts} power cuts, {'1 violation' if campaign.failed else '0 violations'}"
    )


def _show_failure(outcome: Outcome, mutant: str) -> None:
    click.echo(f"\nseed {outcome.seed} broke a promise. The last of what happened:", err=True)
    for line in outcome.tail[-TAIL_LINES:]:
        click.echo(f"  {line}", err=True)
    click.echo(f"\n{outcome.violation}", err=True)
    planted = f" --mutant {mutant}" if mutant else ""
    click.echo(f"play it again: stormsail sim --seed {outcome.seed}{planted} --steps", err=True)


def _table(first: int, found: list[Found]) -> str:
    lines = [_TABLE_HEAD.format(first=first)]
    for number, one in enumerate(found, 1):
        told = one.text.partition(": ")[2] or one.text
        how = f"{one.invariant}: {_cell(told)}" if one.seed else "**not found**"
        lines.append(
            f"| {number} | {one.mutant} | {MUTANTS[one.mutant].says} | {one.seed or '-'} | {one.cpu_s:.1f} | {how} |\n"
        )
    return "".join(lines)


def _cell(text: str) -> str:
    """Fit a text into a table: one line, no bars, not too long."""
    flat = " ".join(text.replace("|", "/").replace("`", "'").split())
    return flat if len(flat) <= 100 else flat[:99] + "…"
