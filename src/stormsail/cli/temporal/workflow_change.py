"""`stormsail workflow cancel|terminate|reset|...`: what ends a workflow, puts it back, or holds it."""

import click

from stormsail.cli.options import Place
from stormsail.cli.temporal.options import engine_options, many_options, one_or_many, workflow_option

_REASON = click.option("--reason", default="", help="Why; kept with the workflow.")


@click.command()
@many_options
@engine_options
def cancel(workflow_id: str, run_id: str, query: str, reason: str, yes: bool, place: Place, output: str) -> int:
    """Ask a workflow, or all that a query finds, to stop. Its code may clean up first.

    \b
    Examples:
      stormsail workflow cancel -w order-17 --reason "customer left"
      stormsail workflow cancel --query 'WorkflowType = "Order"' --reason "shop closes"
    """
    from stormsail.cli.temporal.workflow_change_run import run_cancel

    one_or_many(workflow_id, run_id, query)
    return run_cancel(workflow_id, run_id, query, reason, yes, place, output)


@click.command()
@many_options
@engine_options
def terminate(workflow_id: str, run_id: str, query: str, reason: str, yes: bool, place: Place, output: str) -> int:
    """End a workflow, or all that a query finds, at once. Its code does not run again, so nothing is cleaned up.

    \b
    Examples:
      stormsail workflow terminate -w order-17 --reason "stuck for good"
      stormsail workflow terminate --query 'WorkflowType = "Test"' --reason "leftovers" --yes
    """
    from stormsail.cli.temporal.workflow_change_run import run_terminate

    one_or_many(workflow_id, run_id, query)
    return run_terminate(workflow_id, run_id, query, reason, yes, place, output)


@click.command()
@many_options
@engine_options
def delete(workflow_id: str, run_id: str, query: str, reason: str, yes: bool, place: Place, output: str) -> int:
    """Delete a workflow, or all that a query finds, with their histories. A running one is terminated first.

    \b
    Example:
      stormsail workflow delete -w order-17
    """
    from stormsail.cli.temporal.workflow_change_run import run_delete

    one_or_many(workflow_id, run_id, query)
    return run_delete(workflow_id, run_id, query, reason, yes, place, output)


@click.command()
@many_options
@click.option("-e", "--event-id", type=click.IntRange(1), help="Go back to this workflow task's end, by event id.")
@click.option(
    "-t",
    "--type",
    "kind",
    type=click.Choice(["FirstWorkflowTask", "LastWorkflowTask"], case_sensitive=False),
    help="Go back to the first or the last workflow task.",
)
@click.option(
    "--reapply-exclude",
    type=click.Choice(["All", "Signal", "Update"], case_sensitive=False),
    multiple=True,
    help="Do not carry these over to the new run; may be repeated.",
)
@engine_options
def reset(
    workflow_id: str,
    run_id: str,
    query: str,
    reason: str,
    yes: bool,
    event_id: int | None,
    kind: str | None,
    reapply_exclude: tuple[str, ...],
    place: Place,
    output: str,
) -> int:
    """Run a workflow again from a point of its history; what comes after that point is forgotten.

    Signals and updates that came later are given to the new run, unless they are excluded.

    \b
    Examples:
      stormsail workflow reset -w order-17 --type LastWorkflowTask --reason "bug fixed in 1.4"
      stormsail workflow reset -w order-17 --event-id 9 --reason "bad price"
    """
    from stormsail.cli.temporal.workflow_change_run import run_reset

    one_or_many(workflow_id, run_id, query)
    if (event_id is None) == (kind is None):
        raise click.UsageError("say where to go back to: either --event-id or --type")
    if query and event_id is not None:
        raise click.UsageError("--event-id goes with --workflow-id; a batch takes --type")
    if not reason:
        raise click.UsageError("Missing option '--reason': a reset is kept with why it was made")
    return run_reset(workflow_id, run_id, query, reason, yes, event_id, kind, reapply_exclude, place, output)


@click.command()
@workflow_option
@_REASON
@engine_options
def pause(workflow_id: str, run_id: str, reason: str, place: Place, output: str) -> int:
    """Let a workflow do nothing more until it is unpaused.

    \b
    Example:
      stormsail workflow pause -w order-17 --reason "the warehouse is being moved"
    """
    from stormsail.cli.temporal.workflow_change_run import run_pause

    return run_pause(workflow_id, run_id, reason, place, output)


@click.command()
@workflow_option
@_REASON
@engine_options
def unpause(workflow_id: str, run_id: str, reason: str, place: Place, output: str) -> int:
    """Let a paused workflow go on.

    \b
    Example:
      stormsail workflow unpause -w order-17
    """
    from stormsail.cli.temporal.workflow_change_run import run_unpause

    return run_unpause(workflow_id, run_id, reason, place, output)
