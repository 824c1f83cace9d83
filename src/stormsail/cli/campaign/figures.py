"""What worlds add up to: counts by arm, by class of fault, by kind of operation and by kill."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stormsail.cli.campaign.bounds import bounds_of
from stormsail.cli.campaign.kinds import KINDS
from stormsail.cli.campaign.plan import CLASSES, Victim
from stormsail.cli.campaign.world import GIVEN_UP, STATE, TWICE, UNFINISHED, Outcome

NONE_MET: Final = "none"
"""The class of operations that met no fault at all."""
WAYS: Final = (STATE, TWICE, UNFINISHED, GIVEN_UP)
EXAMPLES_MAX: Final = 20

Rate = dict[str, Any]
Json = dict[str, Any]


@dataclass(slots=True)
class Tally:
    """The counts of one arm. Adding up is commutative, so they do not depend on who played which world when."""

    operations: int = 0
    ways: Counter[str] = field(default_factory=Counter)
    """How many were wrong in which way."""
    met: Counter[str] = field(default_factory=Counter)
    """How many met each class of fault; one may meet several."""
    met_wrong: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    kinds_wrong: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    kills_wrong: Counter[str] = field(default_factory=Counter)
    """How many kills hit an operation that ended wrong."""
    worlds: int = 0
    worlds_wrong: int = 0
    """How many worlds had an operation that ended wrong; they share nothing, not even a kill."""
    longest: float = 0.0
    """The longest that an operation that finished took, in nominal times."""
    simulated_s: float = 0.0
    examples: list[tuple[int, str]] = field(default_factory=list)
    """The first operations that ended wrong, and how."""

    @property
    def wrong(self) -> int:
        """How many were wrong."""
        return self.ways.total()

    def count(self, outcome: Outcome, nominal_s: Mapping[str, float]) -> None:
        """Add a world."""
        self.simulated_s += outcome.simulated_s
        self.worlds += 1
        self.worlds_wrong += any(verdict.wrong for verdict in outcome.verdicts)
        for verdict in outcome.verdicts:
            self.operations += 1
            self.kinds[verdict.kind] += 1
            for felt in verdict.felt or (NONE_MET,):
                self.met[felt] += 1
                self.met_wrong[felt] += bool(verdict.wrong)
            if verdict.wrong:
                self.ways[verdict.wrong] += 1
                self.kinds_wrong[verdict.kind] += 1
                self._show(verdict.number, f"{verdict.kind}: {verdict.wrong}: {verdict.detail}")
            else:
                self.longest = max(self.longest, verdict.took_s / nominal_s[verdict.kind])
        for victim, followed_by_wrong in outcome.kills:
            self.kills[victim] += 1
            self.kills_wrong[victim] += followed_by_wrong

    def add(self, other: "Tally") -> None:
        """Add what another process counted."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        self.longest = max(self.longest, other.longest)
        self.simulated_s += other.simulated_s
        for number, text in other.examples:
            self._show(number, text)

    def to_json(self) -> Json:
        """Return the counts, for a checkpoint."""
        counters = {name: dict(getattr(self, name)) for name in _COUNTERS}
        return {
            **{name: getattr(self, name) for name in _COUNTS},
            **counters,
            "longest": self.longest,
            "simulated_s": self.simulated_s,
            "examples": self.examples,
        }

    @classmethod
    def from_json(cls, said: Json) -> "Tally":
        """Read what `to_json` gave."""
        examples = [(int(number), str(text)) for number, text in said["examples"]]
        tally = cls(longest=said["longest"], simulated_s=said["simulated_s"], examples=examples)
        for name in _COUNTS:
            setattr(tally, name, int(said[name]))
        for name in _COUNTERS:
            setattr(tally, name, Counter(said[name]))
        return tally

    def _show(self, number: int, text: str) -> None:
        self.examples = sorted([*self.examples, (number, text)])[:EXAMPLES_MAX]


_COUNTS: Final = ("operations", "worlds", "worlds_wrong")
_COUNTERS: Final = ("ways", "met", "met_wrong", "kinds", "kinds_wrong", "kills", "kills_wrong")


def figures_of(tally: Tally) -> Json:
    """Return the figures of an arm as they are printed: rates with their 95 % bounds."""
    kills = [(str(victim), tally.kills[victim], tally.kills_wrong[victim]) for victim in Victim]
    total = sum(count for _, count, _ in kills), sum(wrong for *_, wrong in kills)
    return {
        **rate("all operations", tally.operations, tally.wrong),
        "ways": {way: tally.ways[way] for way in WAYS},
        "met": _rates((name, tally.met[name], tally.met_wrong[name]) for name in (NONE_MET, *CLASSES)),
        "kinds": _rates((kind.name, tally.kinds[kind.name], tally.kinds_wrong[kind.name]) for kind in KINDS),
        "kills": _rates([*kills, ("all kills", *total)]),
        "worlds": rate("worlds", tally.worlds, tally.worlds_wrong),
        "longest_in_nominal_times": round(tally.longest, 2),
        "simulated_hours": round(tally.simulated_s / 3600, 1),
        "examples": [{"operation": number, "how": text} for number, text in tally.examples],
    }


def rate(name: str, tries: int, wrong: int) -> Rate:
    """Return a rate with its bounds."""
    low, high = bounds_of(wrong, tries)
    return {
        "name": name,
        "count": tries,
        "wrong": wrong,
        "rate": wrong / tries if tries else 0.0,
        "at_least": low,
        "at_most": high,
    }


def _rates(rows: Iterable[tuple[str, int, int]]) -> list[Rate]:
    return [rate(*row) for row in rows]
