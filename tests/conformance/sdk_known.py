"""The tests of the official SDK's suite that fail, by why: data, in `sdk_known.txt`.

The file's head says of which tag and how many tests there are; then each reason stands as `name = reason`, and under
it, indented, the ids of its tests.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

PLACE: Final = Path(__file__).with_name("sdk_known.txt")


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that fails, and why."""

    test_id: str
    family: str

    @property
    def file(self) -> str:
        return self.test_id.partition("::")[0]

    @property
    def shown(self) -> str:
        """Its name within its file."""
        return self.test_id.partition("::")[2]


def every_failure() -> tuple[dict[str, str], list[Failure]]:
    """Read the list: the head's figures by name, and the failures."""
    figures: dict[str, str] = {}
    failures: list[Failure] = []
    family = ""
    for line in PLACE.read_text().splitlines():
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if words != line:
            failures.append(Failure(words, family))
        elif " = " in words:
            family = words.partition(" = ")[0]
        else:
            name, _, value = words.partition(" ")
            figures[name] = value
    return figures, failures


def families() -> dict[str, str]:
    """Return the reasons by name, in the order of the file."""
    lines = PLACE.read_text().splitlines()
    return {
        name: reason for name, sign, reason in (line.partition(" = ") for line in lines if line[:1].strip()) if sign
    }
