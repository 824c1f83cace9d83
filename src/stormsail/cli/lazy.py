"""A click group that knows its commands by name and imports one only when it is run or asked for its own help.

The help text of each command is written twice for that reason, short here and in full beside the command.
"""

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Lazy(NamedTuple):
    """Where a command lives (`package.module:attribute`) and the line that a listing shows for it."""

    path: str
    summary: str
    aliases: tuple[str, ...] = ()


class LazyGroup(click.Group):
    """A group whose commands are imported on use; it understands aliases and suggests the nearest name on a typo."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy)
        self.names = {alias: name for name, entry in lazy.items() for alias in (name, *entry.aliases)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order they were declared, which is the order they are needed in."""
        del ctx
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of a name or alias."""
        name = self.names.get(cmd_name)
        if name is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy[name].path.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), self.lazy[name].path
        return command

    def resolve_command(
        self,
        ctx: click.Context,
        args: list[str],
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name, or say which one was probably meant."""
        typed = args[0]
        command = self.get_command(ctx, typed)
        if command is not None:
            return self.names.get(typed, typed), command, args[1:]
        if typed.startswith("-"):
            return super().resolve_command(ctx, args)
        near = list(dict.fromkeys(self.names[match] for match in difflib.get_close_matches(typed, self.names, n=3)))
        known = (
            f"Did you mean {' or '.join(repr(name) for name in near)}?"
            if near
            else f"Try one of: {', '.join(self.lazy)}."
        )
        raise click.UsageError(f"no command {typed!r} in '{ctx.command_path}'. {known}", ctx=ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        rows = []
        for name in self.list_commands(ctx):
            entry = self.lazy[name]
            also = f" (also: {', '.join(entry.aliases)})" if entry.aliases else ""
            rows.append((name, entry.summary + also))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
