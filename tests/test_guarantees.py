"""Every promise names a test, and the test is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROMISE = re.compile(r"^\| \*\*(?P<name>[A-Z]+\d+)\*\* \|(?P<rest>.+)\|$", re.MULTILINE)
TEST = re.compile(r"`(?P<file>tests/[\w/.]+\.py)::(?P<name>test_\w+)`")

PROMISES = PROMISE.findall((ROOT / "docs" / "guarantees.md").read_text())


def test_there_are_promises() -> None:
    assert len(PROMISES) >= 15
    assert len({name for name, _ in PROMISES}) == len(PROMISES)


@pytest.mark.parametrize(("name", "rest"), PROMISES, ids=[name for name, _ in PROMISES])
def test_each_promise_names_a_test_that_exists(name: str, rest: str) -> None:
    named = TEST.findall(rest)
    assert named, f"{name} names no test"
    for file, test in named:
        path = ROOT / file
        assert path.is_file(), f"{name}: {file} is not there"
        assert re.search(rf"^\s*(async def {test}\(|def {test}\(|{test} = )", path.read_text(), re.MULTILINE), (
            f"{name}: {file} has no {test}"
        )
