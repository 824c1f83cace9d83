"""What the benchmark of an overload says, whether or not anybody was turned away."""

from typing import Any

import pytest

from bench.offered import spread
from bench.overload import told


def offered(refused: list[float]) -> dict[str, Any]:
    return {
        "rate": 3_000.0,
        "goodput": 900.0,
        "sent": 36_000,
        "accepted": 9_000,
        "refused": len(refused),
        "failed": {},
        "unanswered": 0,
        "refusal_ms": spread(refused),
        "refusal_since_sent_ms": spread(refused),
        "accepted_ms": spread([0.5]),
        "own_lateness_ms": spread([0.001]),
    }


@pytest.mark.parametrize(
    ("refused", "said"), [([0.01, 0.02], "p50 20.0 ms, p99 20.0 ms, longest 20.0 ms: 2 starts"), ([], "none were: 0")]
)
def test_it_tells_how_long_refusals_took_for_a_process_that_does_little_else(refused: list[float], said: str) -> None:
    found = {
        "peak": 1_000.0,
        "pollers": 32,
        "over": offered([0.2]),
        "probed": offered(refused),
        "goodput_ratio": 0.9,
        "cpu_ms_each": {"at the peak": 1.0, "past it": 1.1},
        "completions_refused": 0,
        "server_memory_mib": 100.0,
    }
    lines = told(found)
    [line] = [line for line in lines if line.startswith("time to be told so")]
    assert said in line
    assert any("90% of the peak" in line for line in lines)
