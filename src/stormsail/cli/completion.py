"""`stormsail completion`: the script that teaches a shell our commands and options."""

import click
from click.shell_completion import get_completion_class

from stormsail.cli.errors import CommandFailed


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of a SHELL.

    \b
    Examples:
      stormsail completion bash >> ~/.bashrc
      stormsail completion zsh  > "${fpath[1]}/_stormsail"
      stormsail completion fish > ~/.config/fish/completions/stormsail.fish
    """
    from stormsail.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise CommandFailed(f"no completion for {shell!r}", next_step="use bash, zsh or fish")
    click.echo(kind(cli, {}, "stormsail", "_STORMSAIL_COMPLETE").source())
