"""The figures of an overload: from what was measured in each phase to what is told, see `bench.overload`."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

OVERLOAD: Final = "overload"
TIMES: Final = 3.0
"""How many times the peak is offered past it."""
KEPT_UP: Final = 0.95
"""An offered rate that is done to this part is kept up with."""
TARGET: Final = 0.8
_PERCENT: Final = 100.0


@dataclass(frozen=True)
class Phase:
    """What was measured while starts were offered at one rate."""

    load: str
    """Which of the loads of a round it was."""
    rate: float
    goodput: float
    accepted_a_s: float
    refused_a_s: float
    cpu: dict[str, float]
    """Processors taken, by process; `elsewhere` is by others on this machine, `idle` by nobody."""
    offered: dict[str, Any]
    """What the offering process told of the whole phase."""
    probed: dict[str, Any] | None = None
    """What the process told that does little else."""


@dataclass(frozen=True)
class Load:
    """The phases of one load, together."""

    phases: Sequence[Phase]

    @property
    def goodput(self) -> float:
        """The median."""
        return statistics.median(phase.goodput for phase in self.phases)

    @property
    def rate(self) -> float:
        """What was offered a second, the median."""
        return statistics.median(phase.rate for phase in self.phases)

    @property
    def is_kept_up_with(self) -> bool:
        """Whether as much was done as was offered, in the median phase."""
        return statistics.median(phase.goodput / phase.rate for phase in self.phases) >= KEPT_UP

    @property
    def a_cpu_s(self) -> float:
        """Workflows completed in a second of the server's CPU, the median."""
        return statistics.median(phase.goodput / phase.cpu["server"] for phase in self.phases)

    @property
    def workflows_a_s(self) -> float:
        """What the server did: a start without its completion, or the other way round, counts as half a workflow."""
        return statistics.mean((phase.goodput + phase.accepted_a_s) / 2 for phase in self.phases)

    @property
    def refused_a_s(self) -> float:
        """On average."""
        return statistics.mean(phase.refused_a_s for phase in self.phases)

    def cpu(self, side: str) -> float:
        """Return the processors taken by a process, on average."""
        return statistics.mean(phase.cpu[side] for phase in self.phases)

    def sum(self, name: str) -> int:
        """Return how many starts of all phases came to that."""
        return sum(int(phase.offered[name]) for phase in self.phases)

    def row(self, name: str) -> list[str]:
        """Return the line of the table."""
        goodputs = [phase.goodput for phase in self.phases]
        return [
            name,
            _range([phase.rate for phase in self.phases]),
            f"{self.goodput:.0f} ({_range(goodputs)})",
            f"{statistics.mean(phase.accepted_a_s for phase in self.phases):.0f}",
            f"{self.refused_a_s:.0f}",
            *(f"{self.cpu(side) * _PERCENT:.0f}" for side in self.phases[0].cpu),
        ]


def by_load(phases: Sequence[Phase]) -> dict[str, Load]:
    """Return the phases by load, in the order in which the loads came."""
    loads = dict.fromkeys(phase.load for phase in phases)
    return {load: Load([phase for phase in phases if phase.load == load]) for load in loads}


def peak_load(loads: dict[str, Load]) -> str:
    """Return at which load most was done: the one with the best median."""
    return max((load for load in loads if load != OVERLOAD), key=lambda load: loads[load].goodput)


def costs_ms(peak: Load, over: Load) -> tuple[float, float] | None:
    """Return what a workflow and what a refusal cost the server, in milliseconds of CPU: the two figures with which its
    CPU comes out at both loads. None where noise hides it, or no larger part was turned away at one of them."""
    done, turned, cpu = peak.workflows_a_s, peak.refused_a_s, peak.cpu("server")
    over_done, over_turned, over_cpu = over.workflows_a_s, over.refused_a_s, over.cpu("server")
    apart = done * over_turned - over_done * turned
    if apart <= 0:
        return None
    workflow = (cpu * over_turned - over_cpu * turned) / apart
    refusal = (done * over_cpu - over_done * cpu) / apart
    return (workflow * 1000, refusal * 1000) if refusal > 0 else None


def ratio_by_cpu(workflow_ms: float, refusal_ms: float) -> float:
    """Return what part of the peak is done at three times the peak by a server that has the same CPU at both: what is
    not completed is refused. The machine's noise is not in it, nor what is lost in other ways than by CPU."""
    part = refusal_ms / workflow_ms
    return (1 - TIMES * part) / (1 - part)


def found_in(phases: Sequence[Phase]) -> dict[str, Any]:
    """Return the figures that phases come to."""
    loads = by_load(phases)
    best = peak_load(loads)
    peak, over = loads[best], loads[OVERLOAD]
    pairs = zip(over.phases, peak.phases, strict=True)
    return {
        "peak": peak.goodput,
        "peak_load": best,
        "goodput": over.goodput,
        "goodput_ratio": over.goodput / peak.goodput,
        "goodput_ratios": [past.goodput / at.goodput for past, at in pairs],
        "costs_ms": costs_ms(peak, over),
    }


def told(found: dict[str, Any]) -> list[str]:
    """Return the figures as lines for a person."""
    loads = by_load([Phase(**phase) for phase in found["phases"]])
    peak, over = loads[found["peak_load"]], loads[OVERLOAD]
    probed = [phase.probed for phase in over.phases if phase.probed is not None]
    failed = over.sum("unanswered") + sum(sum(phase.offered["failed"].values()) for phase in over.phases)
    low = max((each for each in loads.values() if each is not over), key=lambda each: each.rate).is_kept_up_with
    ratios = [f"{ratio:.0%}" for ratio in sorted(found["goodput_ratios"])]
    return [
        f"goodput at 3 x the peak {found['goodput_ratio']:.0%} of the peak (target: {TARGET:.0%} at least),"
        f" {ratios[0]} to {ratios[-1]} in single rounds of {found['rounds']}",
        *(
            ["NOT AT THE PEAK         even the highest of the loads below was kept up with: run it again"]
            if low
            else []
        ),
        f"peak goodput            {found['peak']:.0f} workflows/s with {found['pollers']} pollers, offered"
        f" {_range([phase.rate for phase in peak.phases])} starts/s: the best median of the loads below",
        f"goodput at 3 x the peak {found['goodput']:.0f} workflows/s, offered"
        f" {_range([phase.rate for phase in over.phases])} starts/s",
        f"in a second of its CPU  {peak.a_cpu_s:.0f} at the peak, {over.a_cpu_s:.0f} past it, {over.a_cpu_s / peak.a_cpu_s:.0%}:"
        " where others use this machine too, this says more than the clock",
        f"starts turned away      {over.sum('refused')} of {over.sum('sent')}",
        f"time to be told so      {_spread(probed, 'refusal_since_sent_ms')}:"
        f" {sum(each['refused'] for each in probed)} starts of a process that does little else (target: p99 under 50 ms)",
        f"the same, busy caller   {_spread([each.offered for each in over.phases], 'refusal_ms')}, by the process that"
        " offers all the others, counted from when each was due",
        f"starts accepted         {over.sum('accepted')},"
        f" {_spread([each.offered for each in over.phases], 'accepted_ms')}, all of them completed",
        *_told_of_costs(found["costs_ms"], over),
        f"completions refused     {found['completions_refused']} (target: 0)",
        f"other failures          {failed}",
        f"lateness of callers     p99 {_middle(probed, 'own_lateness_ms', 'p99'):.1f} ms of who does little else,"
        f" {_middle([each.offered for each in over.phases], 'own_lateness_ms', 'p99'):.1f} ms of the busy one: how much the"
        " machine itself holds them up",
        f"server's memory         {found['server_memory_mib']:.0f} MiB at the end",
        "",
        *_table(loads),
        "",
        "Load: in parts of the rate that the search found to be kept up with. Processors: in percent of one, on average;",
        f"elsewhere: what others on this machine took. Phases of {found['seconds']:.0f} s in turns, medians with their range;"
        f" {found['took_s'] / 60:.1f} minutes in all.",
    ]


def _told_of_costs(costs: Sequence[float] | None, over: Load) -> list[str]:
    if costs is None:
        return ["the server's CPU        what a refusal costs cannot be told from the machine's noise"]
    workflow_ms, refusal_ms = costs
    refusing = over.refused_a_s * refusal_ms / 1000
    ahead = statistics.mean(phase.accepted_a_s - phase.goodput for phase in over.phases)
    return [
        f"the server's CPU        {workflow_ms:.2f} ms a workflow and {refusal_ms:.3f} ms a refusal: with these it comes"
        " out at the peak and past it",
        f"of that at 3 x the peak {refusing * _PERCENT:.0f}% of a processor for refusals,"
        f" {ahead * workflow_ms / 2000 * _PERCENT:.0f}% for {ahead:.0f} starts/s beyond what was completed",
        f"reckoned from it        {ratio_by_cpu(workflow_ms, refusal_ms):.0%} of the peak, were the server's CPU the same"
        " at both: so much is due to refusals alone",
    ]


def _table(loads: dict[str, Load]) -> list[str]:
    sides = list(next(iter(loads.values())).phases[0].cpu)
    rows = [["load", "offered/s", "goodput/s", "accepted/s", "refused/s", *sides]]
    rows += [loads[load].row(load) for load in sorted(loads)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _range(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low}-{high}"


def _middle(told: Sequence[dict[str, Any]], name: str, part: str) -> float:
    """Return the median over phases, of those that have the figure."""
    return statistics.median([each[name][part] for each in told if each[name]] or [0.0])


def _spread(told: Sequence[dict[str, Any]], name: str) -> str:
    """Return the middle and the ends: of p50 and p99 the median over the phases, and the longest of all."""
    there = [each[name] for each in told if each[name]]
    if not there:
        return "none were"
    longest = max(each["max"] for each in there)
    return f"p50 {_middle(told, name, 'p50'):.1f} ms, p99 {_middle(told, name, 'p99'):.1f} ms, longest {longest:.1f} ms"
