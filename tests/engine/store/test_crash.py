"""What was acknowledged is there after kill -9."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_acknowledged_commit_is_lost_in_twenty_kills(tmp_path: Path) -> None:
    found = subprocess.run(
        [sys.executable, "-m", "engine.store.crash_rounds", str(tmp_path / "data"), "20", "7"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    assert told["wrong"] == []
    assert told["kills"] == 20
    assert told["acknowledged"] > 20
