"""`stormsail demo`: its options; the rest is imported when it runs."""

import click

from stormsail.cli.options import Address


@click.command()
@click.option("--seed", type=int, help="Repeat a run's random moments. [default: a new one, printed]")
@click.option("--kills", type=click.IntRange(0, 1000), default=6, show_default=True, help="How many kill -9 in all.")
@click.option("--rate", type=click.IntRange(10, 2000), default=250, show_default=True, help="Requests a second.")
@click.option("--keep", is_flag=True, help="Leave it running and say how to look at it.")
@click.option(
    "--stop", "stop_dir", type=click.Path(exists=True, file_okay=False), help="Stop what --keep left in this directory."
)
@click.option(
    "--engine", "--address", type=Address(), default="", help="Use this Temporal server; only the worker is killed."
)
def demo(seed: int | None, kills: int, rate: int, keep: bool, stop_dir: str | None, engine: str) -> int:
    """Deploy v1, send traffic, move to v2 while engine and worker are killed again and again.

    Everything happens on this machine in a temporary directory, and nothing is left behind. It fails if one request
    failed, one process was made twice, one acknowledged call was lost, or one history does not replay. The last line
    is one JSON object.

    \b
    Examples:
      stormsail demo
      stormsail demo --kills 40 --seed 7
      stormsail demo --keep
    """
    from stormsail.cli.demo.show import run_demo, stop_kept

    if stop_dir is not None:
        return stop_kept(stop_dir)
    return run_demo(seed, kills, rate, keep, engine)
