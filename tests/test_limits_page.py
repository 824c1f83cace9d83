"""Every bound that the engine has a name for is told, with a test that is there."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from stormsail.engine.core.limits import Limits

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "limits.md").read_text()
ROWS = [row for row in PAGE.splitlines() if row.startswith("| ") and not row.startswith("| what |")]
TEST = re.compile(r"`(?P<file>tests/[\w/.]+\.py)::(?P<name>test_\w+)`")


NO_BOUND_OF_WHAT_IS_HELD = {
    "activities_inside_max",  # where they are kept
    "default_activity_retry_max_interval_factor",
    "discard_speculative_events_max",  # whether they are written down
    "workflow_task_retry_max_ms",
    "workflow_task_timeout_max_ms",
}


def test_every_bound_by_name_is_on_the_page() -> None:
    named = {field.name for field in fields(Limits) if "_max" in field.name}
    assert {name for name in named if f"`{name}`" not in PAGE} == NO_BOUND_OF_WHAT_IS_HELD


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_each_row_names_tests_that_are_there(row: str) -> None:
    named = TEST.findall(row.split("|")[4])
    assert named
    for file, name in named:
        assert re.search(rf"def {name}\(", (ROOT / file).read_text()), f"{file} has no {name}"
