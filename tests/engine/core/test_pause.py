"""Runs that are paused: nothing of them is handed out, what happens to them meanwhile is kept, and then they go on."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import Payload, Priority, RetryPolicy
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import VersioningBehavior
from temporalio.api.update.v1 import Input, Meta, Request
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    PauseWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionRequest,
)

from engine.core import given as g
from stormsail.engine.core import replay, work
from stormsail.engine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from stormsail.engine.core.progress import pack
from stormsail.engine.core.requests import (
    FireDue,
    PauseWorkflow,
    StartActivity,
    Terminate,
    UnpauseWorkflow,
    UpdateWorkflow,
    UpdateWorkflowOptions,
)
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.visibility_row import shown_attributes, visibility_row

PAUSED = 8
PAUSED_EVENT = "WorkflowExecutionPaused identity=ann reason=why request_id=r"


def pause(given: g.Given, request_id: str = "r") -> Turn:
    return given.world.ask(
        PauseWorkflow(PauseWorkflowExecutionRequest(identity="ann", reason="why", request_id=request_id))
    )


def unpause(given: g.Given) -> Turn:
    return given.world.ask(UnpauseWorkflow(UnpauseWorkflowExecutionRequest(identity="ann", reason="go")))


def update(given: g.Given) -> Turn:
    request = Request(meta=Meta(update_id="u"), input=Input(name="n"))
    return given.world.ask(UpdateWorkflow(UpdateWorkflowExecutionRequest(request=request)))


def options(given: g.Given, wanted: WorkflowExecutionOptions, *paths: str) -> Turn:
    request = UpdateWorkflowExecutionOptionsRequest(
        workflow_execution_options=wanted, update_mask=FieldMask(paths=paths), identity="ann"
    )
    return given.world.ask(UpdateWorkflowOptions(request))


def started(*commands: Any) -> g.Given:
    """A run whose worker waits for news."""
    given = g.Given()
    given.start()
    given.step(*commands)
    return given


def test_a_workflow_task_that_nobody_took_fails_and_another_one_follows_the_pause() -> None:
    given = g.Given()
    given.start()
    assert g.told(pause(given)) == [
        "3 WorkflowTaskFailed scheduled_event_id=2 cause=WORKFLOW_PAUSE_REQUESTED_BEFORE_TASK_STARTED"
        " identity=history-service",
        f"4 {PAUSED_EVENT}",
    ]
    assert (given.state.status, given.state.workflow_task, given.state.open) == (PAUSED, None, True)
    assert g.names(given.signal()) == ["WorkflowExecutionSignaled"]
    assert g.names(given.cancel()) == ["WorkflowExecutionCancelRequested"]
    assert g.told(unpause(given)) == [
        "7 WorkflowExecutionUnpaused identity=ann reason=go",
        "8 WorkflowTaskScheduled task_queue=q start_to_close_timeout=10s attempt=1",
    ]
    assert not given.state.paused


def test_what_a_worker_holds_may_be_completed_and_the_pause_is_told_after_it() -> None:
    given = g.Given()
    given.start()
    given.poll()
    assert g.names(pause(given)) == []
    given.signal()
    assert given.state.paused
    turn = given.complete(g.timer(length=1), g.activity(), return_new_workflow_task=True)
    assert g.names(turn) == [
        "WorkflowTaskCompleted",
        "TimerStarted",
        "ActivityTaskScheduled",
        "WorkflowExecutionPaused",
        "WorkflowExecutionSignaled",
    ]
    assert turn.reply.new_task is None
    assert work.tasks(given.state) == {}
    assert g.names(given.after(1)) == ["TimerFired"]
    assert g.names(unpause(given)) == ["WorkflowExecutionUnpaused", "WorkflowTaskScheduled"]
    assert len(work.tasks(given.state)) == 2


def test_a_worker_cannot_close_a_paused_run_unseen_nor_ask_for_another_task() -> None:
    given = g.Given()
    given.start()
    given.poll()
    pause(given)
    with pytest.raises(FailedPrecondition, match="Workflow is paused and force create new workflow task"):
        given.complete(force_create_new_workflow_task=True)
    turn = given.complete(g.done())
    assert turn.reply.failed == "UnhandledCommand"
    assert g.names(turn) == ["WorkflowTaskFailed", "WorkflowExecutionPaused"]
    assert given.state.workflow_task is None


def test_no_attempt_of_an_activity_is_handed_out_and_none_begins_eagerly() -> None:
    given = g.Given()
    given.start()
    given.poll()
    pause(given)
    turn = given.complete(g.activity(request_eager_execution=True))
    assert turn.reply.activities == ()
    with pytest.raises(NotFound):
        given.world.ask(StartActivity(5, 1, "worker", "poll"))
    unpause(given)
    assert given.world.ask(StartActivity(5, 1, "worker", "poll")).reply.attempt == 1


def test_a_paused_run_takes_no_update() -> None:
    given = started()
    pause(given)
    with pytest.raises(FailedPrecondition, match=r"Workflow is paused. Cannot update the workflow\."):
        update(given)


def test_a_speculative_task_is_written_down_and_its_update_goes_with_the_next() -> None:
    given = started()
    update(given)
    assert g.names(pause(given)) == ["WorkflowTaskScheduled", "WorkflowTaskFailed", "WorkflowExecutionPaused"]
    unpause(given)
    assert [message.protocol_instance_id for message in given.poll().messages] == ["u"]


def test_to_pause_twice_is_refused_unless_it_is_the_same_request() -> None:
    given = started()
    pause(given)
    assert g.names(pause(given)) == []
    with pytest.raises(FailedPrecondition, match=r"workflow is already paused\."):
        pause(given, "other")
    unpause(given)
    with pytest.raises(FailedPrecondition, match=r"workflow is not paused\."):
        unpause(given)
    given.terminate()
    for ask in (pause, unpause):
        with pytest.raises(NotFound, match="workflow execution already completed"):
            ask(given)


def test_a_paused_run_times_out_and_may_be_terminated() -> None:
    given = g.Given()
    given.start(workflow_run_timeout=g.seconds(5))
    pause(given)
    assert g.names(given.after(5)) == ["WorkflowExecutionTimedOut"]
    given.start("again")
    pause(given)
    assert g.names(given.terminate()) == ["WorkflowExecutionTerminated"]


def test_lists_show_that_a_run_is_paused_and_why() -> None:
    given = started()
    pause(given)
    shown = Payload.FromString(shown_attributes(given.state)["TemporalPauseInfo"])
    assert shown.data == b'["Workflow:w","Reason:why"]'
    assert (visibility_row(given.state).status, visibility_row(given.state).close_ms) == (PAUSED, None)
    unpause(given)
    assert shown_attributes(given.state) == {}


def test_a_pause_survives_a_restart_also_before_it_is_in_history() -> None:
    given = g.Given()
    given.start()
    given.poll()
    pause(given)
    again = replay.replay(given.state.key, [given.world.frames[given.world.newest]], pack(given.state))
    assert again.paused
    assert again.pause == given.state.pause


def test_the_priority_of_a_run_is_changed_in_parts_and_handed_on() -> None:
    given = started()
    turn = options(given, WorkflowExecutionOptions(priority=Priority(priority_key=3)), "priority")
    assert g.names(turn) == ["WorkflowExecutionOptionsUpdated"]
    wanted = WorkflowExecutionOptions(priority=Priority(fairness_key="a", priority_key=5))
    assert options(given, wanted, "priority.fairness_key").reply.priority == Priority(priority_key=3, fairness_key="a")
    assert g.names(options(given, wanted, "priority.fairness_key")) == []
    given.signal()
    given.step(g.again())
    assert given.state.priority == Priority(priority_key=3, fairness_key="a")


def test_a_versioning_override_is_set_kept_and_taken_back() -> None:
    given = started()
    older = VersioningOverride(behavior=VersioningBehavior.VERSIONING_BEHAVIOR_AUTO_UPGRADE)
    options(given, WorkflowExecutionOptions(versioning_override=older), "versioning_override")
    assert given.state.versioning_override == VersioningOverride(auto_upgrade=True)
    assert b"AutoUpgrade" in shown_attributes(given.state)["TemporalWorkflowVersioningBehavior"]
    options(given, WorkflowExecutionOptions(priority=Priority(priority_key=1)), "priority")
    assert given.state.versioning_override == VersioningOverride(auto_upgrade=True)
    options(given, WorkflowExecutionOptions(), "versioning_override")
    assert given.state.versioning_override is None


def test_a_retry_follows_its_workers_as_they_say() -> None:
    given = g.Given()
    given.start(
        versioning_override=VersioningOverride(auto_upgrade=True),
        retry_policy=RetryPolicy(maximum_attempts=2, initial_interval=g.seconds(1), backoff_coefficient=2),
    )
    given.step(g.failed())
    assert given.state.start.attempt == 2
    assert given.state.versioning_override is None


PIN = VersioningOverride.PinnedOverride
VERSION = WorkerDeploymentVersion(deployment_name="d", build_id="b")
PINNED = VersioningBehavior.VERSIONING_BEHAVIOR_PINNED
ABSENT = "Pinned version 'd:b' is not present in task queue 'q' of type 'Workflow'"
REFUSED: list[tuple[VersioningOverride, type[Exception], str]] = [
    (VersioningOverride(), InvalidArgument, "override behavior is required"),
    (VersioningOverride(pinned=PIN(behavior=1, version=VERSION)), FailedPrecondition, ABSENT),  # type: ignore[arg-type]
    (VersioningOverride(pinned=PIN(version=VERSION)), InvalidArgument, "must specify pinned override behavior"),
    (VersioningOverride(behavior=PINNED, pinned_version="d.b"), FailedPrecondition, ABSENT),
    (VersioningOverride(behavior=PINNED, pinned_version="d"), InvalidArgument, 'invalid version string "d"'),
    (VersioningOverride(behavior=PINNED), InvalidArgument, "must provide deployment"),
]


@pytest.mark.parametrize(("override", "error", "text"), REFUSED)
def test_a_run_cannot_be_pinned_to_a_version_that_no_worker_has(
    override: VersioningOverride, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        options(started(), WorkflowExecutionOptions(versioning_override=override), "versioning_override")
    with pytest.raises(error, match=text):
        g.Given().start(versioning_override=override)


def test_a_run_that_was_paused_before_its_first_task_and_has_closed_is_the_same_after_a_restart() -> None:
    given = g.Given()
    given.start(workflow_start_delay=g.seconds(10))
    pause(given)
    given.world.now_ms += 10_000
    given.world.ask(FireDue())
    closed = given.world.ask(Terminate(TerminateWorkflowExecutionRequest())).state
    again = replay.replay(closed.key, [given.world.frames[closed.key.run_id]], pack(closed))
    assert again == closed
