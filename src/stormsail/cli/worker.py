"""`stormsail worker`: a worker alone, in the foreground."""

from pathlib import Path

import click

from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.options import Duration, Place, place_options, task_queue_option
from stormsail.cli.server import make_data_dir

worker = LazyGroup(
    "worker",
    lazy={
        "start": Lazy("stormsail.cli.worker:start", "Run a worker here until it is stopped.", ("run",)),
        "list": Lazy("stormsail.cli.temporal.worker:list_", "List the workers that an engine knows.", ("ls",)),
        "describe": Lazy("stormsail.cli.temporal.worker:describe", "Show what one worker says of itself.", ("get",)),
    },
    help="""Run a worker alone, or look at those that run. `stormsail up` runs one together with an engine.

    \b
    Examples:
      stormsail worker start --engine 127.0.0.1:7233
      stormsail worker list
    """,
)


@click.command()
@place_options
@task_queue_option
@click.option(
    "--connect-timeout",
    type=Duration(),
    default="60s",
    show_default=True,
    help="How long to wait for an engine that does not answer yet.",
)
@click.option(
    "--traffic-guards",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="STORMSAIL_TRAFFIC_GUARDS",
    help="File of traffic guards, read anew for each change. [default: DATA-DIR/traffic-guards.json]",
)
@click.option(
    "--accounts",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="STORMSAIL_ACCOUNTS",
    help="File of the accounts to serve besides this machine's own. [default: DATA-DIR/accounts.toml]",
)
@click.option("--follow-parent", type=int, hidden=True, help="Stop when the process of this id, our parent, is gone.")
def start(
    place: Place,
    task_queue: str,
    connect_timeout: float,
    traffic_guards: Path | None,
    accounts: Path | None,
    follow_parent: int | None,
) -> None:
    """Run a worker here until SIGTERM or Ctrl-C.

    The worker carries out operations on this machine: it starts the processes of a server group, drives the load
    balancer, and keeps what it must remember under DATA-DIR/local. It can be killed at any moment.

    Other accounts, of clouds, are written down in a file: docs/providers/aws.md shows one.

    \b
    Example:
      stormsail worker start --engine 127.0.0.1:7233 --data-dir ./state
    """
    from stormsail.cli.worker_run import run_until_stopped

    make_data_dir(place.data_dir)
    run_until_stopped(place, task_queue, connect_timeout, follow_parent, traffic_guards, accounts)
