"""Options that Temporal's nouns share, and the values they become."""

import base64
import functools
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from stormsail.cli.options import Duration, output_option, place_options

Command = Callable[..., Any]

INPUT_BYTES_MAX: Final = 2 * 1024 * 1024
_AGO: Final = re.compile(r"-\d.*")


@dataclass(frozen=True)
class Input:
    """One argument: its bytes and how they are encoded. Without another encoding the bytes are JSON."""

    data: bytes
    metadata: dict[str, bytes] = field(default_factory=lambda: {"encoding": b"json/plain"})


class Pair(click.ParamType[tuple[str, Any]]):
    """`KEY=VALUE` with a JSON value; with `plain` the value is any text."""

    name = "key=value"

    def __init__(self, *, plain: bool = False) -> None:
        self.plain = plain

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """Return key and value."""
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f"{value!r} is not KEY=VALUE", param, ctx)
        if self.plain:
            return key, text
        try:
            return key, json.loads(text)
        except ValueError:
            self.fail(f"the value of {key!r} is not JSON: {text!r}. Text needs quotes: {key}='\"...\"'", param, ctx)


class Instant(click.ParamType[float]):
    """Seconds since 1970, written as ISO 8601 (`2026-11-21T10:00:00Z`), or as `now`, or as a span ago (`-1h30m`)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return seconds since 1970. Without an offset the time is local."""
        if isinstance(value, int | float):
            return float(value)
        text = str(value).strip()
        if text == "now":
            return time.time()
        if _AGO.fullmatch(text):
            return time.time() - Duration().convert(text[1:], param, ctx)
        try:
            return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone().timestamp()
        except ValueError:
            self.fail(f"{text!r} is not a time: write 2026-11-21T10:00:00Z, now, or -1h for an hour ago", param, ctx)


def workflow_option(command: Command) -> Command:
    """Give a command `-w` and `-r`; it takes them as `workflow_id` and `run_id`."""
    return click.option("-w", "--workflow-id", required=True, help="Workflow id.")(run_option(command))


def run_option(command: Command) -> Command:
    """Give a command `-r`; it takes it as `run_id`."""
    return click.option("-r", "--run-id", default="", help="Run id. [default: the workflow's newest run]")(command)


def many_options(command: Command) -> Command:
    """Give a command the choice between one workflow and all that a query finds.

    It takes `workflow_id`, `run_id`, `query`, `reason` and `yes`.
    """
    for decorate in (
        click.option("-y", "--yes", is_flag=True, help="With --query: do not ask."),
        click.option("--reason", default="", help="Why; kept with the workflow or the batch."),
        click.option("-q", "--query", default="", help="All workflows that this list filter finds, as one batch."),
        run_option,
        click.option("-w", "--workflow-id", default="", help="One workflow."),
    ):
        command = decorate(command)
    return command


def one_or_many(workflow_id: str, run_id: str, query: str) -> None:
    """Refuse anything but either one workflow or a query."""
    if bool(workflow_id) == bool(query):
        raise click.UsageError("say which: either --workflow-id, or --query for a batch")
    if query and run_id:
        raise click.UsageError("--run-id goes with --workflow-id, not with --query")


def input_options(command: Command) -> Command:
    """Give a command its arguments; it takes them as the decoded `arguments`."""

    @functools.wraps(command)
    def with_input(
        *args: Any,
        input_: tuple[str, ...],
        input_file: tuple[Path, ...],
        input_base64: bool,
        input_meta: tuple[tuple[str, str], ...],
        **kwargs: Any,
    ) -> Any:
        return command(*args, arguments=inputs(input_, input_file, input_base64, input_meta), **kwargs)

    wrapped: Command = with_input
    for decorate in (
        click.option(
            "--input-meta", type=Pair(plain=True), multiple=True, help="Metadata of every argument, as encoding=..."
        ),
        click.option("--input-base64", is_flag=True, help="The arguments are written in base64."),
        click.option(
            "--input-file",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            multiple=True,
            help="File with one argument as JSON; may be repeated.",
        ),
        click.option("-i", "--input", "input_", multiple=True, help="One argument as JSON; may be repeated."),
    ):
        wrapped = decorate(wrapped)
    return wrapped


def inputs(
    texts: Sequence[str],
    files: Sequence[Path],
    in_base64: bool,
    metadata: Sequence[tuple[str, str]],
) -> list[Input]:
    """Return the arguments that the input options name; what is not JSON is refused unless an encoding is given."""
    if texts and files:
        raise click.UsageError("give the arguments by --input or by --input-file, not by both")
    given = {key: value.encode() for key, value in metadata}
    made = []
    for text in [*texts, *(_read(path) for path in files)]:
        try:
            data = base64.b64decode(text, validate=True) if in_base64 else text.encode()
        except ValueError as error:
            raise click.UsageError(f"an argument is not base64: {error}") from error
        argument = Input(data, {"encoding": b"json/plain"} | given)
        if argument.metadata["encoding"] == b"json/plain":
            _check_json(data)
        made.append(argument)
    return made


def _read(path: Path) -> str:
    if path.stat().st_size > INPUT_BYTES_MAX:
        raise click.UsageError(f"{path} is larger than the {INPUT_BYTES_MAX} bytes an argument may have")
    try:
        return path.read_text().strip()
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not UTF-8 text; give bytes with --input-base64") from error


def _check_json(data: bytes) -> None:
    try:
        json.loads(data)
    except ValueError as error:
        shown = data[:40].decode(errors="replace")
        raise click.UsageError(f"argument {shown!r} is not JSON. Text needs quotes: --input '\"text\"'") from error


def start_options(command: Command) -> Command:
    """Give a command what a workflow is started with; it takes them all by keyword."""
    for decorate in (
        click.option("--static-details", default="", help="Details for people, in Markdown."),
        click.option("--static-summary", default="", help="One line for people, in Markdown."),
        click.option("--fairness-weight", type=click.FloatRange(0.001, 1000), help="Weight of the fairness key."),
        click.option("--fairness-key", default="", help="Tasks of one key share the queue by weight."),
        click.option("--priority-key", type=click.IntRange(1, 5), help="1 is first, 5 is last. [default: 3]"),
        click.option("--search-attribute", type=Pair(), multiple=True, help="KEY=JSON; may be repeated."),
        click.option("--memo", type=Pair(), multiple=True, help="KEY=JSON; may be repeated."),
        click.option("--task-timeout", type=Duration(), help="Longest workflow task. [default: 10s]"),
        click.option("--run-timeout", type=Duration(), help="Longest run."),
        click.option("--execution-timeout", type=Duration(), help="Longest life with retries and continue-as-new."),
        click.option("--type", "--name", "workflow_type", required=True, help="Workflow type."),
        click.option("-t", "--task-queue", required=True, help="Task queue of the workers."),
    ):
        command = decorate(command)
    return input_options(command)


def engine_options(command: Command) -> Command:
    """Give a command the engine's place and `-o`."""
    return place_options(output_option(command))
