"""Resets: a new run with part of a run's history, which hears again what that run was told since."""

from collections.abc import Sequence
from typing import Any

import pytest
from temporalio.api.common.v1 import Priority, WorkerVersionStamp, WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyExcludeType, ResetReapplyType
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionCompletedEventAttributes
from temporalio.api.workflow.v1 import PostResetOperation
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from engine.core import given as g
from engine.core.given import Given
from engine.core.test_others import cancel, child, signal
from engine.core.updating import accepts, asked, rejects
from stormsail.engine.core import progress
from stormsail.engine.core.deadlines import deadline_ms
from stormsail.engine.core.decide import decide_start
from stormsail.engine.core.decide.reset import decide_reset
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.messages import Body, ChildClosed, ChildStarted, RunMessage, StartChild
from stormsail.engine.core.replay import replay
from stormsail.engine.core.requests import Delivered, StartChildWorkflow, UpdateWorkflow
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.visibility_row import visibility_row

SIGNAL = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL


def reset(given: Given, point: int, run_id: str = "", followers: Sequence[str] = (), **more: Any) -> Turn:
    """Reset to an event id, and commit it."""
    world = given.world
    base = world.runs[run_id or world.newest]
    request = ResetWorkflowExecutionRequest(
        workflow_execution=WorkflowExecution(workflow_id="w"),
        reason="why",
        request_id="reset",
        workflow_task_finish_event_id=point,
    )
    request.MergeFrom(ResetWorkflowExecutionRequest(**more))
    histories = [(world.runs[each].key, [world.frames[each]]) for each in followers]
    turn = decide_reset(
        base,
        world.state,
        [world.frames[base.key.run_id]],
        histories,
        request,
        world.now_ms,
        world.ids,
        DEFAULT_LIMITS,
    )
    for one in turn.every:
        world.commit(one)
    state = turn.state
    assert replay(state.key, [world.frames[state.key.run_id]], progress.pack(state)) == state
    return turn


def worked(*commands: Any, **more: Any) -> Given:
    """A run with one workflow task done: events 1 to 4, then those of the commands."""
    given = Given()
    given.start()
    given.poll()
    given.complete(*commands, **more)
    return given


def test_a_reset_cuts_the_history_off_at_a_workflow_task_and_ends_the_open_run() -> None:
    given = worked(g.activity("a"), g.timer("t", 100))
    old = given.state
    given.world.now_ms += 7_000
    turn = reset(given, 4)
    new = turn.state
    assert turn.reply == new.key.run_id != old.key.run_id
    assert g.told(turn)[3:] == [
        "4 WorkflowTaskFailed scheduled_event_id=2 started_event_id=3 cause=RESET_WORKFLOW "
        "failure={message=why reset_workflow_failure_info={}} identity=history-service "
        "base_run_id=#1 new_run_id=#3",
        "5 WorkflowTaskScheduled task_queue=q start_to_close_timeout=10s attempt=1",
    ]
    ended = given.world.runs[old.key.run_id]
    assert (ended.status, ended.reset_run_id) == (5, new.key.run_id)
    assert turn.also[0].events[-1].workflow_execution_terminated_event_attributes.identity == "history-resetter"
    assert not new.activities
    assert not new.timers
    assert turn.messages == []


def test_a_task_that_nobody_had_taken_is_started_for_its_failure() -> None:
    given = Given()
    given.start()
    given.signal()
    assert g.names(reset(given, 3))[2:] == [
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
        "WorkflowExecutionSignaled",
        "WorkflowTaskScheduled",
    ]


def test_the_run_begins_now() -> None:
    given = Given()
    given.start(workflow_run_timeout=g.seconds(60), workflow_execution_timeout=g.seconds(100))
    given.poll()
    given.complete(g.activity("a"), force_create_new_workflow_task=True)
    given.poll()
    given.world.now_ms += 50_000
    now_ms = given.world.now_ms
    state = reset(given, 7).state
    assert visibility_row(state).start_ms == now_ms
    assert state.activities[5].scheduled_at_ms == state.activities[5].ready_at_ms == now_ms
    given.poll()
    given.complete()
    assert (deadline_ms(given.state) or 0) <= now_ms + 60_000


def test_signals_since_the_point_are_told_again_in_order_also_those_of_runs_that_followed() -> None:
    given = worked()
    first = given.world.newest
    given.signal("one")
    given.poll()
    given.complete(g.again())
    second = given.world.newest
    given.signal("two")
    turn = reset(given, 4, run_id=first, followers=[second])
    assert g.names(turn)[4:] == ["WorkflowExecutionSignaled", "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]
    names = [event.workflow_execution_signaled_event_attributes.signal_name for event in turn.events[4:6]]
    assert names == ["one", "two"]
    assert not given.world.runs[second].open


def test_a_signal_that_the_run_and_the_one_that_followed_were_both_told_is_told_once() -> None:
    """A client that had no reply repeats it, to whatever run is current then (seed 71035 of an earlier simulator)."""
    given = worked()
    first = given.world.newest
    given.signal("one", request_id="same")
    given.poll()
    given.complete(g.again())
    second = given.world.newest
    given.signal("one", request_id="same")
    given.signal("two", request_id="another")
    turn = reset(given, 4, run_id=first, followers=[second])
    assert g.names(turn)[4:] == ["WorkflowExecutionSignaled", "WorkflowExecutionSignaled", "WorkflowTaskScheduled"]
    names = [event.workflow_execution_signaled_event_attributes.signal_name for event in turn.events[4:6]]
    assert names == ["one", "two"]


@pytest.mark.parametrize("carried_over", [False, True])
def test_an_update_that_the_run_and_the_one_that_followed_were_both_asked_for_is_asked_for_once(
    carried_over: bool,
) -> None:
    """A client that had no reply repeats it, to whatever run is current then (seed 300984 of the simulator)."""
    given = worked()
    given.world.ask(UpdateWorkflow(asked("same")))
    given.step(messages=[accepts("same")])
    if carried_over:
        reset(given, 4)
        given.step(messages=[accepts("same")])
    first = given.world.newest
    given.signal()
    given.step(g.again())
    second = given.world.newest
    for update_id in ("same", "another"):
        given.world.ask(UpdateWorkflow(asked(update_id)))
    given.step(messages=[accepts("same"), accepts("another")])
    turn = reset(given, 4, run_id=first, followers=[second], request_id="again")
    told = [event.workflow_execution_update_admitted_event_attributes.request.meta.update_id for event in turn.events]
    assert [update_id for update_id in told if update_id] == ["same", "another"]


def test_signals_that_wait_for_a_workflow_task_are_told_again_too() -> None:
    given = worked(g.timer("t"))
    given.signal("seen")
    given.poll()
    given.signal("waiting")
    turn = reset(given, 4)
    assert [one for one in g.names(turn) if one == "WorkflowExecutionSignaled"] == ["WorkflowExecutionSignaled"] * 2


@pytest.mark.parametrize(
    "asked",
    [
        {"reset_reapply_exclude_types": [SIGNAL]},
        {"reset_reapply_type": ResetReapplyType.RESET_REAPPLY_TYPE_NONE},
    ],
)
def test_signals_may_be_left_out(asked: Any) -> None:
    given = worked()
    given.signal("one")
    assert "WorkflowExecutionSignaled" not in g.names(reset(given, 4, **asked))


def test_cancellations_are_not_told_again() -> None:
    given = worked()
    given.cancel()
    turn = reset(given, 4)
    assert not turn.state.cancel_requested


def test_a_closed_run_is_reset_and_told_of_it() -> None:
    given = worked(g.done())
    old = given.world.newest
    turn = reset(given, 4)
    assert [one.state.key.run_id for one in turn.also] == [old]
    assert given.world.runs[old].status == 2
    assert given.world.runs[old].reset_run_id == turn.reply
    assert turn.state.open


def test_the_same_request_is_answered_with_the_same_run() -> None:
    given = worked()
    first = reset(given, 4)
    again = reset(given, 4)
    assert again.empty
    assert again.reply == first.reply
    assert reset(given, 4, request_id="other").reply != first.reply


def test_the_same_request_is_answered_with_the_same_run_also_after_that_was_followed_by_another() -> None:
    given = worked()
    base = given.world.newest
    first = reset(given, 4)
    given.step(g.again())
    again = reset(given, 4, run_id=base)
    assert again.empty
    assert again.reply == first.reply != given.world.newest
    newest = given.world.newest
    assert reset(given, 4, run_id=base, request_id="other").reply not in {first.reply, newest}


def test_a_signal_may_follow_the_reset() -> None:
    given = worked()
    operation = PostResetOperation(signal_workflow=PostResetOperation.SignalWorkflow(signal_name="after"))
    turn = reset(given, 4, post_reset_operations=[operation])
    assert turn.events[4].workflow_execution_signaled_event_attributes.signal_name == "after"
    with pytest.raises(InvalidArgument, match="An operation of post_reset_operations is empty"):
        reset(given, 4, request_id="other", post_reset_operations=[PostResetOperation()])


def test_other_options_may_follow_the_reset() -> None:
    given = worked()
    update = {"workflow_execution_options": {"priority": {"priority_key": 2}}, "update_mask": {"paths": ["priority"]}}
    turn = reset(given, 4, post_reset_operations=[PostResetOperation(update_workflow_options=update)])
    assert g.names(turn)[4:] == ["WorkflowExecutionOptionsUpdated", "WorkflowTaskScheduled"]
    assert turn.state.priority == Priority(priority_key=2)


def heard(given: Given, asked: int, body: Body, run_id: str = "") -> Turn:
    key = given.world.runs[run_id or given.world.newest].key
    return given.world.ask(Delivered(RunMessage(key, asked, key, body)), key.run_id)


CHILD_DONE = HistoryEvent(
    event_type=EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED,
    workflow_execution_completed_event_attributes=WorkflowExecutionCompletedEventAttributes(),
)


def test_a_child_that_was_there_at_the_point_tells_its_end_to_the_run_that_follows() -> None:
    given = worked(child(), force_create_new_workflow_task=True)
    old = given.world.newest
    heard(given, 5, ChildStarted("child-run"))
    given.poll()
    turn = reset(given, 8)
    assert turn.state.children[5].run_id == "child-run"
    assert turn.messages == [], "it is not started again"
    assert turn.also[0].messages == [], "nor does it hear that its parent closed"
    (passed_on,) = heard(given, 5, ChildClosed("child-run", "child-run", CHILD_DONE), old).messages
    assert passed_on.to == turn.state.key
    told = given.world.ask(Delivered(passed_on), turn.state.key.run_id)
    assert g.names(told) == ["ChildWorkflowExecutionCompleted"]


def test_what_a_child_did_since_the_point_is_told_again() -> None:
    given = worked(child(), force_create_new_workflow_task=True)
    given.poll()
    given.complete()
    heard(given, 5, ChildStarted("child-run"))
    heard(given, 5, ChildClosed("child-run", "child-run", CHILD_DONE))
    turn = reset(given, 7)
    assert g.names(turn)[8:] == [
        "ChildWorkflowExecutionStarted",
        "ChildWorkflowExecutionCompleted",
        "WorkflowTaskScheduled",
    ]
    completed = turn.events[9].child_workflow_execution_completed_event_attributes
    assert (completed.initiated_event_id, completed.started_event_id) == (5, turn.events[8].event_id)
    assert turn.messages == []
    left_out = reset(given, 7, run_id="", request_id="o", reset_reapply_type=ResetReapplyType.RESET_REAPPLY_TYPE_NONE)
    assert "ChildWorkflowExecutionCompleted" not in g.names(left_out)


def test_what_was_never_answered_is_asked_for_again_in_the_new_runs_name() -> None:
    given = worked(child(), signal(), cancel(), force_create_new_workflow_task=True)
    old = given.state
    given.poll()
    turn = reset(given, 9)
    assert [(one.kind, one.initiated_event_id) for one in turn.messages] == [
        ("StartChild", 5),
        ("SendSignal", 6),
        ("SendCancel", 7),
    ]
    assert {one.initiator for one in turn.messages} == {turn.state.key}
    start = turn.messages[0].body
    assert isinstance(start, StartChild)
    assert start.request.request_id == f"{old.key.run_id}:5:0", "a child that has begun since is found by it"
    given.poll()
    again = reset(given, given.state.last_event_id, request_id="again")
    body = again.messages[0].body
    assert isinstance(body, StartChild)
    assert body.request.request_id == start.request.request_id


def test_a_child_that_is_found_tells_its_parents_next_run_that_it_is_there() -> None:
    given = Given()
    given.start()
    (first,) = given.step(child(), force_create_new_workflow_task=True).messages
    begun = decide_start(None, StartChildWorkflow(first), given.world.now_ms, given.world.ids, DEFAULT_LIMITS)
    given.poll()
    (again,) = reset(given, 7).messages
    found = decide_start(begun.state, StartChildWorkflow(again), given.world.now_ms, given.world.ids, DEFAULT_LIMITS)
    assert found.events == []
    assert [(one.to, one.body) for one in found.messages] == [(again.initiator, ChildStarted(begun.state.key.run_id))]


def test_each_build_has_a_point_to_go_back_to_over_the_runs_of_a_chain() -> None:
    given = Given()
    given.start()
    for build_id in ("one", "two", "one"):
        given.poll()
        given.complete(worker_version_stamp=WorkerVersionStamp(build_id=build_id), force_create_new_workflow_task=True)
    first = given.world.newest
    given.poll()
    given.complete(g.again())
    given.after(2)
    given.poll()
    given.complete(child(), binary_checksum="sum")
    given.signal()
    given.poll()
    given.complete(worker_version_stamp=WorkerVersionStamp(build_id="three"))
    second = given.world.newest
    shown = [
        (one.build_id or one.binary_checksum, one.run_id, one.first_workflow_task_completed_id, one.resettable)
        for one in given.state.reset_points
    ]
    assert shown == [
        ("one", first, 4, True),
        ("two", first, 7, True),
        ("", first, 13, True),
        ("sum", second, 4, True),
        ("three", second, 9, False),
    ]


@pytest.mark.parametrize("point", [0, 1, 6, 100])
def test_a_point_outside_of_the_history_is_refused(point: int) -> None:
    given = worked(g.timer("t"))
    with pytest.raises(InvalidArgument, match=r"Workflow task finish ID must be > 1 && <= workflow last event ID."):
        reset(given, point)


@pytest.mark.parametrize("point", [2, 5])
def test_a_point_without_a_workflow_task_is_refused(point: int) -> None:
    given = worked(g.timer("t"))
    with pytest.raises(InvalidArgument, match=r"WorkflowTaskScheduled \+1, WorkflowTaskStarted \+ 1\]: "):
        reset(given, point)


def test_an_update_that_was_carried_over_and_turned_down_is_gone_after_a_restart_as_well() -> None:
    given = worked()
    given.world.ask(UpdateWorkflow(asked("u")))
    given.step(messages=[accepts("u")])
    state = reset(given, 4).state
    assert state.updates_admitted["u"].event_id
    turned = given.step(messages=[rejects("u")])
    assert not turned.state.updates_admitted
    again = replay(state.key, [given.world.frames[state.key.run_id]], progress.pack(turned.state))
    assert again == turned.state.durable
