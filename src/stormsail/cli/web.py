"""`stormsail web`: the page and the REST API alone, in the foreground."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def guard_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say who may reach the page, and how."""
    for decorate in (
        click.option(
            "--audit-days",
            type=click.IntRange(1, 36_500),
            default=400,
            show_default=True,
            help="How long changes are kept in the audit.",
        ),
        click.option(
            "--rate-limit",
            type=click.IntRange(1, 100_000),
            default=60,
            show_default=True,
            help="How many requests a principal may make in 10 seconds.",
        ),
        click.option(
            "--records-url",
            default="",
            envvar="STORMSAIL_RECORDS_URL",
            help="SQLAlchemy URL of audit and keys. [default: DATA-DIR/delivery.db]",
        ),
        click.option("--sign-in", is_flag=True, help="Ask for an API key on loopback too."),
        click.option(
            "--allowed-host", "allowed_hosts", multiple=True, help="Further name that the page is asked under."
        ),
        click.option(
            "--tls-key", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Its private key."
        ),
        click.option(
            "--tls-cert",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            help="Certificate (PEM) to serve the page with.",
        ),
    ):
        command = decorate(command)
    return command


@click.command()
@place_options
@task_queue_option
@click.option("--ip", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7234, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--account", "accounts", multiple=True, help="Account to show; repeat for more. [default: local]")
@guard_options
@click.option("--follow-parent", type=int, hidden=True, help="Stop when the process of this id, our parent, is gone.")
def start(
    place: Place,
    task_queue: str,
    ip: str,
    port: int,
    accounts: tuple[str, ...],
    follow_parent: int | None,
    **guard: Any,
) -> None:
    """Serve the page and the REST API here until SIGTERM or Ctrl-C.

    It starts without an engine too, and shows what it can as soon as one is there. On an address that other machines
    reach it needs a key to sign in with: `stormsail auth key create` makes one.

    \b
    Examples:
      stormsail web start --engine 127.0.0.1:7233 --data-dir ./state
      stormsail web start --engine temporal.example:7233 --namespace deployments --port 0
      stormsail web start --ip 0.0.0.0 --tls-cert cert.pem --tls-key key.pem
    """
    if (guard["tls_cert"] is None) is not (guard["tls_key"] is None):
        raise click.UsageError("--tls-cert and --tls-key belong together: give both, or none")
    from stormsail.cli.web_run import run_until_stopped

    make_data_dir(place.data_dir)
    run_until_stopped(place, task_queue, ip, port, accounts or ("local",), guard, follow_parent)
