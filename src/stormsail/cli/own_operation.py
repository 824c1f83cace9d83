"""`stormsail operation start`: any operation by its name, those of installed packages too."""

import json
from typing import Any

import click

from stormsail.cli.options import ChangeOptions, Place, account_option, change_options, output_option, place_options
from stormsail.cli.steering import fields_of


@click.command()
@click.argument("operation_type", metavar="TYPE")
@click.argument("application", metavar="APP")
@click.option("--payload", "text", default="{}", metavar="JSON", help="The operation's input as a JSON object.")
@click.option("--set", "pairs", multiple=True, metavar="FIELD=VALUE", help="One field of it, as capacity.max=4.")
@place_options
@account_option
@change_options
@output_option
def start(
    operation_type: str,
    application: str,
    text: str,
    pairs: tuple[str, ...],
    place: Place,
    change: ChangeOptions,
    output: str,
) -> int:
    """Start the operation TYPE on APP. A TYPE that no worker knows is answered with those that it knows.

    \b
    Example:
      stormsail operation start restartServerGroup hello --set serverGroupName=hello-v000
    """
    payload = payload_of(text, pairs)
    from stormsail.cli.own_operation_run import run_start

    return run_start(operation_type, application, payload, place, change, output)


def payload_of(text: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return the payload that JSON and single fields make; a field overrules the JSON."""
    try:
        payload = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"it is not JSON: {error}", param_hint="--payload") from error
    if not isinstance(payload, dict):
        raise click.BadParameter("it must be a JSON object", param_hint="--payload")
    return {**payload, **fields_of(pairs)}
