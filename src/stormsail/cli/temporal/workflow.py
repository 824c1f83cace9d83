"""`stormsail workflow`: start workflows, find them, look at them."""

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Duration, Place
from stormsail.cli.temporal.options import Input, engine_options, start_options, workflow_option

_HERE = "stormsail.cli.temporal.workflow"
_ASK = "stormsail.cli.temporal.workflow_ask"
_CHANGE = "stormsail.cli.temporal.workflow_change"

workflow = LazyGroup(
    "workflow",
    lazy={
        "list": Lazy(f"{_HERE}:list_", "List workflows, newest first.", ("ls",)),
        "count": Lazy(f"{_HERE}:count", "Count workflows."),
        "describe": Lazy(f"{_HERE}:describe", "Show one workflow: status, times, what it waits for.", ("get",)),
        "show": Lazy(f"{_HERE}:show", "Show a workflow's history.", ("history", "trace")),
        "result": Lazy(f"{_HERE}:result", "Wait for a workflow and show what it returned."),
        "start": Lazy(f"{_HERE}:start", "Start a workflow."),
        "execute": Lazy(f"{_HERE}:execute", "Start a workflow and wait for its result.", ("run",)),
        "signal": Lazy(f"{_ASK}:signal", "Send a signal."),
        "signal-with-start": Lazy(f"{_ASK}:signal_with_start", "Send a signal, starting the workflow if need be."),
        "query": Lazy(f"{_ASK}:query", "Ask a running or closed workflow."),
        "stack": Lazy(f"{_ASK}:stack", "Show where a workflow's code waits."),
        "metadata": Lazy(f"{_ASK}:metadata", "Show which queries, signals and updates a workflow takes."),
        "update": Lazy(f"{_ASK}:update", "Send an update and wait for what it returns."),
        "cancel": Lazy(f"{_CHANGE}:cancel", "Ask a workflow to stop; it may clean up."),
        "terminate": Lazy(f"{_CHANGE}:terminate", "End a workflow at once, without its code running."),
        "reset": Lazy(f"{_CHANGE}:reset", "Run a workflow again from a point of its history."),
        "delete": Lazy(f"{_CHANGE}:delete", "Delete a workflow and its history."),
        "pause": Lazy(f"{_CHANGE}:pause", "Let a workflow do nothing more until it is unpaused."),
        "unpause": Lazy(f"{_CHANGE}:unpause", "Let a paused workflow go on."),
    },
    help="""Start, find, look at and steer workflows, with the verbs and flags of Temporal's command line.

    \b
    Examples:
      stormsail workflow list --query 'ExecutionStatus = "Running"'
      stormsail workflow show -w order-17 --follow
    """,
)


@click.command("list")
@click.option("-q", "--query", default="", help="""List filter, as 'WorkflowType = "Order" AND StartTime > "..."'.""")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most this many.")
@engine_options
def list_(query: str, limit: int, place: Place, output: str) -> int:
    """List workflows, newest first.

    \b
    Examples:
      stormsail workflow list --query 'WorkflowType = "Order" AND ExecutionStatus = "Failed"'
      stormsail workflow list -o name --limit 1000
    """
    from stormsail.cli.temporal.workflow_run import run_list

    return run_list(query, limit, place, output)


@click.command()
@click.option("-q", "--query", default="", help="List filter; GROUP BY ExecutionStatus counts each status.")
@engine_options
def count(query: str, place: Place, output: str) -> int:
    """Count workflows.

    \b
    Example:
      stormsail workflow count --query 'GROUP BY ExecutionStatus'
    """
    from stormsail.cli.temporal.workflow_run import run_count

    return run_count(query, place, output)


@click.command()
@workflow_option
@engine_options
def describe(workflow_id: str, run_id: str, place: Place, output: str) -> int:
    """Show one workflow: its status and times, pending activities and children, memo and search attributes.

    \b
    Example:
      stormsail workflow describe -w order-17
    """
    from stormsail.cli.temporal.workflow_run import run_describe

    return run_describe(workflow_id, run_id, place, output)


@click.command()
@workflow_option
@click.option("-f", "--follow", is_flag=True, help="Go on until the workflow ends.")
@click.option("--detailed", is_flag=True, help="Show each event's attributes.")
@click.option("--reverse", is_flag=True, help="Newest first.")
@engine_options
def show(workflow_id: str, run_id: str, follow: bool, detailed: bool, reverse: bool, place: Place, output: str) -> int:
    """Show a workflow's history. With -o json it is what the SDKs' replayers read.

    \b
    Examples:
      stormsail workflow show -w order-17 --follow
      stormsail workflow show -w order-17 -o json > history.json
    """
    from stormsail.cli.temporal.workflow_run import run_show

    if follow and (reverse or output not in ("table", "wide")):
        raise click.UsageError("--follow prints events as they come: leave out --reverse and -o")
    return run_show(workflow_id, run_id, place, output, follow=follow, detailed=detailed, reverse=reverse)


@click.command()
@workflow_option
@click.option("--timeout", type=Duration(), help="Stop waiting after this long; the workflow goes on.")
@engine_options
def result(workflow_id: str, run_id: str, timeout: float | None, place: Place, output: str) -> int:
    """Wait for a workflow to end and show what it returned. Exit code 3 when it failed, 7 when the wait was too long.

    \b
    Example:
      stormsail workflow result -w order-17 -o json
    """
    from stormsail.cli.temporal.workflow_run import run_result

    return run_result(workflow_id, run_id, timeout, place, output)


def _started(command: click.decorators.FC) -> click.decorators.FC:
    """Give a command what only a plain start has."""
    for decorate in (
        click.option("--start-delay", type=Duration(), help="Start this much later."),
        click.option("--fail-existing", is_flag=True, help="Fail if the id was ever used: RejectDuplicate."),
        click.option(
            "--id-conflict-policy",
            type=click.Choice(["Fail", "UseExisting", "TerminateExisting"], case_sensitive=False),
            help="What to do while a workflow with this id runs.",
        ),
        click.option(
            "--id-reuse-policy",
            type=click.Choice(
                ["AllowDuplicate", "AllowDuplicateFailedOnly", "RejectDuplicate", "TerminateIfRunning"],
                case_sensitive=False,
            ),
            help="What to do when a workflow with this id has ended.",
        ),
        click.option("-w", "--workflow-id", default="", help="Workflow id. [default: a new one]"),
    ):
        command = decorate(command)
    return command


@click.command()
@_started
@start_options
@engine_options
def start(arguments: list[Input], place: Place, output: str, **wanted: object) -> int:
    """Start a workflow and print its ids.

    \b
    Example:
      stormsail workflow start --type Order -t orders -w order-17 -i '{"item": "tea"}'
    """
    from stormsail.cli.temporal.workflow_run import run_start

    return run_start(arguments, wanted, place, output)


@click.command()
@_started
@start_options
@click.option("--timeout", type=Duration(), help="Stop waiting after this long; the workflow goes on.")
@engine_options
def execute(arguments: list[Input], timeout: float | None, place: Place, output: str, **wanted: object) -> int:
    """Start a workflow, wait for it, and show what it returned. Exit code 3 when it failed.

    \b
    Example:
      stormsail workflow execute --type Order -t orders -i '{"item": "tea"}' -o json
    """
    from stormsail.cli.temporal.workflow_run import run_execute

    return run_execute(arguments, wanted, timeout, place, output)
