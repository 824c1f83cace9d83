"""`stormsail server key`: makes an API key for the engine."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from stormsail.cli.errors import CommandFailed, ExitCode
from stormsail.cli.options import Duration
from stormsail.cli.output import note


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--name", required=True, help="Whose key it is; told to who lacks a right.")
@click.option(
    "--grant",
    "grants",
    multiple=True,
    required=True,
    metavar="RIGHT:NAMESPACE",
    help="What it may do: read, write (start, signal, be a worker) or admin, in a namespace or a pattern with *; "
    "repeat for more.",
)
@click.option("--expires", type=Duration(), default="2160h", show_default=True, help="How long it is good for.")
def key(file: Path, name: str, grants: tuple[str, ...], expires: float) -> None:
    """Make an API key: print it, once, and add its hash to FILE, which is made if need be.

    To revoke a key, delete its table from FILE. `kill -HUP` has a running engine read it again.

    \b
    Examples:
      stormsail server key keys.toml --name workers --grant write:default
      stormsail server key keys.toml --name dashboards --grant 'read:*' --expires 720h
      stormsail server start --api-key-file keys.toml
    """
    from stormsail.engine.api.keys import new_key

    try:
        text, table = new_key(name, grants, datetime.now(UTC) + timedelta(seconds=expires))
    except ValueError as error:
        raise CommandFailed(str(error), next_step="see `stormsail server key --help`", code=ExitCode.USAGE) from error
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "a") as written:
            written.write(("\n" if written.tell() else "") + table)
            written.flush()
            os.fsync(descriptor)
    except OSError as error:
        raise CommandFailed(
            f"{file} cannot be written: {error.strerror or error}", next_step="name a file that you may write to"
        ) from error
    click.echo(text)
    note(f"added {name} to {file}; this is the only time that the key is shown. A running engine reads it at SIGHUP.")
