"""Options that many commands share, and the values they become."""

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from stormsail.cli.notes import alive_address, has_up

DEFAULT_ENGINE: Final = "127.0.0.1:7233"
FORMATS: Final = ("table", "wide", "json", "jsonl", "yaml", "name")
PRIORITIES: Final = ("rollback", "manual", "trigger", "backfill")
"""Written out: help must not load the delivery house."""
ACCOUNT: Final = "local"
"""The account that is there without being named: this machine."""

_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
_ADDRESS: Final = re.compile(r"[^\s:/]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


@dataclass(frozen=True)
class Place:
    """Where a command works: which engine, which namespace, which data directory."""

    engine: str
    """host:port, or empty when nothing was said and nothing is known to run here."""
    namespace: str
    data_dir: Path
    account: str = ACCOUNT
    """Which account a command is about, where it is about one."""

    @property
    def address(self) -> str:
        """The engine's address: the one given, else the one running on this data directory, else the default."""
        return self.engine or alive_address(self.data_dir) or DEFAULT_ENGINE

    @property
    def is_kept_up(self) -> bool:
        """Whether an `up` here keeps the engine running, so that one that is away comes back in a moment."""
        return not self.engine and bool(alive_address(self.data_dir))

    @property
    def has_worker_kept_up(self) -> bool:
        """Whether an `up` here keeps a worker running too."""
        return not self.engine and has_up(self.data_dir)


@dataclass(frozen=True)
class ChangeOptions:
    """How a changing command behaves."""

    dry_run: bool
    yes: bool
    reason: str
    wait: bool
    timeout_seconds: float | None
    idempotency_key: str
    on_failure: str = "rollback"
    priority: str | None = None


class Duration(click.ParamType[float]):
    """Seconds as `90`, `90s`, `30m`, `1h30m`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds."""
        if isinstance(value, int | float):
            return float(value)
        match = _DURATION.fullmatch(str(value).strip())
        if not str(value).strip() or match is None:
            self.fail(f"{value!r} is not a duration: write seconds or, for example, 90s, 30m, 1h30m", param, ctx)
        hours, minutes, seconds = match.groups()
        return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)


class Percentages(click.ParamType[tuple[int, ...]]):
    """Rising shares from 1 to 100 as `25,50,75`."""

    name = "percentages"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the shares."""
        if isinstance(value, tuple):
            return value
        words = str(value).replace("%", "").split(",")
        shares = tuple(int(word) if word.strip().isdecimal() else 0 for word in words)
        if list(shares) != sorted(set(shares)) or not 1 <= shares[0] <= shares[-1] <= 100:
            self.fail(f"{value!r} is not a list of rising shares from 1 to 100: write, for example, 25,50", param, ctx)
        return shares


class Address(click.ParamType[str]):
    """An engine's `host:port`."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the address unchanged, or fail saying what one looks like."""
        text = str(value)
        if text and (not _ADDRESS.fullmatch(text) or not 0 < int(text.rpartition(":")[2]) < 65536):
            self.fail(f"{text!r} is not an address: write HOST:PORT, for example 127.0.0.1:7233", param, ctx)
        return text


def default_data_dir() -> Path:
    """Return where state lives when nothing else is said, by the XDG rule."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "stormsail"


def place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--engine`, `--namespace` and `--data-dir`; a command takes them as one `place`.

    They may stand before the command too (`stormsail --engine X status`); those beside the command win.
    """

    @functools.wraps(command)
    def with_place(*args: Any, engine: str, namespace: str, data_dir: Path | None, **kwargs: Any) -> Any:
        ctx = click.get_current_context()
        place = Place(engine, namespace, (data_dir or default_data_dir()).expanduser().absolute())
        if isinstance(ctx.command, click.Group):
            ctx.obj = place if _said(ctx) else None
            ctx.meta["stormsail.said"] = _said(ctx)
            return command(*args, **kwargs)
        if isinstance(ctx.find_root().obj, Place):
            given = {name: getattr(ctx.find_root().obj, name) for name in ctx.meta["stormsail.said"] - _said(ctx)}
            place = replace(place, **given)
        return command(*args, place=place, **kwargs)

    for decorate in (
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            envvar="STORMSAIL_DATA_DIR",
            help="Where state lives. [default: ~/.local/share/stormsail]",
        ),
        click.option(
            "-n",
            "--namespace",
            default="default",
            envvar="TEMPORAL_NAMESPACE",
            show_default=True,
            help="Namespace on the engine.",
        ),
        click.option(
            "--engine",
            "--address",
            type=Address(),
            default="",
            envvar=["STORMSAIL_ENGINE", "TEMPORAL_ADDRESS"],
            help=f"Engine or Temporal server. [default: the one running here, else {DEFAULT_ENGINE}]",
        ),
    ):
        with_place = decorate(with_place)
    return with_place


def account_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--account`; it stands inside of `place_options` and is a part of the `place`."""

    @functools.wraps(command)
    def with_account(*args: Any, place: Place, account: str, **kwargs: Any) -> Any:
        return command(*args, place=replace(place, account=account), **kwargs)

    return click.option(
        "--account",
        default=ACCOUNT,
        envvar="STORMSAIL_ACCOUNT",
        show_default=True,
        help="Account to work on, as workers name it; local is this machine.",
    )(with_account)


def _said(ctx: click.Context) -> set[str]:
    """Return which of the place options stood on the command line right at this command."""
    return {
        name
        for name in ("engine", "namespace", "data_dir")
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def output_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `-o`; it takes the format's name as `output`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        envvar="STORMSAIL_OUTPUT",
        help="How to print the result.",
    )(command)


def change_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of every change; it takes them as one `change`."""

    @functools.wraps(command)
    def with_change(
        *args: Any,
        dry_run: bool,
        yes: bool,
        reason: str,
        wait: bool,
        timeout: float | None,
        idempotency_key: str,
        on_failure: str,
        priority: str | None,
        **kwargs: Any,
    ) -> Any:
        change = ChangeOptions(dry_run, yes, reason, wait, timeout, idempotency_key, on_failure, priority)
        return command(*args, change=change, **kwargs)

    for decorate in (
        click.option(
            "--on-failure",
            type=click.Choice(["rollback", "pause"]),
            default="rollback",
            show_default=True,
            help="What a step that failed for good does: end the operation, or wait for `operation retry|skip|rerun`.",
        ),
        click.option(
            "--priority",
            type=click.Choice(PRIORITIES),
            help="Who goes first where not everybody can. [default: rollback for rollbacks, else manual]",
        ),
        click.option("--idempotency-key", default="", help="Running the same key twice does the change once."),
        click.option("--timeout", type=Duration(), help="Stop waiting after this long; the operation goes on."),
        click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the end and show progress."),
        click.option("--reason", default="", help="Why; kept with the operation."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        click.option("--dry-run", is_flag=True, help="Show what would be asked for, and do nothing."),
    ):
        with_change = decorate(with_change)
    return with_change


def task_queue_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command `--task-queue`. Commands that ask a worker something read STORMSAIL_TASK_QUEUE too."""
    return click.option(
        "--task-queue",
        default="stormsail",
        envvar="STORMSAIL_TASK_QUEUE",
        show_default=True,
        help="Task queue that the worker polls.",
    )(command)
