"""`stormsail worker list|describe`: the workers of any SDK that an engine hears of."""

import click

from stormsail.cli.options import Place
from stormsail.cli.temporal.options import engine_options


@click.command("list")
@click.option("-q", "--query", default="", help="""List filter, as 'TaskQueue = "orders"'.""")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most this many.")
@engine_options
def list_(query: str, limit: int, place: Place, output: str) -> int:
    """List the workers that tell the engine of themselves, which the SDKs do about once a minute.

    \b
    Example:
      stormsail worker list --query 'TaskQueue = "stormsail"'
    """
    from stormsail.cli.temporal.worker_run import run_list

    return run_list(query, limit, place, output)


@click.command()
@click.option("--worker-instance-key", required=True, help="The worker's key, from `worker list`.")
@engine_options
def describe(worker_instance_key: str, place: Place, output: str) -> int:
    """Show what one worker says of itself: its host, its slots, what it polls.

    \b
    Example:
      stormsail worker describe --worker-instance-key 4c1d
    """
    from stormsail.cli.temporal.worker_run import run_describe

    return run_describe(worker_instance_key, place, output)
