"""Starting a workflow: what its first event says, and what a taken workflow id does."""

from typing import Any

import pytest
from temporalio.api.common.v1 import Header, Link, Memo, Payload, Priority, RetryPolicy, TimeSkippingConfig
from temporalio.api.enums.v1 import EventType, TaskQueueKind, WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.errordetails.v1 import WorkflowExecutionAlreadyStartedFailure
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.workflow.v1 import OnConflictOptions

from engine.core import given as g
from histories.world import BEGIN_MS
from stormsail.engine.core.errors import AlreadyStarted, InvalidArgument, Unimplemented
from stormsail.engine.core.limits import DEFAULT_LIMITS

USE_EXISTING = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
TERMINATE_EXISTING = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
FAILED_ONLY = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
REJECT = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
NIL = Payload(data=b"null")
ONE = Payload(data=b"1")
TOO_LARGE = Payload(data=b"x" * (DEFAULT_LIMITS.blob_size_max + 1))


def test_the_started_event_says_all_that_temporals_does() -> None:
    given = g.Given()
    link = Link(workflow_event=Link.WorkflowEvent(namespace="n", workflow_id="other", run_id="r"))
    turn = given.start(
        input=g.payloads("in"),
        workflow_execution_timeout=g.seconds(100),
        workflow_run_timeout=g.seconds(200),
        workflow_task_timeout=g.seconds(300),
        retry_policy=RetryPolicy(maximum_attempts=3),
        memo=Memo(fields={"kept": ONE, "dropped": NIL}),
        header=Header(fields={"h": ONE}),
        priority=Priority(priority_key=2),
        workflow_start_delay=g.seconds(30),
        user_metadata=UserMetadata(summary=ONE),
        links=[link],
        continued_failure=g.failure(),
        last_completion_result=g.payloads("last"),
    )
    run_id = given.world.newest
    expected = WorkflowExecutionStartedEventAttributes(
        workflow_id="w",
        input=g.payloads("in"),
        workflow_execution_timeout=g.seconds(100),
        workflow_run_timeout=g.seconds(100),
        workflow_task_timeout=g.seconds(100),
        original_execution_run_id=run_id,
        first_execution_run_id=run_id,
        identity="client",
        retry_policy=RetryPolicy(maximum_attempts=3),
        attempt=1,
        first_workflow_task_backoff=g.seconds(30),
        memo=Memo(fields={"kept": ONE}),
        header=Header(fields={"h": ONE}),
        priority=Priority(priority_key=2),
        continued_failure=g.failure(),
        last_completion_result=g.payloads("last"),
    )
    expected.workflow_type.name = "W"
    expected.task_queue.name, expected.task_queue.kind = "q", TaskQueueKind.TASK_QUEUE_KIND_NORMAL
    expected.workflow_execution_expiration_time.FromMilliseconds(BEGIN_MS + 100_000)
    (event,) = turn.events
    assert event.workflow_execution_started_event_attributes == expected
    assert event.user_metadata.summary == ONE
    assert list(event.links) == [link]
    assert (given.state.memo, given.state.first_task_ready) == ({"kept": ONE.SerializeToString()}, False)


def test_defaults_are_filled_in_and_nothing_else_is_set() -> None:
    given = g.Given()
    turn = given.start()
    start = turn.events[0].workflow_execution_started_event_attributes
    assert start.workflow_task_timeout == g.seconds(10)
    for name in ("workflow_run_timeout", "workflow_execution_timeout", "retry_policy", "memo", "search_attributes"):
        assert not start.HasField(name), name
    assert g.names(turn) == ["WorkflowExecutionStarted", "WorkflowTaskScheduled"]


def test_a_task_timeout_is_at_most_two_minutes() -> None:
    given = g.Given()
    turn = given.start(workflow_task_timeout=g.seconds(500))
    assert turn.events[1].workflow_task_scheduled_event_attributes.start_to_close_timeout == g.seconds(120)


def test_the_same_request_again_finds_its_run_also_when_that_has_closed() -> None:
    given = g.Given()
    first = given.start("r").reply
    assert given.start("r").reply == first
    given.step(g.done())
    again = given.start("r")
    assert again.empty
    assert (again.reply.run_id, again.reply.started, again.reply.status) == (first.run_id, True, 2)


def test_a_start_asked_for_again_after_its_run_was_followed_by_another_starts_nothing() -> None:
    given = g.Given()
    first = given.start("r", retry_policy=RetryPolicy(initial_interval=g.seconds(2), backoff_coefficient=1)).reply
    given.step(g.failed())
    again = given.start("r", request_eager_execution=True)
    assert again.empty and again.reply == first
    given.after(2)
    given.step(g.done())
    assert given.start("r").reply.run_id == first.run_id
    assert len(given.world.runs) == 2


def test_an_eager_start_asked_for_again_gets_its_task_again_while_it_is_held() -> None:
    given = g.Given()
    first = given.start("r", request_eager_execution=True)
    assert g.names(first) == ["WorkflowExecutionStarted", "WorkflowTaskScheduled", "WorkflowTaskStarted"]
    assert first.events[0].workflow_execution_started_event_attributes.eager_execution_accepted
    assert given.start("r", request_eager_execution=True).reply == first.reply
    given.complete(g.timer())
    assert given.start("r", request_eager_execution=True).reply.first_task is None


def test_a_delayed_start_is_not_eager() -> None:
    given = g.Given()
    turn = given.start(request_eager_execution=True, workflow_start_delay=g.seconds(1))
    assert turn.reply.first_task is None
    assert not turn.events[0].workflow_execution_started_event_attributes.eager_execution_accepted


def test_an_id_in_use_is_refused_with_the_run_that_has_it() -> None:
    given = g.Given()
    given.start("mine")
    with pytest.raises(AlreadyStarted) as refused:
        given.start("other")
    run_id = given.world.newest
    assert refused.value.message == f"Workflow execution is already running. WorkflowId: w, RunId: {run_id}."
    assert refused.value.detail == WorkflowExecutionAlreadyStartedFailure(
        start_request_id="mine", run_id=run_id, first_execution_run_id=run_id
    )


@pytest.mark.parametrize(
    ("end", "policy", "allowed"),
    [
        (g.done(), FAILED_ONLY, False),
        (g.failed(), FAILED_ONLY, True),
        (g.cancelled(), FAILED_ONLY, True),
        (g.done(), REJECT, False),
        (g.failed(), REJECT, False),
        (g.done(), WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE, True),
        (g.done(), WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING, True),
    ],
)
def test_the_reuse_policy_looks_at_how_the_last_run_ended(end: Any, policy: Any, allowed: bool) -> None:
    given = g.Given()
    given.start("first")
    given.step(end)
    if allowed:
        assert given.start("second", workflow_id_reuse_policy=policy).reply.started
    else:
        with pytest.raises(AlreadyStarted):
            given.start("second", workflow_id_reuse_policy=policy)


def test_terminating_the_open_run_and_starting_are_one_turn() -> None:
    given = g.Given()
    given.start("first")
    old = given.world.newest
    given.poll()
    turn = given.start("second", workflow_id_conflict_policy=TERMINATE_EXISTING)
    assert [one.state.key.run_id for one in turn.every] == [old, given.world.newest]
    assert g.told(turn.also[0]) == [
        "4 WorkflowTaskFailed scheduled_event_id=2 started_event_id=3 cause=FORCE_CLOSE_COMMAND "
        "identity=history-service",
        "5 WorkflowExecutionTerminated reason='TerminateIfRunning WorkflowIdReusePolicy' "
        f'details=["terminated by new runID: #{int(given.world.newest[-12:])}"] identity=history-service',
    ]


def test_a_start_can_attach_itself_to_the_run_it_finds() -> None:
    given = g.Given()
    given.start("first")
    options = OnConflictOptions(attach_request_id=True)
    turn = given.start("second", workflow_id_conflict_policy=USE_EXISTING, on_conflict_options=options)
    assert g.told(turn) == ["3 WorkflowExecutionOptionsUpdated attached_request_id=second"]
    assert turn.events[0].worker_may_ignore
    link = turn.reply.link.workflow_event.request_id_ref
    assert (link.request_id, link.event_type) == (
        "second",
        EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
    )
    assert not turn.reply.started
    again = given.start("second", workflow_id_conflict_policy=USE_EXISTING, on_conflict_options=options)
    assert again.empty and again.reply == turn.reply


def test_a_signal_with_start_starts_with_the_signal_in_the_history() -> None:
    given = g.Given()
    turn = given.signal_with_start("r", signal_input=g.payloads("1"))
    assert g.told(turn)[1:] == [
        "2 WorkflowExecutionSignaled signal_name=s input=[1] identity=client request_id=r",
        "3 WorkflowTaskScheduled task_queue=q start_to_close_timeout=10s attempt=1",
    ]
    assert turn.reply.started
    again = given.signal_with_start("r")
    assert again.empty and not again.reply.started and again.reply.run_id == turn.reply.run_id
    second = given.signal_with_start("r2")
    assert g.names(second) == ["WorkflowExecutionSignaled"] and not second.reply.started


def test_a_signal_with_start_ends_a_start_delay_and_a_signal_does_not() -> None:
    given = g.Given()
    given.start(workflow_start_delay=g.seconds(30))
    assert g.names(given.signal()) == ["WorkflowExecutionSignaled"]
    assert g.names(given.signal_with_start()) == ["WorkflowExecutionSignaled", "WorkflowTaskScheduled"]
    assert given.after(40).empty


def test_what_is_not_served_is_refused_by_name() -> None:
    with pytest.raises(Unimplemented, match="time_skipping_config"):
        g.Given().start(time_skipping_config=TimeSkippingConfig())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input": g.Payloads(payloads=[TOO_LARGE])}, "Blob data size exceeds limit."),
        ({"memo": Memo(fields={"a": TOO_LARGE})}, "Memo size exceeds limit."),
        ({"request_id": ""}, "Missing request ID."),
    ],
)
def test_what_cannot_be_kept_is_refused(fields: Any, message: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        g.Given().start(**fields)
    assert refused.value.message == message
