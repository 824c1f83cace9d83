"""`stormsail operation retry`, `skip` and `rerun`: steer a step that backs off, or that failed and waits."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import click

from stormsail.cli.options import Place, output_option, place_options


def steering_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the operation, the step and what every steering command has."""
    for decorate in (
        output_option,
        place_options,
        click.option("--step", default="", help="Which step, by name or call. [default: the one that runs or waits]"),
        click.argument("operation_id", metavar="OPERATION"),
    ):
        command = decorate(command)
    return command


@click.command()
@steering_options
@click.option("--reason", default="", help="Why; kept with the operation.")
def retry(operation_id: str, step: str, reason: str, place: Place, output: str) -> int:
    """Try a step again now, instead of when its next attempt is due.

    It works on a step that backs off, and on one that failed for good and waits because the operation was started with
    --on-failure pause. Finished steps are not run again. Of two who ask at once, the second gets exit code 6.

    \b
    Example:
      stormsail operation retry 0196f3a2 --reason "the quota was raised"
    """
    from stormsail.cli.steering_run import run_steer

    return run_steer("retry", operation_id, step, reason, {}, place, output)


@click.command()
@steering_options
@click.option("--reason", required=True, help="Why; kept with the operation.")
def skip(operation_id: str, step: str, reason: str, place: Place, output: str) -> int:
    """Go on as if a step had been done. What it would have done is not done.

    A step that changes something is skipped only while it waits for a person; one that only waits, at any time.

    \b
    Example:
      stormsail operation skip 0196f3a2 --step waitBeforeCleanup --reason "checked by hand"
    """
    from stormsail.cli.steering_run import run_steer

    return run_steer("skip", operation_id, step, reason, {}, place, output)


@click.command()
@steering_options
@click.option("--set", "pairs", multiple=True, metavar="FIELD=VALUE", help="What to change, as capacity.max=4.")
@click.option("--reason", default="", help="Why; kept with the operation.")
def rerun(operation_id: str, step: str, pairs: tuple[str, ...], reason: str, place: Place, output: str) -> int:
    """Try a step that failed for good again with another input. `operation get -o json` shows the one it had.

    VALUE is JSON where it reads as JSON, else text.

    \b
    Examples:
      stormsail operation rerun 0196f3a2 --set capacity.max=4 --set capacity.desired=4
      stormsail operation rerun 0196f3a2 --set 'launch.command=["python", "app.py"]'
    """
    if not pairs:
        raise click.UsageError("say what to change: --set FIELD=VALUE. To try again unchanged: `operation retry`")
    from stormsail.cli.steering_run import run_steer

    return run_steer("rerun", operation_id, step, reason, fields_of(pairs), place, output)


def fields_of(pairs: Sequence[str], option: str = "--set") -> dict[str, Any]:
    """Return `a.b=value` words as nested fields."""
    fields: dict[str, Any] = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        names = path.split(".")
        if not equals or not all(names):
            raise click.BadParameter(f"{pair!r} is not FIELD=VALUE", param_hint=option)
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        place = fields
        for name in names[:-1]:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise click.BadParameter(f"{pair!r}: {name} was set to a value before", param_hint=option)
        place[names[-1]] = value
    return fields
