"""`stormsail audit`: who changed what through the page and the API, and why."""

import click

from stormsail.cli.auth import records_option
from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Place, output_option, place_options
from stormsail.cli.server import make_data_dir

audit = LazyGroup(
    "audit",
    lazy={
        "list": Lazy("stormsail.cli.audit:list_audit", "List the newest changes.", ("ls",)),
        "export": Lazy("stormsail.cli.audit:export", "Print all changes as JSON lines, oldest first."),
    },
    help="""Who changed what through the page and the API, when and why, before and after.

    \b
    Example:
      stormsail audit list --application hello
    """,
)


@click.command(name="list")
@place_options
@records_option
@click.option("--application", default="", help="Only changes of this application.")
@click.option("--target", default="", help="Only changes of this thing, for example operation/ID.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@output_option
def list_audit(place: Place, records_url: str, application: str, target: str, limit: int, output: str) -> int:
    """List the newest changes, newest first. It reads the records themselves: nothing need be running.

    \b
    Examples:
      stormsail audit list
      stormsail audit list --application hello -o json
    """
    from stormsail.cli.audit_run import run_list

    make_data_dir(place.data_dir)
    return run_list(place, records_url, application, target, limit, output)


@click.command()
@place_options
@records_option
def export(place: Place, records_url: str) -> int:
    """Print all changes as JSON lines, oldest first.

    \b
    Example:
      stormsail audit export > audit.jsonl
    """
    from stormsail.cli.audit_run import run_export

    make_data_dir(place.data_dir)
    return run_export(place, records_url)
