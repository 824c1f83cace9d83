"""The scenarios of tests/histories/*.txt: after each request exactly these events, tasks and deadlines.

`REWRITE=1 pytest tests/engine/core/test_histories.py` writes what happens now into the files; read the difference.
After every turn the runner also replays the run from its history and progress, and FireDue is held to its deadline.
"""

import os
from pathlib import Path

import pytest

from histories.script import SEPARATOR, Script, steps

HISTORIES = Path(__file__).parents[2] / "histories"
SCENARIOS = sorted(HISTORIES.glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_scenario_holds(path: Path) -> None:
    script = Script()
    told, expected = [], []
    for step in steps(path.read_text()):
        happened = script.do(step.request)
        above = step.above + "\n" if step.above or told else ""
        told.append(f"{above}{step.request}\n{SEPARATOR}\n{happened}\n")
        expected.append(f"{above}{step.request}\n{SEPARATOR}\n{step.expected}\n")
    if os.environ.get("REWRITE"):
        path.write_text("".join(told))
    else:
        assert "".join(told) == "".join(expected)


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) >= 20
