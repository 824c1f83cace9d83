"""What the runner of the official SDK's tests makes of their reports; the tests themselves are run by hand."""

from pathlib import Path

import pytest

from conformance.sdk_known import every_failure, families
from conformance.sdk_suite import SLICE, outcomes, slices, told

REPORT = """<testsuites><testsuite>
<testcase classname="tests.a.test_b" name="test_good[x-1]" />
<testcase classname="tests.a.test_b.TestC" name="test_bad"><failure message="no&#10;more" /></testcase>
<testcase classname="tests.a.test_b" name="test_left"><skipped message="not today" /></testcase>
</testsuite></testsuites>"""
GOOD, BAD, LEFT, LOST = (
    "tests/a/test_b.py::test_good[x-1]",
    "tests/a/test_b.py::TestC::test_bad",
    "tests/a/test_b.py::test_left",
    "tests/a/test_b.py::test_lost",
)


def test_a_report_says_what_became_of_each_test_and_which_did_not_end(tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    ids = [GOOD, BAD, LEFT, LOST]
    assert set(outcomes(report, ids).values()) == {"did not end"}
    report.write_text(REPORT)
    assert outcomes(report, ids) == {GOOD: "passed", BAD: "no", LEFT: "skipped", LOST: "did not end"}


def test_long_files_are_cut_and_no_test_is_lost() -> None:
    ids = [f"tests/long.py::t{number}" for number in range(SLICE + 1)] + ["tests/short.py::t"]
    cut = slices(ids)
    assert [len(group) for _, group in cut] == [SLICE, 1, 1]
    assert [each for _, group in cut for each in group] == ids
    assert len({name for name, _ in cut}) == 3


def test_what_is_not_listed_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert told({GOOD: "passed", BAD: "no"}, [BAD]) == 0
    assert "all listed" in capsys.readouterr().out
    assert told({GOOD: "passed", BAD: "no"}, [GOOD]) == 1
    said = capsys.readouterr().out
    assert f"not listed: {BAD}" in said
    assert f"listed, and passes: {GOOD}" in said


def test_every_failure_that_is_listed_has_a_reason_and_the_figures_fit() -> None:
    figures, failures = every_failure()
    assert {each.family for each in failures} == families().keys()
    assert len({each.test_id for each in failures}) == len(failures)
    assert int(figures["passed"]) + int(figures["skipped"]) + len(failures) == int(figures["total"])
    assert int(figures["passed"]) >= 700
