"""`stormsail server`: the engine alone, in the foreground."""

import asyncio
import contextlib
import ipaddress
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.lazy import Lazy, LazyGroup
from stormsail.cli.lean import lean_imports
from stormsail.cli.notes import left_note
from stormsail.cli.options import default_data_dir
from stormsail.cli.output import note
from stormsail.cli.process import follow_parent

if TYPE_CHECKING:
    from stormsail.engine.api.server import ServerSettings, Tls

server = LazyGroup(
    "server",
    lazy={
        "start": Lazy("stormsail.cli.server:start", "Run the engine here until it is stopped.", ("run",)),
        "start-dev": Lazy("stormsail.cli.start_dev:start_dev", "Run it with the flags of `temporal server start-dev`."),
        "key": Lazy("stormsail.cli.server_key:key", "Make an API key for `server start --api-key-file`."),
        "status": Lazy("stormsail.cli.server_file:status", "Show what runs on a data directory, and its file."),
        "backup": Lazy("stormsail.cli.server_file:backup", "Copy the engine's file while it runs."),
        "fsck": Lazy("stormsail.cli.server_file:fsck", "Check the engine's file, or a backup, from end to end."),
    },
    help="""Run the engine alone, and look after its file. `stormsail up` runs it together with a worker.

    \b
    Examples:
      stormsail server start --data-dir ./state
      stormsail server backup monday.db
    """,
)

_PEM: Final = click.Path(path_type=Path, dir_okay=False)


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
    help="Listen on an --ip that other machines reach, without --tls-client-ca, or TLS and --api-key-file.",
)
@click.option("--tls-cert", type=_PEM, help="Certificate chain of this server, in PEM: speak TLS.")
@click.option("--tls-key", type=_PEM, help="Its key, in PEM, without a password.")
@click.option(
    "--tls-client-ca", type=_PEM, help="Talk only to clients with a certificate of this authority (mutual TLS)."
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Serve only who sends an API key of this file, as far as its grants go; see `stormsail server key`.",
)
@click.option("--follow-parent", type=int, hidden=True, help="Stop when the process of this id, our parent, is gone.")
def start(
    data_dir: Path | None,
    ip: str,
    port: int,
    namespaces: tuple[str, ...],
    log_level: str,
    insecure_allow_any_address: bool,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_client_ca: Path | None,
    api_key_file: Path | None,
    follow_parent: int | None,
) -> None:
    """Run the engine here until SIGTERM or Ctrl-C. SIGHUP reads certificates and API keys again.

    It speaks Temporal's gRPC API; point any Temporal SDK at it.

    \b
    Example:
      stormsail server start --data-dir ./state --port 7233
      stormsail worker start --engine 127.0.0.1:7233 --data-dir ./state
      stormsail server start --ip 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --tls-client-ca ca.pem
      stormsail server start --ip 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --api-key-file keys.toml
    """
    with lean_imports():
        from stormsail.engine.api.server import ServerSettings

    tls = _tls(tls_cert, tls_key, tls_client_ca)
    # Without TLS a key can be read on the way: it opens nothing to the world.
    asks_who = tls_client_ca is not None or (tls is not None and api_key_file is not None)
    refuse_open_address(ip, insecure_allow_any_address or asks_who)
    place = (data_dir or default_data_dir()).expanduser().absolute()
    settings = ServerSettings(place, ip, port, namespaces or ("default",), log_level, tls=tls, api_keys=api_key_file)
    run_engine(settings, follow_parent)


def _tls(cert: Path | None, key: Path | None, client_ca: Path | None) -> "Tls | None":
    from stormsail.engine.api.server import Tls

    if cert is None and key is None and client_ca is None:
        return None
    if cert is None or key is None:
        missing = "--tls-cert" if cert is None else "--tls-key"
        raise CommandFailed(
            f"{missing} is missing: TLS needs a certificate and its key",
            next_step="give --tls-cert and --tls-key, and --tls-client-ca to let in only clients of that authority",
            code=ExitCode.USAGE,
        )
    return Tls(cert, key, client_ca)


def refuse_open_address(ip: str, allowed: bool) -> None:
    """Refuse to listen where others than this machine's processes reach, unless told to."""
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
            f"--ip {ip} can be reached from other machines: anybody who reaches it could run anything here",
            next_step="use --ip 127.0.0.1, or `server start` with --tls-cert and --tls-key and, for who may come,"
            " --tls-client-ca or --api-key-file; or say --insecure-allow-any-address if the network is closed",
            code=ExitCode.USAGE,
        )


def run_engine(settings: "ServerSettings", parent: int | None = None) -> None:
    """Run the engine until SIGTERM, Ctrl-C or the end of the parent."""
    import uvloop

    from stormsail.engine.api.server import (
        DataDirInUse,
        KeysUnusable,
        PortTaken,
        StorageFailed,
        TlsUnusable,
        collect_seldom,
        serve,
    )

    if not __debug__:
        raise CommandFailed(
            "the engine does not run under `python -O`: its checks on its own state are assertions",
            next_step="start it without -O, and unset PYTHONOPTIMIZE",
        )
    place = settings.data_dir
    make_data_dir(place)

    async def until_stopped() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        follow_parent(parent)
        renew = asyncio.Event()
        if (
            settings.tls is not None or settings.api_keys is not None
        ):  # without, a terminal that goes away ends the engine as it ends others
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, renew.set)
        with contextlib.ExitStack() as notes:

            def started(address: str) -> None:
                notes.enter_context(left_note(place / "engine.json", address))
                note(f"engine: listening on {address}, state in {place}")

            await serve(settings, stop=stop, started=started, renew=renew)
        note("engine: stopped")

    collect_seldom()
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
    except TlsUnusable as error:
        raise CommandFailed(
            str(error),
            next_step="give --tls-cert, --tls-key and --tls-client-ca files in PEM that this user may read",
            code=ExitCode.USAGE,
        ) from error
    except KeysUnusable as error:
        raise CommandFailed(
            str(error),
            next_step="`stormsail server key FILE --name NAME --grant write:default` makes a key and such a file",
            code=ExitCode.USAGE,
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
