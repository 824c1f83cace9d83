"""Messages between runs, as commits send and take them; held against what is on disk after each restart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from stormsail.engine.core.messages import RunMessage
from stormsail.engine.core.turn import Turn
from stormsail.engine.sim.coverage import Coverage
from stormsail.engine.sim.network import Violated
from stormsail.engine.sim.trace import Violation
from stormsail.engine.store.store import Store

Name = tuple[str, int, str]
_EVERYTHING: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Posting:
    """What one commit does to messages."""

    taken: tuple[Name, ...]
    sent: tuple[RunMessage, ...]

    @classmethod
    def of(cls, turns: Sequence[Turn]) -> "Posting":
        """Return what turns do, all of them together."""
        every = [each for turn in turns for each in _all(turn)]
        taken = tuple(each.takes.name for each in every if each.takes is not None)
        return cls(taken, tuple(message for each in every for message in each.messages))


class Mail:
    """The messages that are sent and not taken, as the commits have it."""

    def __init__(self, violated: Violated, coverage: Coverage) -> None:
        self._violated = violated
        self._coverage = coverage
        self._waiting: dict[Name, RunMessage] = {}
        self._settling: dict[int, Posting] = {}
        self._drawn = 0

    def carry_out(self, posting: Posting) -> None:
        """Take note of a commit."""
        for name in posting.taken:
            self._waiting.pop(name, None)
        for message in posting.sent:
            self._waiting[message.name] = message
            self._coverage.saw("message", message.kind)

    def settling(self, taken: RunMessage, answers: Sequence[RunMessage]) -> int:
        """A message that no run takes goes from the disk, its answers come; returns what to call that by."""
        self._drawn += 1
        self._settling[self._drawn] = Posting((taken.name,), tuple(answers))
        return self._drawn

    def settled(self, number: int) -> None:
        """It is done, the store says."""
        self.carry_out(self._settling.pop(number))

    def not_settled(self, number: int) -> None:
        """It is not, the store says."""
        self._settling.pop(number, None)

    def is_there(self, store: Store, posting: Posting) -> bool:
        """Whether a commit that does nothing but take messages is on disk."""
        return not {message.name for message in _waiting(store)} & set(posting.taken)

    def opened(self, store: Store) -> None:
        """Hold what the disk has against what was committed; what was under way is there, or not."""
        found = {message.name: message for message in _waiting(store)}
        for number in sorted(self._settling):
            posting = self._settling.pop(number)
            if not found.keys() & set(posting.taken):
                self.carry_out(posting)
        lost, kept = self._waiting.keys() - found.keys(), found.keys() - self._waiting.keys()
        if lost:
            self._violated(Violation("D1", f"messages between runs are gone from the disk: {_some(lost)}"))
        if kept:
            self._violated(Violation("C1", f"messages between runs are still on disk, and were taken: {_some(kept)}"))
        if wrong := {name for name in found if found[name] != self._waiting.get(name)}:
            self._violated(Violation("D1", f"messages between runs say something else on disk: {_some(wrong)}"))


def _waiting(store: Store) -> list[RunMessage]:
    return store.outbox.waiting(_EVERYTHING, _EVERYTHING)[0]


def _all(turn: Turn) -> list[Turn]:
    return [turn, *(each for other in turn.also for each in _all(other))]


def _some(names: set[Name]) -> str:
    return "; ".join(f"{kind} of event {event_id} of {run_id}" for run_id, event_id, kind in sorted(names)[:3])
