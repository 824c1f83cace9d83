"""Traces as text: a title, then one happening a line; the commands of a workflow task stand indented under it.

    a timer fires
        start
        poll
        complete
            timer t 1s
        until TimerFired

`without core: why` under the title says that the pure core does not take part; before the first title it holds for all
of the file, as do other settings: `namespace` gives the trace a namespace of its own, and `alone` no company.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from parity.vocabulary import COMMANDS, MESSAGES, VERBS, Words, split

PLACE: Final = Path(__file__).with_name("traces")
CONTROLS: Final = ("until", "closed", "eventually", "begin", "end", "keep")
"""Verbs that are no call: they wait, or order other calls."""


@dataclass(frozen=True, slots=True)
class Step:
    """One happening, with the lines that stand under it."""

    words: Words
    below: tuple[Words, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """See the module."""

    title: str
    topic: str
    steps: tuple[Step, ...]
    without_core: str = ""
    own_namespace: bool = False

    @property
    def name(self) -> str:
        """What it is called in reports and among known differences."""
        return f"{self.topic}: {self.title}"


@dataclass
class _Open:
    """A trace whose lines are being read."""

    title: str
    without_core: str
    own_namespace: bool
    steps: list[Step] = field(default_factory=list)


def read(topic: str, text: str) -> Iterator[Trace]:
    """Read the traces of a file."""
    common = _Open("", "", own_namespace=False)
    current: _Open | None = None
    for number, line in enumerate(text.splitlines(), 1):
        words, depth = line.strip(), (len(line) - len(line.lstrip())) // 4
        if not words or words.startswith("#"):
            continue
        if depth == 0 and not _setting(words, common):
            if current is not None:
                yield _closed(current, topic)
            current = _Open(words, common.without_core, common.own_namespace)
        elif depth == 1 and current is not None:
            if not _setting(words, current):
                current.steps.append(Step(_known(words, topic, number)))
        elif depth == 2 and current is not None and current.steps:
            last = current.steps[-1]
            current.steps[-1] = Step(last.words, (*last.below, _known(words, topic, number, below=True)))
        elif depth:
            raise ValueError(f"{topic}, line {number}: {words} stands under nothing")
    if current is not None:
        yield _closed(current, topic)


def every_trace(place: Path = PLACE) -> list[Trace]:
    """Read all traces there are."""
    return [
        trace for path in sorted(place.glob("*.txt")) for trace in read(path.stem.replace("_", " "), path.read_text())
    ]


def _setting(words: str, trace: _Open) -> bool:
    if words.startswith("without core: "):
        trace.without_core = words.removeprefix("without core: ")
    elif words == "namespace":
        trace.own_namespace = True
    else:
        return False
    return True


def _known(line: str, topic: str, number: int, *, below: bool = False) -> Words:
    words = split(line)
    known = (*COMMANDS, *MESSAGES) if below else (*VERBS, *CONTROLS)
    if words.verb not in known:
        raise ValueError(f"{topic}, line {number}: {words.verb} is none of {', '.join(known)}")
    return words


def _closed(trace: _Open, topic: str) -> Trace:
    return Trace(trace.title, topic, tuple(trace.steps), trace.without_core, trace.own_namespace)
