"""What every change on a page consists of."""

import shlex
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from stormsail.web.changes.change import Caller
from stormsail.web.changes.failures import invalid, sorted_failures
from stormsail.web.problems import Problem

Values = Mapping[str, str]
"""What the dialog's fields hold, and the names of what is changed."""

VALUE_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a dialog."""

    name: str
    label: str
    kind: str = "text"
    """`text`, `number`, `area`, `select` or `datetime-local`."""
    value: str = ""
    hint: str = ""
    options: tuple[tuple[str, str], ...] = ()
    """(value, label) of each, for `select`."""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What would happen, in sentences, and the command that does the same."""

    lines: tuple[str, ...]
    command: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PageChange:
    """One kind of change. `fields` and `plan` read; only `make` changes anything."""

    title: str
    submit: str
    subject: tuple[str, ...]
    """The names in the address that say what is changed."""
    plan: Callable[[Caller, Values], Awaitable[Plan]]
    make: Callable[[Caller, Values], Awaitable[str]]
    """Makes the change and returns where to go on, or nothing to stay."""
    fields: Callable[[Caller, Values], Awaitable[tuple[Field, ...]]]
    danger: bool = False
    many: bool = False
    """Whether it is made of many, part by part, in a dialog that tells what became of each."""


async def no_fields(_: Caller, __: Values) -> tuple[Field, ...]:
    """Return none: the reason is all there is to say."""
    return ()


def command(*words: str, reason: str = "") -> str:
    """Write the command line that does the same, quoted for a shell."""
    said = ("--reason", reason) if reason else ()
    return shlex.join(("stormsail", *words, *said))


def whole_number(values: Values, name: str, *, most: int = 1_000_000) -> int:
    """Return a field's number. Raises Problem."""
    text = values.get(name, "").strip()
    if not text.isascii() or not text.isdigit() or int(text[:20]) > most:
        raise invalid([(name, f"a whole number from 0 to {most}")])
    return int(text)


def must_say_why(values: Values) -> None:
    """Raise Problem unless a reason was given: on a page every change has one."""
    if not values.get("reason", "").strip():
        raise invalid([("reason", "say why; it is kept in the audit")])


def count_of(number: int, noun: str) -> str:
    """Write a number of things."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def gone(what: str) -> Problem:
    """Return the problem of something that is not there any more."""
    return Problem("not-found", f"{what} is not there any more", "close this and look again")


__all__ = [
    "Field",
    "PageChange",
    "Plan",
    "Values",
    "command",
    "count_of",
    "gone",
    "invalid",
    "must_say_why",
    "no_fields",
    "sorted_failures",
    "whole_number",
]
