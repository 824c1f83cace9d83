"""The workflow task: taking it, failing it, losing it, and what a worker's cache changes."""

import pytest
from temporalio.api.enums.v1 import SuggestContinueAsNewReason, WorkflowTaskFailedCause

from engine.core import given as g
from histories.world import World
from stormsail.engine.core import work
from stormsail.engine.core.errors import InvalidArgument, NotFound
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import FailWorkflowTask, ResetSticky, StartWorkflowTask, StickyGone

SCHEDULED = "WorkflowTaskScheduled task_queue=q start_to_close_timeout=10s attempt=1"


def failing(times: int) -> g.Given:
    """A run whose first workflow task failed that often."""
    given = g.Given()
    given.start()
    for _ in range(times):
        given.poll()
        given.fail()
    return given


def test_a_task_is_taken_once_and_its_taker_may_ask_again() -> None:
    given = g.Given()
    given.start()
    first = given.poll("mine")
    again = given.world.ask(StartWorkflowTask(2, 1, "worker", "mine"))
    assert again.empty and again.reply == first
    for scheduled, attempt, request_id in ((2, 1, "other"), (2, 2, "mine"), (5, 1, "mine"), (2, 1, "")):
        with pytest.raises(NotFound, match=r"Workflow task"):
            given.world.ask(StartWorkflowTask(scheduled, attempt, "worker", request_id))


def test_what_a_worker_is_handed() -> None:
    given = g.Given()
    given.start()
    first = given.poll()
    assert (first.previous_started_event_id, first.started_event_id, first.history_through) == (0, 3, 3)
    assert (first.attempt, first.workflow_type, first.task_queue, first.sticky) == (1, "W", "q", False)
    given.complete(g.timer(), sticky_attributes=g.sticky())
    given.signal()
    second = given.poll()
    assert (second.previous_started_event_id, second.started_event_id, second.history_through) == (3, 8, 8)
    assert second.sticky


def test_a_stale_token_changes_nothing() -> None:
    given = g.Given()
    given.start()
    given.poll()
    stale = given.token
    given.complete(g.timer())
    with pytest.raises(NotFound, match=r"Workflow task not found\."):
        given.complete(g.timer("again"))
    given.signal()
    given.poll()
    given.token = stale
    with pytest.raises(NotFound, match=r"Workflow task not found\."):
        given.fail()


def test_repeated_failures_leave_one_event_and_are_shown_to_the_worker_only() -> None:
    given = failing(1)
    assert g.told(given.history)[3:] == [
        "4 WorkflowTaskFailed scheduled_event_id=2 started_event_id=3 cause=WORKFLOW_WORKER_UNHANDLED_FAILURE "
        "failure={message=no application_failure_info={type=Broken}} identity=worker"
    ]
    second = given.poll()
    assert (second.attempt, second.history_through, second.started_event_id) == (2, 4, 6)
    assert g.names(list(second.transient_events)) == ["WorkflowTaskScheduled", "WorkflowTaskStarted"]
    assert given.fail().events == []
    third = given.poll()
    assert third.attempt == 3
    turn = given.complete(g.timer())
    assert turn.events[:2] == list(third.transient_events)
    assert g.names(turn) == ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskCompleted", "TimerStarted"]
    assert turn.events[0].workflow_task_scheduled_event_attributes.attempt == 3
    given.signal()
    assert given.poll().attempt == 1


def test_news_make_a_repeated_attempt_a_first_one_again() -> None:
    given = failing(2)
    given.signal()
    started = given.poll()
    assert (started.attempt, started.transient_events) == (1, ())
    assert g.names(given.history)[3:] == [
        "WorkflowTaskFailed",
        "WorkflowExecutionSignaled",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
    ]


def test_news_during_a_repeated_attempt_make_the_next_a_first_one() -> None:
    given = failing(1)
    given.poll()
    given.signal()
    assert g.told(given.fail()) == ["5 WorkflowExecutionSignaled signal_name=s identity=client", f"6 {SCHEDULED}"]


def test_the_timeout_grows_from_the_fourth_attempt_on() -> None:
    lengths = []
    given = failing(0)
    for _ in range(6):
        given.poll()
        assert given.state.workflow_task is not None
        lengths.append(given.state.workflow_task.timeout_ms)
        given.fail()
    assert lengths == [10_000, 10_000, 10_000, 15_000, 20_000, 30_000]


def test_a_failure_on_a_cached_run_costs_the_cache_and_no_attempt() -> None:
    given = g.Given()
    given.start()
    given.step(g.timer(), sticky_attributes=g.sticky())
    turn = given.signal()
    assert g.told(turn)[1] == (
        "7 WorkflowTaskScheduled task_queue=sticky(sticky of q) start_to_close_timeout=10s attempt=1"
    )
    given.poll()
    assert g.told(given.fail())[1:] == [f"10 {SCHEDULED}"]
    assert given.state.sticky_queue == ""


def test_a_completion_without_sticky_attributes_forgets_the_sticky_queue() -> None:
    given = g.Given()
    given.start()
    given.step(g.timer(), sticky_attributes=g.sticky())
    given.signal()
    given.step(g.marker())
    assert given.state.sticky_queue == ""


@pytest.mark.parametrize("request_", [StickyGone("sticky"), ResetSticky()], ids=["gone", "reset"])
def test_a_task_waiting_in_a_forgotten_sticky_queue_moves_to_the_normal_one(request_: object) -> None:
    given = g.Given()
    given.start()
    given.step(g.timer(), sticky_attributes=g.sticky())
    given.signal()
    given.world.ask(request_)  # type: ignore[arg-type]
    (task,) = work.tasks(given.state).values()
    assert (task.queue, task.sticky) == ("q", False)
    assert not given.poll().sticky, "the other worker needs the whole history"


def test_another_sticky_queues_end_is_no_news() -> None:
    given = g.Given()
    given.start()
    given.step(g.timer(), sticky_attributes=g.sticky())
    assert given.world.ask(StickyGone("another")).empty


def test_a_task_that_runs_out_of_time_is_tried_again() -> None:
    given = g.Given()
    given.start()
    given.poll()
    assert g.told(given.after(10)) == [
        "4 WorkflowTaskTimedOut scheduled_event_id=2 started_event_id=3 timeout_type=START_TO_CLOSE"
    ]
    assert given.poll().attempt == 2


def test_a_task_nobody_takes_from_a_sticky_queue_goes_to_the_normal_one() -> None:
    given = g.Given()
    given.start()
    given.step(g.timer(), sticky_attributes=g.sticky(timeout=5))
    given.signal()
    assert g.told(given.after(5)) == [
        "8 WorkflowTaskTimedOut scheduled_event_id=7 timeout_type=SCHEDULE_TO_START",
        f"9 {SCHEDULED}",
    ]


def test_the_next_task_can_be_had_in_the_reply_to_the_last() -> None:
    given = g.Given()
    given.start()
    given.poll()
    given.signal()
    turn = given.complete(g.timer(), return_new_workflow_task=True)
    assert g.names(turn)[-2:] == ["WorkflowTaskScheduled", "WorkflowTaskStarted"]
    task = turn.reply.new_task
    assert (task.previous_started_event_id, task.started_event_id, task.history_through, task.sticky) == (3, 8, 8, True)
    assert given.complete(g.done()).state.open is False


def test_a_long_task_may_ask_for_more_time_but_not_for_ever() -> None:
    given = g.Given()
    given.start(workflow_task_timeout=g.seconds(60))
    given.poll()
    for _ in range(31):
        given.world.now_ms += 59_000
        turn = given.complete(force_create_new_workflow_task=True, return_new_workflow_task=True)
        if turn.refusal is not None:
            break
    assert isinstance(turn.refusal, NotFound)
    assert turn.refusal.message == "workflow task heartbeat timeout"
    assert g.names(turn) == ["WorkflowTaskTimedOut"]
    assert given.poll().attempt == 2


def test_a_worker_is_told_to_continue_as_new_before_the_history_grows_too_long() -> None:
    limits = Limits(history_events_suggest_continue_as_new=6, history_size_suggest_continue_as_new=200)
    given = g.Given(World(limits=limits))
    given.start()
    given.poll()
    given.complete(g.timer())
    given.signal()
    given.poll()
    started = given.history[-1].workflow_task_started_event_attributes
    assert started.suggest_continue_as_new
    assert list(started.suggest_continue_as_new_reasons) == [
        SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_HISTORY_SIZE_TOO_LARGE,
        SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_HISTORY_EVENTS,
    ]
    assert 200 <= started.history_size_bytes < given.state.history_size_bytes


def test_too_many_buffered_events_end_the_task_they_wait_for() -> None:
    given = g.Given(World(limits=Limits(buffered_events_max=2)))
    given.start()
    given.poll()
    given.signal("1")
    given.signal("2")
    assert g.names(given.signal("3")) == ["WorkflowTaskFailed"] + ["WorkflowExecutionSignaled"] * 3
    with pytest.raises(NotFound):
        given.complete(g.done())
    assert given.poll().attempt == 2


def test_a_history_at_its_limit_grows_no_more_and_the_run_ends() -> None:
    given = g.Given(World(limits=Limits(history_events_max=5)))
    given.start()
    given.signal("3")
    given.signal("4")
    given.signal("5")
    turn = given.signal("6")
    assert g.told(turn) == [
        "6 WorkflowExecutionTerminated reason='Workflow history count exceeds limit.' identity=history-service"
    ]
    assert isinstance(turn.refusal, InvalidArgument)
    assert turn.refusal.message == "Workflow history count exceeds limit."


def test_a_history_too_large_for_a_message_ends_the_run() -> None:
    given = g.Given()
    given.start()
    given.poll()
    turn = given.fail(WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_GRPC_MESSAGE_TOO_LARGE)
    assert g.names(turn) == ["WorkflowTaskFailed", "WorkflowExecutionTerminated"]
    assert turn.events[1].workflow_execution_terminated_event_attributes.reason == "GrpcMessageTooLarge"


def test_a_worker_may_fail_its_task_without_saying_why() -> None:
    given = g.Given()
    given.start()
    given.poll()
    assert given.token is not None
    cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNSPECIFIED
    turn = given.world.ask(FailWorkflowTask(given.token, cause, None, "worker"))
    assert not turn.events[0].workflow_task_failed_event_attributes.HasField("failure")
