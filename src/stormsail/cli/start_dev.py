"""`stormsail server start-dev`: the engine in the place of `temporal server start-dev`, flag by flag.

SDKs start a dev server themselves: `WorkflowEnvironment.start_local(dev_server_existing_path=...)` runs the executable
that it is given with these arguments, so the `stormsail` command is one that it may be given.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.lean import lean_imports
from stormsail.cli.output import note
from stormsail.cli.server import refuse_open_address, run_engine

if TYPE_CHECKING:
    from temporalio.api.enums.v1 import IndexedValueType

_PREFIX: Final = "stormsail-dev-"
_SURELY_STARTED_S: Final = 60.0
"""A directory this old belongs to a server that has taken its lock, or to none."""
_LEVELS: Final = {"debug": "debug", "info": "info", "warn": "warning", "error": "error", "never": "critical"}
_HAS_NO_EFFECT: Final = {
    "http_port": "--http-port: there is no HTTP API here, gRPC alone is served",
    "metrics_port": "--metrics-port: there are no metrics here yet",
    "sqlite_pragma": "--sqlite-pragma: how the file is kept safe is not to be changed",
}


@click.command()
@click.option(
    "-f",
    "--db-filename",
    type=click.Path(path_type=Path),
    help="Directory to keep the state in. [default: none is kept]",
)
@click.option(
    "-n", "--namespace", "namespaces", multiple=True, help="Namespace to have beside default; repeat for more."
)
@click.option(
    "-p", "--port", type=click.IntRange(0, 65535), default=7233, show_default=True, help="Port; 0 takes a free one."
)
@click.option("--ip", default="localhost", show_default=True, help="Address to listen on.")
@click.option("--headless", is_flag=True, help="There is no page here in any case.")
@click.option(
    "--ui-port",
    "--ui-ip",
    "--ui-asset-path",
    "--ui-codec-endpoint",
    "--ui-public-path",
    multiple=True,
    help="No page is served: has no effect.",
)
@click.option("--http-port", type=int, help="There is no HTTP API: has no effect.")
@click.option("--metrics-port", type=int, hidden=True)
@click.option("--sqlite-pragma", multiple=True, hidden=True)
@click.option("--log-config", is_flag=True, hidden=True)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json", "pretty"]),
    default="text",
    show_default=True,
    help="How to log, on stderr.",
)
@click.option(
    "--log-level", type=click.Choice(list(_LEVELS)), default="warn", show_default=True, help="How much to log."
)
@click.option(
    "--dynamic-config-value",
    "settings",
    multiple=True,
    metavar="KEY=JSON",
    help="A setting by Temporal's name; those of limits that are here count.",
)
@click.option(
    "--search-attribute",
    "attributes",
    multiple=True,
    metavar="NAME=TYPE",
    help="Search attribute to register; repeat for more.",
)
@click.option("--insecure-allow-any-address", is_flag=True, help="Listen on an --ip that other machines reach.")
def start_dev(
    db_filename: Path | None,
    namespaces: tuple[str, ...],
    port: int,
    ip: str,
    headless: bool,
    ui_port: tuple[str, ...],
    log_config: bool,
    log_format: str,
    log_level: str,
    settings: tuple[str, ...],
    attributes: tuple[str, ...],
    insecure_allow_any_address: bool,
    **others: object,
) -> None:
    """Run the engine with the flags of `temporal server start-dev`.

    Without --db-filename the state is lost when the server ends.

    \b
    Example:
      stormsail server start-dev --headless --search-attribute CustomerId=Keyword
    """
    with lean_imports():
        from stormsail.engine.api.dynamic_config import apply_settings
        from stormsail.engine.api.server import ServerSettings
        from stormsail.engine.core.errors import Refused
        from stormsail.engine.core.limits import DEFAULT_LIMITS

    del headless, ui_port, log_config
    refuse_open_address(ip, insecure_allow_any_address)
    types = _types(attributes)
    try:
        limits, without_effect = apply_settings(DEFAULT_LIMITS, _settings(settings))
    except Refused as refused:
        raise CommandFailed(
            f"--dynamic-config-value: {refused.message}",
            next_step="correct the value, as in limit.historyCount.suggestContinueAsNew=50",
            code=ExitCode.USAGE,
        ) from None
    if log_level in ("debug", "info"):
        for name in without_effect:
            note(f"--dynamic-config-value {name}: has no effect here")
    for name, text in _HAS_NO_EFFECT.items():
        if others[name]:
            note(text)
    with contextlib.ExitStack() as places:
        data_dir = _data_dir(db_filename, places)
        names = tuple(dict.fromkeys(("default", *namespaces)))
        form = "json" if log_format == "json" else "text"
        try:
            run_engine(
                ServerSettings(
                    data_dir,
                    "127.0.0.1" if ip == "localhost" else ip,
                    port,
                    names,
                    _LEVELS[log_level],
                    limits,
                    form,
                    types,
                )
            )
        except Refused as refused:
            raise CommandFailed(
                f"--search-attribute: {refused.message}",
                next_step="register fewer of this type, or other names",
                code=ExitCode.USAGE,
            ) from None


def _data_dir(db_filename: Path | None, places: contextlib.ExitStack) -> Path:
    if db_filename is None:
        clear_left_over(Path(tempfile.gettempdir()))
        return Path(places.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX))) / "data"
    if db_filename.is_file():
        raise CommandFailed(
            f"--db-filename {db_filename} is a file: the state is kept in a directory, and Temporal's file is not read",
            next_step="name a directory, or a place where there is nothing yet",
            code=ExitCode.USAGE,
        )
    return db_filename.expanduser().absolute()


def clear_left_over(parent: Path) -> None:
    """Remove what killed servers left, and SDKs kill theirs: directories of ours whose lock nobody holds."""
    for left in parent.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if left.stat().st_uid != os.getuid() or time.time() - left.stat().st_mtime < _SURELY_STARTED_S:
                continue
            with (left / "data" / "engine.lock").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)


def _settings(given: tuple[str, ...]) -> dict[str, object]:
    """Read KEY=JSON pairs."""
    settings: dict[str, object] = {}
    for pair in given:
        key, sign, text = pair.partition("=")
        try:
            settings[key] = json.loads(text)
        except ValueError:
            sign = ""
        if not sign or not key:
            raise CommandFailed(
                f"--dynamic-config-value {pair!r} is no KEY=JSON pair",
                next_step='write for example system.some.key=true, or some.key="text" with its quotes',
                code=ExitCode.USAGE,
            )
    return settings


def _types(given: tuple[str, ...]) -> dict[str, "IndexedValueType.ValueType"]:
    """Read NAME=TYPE pairs."""
    from stormsail.engine.core.search_attributes import TYPE_NAMES, is_reserved

    by_name = {name.lower(): number for number, name in TYPE_NAMES.items()}
    types: dict[str, IndexedValueType.ValueType] = {}
    for pair in given:
        name, _, type_name = pair.partition("=")
        if not name or type_name.lower() not in by_name or is_reserved(name):
            raise CommandFailed(
                f"--search-attribute {pair!r} is no NAME=TYPE pair, or the name is the server's own",
                next_step=f"write NAME={' or NAME='.join(TYPE_NAMES.values())}, with a name of yours",
                code=ExitCode.USAGE,
            )
        types[name] = by_name[type_name.lower()]
    return types
