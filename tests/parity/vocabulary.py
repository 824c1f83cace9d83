"""The happenings that traces are written in: each verb is one call, with the fields that it has unless told otherwise.

They stand in `vocabulary.txt`. There `{0}` stands for the verb's first word without `=`; a field whose word is not
given is left out. `~` is a name that belongs to the trace alone, `$new` a fresh id, `$name` what was kept by that name.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PLACE: Final = Path(__file__).with_name("vocabulary.txt")
MESSAGES: Final = ("accept", "reject", "respond")
"""What a worker says of an update that it was given, beside its commands."""


@dataclass(frozen=True, slots=True)
class Words:
    """A line: its verb, the words without `=`, and the assignments."""

    line: str
    verb: str
    plain: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]

    def get(self, name: str, default: str = "") -> str:
        """Return an assignment's value."""
        return dict(self.fields).get(name, default)


@dataclass(frozen=True, slots=True)
class Verb:
    """What a verb stands for: a method or a kind of command, and its assignments."""

    name: str
    stands_for: str
    defaults: tuple[tuple[str, str], ...]

    def assignments(self, words: Words) -> Iterator[tuple[str, str]]:
        """Return what a line of this verb assigns: the defaults that it leaves as they are, then its own."""
        own = [path for path, _ in words.fields]
        used = 0
        for path, text in self.defaults:
            place = re.search(r"\{(\d)\}", text)
            if place is not None:
                used = max(used, int(place[1]) + 1)
                if int(place[1]) >= len(words.plain):
                    continue
                text = text.replace(place[0], words.plain[int(place[1])])
            if not any(each == path or path.startswith(f"{each}.") for each in own):
                yield path, text
        if len(words.plain) > used:
            raise ValueError(f"{words.line}: {self.name} takes {used} plain words")
        yield from ((path, text) for path, text in words.fields if text != "unset")


def split(line: str) -> Words:
    """Take a line apart."""
    verb, *rest = shlex.split(line)
    fields = [tuple(word.split("=", 1)) for word in rest if _assigns(word)]
    return Words(line, verb, tuple(word for word in rest if not _assigns(word)), tuple(fields))  # type: ignore[arg-type]


def _assigns(word: str) -> bool:
    return re.match(r"[a-z][\w.$~-]*=", word, re.IGNORECASE) is not None


def _tables() -> tuple[dict[str, Verb], dict[str, Verb]]:
    """Read the calls and the commands."""
    _, calls, commands = re.split(r"^# .*$", PLACE.read_text(), flags=re.MULTILINE)
    return _table(calls), _table(commands)


def _table(text: str) -> dict[str, Verb]:
    found = {}
    for line in text.strip().splitlines():
        name, stands_for, defaults = (part.strip() for part in line.split("|"))
        found[name] = Verb(name, stands_for, split(f"{name} {defaults}").fields)
    return found


VERBS, COMMANDS = _tables()
