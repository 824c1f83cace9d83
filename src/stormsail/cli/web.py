"""`stormsail web`: the page and the REST API alone, in the foreground."""

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Place, place_options, task_queue_option
from stormsail.cli.server import make_data_dir

web = LazyGroup(
    "web",
    lazy={"start": Lazy("stormsail.cli.web:start", "Serve the page and the REST API here until stopped.", ("run",))},
    help="""Run the page and the REST API alone. `stormsail up` runs them together with engine and worker.

    \b
    Example:
      stormsail web start --engine 127.0.0.1:7233
    """,
)


@click.command()
@place_options
@task_queue_option
@click.option("--ip", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7234, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--account", "accounts", multiple=True, help="Account to show; repeat for more. [default: local]")
@click.option("--follow-parent", type=int, hidden=True, help="Stop when the process of this id, our parent, is gone.")
def start(
    place: Place, task_queue: str, ip: str, port: int, accounts: tuple[str, ...], follow_parent: int | None
) -> None:
    """Serve the page and the REST API here until SIGTERM or Ctrl-C.

    It starts without an engine too, and shows what it can as soon as one is there.

    \b
    Examples:
      stormsail web start --engine 127.0.0.1:7233 --data-dir ./state
      stormsail web start --engine temporal.example:7233 --namespace deployments --port 0
    """
    from stormsail.cli.web_run import run_until_stopped

    make_data_dir(place.data_dir)
    run_until_stopped(place, task_queue, ip, port, accounts or ("local",), follow_parent)
