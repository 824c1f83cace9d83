"""The differences between us and Temporal's server that we know of: data with reasons, and what docs/protocol.md says.

`known.txt` holds them: the name of a trace, then indented what differs as regular expressions over the lines that the
comparison prints, then the reason after `because`. What stands under `*` holds everywhere and is not compared.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PLACE: Final = Path(__file__).with_name("known.txt")


@dataclass(frozen=True, slots=True)
class Known:
    """One difference that is meant."""

    trace: str
    patterns: tuple[re.Pattern[str], ...]
    reason: str

    @property
    def everywhere(self) -> bool:
        """Whether it holds in all traces, so that none is said to differ by it."""
        return self.trace == "*"

    def explains(self, line: str) -> bool:
        """Whether a line of a comparison is what this is about."""
        return any(pattern.search(line) for pattern in self.patterns)


def every_known(text: str | None = None) -> list[Known]:
    """Read the list."""
    found: list[Known] = []
    name, patterns = "", []
    for number, line in enumerate((PLACE.read_text() if text is None else text).splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if words == line:
            if patterns:
                raise ValueError(f"known.txt, line {number}: {name} has no reason")
            name, patterns = words, []
        elif words.startswith("because "):
            found.append(Known(name, tuple(patterns), words.removeprefix("because ")))
            patterns = []
        else:
            patterns.append(re.compile(words))
    return found


def unexplained(differences: Iterable[str], known: Iterable[Known]) -> list[str]:
    """Return the lines that no known difference explains."""
    known = list(known)
    return [line for line in differences if not any(each.explains(line) for each in known)]


def section(known: Iterable[Known]) -> str:
    """Return what docs/protocol.md says of them."""
    rows = [f"| {each.trace} | {each.reason} |\n" for each in known]
    return "| trace | what differs, and why |\n|---|---|\n" + "".join(rows)
