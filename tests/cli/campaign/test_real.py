"""The simulated arm against real processes."""

import json

import pytest

from stormsail.cli.main import run


@pytest.mark.long
@pytest.mark.e2e
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_real_processes_that_are_killed_end_as_the_simulated_ones_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["campaign", "--real", "40", "--fault-rate", "0.05", "-o", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["differences"] == []
    assert (record["operations"], record["real"]["wrong"]) == (40, 0)
    assert record["kills"] > 0
