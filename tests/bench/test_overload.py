"""What the benchmark of an overload reckons from its phases, and what it says, also if nobody was turned away."""

import asyncio
from dataclasses import asdict
from typing import Any

import pytest

from bench.goodput import OVERLOAD, Phase, by_load, costs_ms, found_in, peak_load, ratio_by_cpu, told
from bench.offered import spread
from bench.overload import kept_up_with, rate_between, reaches_past


def offered(refused: list[float]) -> dict[str, Any]:
    return {
        "sent": 36_000,
        "accepted": 9_000,
        "refused": len(refused),
        "failed": {},
        "unanswered": 0,
        "settled": {"sent": 30_000, "accepted": 8_000, "refused": len(refused)},
        "refusal_ms": spread(refused),
        "refusal_since_sent_ms": spread(refused),
        "accepted_ms": spread([0.5]),
        "own_lateness_ms": spread([0.001]),
    }


RATE = 1_000.0


def phase(load: str, goodput: float, *, refused_a_s: float = 0.0, server: float = 0.9) -> Phase:
    told_by_probe = offered([0.01, 0.02] if refused_a_s else []) if load == OVERLOAD else None
    cpu = {"server": server, "offering": 0.1, "idle": 0.2}
    return Phase(
        load, RATE * (1 if load == "1.00" else 1.2), goodput, goodput, refused_a_s, cpu, offered([0.2]), told_by_probe
    )


def rounds(*, refused_a_s: float = 2_000.0) -> list[Phase]:
    """Three rounds on a machine whose speed changes by a third, and one lucky phase at 1.20 past the peak."""
    phases = []
    for speed, lucky in ((1.0, 1.0), (1.2, 1.0), (0.9, 1.5)):
        phases += [
            phase("1.00", 1_000 * speed),
            phase("1.20", 950 * speed * lucky),
            phase(OVERLOAD, 850 * speed, refused_a_s=refused_a_s),
        ]
    return phases


def whole(phases: list[Phase]) -> dict[str, Any]:
    """Return what the benchmark writes."""
    return found_in(phases) | {
        "pollers": 32,
        "rounds": 3,
        "seconds": 8.0,
        "took_s": 100.0,
        "phases": [asdict(each) for each in phases],
        "completions_refused": 0,
        "server_memory_mib": 100.0,
    }


def test_the_peak_is_the_best_median_and_not_the_luckiest_phase() -> None:
    found = found_in(rounds())
    assert max(each.goodput for each in rounds()) == pytest.approx(1_282.5)
    assert (found["peak"], found["goodput"]) == (1_140.0, 850.0)
    assert found["peak_load"] == "1.20"
    assert found["goodput_ratio"] == pytest.approx(850 / 1_140)


def test_each_round_is_compared_with_the_peak_of_the_same_round() -> None:
    steady = [each for each in rounds() if each.load != "1.20"]
    assert found_in(steady)["goodput_ratios"] == pytest.approx([0.85, 0.85, 0.85])
    assert peak_load(by_load(steady)) == "1.00"


def test_what_a_workflow_and_a_refusal_cost_is_what_the_cpu_at_both_loads_comes_to() -> None:
    peak = phase("1.20", 1_000, refused_a_s=100, server=1_000 * 0.8e-3 + 100 * 0.05e-3)
    over = phase(OVERLOAD, 900, refused_a_s=2_100, server=900 * 0.8e-3 + 2_100 * 0.05e-3)
    loads = by_load([peak, over])
    assert costs_ms(loads["1.20"], loads[OVERLOAD]) == pytest.approx((0.8, 0.05))
    assert costs_ms(loads["1.20"], loads["1.20"]) is None


def test_a_refusal_that_costs_nothing_takes_nothing_from_the_peak_and_one_of_a_third_all() -> None:
    assert ratio_by_cpu(0.9, 0.0) == 1.0
    assert ratio_by_cpu(0.9, 0.3) == pytest.approx(0.0)
    # Of a peak of 1,000/s with 1 ms each, 3,000 are offered: 1 ms * w + 0.1 ms * (3,000 - w) is a second.
    assert ratio_by_cpu(1.0, 0.1) == pytest.approx(700 / 0.9 / 1_000)


@pytest.mark.parametrize(
    ("refused_a_s", "said"),
    [(2_000.0, "p50 20.0 ms, p99 20.0 ms, longest 20.0 ms: 6 starts"), (0.0, "none were: 0 starts")],
)
def test_it_tells_how_long_refusals_took_for_a_process_that_does_little_else(refused_a_s: float, said: str) -> None:
    lines = told(whole(rounds(refused_a_s=refused_a_s)))
    [line] = [line for line in lines if line.startswith("time to be told so")]
    assert said in line
    assert any("75% of the peak" in line for line in lines)
    assert any("1267 at the peak, 944 past it, 75%" in line for line in lines)
    assert any("cannot be told from" in line for line in lines) == (not refused_a_s)
    [head, *rows] = [line.split() for line in lines if line.strip().startswith(("load ", "1.", OVERLOAD))]
    assert head[-3:] == ["server", "offering", "idle"]
    assert [row[-3:] for row in rows] == [["90", "10", "20"]] * 3


def test_a_rate_is_past_the_peak_when_it_is_not_kept_up_with_twice() -> None:
    tried: list[float] = []

    async def keeps_up(rate: float) -> bool:
        tried.append(rate)
        bad_moment = rate == 400 and tried.count(rate) == 1
        return rate <= 1_000 and not bad_moment

    found = asyncio.run(kept_up_with(keeps_up))
    assert 1_000 / 1.1 <= found <= 1_000
    assert tried.count(400) == tried.count(1_600) == 2


def test_the_loads_are_raised_while_the_highest_is_kept_up_with() -> None:
    async def keeps_up(rate: float) -> bool:
        return rate <= 1_000

    assert asyncio.run(reaches_past(900, keeps_up)) == 900
    assert asyncio.run(reaches_past(500, keeps_up)) == 500 * 1.45


@pytest.mark.parametrize(("done", "is_low"), [(1_190.0, True), (1_100.0, False)])
def test_a_run_that_did_not_come_to_the_peak_says_so(done: float, is_low: bool) -> None:
    lines = told(whole([phase("1.00", 990), phase("1.20", done), phase(OVERLOAD, 900, refused_a_s=2_000)]))
    assert any("NOT AT THE PEAK" in line for line in lines) == is_low


def test_a_server_that_keeps_up_with_nothing_has_no_peak() -> None:
    async def keeps_up(_: float) -> bool:
        return False

    with pytest.raises(RuntimeError, match="does not keep up with 200 starts"):
        asyncio.run(kept_up_with(keeps_up))


def test_a_rate_is_reckoned_from_what_was_told_within_the_phase() -> None:
    points = [(0.0, 0), (1.0, 5), (2.0, 105), (3.0, 205), (4.0, 206)]
    assert rate_between(points, 0.9, 3.5) == 100.0
    with pytest.raises(RuntimeError, match="give --seconds 2"):
        rate_between(points, 3.5, 4.5)
