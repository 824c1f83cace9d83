"""`stormsail operation`: look at operations, wait for one, cancel one."""

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Duration, Place, output_option, place_options

_HERE = "stormsail.cli.operations"

operation = LazyGroup(
    "operation",
    lazy={
        "list": Lazy(f"{_HERE}:list_", "List operations, newest first.", ("ls",)),
        "get": Lazy(f"{_HERE}:get", "Show one operation: steps, retries, result.", ("show", "describe")),
        "start": Lazy("stormsail.cli.own_operation:start", "Start any operation by its name.", ("run",)),
        "retry": Lazy("stormsail.cli.steering:retry", "Try a step again now."),
        "skip": Lazy("stormsail.cli.steering:skip", "Go on as if a step had been done."),
        "rerun": Lazy("stormsail.cli.steering:rerun", "Try a step again with another input."),
        "approve": Lazy("stormsail.cli.rollouts:approve", "Let a rollout that waits for a person go on."),
        "promote": Lazy("stormsail.cli.rollouts:promote", "Pass over what a rollout waits for, or all that is left."),
        "pause": Lazy("stormsail.cli.rollouts:pause", "Have a rollout wait for a person before its next step."),
        "abort": Lazy("stormsail.cli.rollouts:abort", "Give a rollout up; the old version gets every request back."),
        "watch": Lazy(f"{_HERE}:watch", "Follow an operation until it ends.", ("wait",)),
        "cancel": Lazy(f"{_HERE}:cancel", "Stop an operation and put the previous state back."),
    },
    help="""List, look at, watch or cancel operations.

    An operation's id may be shortened to 4 or more characters, as long as only one fits.

    \b
    Examples:
      stormsail operation list --status running
      stormsail operation watch 4313fc72
    """,
)


@click.command("list")
@click.option("--application", "--app", default="", help="Only operations of this application.")
@click.option(
    "--status",
    type=click.Choice(["RUNNING", "SUCCEEDED", "TERMINAL", "CANCELED"], case_sensitive=False),
    help="Only operations that stand so; TERMINAL means failed.",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most this many.")
@place_options
@output_option
def list_(application: str, status: str | None, limit: int, place: Place, output: str) -> int:
    """List operations, newest first.

    \b
    Examples:
      stormsail operation list --status running
      stormsail op ls --app hello -o jsonl
    """
    from stormsail.cli.operations_run import run_list

    return run_list(application, status, limit, place, output)


@click.command()
@click.argument("operation_id", metavar="OPERATION")
@place_options
@output_option
def get(operation_id: str, place: Place, output: str) -> int:
    """Show one operation: its steps, what it retries and when, how it ended.

    \b
    Example:
      stormsail operation get 0196f3a2
    """
    from stormsail.cli.operations_run import run_get

    return run_get(operation_id, place, output)


@click.command()
@click.argument("operation_id", metavar="OPERATION")
@click.option("--timeout", type=Duration(), help="Stop waiting after this long; the operation goes on.")
@place_options
@output_option
def watch(operation_id: str, timeout: float | None, place: Place, output: str) -> int:
    """Follow an operation until it ends; the exit code says how it ended. Ctrl-C detaches.

    \b
    Example:
      stormsail operation watch 0196f3a2
    """
    from stormsail.cli.operations_run import run_watch

    return run_watch(operation_id, timeout, place, output)


@click.command()
@click.argument("operation_id", metavar="OPERATION")
@click.option("--reason", default="", help="Why; kept with the operation.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it has put things back.")
@click.option("--timeout", type=Duration(), help="Stop waiting after this long.")
@place_options
@output_option
def cancel(operation_id: str, reason: str, wait: bool, timeout: float | None, place: Place, output: str) -> int:
    """Stop an operation; it puts the previous state back and ends as CANCELED.

    The exit code is 0 once it is cancelled, and 6 when it had ended before.

    \b
    Example:
      stormsail operation cancel 0196f3a2 --reason "wrong image"
    """
    from stormsail.cli.operations_run import run_cancel

    return run_cancel(operation_id, reason, wait, timeout, place, output)
