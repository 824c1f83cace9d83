"""`stormsail server`: the engine alone, in the foreground."""

import asyncio
import contextlib
import ipaddress
import os
import signal
from pathlib import Path
from typing import Final

import click

from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.notes import left_note
from stormsail.cli.options import default_data_dir
from stormsail.cli.output import note
from stormsail.cli.process import follow_parent

server = LazyGroup(
    "server",
    lazy={"start": Lazy("stormsail.cli.server:start", "Run the engine here until it is stopped.", ("run",))},
    help="""Run the engine alone. `stormsail up` runs it together with a worker.

    \b
    Example:
      stormsail server start --data-dir ./state
    """,
)

_NOT_YET: Final = {
    "tls_cert": ("--tls-cert", "TLS"),
    "tls_key": ("--tls-key", "TLS"),
    "tls_client_ca": ("--tls-client-ca", "mutual TLS"),
    "api_key_file": ("--api-key-file", "API keys"),
}


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="STORMSAIL_DATA_DIR",
    help="Where the engine keeps its state. [default: ~/.local/share/stormsail]",
)
@click.option("--ip", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=7233, show_default=True, help="Port; 0 takes a free one."
)
@click.option(
    "-n", "--namespace", "namespaces", multiple=True, help="Namespace to have; repeat for more. [default: default]"
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="How much to log, on stderr.",
)
@click.option(
    "--insecure-allow-any-address",
    is_flag=True,
    help="Listen on an --ip that other machines reach, without TLS or keys.",
)
@click.option("--tls-cert", help="Not there yet: refused.", hidden=True)
@click.option("--tls-key", help="Not there yet: refused.", hidden=True)
@click.option("--tls-client-ca", help="Not there yet: refused.", hidden=True)
@click.option("--api-key-file", help="Not there yet: refused.", hidden=True)
@click.option("--follow-parent", type=int, hidden=True, help="Stop when the process of this id, our parent, is gone.")
def start(
    data_dir: Path | None,
    ip: str,
    port: int,
    namespaces: tuple[str, ...],
    log_level: str,
    insecure_allow_any_address: bool,
    follow_parent: int | None,
    **not_yet: str | None,
) -> None:
    """Run the engine here until SIGTERM or Ctrl-C.

    It speaks Temporal's gRPC API; point any Temporal SDK at it.

    \b
    Example:
      stormsail server start --data-dir ./state --port 7233
      stormsail worker start --engine 127.0.0.1:7233 --data-dir ./state
    """
    _refuse_what_is_not_there(not_yet)
    _refuse_open_address(ip, insecure_allow_any_address)
    if not __debug__:
        raise CommandFailed(
            "the engine does not run under `python -O`: its checks on its own state are assertions",
            next_step="start it without -O, and unset PYTHONOPTIMIZE",
        )
    _serve(data_dir, ip, port, namespaces or ("default",), log_level, follow_parent)


def _refuse_what_is_not_there(flags: dict[str, str | None]) -> None:
    for name, value in flags.items():
        if value is not None:
            flag, what = _NOT_YET[name]
            raise CommandFailed(
                f"{flag}: {what} is not there yet in this version",
                next_step="listen on loopback (the default --ip) and reach it through an SSH tunnel or a TLS proxy",
                code=ExitCode.USAGE,
            )


def _refuse_open_address(ip: str, allowed: bool) -> None:
    try:
        loopback = ipaddress.ip_address(ip).is_loopback
    except ValueError:
        loopback = ip == "localhost"
        if not loopback:
            raise CommandFailed(
                f"--ip {ip!r} is not an IP address",
                next_step="write for example --ip 127.0.0.1",
                code=ExitCode.USAGE,
            ) from None
    if not loopback and not allowed:
        raise CommandFailed(
            f"--ip {ip} can be reached from other machines, and TLS and API keys are not there yet:"
            " anybody who reaches it could run anything here",
            next_step="use --ip 127.0.0.1, or say --insecure-allow-any-address if the network is closed",
            code=ExitCode.USAGE,
        )


def _serve(
    data_dir: Path | None,
    ip: str,
    port: int,
    namespaces: tuple[str, ...],
    log_level: str,
    parent: int | None,
) -> None:
    import uvloop

    from stormsail.engine.api.server import DataDirInUse, PortTaken, ServerSettings, StorageFailed, serve

    place = (data_dir or default_data_dir()).expanduser().absolute()
    make_data_dir(place)
    settings = ServerSettings(place, ip, port, namespaces, log_level)

    async def until_stopped() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        follow_parent(parent)
        with contextlib.ExitStack() as notes:

            def started(address: str) -> None:
                notes.enter_context(left_note(place / "engine.json", address))
                note(f"engine: listening on {address}, state in {place}")

            await serve(settings, stop=stop, started=started)
        note("engine: stopped")

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_stopped())
    except DataDirInUse as error:
        raise CommandFailed(
            str(error),
            next_step=f"`stormsail status --data-dir {place}` shows what runs there; stop it or use another one",
            code=ExitCode.CONFLICT,
        ) from error
    except PortTaken as error:
        raise CommandFailed(
            str(error),
            next_step="stop what listens there, or choose another --port (0 takes a free one)",
            code=ExitCode.CONFLICT,
        ) from error
    except StorageFailed as error:
        raise CommandFailed(
            str(error),
            next_step="look at the disk (`stormsail doctor`); what was acknowledged is on it and comes back on start",
        ) from error


def make_data_dir(path: Path) -> None:
    """Make the data directory, readable by its owner only, or fail saying why it cannot be."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailed(
            f"data directory {path} cannot be made: {error.strerror or error}",
            next_step="give a directory that you may write to with --data-dir",
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise CommandFailed(
            f"data directory {path} cannot be written to",
            next_step="change its owner, or give another with --data-dir",
        )


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set the event on SIGTERM and Ctrl-C; a second Ctrl-C ends this process at once, as kill -9 may at any time."""

    def stop_or_end(number: int) -> None:
        if stop.is_set() and number == signal.SIGINT:
            os._exit(int(ExitCode.INTERRUPTED))
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_or_end, number)
