"""Whether the command line takes a line that a page shows."""

import shlex

import click

from stormsail.cli.main import cli


def accepted(line: str) -> bool:
    """Whether the commands take the line; nothing is run. Raises what the command line would say."""
    name, *words = shlex.split(line)
    assert name == "stormsail"
    found: click.Command = cli
    context = click.Context(cli)
    while isinstance(found, click.Group):
        _, inner, words = found.resolve_command(context, words)
        assert inner is not None
        found = inner
    found.make_context(found.name, words)
    return True
