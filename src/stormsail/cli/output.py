"""Results on stdout: tables for people, and json, jsonl, yaml or bare names for programs.

Everything that is not the result (progress, warnings, errors) goes to stderr, so that a pipe sees data only.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import click

Record = Mapping[str, Any]

_PLAIN_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class Column(NamedTuple):
    """One column of a table: its title, how to read the cell from a record, and whether only `-o wide` shows it."""

    title: str
    cell: Callable[[Record], str]
    wide: bool = False


def show_list(records: Sequence[Record], columns: Sequence[Column], name: str, output: str, *, empty: str) -> None:
    """Print records; `name` is the field that `-o name` prints and `empty` what a person reads when there are none."""
    match output:
        case "json":
            click.echo(json.dumps(list(records), indent=2, ensure_ascii=False))
        case "jsonl":
            for record in records:
                click.echo(json.dumps(record, ensure_ascii=False))
        case "yaml":
            click.echo(yaml_text(list(records)))
        case "name":
            for record in records:
                click.echo(str(record[name]))
        case _ if not records:
            click.echo(empty, err=True)
        case _:
            shown = [column for column in columns if output == "wide" or not column.wide]
            click.echo(table([column.title for column in shown], [[c.cell(r) for c in shown] for r in records]))


def show_one(record: Record, text: str, name: str, output: str) -> None:
    """Print one record; `text` is what a person reads."""
    match output:
        case "json":
            click.echo(json.dumps(record, indent=2, ensure_ascii=False))
        case "jsonl":
            click.echo(json.dumps(record, ensure_ascii=False))
        case "yaml":
            click.echo(yaml_text(record))
        case "name":
            click.echo(str(record.get(name, "")))
        case _:
            click.echo(text)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows in aligned columns under their titles; titles are bold on a terminal."""
    widths = [max(len(row[i]) for row in (titles, *rows)) for i in range(len(titles))]

    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()

    heading = line([title.upper() for title in titles])
    return "\n".join([style(heading, bold=True), *(line(row) for row in rows)])


def style(text: str, **how: Any) -> str:
    """Colour text for stdout; click drops it again when stdout is no terminal, and NO_COLOR is kept here."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **how)


def note(text: str) -> None:
    """Say something to a person, on stderr."""
    click.echo(text, err=True)


def stamped(text: str) -> None:
    """Print one plain line of progress with the time, on stderr."""
    click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)


def short_id(operation_id: str) -> str:
    """Return what people type of an operation's id. Ids begin with the time: 13 characters reach the millisecond."""
    return operation_id[:13]


def is_terminal() -> bool:
    """Whether progress goes to a person's terminal that can be redrawn."""
    return sys.stderr.isatty()


def instant(at_ms: int | None) -> str:
    """Return local time as a person reads it, or a dash."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000)) if at_ms else "-"


def span(duration_ms: float) -> str:
    """Return a duration as a person reads it: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
    seconds = max(duration_ms, 0) / 1000
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def yaml_text(value: Any, depth: int = 0) -> str:
    """Write JSON-like data as block YAML. Strings are quoted as in JSON, which YAML reads the same."""
    pad = "  " * depth
    if isinstance(value, Mapping) and value:
        return "\n".join(f"{pad}{_yaml_key(str(key))}:{_yaml_nested(item, depth)}" for key, item in value.items())
    if isinstance(value, list | tuple) and value:
        lines = []
        for item in value:
            block = yaml_text(item, depth + 1)
            lines.append(f"{pad}- {block[len(pad) + 2 :]}" if _is_block(item) else f"{pad}- {block.strip()}")
        return "\n".join(lines)
    return pad + json.dumps(value, ensure_ascii=False)


def _yaml_nested(item: Any, depth: int) -> str:
    return "\n" + yaml_text(item, depth + 1) if _is_block(item) else " " + json.dumps(item, ensure_ascii=False)


def _is_block(item: Any) -> bool:
    return isinstance(item, Mapping | list | tuple) and bool(item)


def _yaml_key(key: str) -> str:
    # Words that YAML 1.1 reads as booleans or null are quoted, as is anything that is not a plain identifier.
    reserved = key.lower() in {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
    return key if _PLAIN_KEY.fullmatch(key) and not reserved else json.dumps(key, ensure_ascii=False)
