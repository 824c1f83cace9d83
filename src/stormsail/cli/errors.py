"""How a command ends badly: one clear text, what to do next, and an exit code that programs can rely on."""

from enum import IntEnum
from typing import IO, Any

import click


class ExitCode(IntEnum):
    """What the exit code of every command means."""

    OK = 0
    ERROR = 1
    USAGE = 2
    OPERATION_FAILED = 3
    AUTH = 4
    NOT_FOUND = 5
    CONFLICT = 6
    TIMEOUT = 7
    NEEDS_APPROVAL = 8
    INTERRUPTED = 130


class CommandFailed(click.ClickException):
    """A failure fit to show a person: what went wrong, what to do next, and the code to exit with."""

    def __init__(self, message: str, *, next_step: str = "", code: ExitCode = ExitCode.ERROR) -> None:
        super().__init__(message)
        self.next_step = next_step
        self.exit_code = int(code)  # type: ignore[misc]  # click reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message and the next step to stderr."""
        click.echo(f"error: {self.message}", file=file, err=file is None)
        if self.next_step:
            click.echo(f"next:  {self.next_step}", file=file, err=file is None)


class Detached(click.ClickException):
    """Ctrl-C during a wait: the operation goes on without this command."""

    exit_code = int(ExitCode.INTERRUPTED)

    def show(self, file: IO[Any] | None = None) -> None:
        """Say that the operation goes on and how to watch it again."""
        click.echo(self.message, file=file, err=file is None)
