"""`stormsail operation approve`, `promote`, `pause` and `abort`: lead a rollout in steps."""

from collections.abc import Callable
from typing import Any

import click

from stormsail.cli.options import Place, output_option, place_options


def rollout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the operation, a reason and what every steering command has."""
    for decorate in (
        output_option,
        place_options,
        click.option("--reason", default="", help="Why; kept with the operation."),
        click.argument("operation_id", metavar="OPERATION"),
    ):
        command = decorate(command)
    return command


@click.command()
@rollout_options
def approve(operation_id: str, reason: str, place: Place, output: str) -> int:
    """Let a rollout that waits for a person go on. Of two who approve at once, the second gets exit code 6.

    \b
    Example:
      stormsail operation approve 0196f3a2 --reason "the errors are those of yesterday"
    """
    return _led("approve", operation_id, reason, {}, place, output)


@click.command()
@rollout_options
@click.option("--full", is_flag=True, help="Pass over all steps that are left: the new version gets every request.")
def promote(operation_id: str, reason: str, full: bool, place: Place, output: str) -> int:
    """Pass over the pause, approval or analysis that a rollout is at.

    \b
    Examples:
      stormsail operation promote 0196f3a2
      stormsail operation promote 0196f3a2 --full --reason "it mends an outage"
    """
    return _led("promote", operation_id, reason, {"full": True} if full else {}, place, output)


@click.command()
@rollout_options
def pause(operation_id: str, reason: str, place: Place, output: str) -> int:
    """Have a rollout wait before its next step until somebody approves.

    \b
    Example:
      stormsail operation pause 0196f3a2 --reason "looking into a report"
    """
    return _led("pause", operation_id, reason, {}, place, output)


@click.command()
@rollout_options
def abort(operation_id: str, reason: str, place: Place, output: str) -> int:
    """Give a rollout up: the old version gets every request back and the new one is destroyed.

    The operation ends as failed (TERMINAL), with what was put back. `operation cancel` does the same to any operation.

    \b
    Example:
      stormsail operation abort 0196f3a2 --reason "wrong image"
    """
    return _led("abort", operation_id, reason, {}, place, output)


def _led(verb: str, operation_id: str, reason: str, changes: dict[str, Any], place: Place, output: str) -> int:
    from stormsail.cli.steering_run import run_steer

    return run_steer(verb, operation_id, "", reason, changes, place, output)
