"""`stormsail campaign`: its options."""

from pathlib import Path

import click

from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import output_option

OPERATIONS = 2_000
FAULT_RATE = 0.03
SEED = 1


@click.command()
@click.option("--operations", type=click.IntRange(1, 100_000_000), default=OPERATIONS, show_default=True)
@click.option(
    "--fault-rate",
    type=click.FloatRange(0, 0.2),
    default=FAULT_RATE,
    show_default=True,
    help="The chance of a call to the cloud to go wrong; bursts, slow instances and kills follow from it.",
)
@click.option("--seed", type=click.IntRange(0), default=SEED, show_default=True, help="Both arms play the same worlds.")
@click.option("--arm", type=click.Choice(["durable", "legacy", "both"]), default="both", show_default=True)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write there now and then how far it is.",
)
@click.option("--resume", is_flag=True, help="Take up the campaign of --checkpoint where it was.")
@click.option(
    "--report", type=click.Path(path_type=Path, file_okay=False), help="Write campaign.md and campaign.svg there."
)
@click.option("--real", type=click.IntRange(1, 10_000), help="Play so many operations with real processes instead.")
@click.option("--mutant", default="", help="Plant this bug in the durable arm: a name of --list-mutants.")
@click.option("--list-mutants", is_flag=True, help="List the planted bugs.")
@click.option("--jobs", type=click.IntRange(1), help="Processes. [default: one a core]")
@output_option
def campaign(
    operations: int,
    fault_rate: float,
    seed: int,
    arm: str,
    checkpoint: Path | None,
    resume: bool,
    report: Path | None,
    real: int | None,
    mutant: str,
    list_mutants: bool,
    jobs: int | None,
    output: str,
) -> int:
    """Run the same operations on the same faulty cloud, the durable way and the polling way, and count the wrong ends.

    Wrong is what did not come to the intended end state, was done twice, or was not finished in ten times its nominal
    time; read from the cloud, whatever the orchestrator says. The durable arm is our engine and our operations on a
    simulated machine that is killed now and then; the legacy arm polls a service that keeps its tasks in memory.

    \b
    Example:
      stormsail campaign --operations 20000 --report bench/report
      stormsail campaign --operations 3000000 --arm durable --checkpoint night.json
      stormsail campaign --operations 400 --arm durable --mutant no-token
      stormsail campaign --real 200
    """
    from stormsail.cli.campaign import session

    if resume and checkpoint is None:
        raise CommandFailed("--resume needs the file", next_step="add --checkpoint FILE", code=ExitCode.USAGE)
    if mutant and arm == "legacy":
        raise CommandFailed("--mutant is of the durable arm", next_step="add --arm durable", code=ExitCode.USAGE)
    if real is not None and (mutant or checkpoint or report):
        raise CommandFailed("--real goes without --mutant, --checkpoint and --report", code=ExitCode.USAGE)
    if not __debug__:
        raise CommandFailed("the engine's checks on itself are off under `python -O`", next_step="unset PYTHONOPTIMIZE")
    if list_mutants:
        return session.list_mutants(output)
    if mutant:
        session.check_mutant(mutant)
    if real is not None:
        return session.play_real(real, fault_rate, seed, output)
    arms = ("durable", "legacy") if arm == "both" else (arm,)
    asked = session.Asked(operations, fault_rate, seed, arms, mutant, checkpoint, resume, report, jobs)
    return session.play_all(asked, output)
