"""`stormsail server status|backup|fsck`: the engine's one file."""

from pathlib import Path

import click

from stormsail.cli.options import Place, output_option, place_options


@click.command()
@place_options
@output_option
def status(place: Place, output: str) -> int:
    """Show which engine runs on a data directory, and how large its file is.

    \b
    Example:
      stormsail server status --data-dir ./state
    """
    from stormsail.cli.server_file_run import run_status

    return run_status(place, output)


@click.command()
@click.argument("destination", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--check/--no-check", default=True, show_default=True, help="Check the copy from end to end.")
@place_options
@output_option
def backup(destination: Path, check: bool, place: Place, output: str) -> int:
    """Copy the engine's file to DESTINATION. The engine may run on: the copy is whole as of one commit.

    To restore it, put it as `engine.db` into an empty data directory and start the engine there.

    \b
    Examples:
      stormsail server backup monday.db
      mkdir restored && cp monday.db restored/engine.db && stormsail server start --data-dir restored
    """
    from stormsail.cli.server_file_run import run_backup

    return run_backup(destination, check, place, output)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@place_options
@output_option
def fsck(file: Path | None, place: Place, output: str) -> int:
    """Check the engine's file, or FILE, from end to end: pages, checksums, and that each history can be replayed.

    It changes nothing, and the engine may run meanwhile. Exit code 1 when something is wrong; each run concerned is
    named. Other runs are not touched by its damage, and go on.

    \b
    Examples:
      stormsail server fsck
      stormsail server fsck monday.db -o json
    """
    from stormsail.cli.server_file_run import run_fsck

    return run_fsck(file, place, output)
