"""The differences between us and Temporal's server that we know of: data with reasons.

`known.txt` holds them: the name of a trace, then indented what differs as regular expressions over the lines that the
comparison prints, then the reason after `because`, or `sometimes because` where a run may be without. What stands under
`*` holds everywhere and is not compared.
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
    sometimes: bool = False
    """Whether it depends on how fast a server was."""

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
    name = ""
    patterns: list[re.Pattern[str]] = []
    for number, line in enumerate((PLACE.read_text() if text is None else text).splitlines(), 1):
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if words == line:
            if patterns:
                raise ValueError(f"known.txt, line {number}: {name} has no reason")
            name, patterns = words, []
        elif words.startswith(("because ", "sometimes because ")):
            often, _, reason = words.partition("because ")
            found.append(Known(name, tuple(patterns), reason, sometimes=bool(often)))
            patterns = []
        else:
            patterns.append(re.compile(words))
    return found


def unexplained(differences: Iterable[str], known: Iterable[Known]) -> list[str]:
    """Return the lines that no known difference explains."""
    known = list(known)
    return [line for line in differences if not any(each.explains(line) for each in known)]
