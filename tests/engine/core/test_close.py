"""How runs end, and the runs that follow."""

from typing import Any

import pytest
from temporalio.api.common.v1 import Header, Memo, Payload, RetryPolicy, WorkflowType
from temporalio.api.enums.v1 import ContinueAsNewInitiator, RetryState, WorkflowExecutionStatus

from engine.core import given as g
from stormsail.engine.core import work
from stormsail.engine.core.turn import Turn

ONE = Payload(data=b"1")
POLICY = RetryPolicy(
    initial_interval=g.seconds(2), backoff_coefficient=3, maximum_interval=g.seconds(50), maximum_attempts=3
)


def next_start(turn: Turn) -> Any:
    """The started event of the run that a turn began."""
    (following,) = turn.also
    return following.events[0].workflow_execution_started_event_attributes


@pytest.mark.parametrize(
    ("command", "told", "status"),
    [
        (g.done(), "WorkflowExecutionCompleted result=[1] workflow_task_completed_event_id=4", "COMPLETED"),
        (g.cancelled(), "WorkflowExecutionCanceled workflow_task_completed_event_id=4 details=[ok]", "CANCELED"),
        (
            g.failed(),
            "WorkflowExecutionFailed failure={message=no application_failure_info={type=Broken}} "
            "retry_state=RETRY_POLICY_NOT_SET workflow_task_completed_event_id=4",
            "FAILED",
        ),
    ],
)
def test_a_closing_command_ends_the_run_and_drops_what_was_pending(command: Any, told: str, status: str) -> None:
    given = g.Given()
    given.start()
    turn = given.step(g.activity("a"), g.timer("t"), command)
    assert g.told(turn)[-1] == f"7 {told}"
    state = turn.state
    assert state.status == WorkflowExecutionStatus.Value(f"WORKFLOW_EXECUTION_STATUS_{status}")
    assert (state.close_event_id, state.closed_at_ms, state.new_run_id) == (7, given.world.now_ms, "")
    assert not state.activities and not state.activity_by_id and not state.timers and not state.buffered
    assert state.workflow_task is None and not work.tasks(state)


def test_continue_as_new_begins_the_next_run_in_the_same_turn() -> None:
    given = g.Given()
    given.start(
        memo=Memo(fields={"old": ONE}), workflow_execution_timeout=g.seconds(100), workflow_task_timeout=g.seconds(7)
    )
    first = given.world.newest
    given.world.now_ms += 5_000
    turn = given.step(
        g.again(
            input=g.payloads("in"),
            workflow_type=WorkflowType(name="V"),
            header=Header(fields={"h": ONE}),
            memo=Memo(fields={"new": ONE}),
            workflow_run_timeout=g.seconds(500),
        )
    )
    second = given.world.newest
    assert [one.state.key.run_id for one in turn.every] == [first, second]
    assert turn.state.new_run_id == second
    told = turn.events[-1].workflow_execution_continued_as_new_event_attributes
    assert (told.new_execution_run_id, told.workflow_type.name, told.task_queue.name) == (second, "V", "q")
    start = next_start(turn)
    assert (start.first_execution_run_id, start.continued_execution_run_id) == (first, first)
    assert (start.original_execution_run_id, start.workflow_type.name, start.attempt) == (second, "V", 1)
    assert start.initiator == ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_WORKFLOW
    assert (start.workflow_run_timeout, start.workflow_task_timeout) == (g.seconds(100), g.seconds(7))
    assert start.workflow_execution_expiration_time == given.world.runs[first].start.workflow_execution_expiration_time
    assert start.memo == Memo(fields={"new": ONE})
    assert (start.input, start.header) == (g.payloads("in"), Header(fields={"h": ONE}))
    assert start.first_workflow_task_backoff == g.seconds(0) and not start.identity
    assert g.names(turn.also[0]) == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]


def test_runs_do_not_follow_each_other_faster_than_once_a_second() -> None:
    given = g.Given()
    given.start()
    given.world.now_ms += 300
    turn = given.step(g.again(backoff_start_interval=g.seconds(0.2)))
    assert next_start(turn).first_workflow_task_backoff == g.seconds(0.7)
    assert g.names(turn.also[0]) == ["WorkflowExecutionStarted"]
    assert g.names(given.after(0.6)) == []
    assert g.names(given.after(0.1)) == ["WorkflowTaskScheduled"]


def test_a_failed_workflow_is_tried_again_as_it_was_started() -> None:
    given = g.Given()
    given.start(
        retry_policy=POLICY,
        input=g.payloads("in"),
        memo=Memo(fields={"m": ONE}),
        header=Header(fields={"h": ONE}),
        last_completion_result=g.payloads("l"),
        request_eager_execution=True,
    )
    first = given.world.newest
    turn = given.complete(g.remember(m=Payload(data=b"2")), g.failed())
    failed = turn.events[-1].workflow_execution_failed_event_attributes
    assert (failed.retry_state, failed.new_execution_run_id) == (
        RetryState.RETRY_STATE_IN_PROGRESS,
        given.world.newest,
    )
    start = next_start(turn)
    assert (start.attempt, start.first_workflow_task_backoff, start.continued_failure) == (
        2,
        g.seconds(2),
        g.failure(),
    )
    assert start.initiator == ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY
    assert (start.input, start.header, start.memo) == (
        g.payloads("in"),
        Header(fields={"h": ONE}),
        Memo(fields={"m": ONE}),
    )
    assert (start.continued_execution_run_id, start.first_execution_run_id, start.retry_policy) == (
        first,
        first,
        POLICY,
    )
    assert not start.HasField("last_completion_result")
    assert not start.identity and not start.eager_execution_accepted


def test_tries_end_with_the_policy() -> None:
    given = g.Given()
    given.start(retry_policy=POLICY)
    waited = []
    for _ in range(3):
        turn = given.step(g.failed())
        if turn.also:
            backoff = next_start(turn).first_workflow_task_backoff
            waited.append(backoff.ToMilliseconds())
            given.after(backoff.ToMilliseconds() / 1_000)
    assert waited == [2_000, 6_000]
    failed = turn.events[-1].workflow_execution_failed_event_attributes
    assert (failed.retry_state, failed.new_execution_run_id) == (
        RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED,
        "",
    )


@pytest.mark.parametrize(
    ("start", "info", "state"),
    [
        ({"retry_policy": POLICY}, {"non_retryable": True}, RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE),
        (
            {"retry_policy": POLICY, "workflow_execution_timeout": g.seconds(1)},
            {},
            RetryState.RETRY_STATE_TIMEOUT,
        ),
        ({}, {}, RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET),
    ],
)
def test_why_a_failed_workflow_is_not_tried_again(start: Any, info: Any, state: Any) -> None:
    given = g.Given()
    given.start(**start)
    turn = given.step(g.failed(**info))
    assert not turn.also
    assert turn.events[-1].workflow_execution_failed_event_attributes.retry_state == state


def test_a_run_that_times_out_is_tried_again_and_its_chain_is_not() -> None:
    given = g.Given()
    given.start(retry_policy=POLICY, workflow_run_timeout=g.seconds(10), workflow_execution_timeout=g.seconds(15))
    given.poll()
    given.signal()
    turn = given.after(10)
    assert g.told(turn)[-1].startswith("6 WorkflowExecutionTimedOut retry_state=IN_PROGRESS new_execution_run_id=")
    assert g.names(turn) == ["WorkflowTaskFailed", "WorkflowExecutionSignaled", "WorkflowExecutionTimedOut"]
    assert next_start(turn).continued_failure.message == "workflow timeout"
    given.after(2)
    assert g.told(given.after(10)) == ["3 WorkflowExecutionTimedOut retry_state=TIMEOUT"]
