"""The traces are written as their language wants, and the core, our server and Temporal's agree on them."""

import asyncio
from pathlib import Path

import pytest
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from parity.__main__ import PAGE, report, run
from parity.compare import Told, differences, told
from parity.core import Core
from parity.fields import assign
from parity.known import every_known, unexplained
from parity.language import Trace, every_trace, read
from parity.page import with_appendix
from parity.side import Side

TRACES = every_trace()
ON_CORE = [trace for trace in TRACES if not trace.without_core]


def test_traces_have_names_of_their_own() -> None:
    assert len({trace.name for trace in TRACES}) == len(TRACES) >= 120


def test_the_page_tells_of_every_difference_that_is_known() -> None:
    text = PAGE.read_text()
    assert text == with_appendix(text), 'run: make parity ARGS="--page"'


def test_known_differences_are_of_traces_that_there_are() -> None:
    names = {trace.name for trace in TRACES}
    assert [each.trace for each in every_known() if not each.everywhere and each.trace not in names] == []


@pytest.mark.parametrize("trace", ON_CORE, ids=lambda trace: trace.name)
async def test_the_core_takes_a_trace_to_its_end(trace: Trace) -> None:
    side = Side(trace)
    found = await told(Core(side), side.trace)
    assert found.broke == ""
    assert found.histories


def test_a_difference_is_found_wherever_it_is() -> None:
    (trace,) = read("t", "one\n    start\n    poll\n")
    before = Told([["OK", "a: 1"], ["OK"]], ["~ <run 1>", "1 X"])
    for after in (
        Told([["OK", "a: 2"], ["OK"]], ["~ <run 1>", "1 X"]),
        Told([["OK", "a: 1"], ["NOT_FOUND"]], ["~ <run 1>", "1 X"]),
        Told([["OK", "a: 1"], ["OK"]], ["~ <run 1>", "1 Y"]),
        Told([["OK", "a: 1"]], [], "poll: it broke"),
    ):
        assert differences(trace.steps, before, after, "server")
    assert differences(trace.steps, before, before, "server") == []


def test_a_known_difference_explains_its_own_lines_alone() -> None:
    known = every_known("t: one\n    a: [-+]x\n    because so it is\n")
    assert unexplained(["a: -x", "b: +x"], known) == ["b: +x"]
    assert known[0].reason == "so it is"


def test_a_trace_with_a_verb_that_is_none_is_refused_with_its_line() -> None:
    with pytest.raises(ValueError, match="t, line 3: jump is none of"):
        list(read("t", "one\n    start\n    jump\n"))


def test_words_become_fields() -> None:
    request = StartWorkflowExecutionRequest()
    for path, text in (
        ("workflow_type", "Kind"),
        ("retry_policy", "1s/2/10s/3/Bad"),
        ("memo.fields.note", "word"),
        ("workflow_run_timeout", "90m"),
        ("workflow_id_reuse_policy", "REJECT_DUPLICATE"),
        ("workflow_id", "x*3"),
    ):
        assign(request, path, text)
    assert request.workflow_type.name == "Kind"
    assert request.retry_policy.maximum_attempts == 3
    assert list(request.retry_policy.non_retryable_error_types) == ["Bad"]
    assert request.memo.fields["note"].data == b'"word"'
    assert request.workflow_run_timeout.seconds == 5_400
    assert request.workflow_id_reuse_policy == 3
    assert request.workflow_id == "xxx"
    with pytest.raises(ValueError, match="has no field nonsense"):
        assign(request, "nonsense", "x")


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_the_core_our_server_and_temporals_agree(tmp_path: Path) -> None:
    known = every_known()
    text, good = report(asyncio.run(run(TRACES, known)), known, verbose=False)
    assert good, text
