"""`stormsail batch`: look at batches, stop one. `workflow cancel|terminate|signal|reset|delete --query` begin them."""

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Place
from stormsail.cli.temporal.options import engine_options

_HERE = "stormsail.cli.temporal.batch"

batch = LazyGroup(
    "batch",
    lazy={
        "list": Lazy(f"{_HERE}:list_", "List batches, newest first.", ("ls",)),
        "describe": Lazy(f"{_HERE}:describe", "Show how far a batch has come.", ("get",)),
        "terminate": Lazy(f"{_HERE}:terminate", "Stop a batch; what it has done stays done.", ("stop",)),
    },
    help="""Look at batches and stop them. A batch is begun by a verb of `workflow` with --query.

    \b
    Examples:
      stormsail workflow terminate --query 'WorkflowType = "Test"' --reason "leftovers"
      stormsail batch list
    """,
)

_JOB = click.option("--job-id", required=True, help="The batch's id.")


@click.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most this many.")
@engine_options
def list_(limit: int, place: Place, output: str) -> int:
    """List batches, newest first.

    \b
    Example:
      stormsail batch list
    """
    from stormsail.cli.temporal.batch_run import run_list

    return run_list(limit, place, output)


@click.command()
@_JOB
@engine_options
def describe(job_id: str, place: Place, output: str) -> int:
    """Show how far a batch has come: how many workflows are done, how many failed.

    \b
    Example:
      stormsail batch describe --job-id 1f0c
    """
    from stormsail.cli.temporal.batch_run import run_describe

    return run_describe(job_id, place, output)


@click.command()
@_JOB
@click.option("--reason", required=True, help="Why; kept with the batch.")
@engine_options
def terminate(job_id: str, reason: str, place: Place, output: str) -> int:
    """Stop a batch. What it has done stays done.

    \b
    Example:
      stormsail batch terminate --job-id 1f0c --reason "wrong query"
    """
    from stormsail.cli.temporal.batch_run import run_terminate

    return run_terminate(job_id, reason, place, output)
