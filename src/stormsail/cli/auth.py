"""`stormsail auth key`: the keys that people and programs sign in to the page and the API with."""

from collections.abc import Callable
from typing import Any

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Duration, Place, output_option, place_options
from stormsail.cli.server import make_data_dir

auth = LazyGroup(
    "auth",
    lazy={"key": Lazy("stormsail.cli.auth:key", "Make, list, rotate and revoke API keys.", ("keys",))},
    help="""Who may sign in to the page and the REST API.

    \b
    Example:
      stormsail auth key create --name ci --grant 'write:hello@local' --expires 720h
    """,
)

key = LazyGroup(
    "key",
    lazy={
        "create": Lazy("stormsail.cli.auth:create", "Make a key; it is shown once."),
        "list": Lazy("stormsail.cli.auth:list_keys", "List keys with what they grant and when they end.", ("ls",)),
        "rotate": Lazy("stormsail.cli.auth:rotate", "Make a key in another's place; the old one ends a little later."),
        "revoke": Lazy("stormsail.cli.auth:revoke", "End a key now."),
    },
    help="""API keys. Only a hash of each is kept, in the records of the data directory.

    \b
    Example:
      stormsail auth key list
    """,
)


def records_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--records-url`."""
    return click.option(
        "--records-url",
        default="",
        envvar="STORMSAIL_RECORDS_URL",
        help="SQLAlchemy URL of the records. [default: DATA-DIR/delivery.db]",
    )(command)


@click.command()
@place_options
@records_option
@click.option("--name", required=True, help="Whose key it is; shown in the audit.")
@click.option(
    "--grant",
    "grants",
    multiple=True,
    required=True,
    metavar="ROLE:APP[@ACCOUNT]",
    help="What it may do: read, execute (steer) or write (deploy), on names or patterns with *; repeat for more.",
)
@click.option("--expires", type=Duration(), default="2160h", show_default=True, help="How long it is good for.")
@output_option
def create(place: Place, records_url: str, name: str, grants: tuple[str, ...], expires: float, output: str) -> int:
    """Make a key and show it, once: only its hash is kept.

    \b
    Examples:
      stormsail auth key create --name alice --grant 'read:*' --grant 'execute:*' --grant 'write:*'
      stormsail auth key create --name ci --grant 'write:hello@local' --expires 720h -o json
    """
    from stormsail.cli.auth_run import run_create

    make_data_dir(place.data_dir)
    return run_create(place, records_url, name, grants, expires, output)


@click.command(name="list")
@place_options
@records_option
@output_option
def list_keys(place: Place, records_url: str, output: str) -> int:
    """List keys with what they grant and when they end.

    \b
    Example:
      stormsail auth key list -o json
    """
    from stormsail.cli.auth_run import run_list

    make_data_dir(place.data_dir)
    return run_list(place, records_url, output)


@click.command()
@click.argument("key_id")
@place_options
@records_option
@click.option("--overlap", type=Duration(), default="24h", show_default=True, help="How long the old key stays good.")
@click.option("--expires", type=Duration(), default="2160h", show_default=True, help="How long the new one is good.")
@output_option
def rotate(place: Place, records_url: str, key_id: str, overlap: float, expires: float, output: str) -> int:
    """Make a key with the name and grants of another, and let that one end after an overlap.

    \b
    Example:
      stormsail auth key rotate 4f1c2a9be01d7733 --overlap 1h
    """
    from stormsail.cli.auth_run import run_rotate

    make_data_dir(place.data_dir)
    return run_rotate(place, records_url, key_id, overlap, expires, output)


@click.command()
@click.argument("key_id")
@place_options
@records_option
@output_option
def revoke(place: Place, records_url: str, key_id: str, output: str) -> int:
    """End a key now, with every session that was begun with it.

    \b
    Example:
      stormsail auth key revoke 4f1c2a9be01d7733
    """
    from stormsail.cli.auth_run import run_revoke

    make_data_dir(place.data_dir)
    return run_revoke(place, records_url, key_id, output)
