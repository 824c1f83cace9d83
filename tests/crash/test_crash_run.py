"""kill -9 of server and workers, the short form; `make crash KILLS=500` is the long one."""

from pathlib import Path

import pytest

from crash.run import reckon

KILLS = 30


@pytest.mark.e2e
@pytest.mark.timeout(600)
async def test_nothing_acknowledged_is_lost_or_doubled_through_thirty_kills(tmp_path: Path) -> None:
    found = await reckon(tmp_path, KILLS, 7, print)
    assert found.wrong == []
    assert sum(found.kills.values()) >= KILLS
    assert found.entries > KILLS
    assert found.workflows == found.calls["start"]
