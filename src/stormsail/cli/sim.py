"""`stormsail sim`: the engine on a simulated machine, network and disk, for those who work on it."""

import click

from stormsail.cli.errors import CommandFailed, ExitCode


@click.command()
@click.option("--seed", type=click.IntRange(0), help="The first seed. [default: drawn, and printed]")
@click.option("--seeds", type=click.IntRange(1), help="How many seeds to play. [default: 1 with --seed alone]")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="How long to play. [default: 1]")
@click.option("--mutant", default="", help="Plant this bug first: a name or number of --list-mutants.")
@click.option("--steps", is_flag=True, help="Print the whole trace of one seed.")
@click.option("--all-mutants", is_flag=True, help="Show that every planted bug is found, and by which seed.")
@click.option("--list-mutants", is_flag=True, help="List the planted bugs.")
@click.option(
    "--table", type=click.Path(dir_okay=False, writable=True), help="With --all-mutants: write a table there."
)
@click.option("--jobs", type=click.IntRange(1), help="Processes. [default: one a core]")
def sim(
    seed: int | None,
    seeds: int | None,
    minutes: float | None,
    mutant: str,
    steps: bool,
    all_mutants: bool,
    list_mutants: bool,
    table: str | None,
    jobs: int | None,
) -> int:
    """Look for broken promises on a simulated machine, network and disk.

    Each seed plays a few minutes of many clients and workers, in which messages are lost and doubled, processes die and
    the power is cut; then every acknowledgement is held against every history. One seed always goes the same way.

    \b
    Example:
      stormsail sim --minutes 2
      stormsail sim --seed 7 --steps
      stormsail sim --seed 1 --seeds 100 --mutant timer-early
    """
    from stormsail.cli import sim_run

    if table and not all_mutants:
        raise CommandFailed("--table goes with --all-mutants", code=ExitCode.USAGE)
    if not __debug__:
        raise CommandFailed("the engine's checks on itself are off under `python -O`", next_step="unset PYTHONOPTIMIZE")
    if list_mutants:
        return sim_run.list_mutants()
    if all_mutants:
        return sim_run.find_mutants(seed or 1, jobs, table)
    if mutant:
        sim_run.check_mutant(mutant)
    if steps:
        return sim_run.show_steps(seed, mutant)
    return sim_run.play(seed, seeds, minutes, mutant, jobs)
