"""Signals, cancel requests and terminations of runs in all their states."""

from typing import Any

import pytest
from temporalio.api.common.v1 import Link, Payload, Payloads
from temporalio.api.enums.v1 import ResourceExhaustedCause
from temporalio.api.errordetails.v1 import ResourceExhaustedFailure

from engine.core import given as g
from histories.world import World
from stormsail.engine.core.errors import InvalidArgument, NotFound, ResourceExhausted
from stormsail.engine.core.limits import DEFAULT_LIMITS, Limits

OTHER_RUN = "00000000-0000-4000-8000-999999999999"


def started() -> g.Given:
    """A run whose worker waits for news."""
    given = g.Given()
    given.start()
    given.step(g.timer())
    return given


def test_a_signal_is_told_and_wakes_the_worker() -> None:
    given = started()
    link = Link(workflow_event=Link.WorkflowEvent(namespace="n", workflow_id="x", run_id="y"))
    turn = given.signal("hello", input=g.payloads("1"), links=[link])
    assert g.told(turn) == [
        "6 WorkflowExecutionSignaled signal_name=hello input=[1] identity=client",
        "7 WorkflowTaskScheduled task_queue=q start_to_close_timeout=10s attempt=1",
    ]
    assert list(turn.events[0].links) == [link]
    assert turn.reply == given.world.newest
    assert g.names(given.signal()) == ["WorkflowExecutionSignaled"], "one workflow task at most"


def test_a_request_id_counts_once_whatever_happened_since() -> None:
    given = started()
    given.signal(request_id="r")
    assert given.signal(request_id="r").empty
    given.step(g.done())
    assert given.signal(request_id="r").empty
    with pytest.raises(NotFound, match="workflow execution already completed"):
        given.signal(request_id="r2")


def test_events_during_a_workflow_task_come_after_its_commands() -> None:
    given = g.Given()
    given.start()
    given.poll()
    assert given.signal("one").events == []
    given.cancel()
    assert g.told(given.complete(g.timer()))[1:] == [
        "5 TimerStarted timer_id=t start_to_fire_timeout=100s workflow_task_completed_event_id=4",
        "6 WorkflowExecutionSignaled signal_name=one identity=client",
        "7 WorkflowExecutionCancelRequested cause=why identity=client",
        "8 WorkflowTaskScheduled task_queue=q start_to_close_timeout=10s attempt=1",
    ]


def test_signals_are_limited_in_number_and_size() -> None:
    given = g.Given(World(limits=Limits(signals_max=2)))
    given.start()
    given.signal()
    given.signal()
    with pytest.raises(InvalidArgument, match="exceeded workflow execution limit for signal events"):
        given.signal()
    large = Payloads(payloads=[Payload(data=b"x" * (DEFAULT_LIMITS.blob_size_max + 1))])
    with pytest.raises(InvalidArgument, match=r"Blob data size exceeds limit\."):
        given.signal(input=large)


def test_a_closing_run_takes_no_more_signals_until_its_worker_has_seen_the_last() -> None:
    given = g.Given()
    given.start()
    given.poll()
    given.signal("unseen")
    turn = given.complete(g.done())
    assert turn.reply.failed == "UnhandledCommand"
    given.signal("still taken")
    given.poll()
    with pytest.raises(ResourceExhausted) as refused:
        given.signal("too late")
    assert refused.value.message == "workflow operation can not be applied because workflow is closing"
    assert isinstance(refused.value.detail, ResourceExhaustedFailure)
    assert refused.value.detail.cause == ResourceExhaustedCause.RESOURCE_EXHAUSTED_CAUSE_BUSY_WORKFLOW
    assert g.names(given.complete(g.done()))[-1] == "WorkflowExecutionCompleted"


def test_cancel_is_asked_once_and_of_a_closed_run_in_vain() -> None:
    given = started()
    assert g.names(given.cancel()) == ["WorkflowExecutionCancelRequested", "WorkflowTaskScheduled"]
    assert given.cancel(request_id="another").empty
    given.step(g.cancelled())
    assert given.cancel().empty


def test_cancel_does_not_wait_for_a_start_delay() -> None:
    given = g.Given()
    given.start(workflow_start_delay=g.seconds(60))
    assert g.names(given.cancel()) == ["WorkflowExecutionCancelRequested", "WorkflowTaskScheduled"]


@pytest.mark.parametrize("word", ["cancel", "terminate"])
def test_who_names_another_chains_first_run_means_another_workflow(word: str) -> None:
    given = started()
    ask: Any = getattr(given, word)
    with pytest.raises(NotFound, match="workflow execution not found"):
        ask(first_execution_run_id=OTHER_RUN)
    assert ask(first_execution_run_id=given.world.newest).events


def test_a_termination_ends_the_workflow_task_and_tells_what_waited_for_it() -> None:
    given = g.Given()
    given.start()
    given.poll()
    given.signal()
    turn = given.terminate(details=g.payloads("d"))
    assert g.told(turn) == [
        "4 WorkflowTaskFailed scheduled_event_id=2 started_event_id=3 cause=FORCE_CLOSE_COMMAND "
        "identity=history-service",
        "5 WorkflowExecutionSignaled signal_name=s identity=client",
        "6 WorkflowExecutionTerminated reason=why details=[d] identity=client",
    ]
    with pytest.raises(NotFound, match="workflow execution already completed"):
        given.terminate()
