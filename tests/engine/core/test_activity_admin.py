"""What people do to pending activities: pause, unpause, reset, other options. Nothing of it is in history."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.activity.v1 import ActivityOptions
from temporalio.api.common.v1 import Payload, Payloads, RetryPolicy
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    TerminateWorkflowExecutionRequest,
    UnpauseActivityRequest,
    UpdateActivityOptionsRequest,
)

from histories.script import Script
from stormsail.engine.core import work
from stormsail.engine.core.deadlines import deadline_ms
from stormsail.engine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from stormsail.engine.core.requests import (
    ActivityRef,
    CompleteActivity,
    FailActivity,
    FireDue,
    ForBatch,
    HeartbeatActivity,
    HeartbeatReply,
    PauseActivity,
    ResetActivity,
    StartActivity,
    Terminate,
    UnpauseActivity,
    UpdateActivityOptions,
)
from stormsail.engine.core.state import Activity
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.visibility_row import shown_attributes

FAILURE = Failure(message="no", application_failure_info=ApplicationFailureInfo(type="Greet"))
NO_SUCH = "Can't find pending activity with such ID"
DETAILS = Payloads(payloads=[Payload(data=b"half")])


def scheduled(options: str = "initial=10s") -> Script:
    """A run whose activity `a` waits for a worker."""
    script = Script()
    for step in ("start", "poll", f"complete\nactivity id=a start-to-close=60s {options}"):
        assert not script.do(step).startswith("refused")
    return script


def started(options: str = "initial=10s") -> Script:
    """A run whose activity `a` a worker holds."""
    script = scheduled(options)
    script.do("poll-activity id=a")
    return script


def pending(script: Script) -> Activity:
    (activity,) = script.world.state.activities.values()
    return activity


def ref(script: Script) -> ActivityRef:
    return ActivityRef(token=script.tokens["a"])


def pause(script: Script, **more: Any) -> Turn:
    asked = {"identity": "ann", "reason": "why", "request_id": "r", **more}
    request = PauseActivityRequest(**(asked if "type" in more else {"id": "a", **asked}))
    return script.world.ask(PauseActivity(request))


def unpause(script: Script, **more: Any) -> Turn:
    return script.world.ask(UnpauseActivity(UnpauseActivityRequest(**{"id": "a", **more})))


def reset(script: Script, **more: Any) -> Turn:
    return script.world.ask(ResetActivity(ResetActivityRequest(**{"id": "a", **more})))


def update(script: Script, *paths: str, **options: Any) -> Turn:
    request = UpdateActivityOptionsRequest(id="a", activity_options=ActivityOptions(**options))
    request.update_mask.CopyFrom(FieldMask(paths=paths))
    return script.world.ask(UpdateActivityOptions(request))


def waiting(script: Script) -> list[str]:
    """The queues in which attempts wait."""
    return [task.queue for task in work.tasks(script.world.state).values()]


def test_a_paused_activity_is_handed_to_nobody_and_does_not_time_out() -> None:
    script = scheduled("schedule-to-start=30s")
    assert waiting(script) == ["q"]
    turn = pause(script)
    assert not turn.events
    assert (pending(script).paused_by, pending(script).pause_reason) == ("ann", "why")
    assert waiting(script) == []
    assert deadline_ms(script.world.state) is None
    with pytest.raises(NotFound):
        script.world.ask(StartActivity(pending(script).scheduled_event_id, 1, "w", "n"))
    unpause(script)
    assert waiting(script) == ["q"]
    assert not pending(script).paused_at_ms


def test_pausing_twice_is_refused_unless_it_is_the_same_request() -> None:
    script = scheduled()
    pause(script)
    assert pause(script).empty
    with pytest.raises(FailedPrecondition, match="activity is already paused"):
        pause(script, request_id="other")


def test_a_running_attempt_is_told_and_its_retry_waits_for_the_end_of_the_pause() -> None:
    script = started("initial=10s attempts=1")
    pause(script)
    reply = script.world.ask(HeartbeatActivity(ref(script), DETAILS, "w")).reply
    assert reply == HeartbeatReply(cancel_requested=False, paused=True)
    assert deadline_ms(script.world.state) is None, "also its timeouts wait"
    turn = script.world.ask(FailActivity(ref(script), FAILURE, "w"))
    assert not turn.events, "however often it was tried: whoever paused it wants to try again"
    assert (pending(script).attempt, waiting(script)) == (2, [])
    assert pending(script).last_failure is not None
    unpause(script)
    assert waiting(script) == ["q"]
    assert pending(script).heartbeat_details == DETAILS


def test_a_failure_that_is_final_ends_a_paused_activity() -> None:
    script = started()
    pause(script)
    final = Failure(application_failure_info=ApplicationFailureInfo(non_retryable=True))
    script.world.ask(FailActivity(ref(script), final, "w"))
    assert not script.world.state.activities


def test_a_running_attempt_may_complete_while_paused() -> None:
    script = started()
    pause(script)
    script.world.ask(CompleteActivity(ref(script), None, "w"))
    assert not script.world.state.activities


def test_unpausing_may_forget_attempts_and_heartbeat_and_wait_a_little() -> None:
    script = started()
    script.world.ask(HeartbeatActivity(ref(script), DETAILS, "w"))
    pause(script)
    script.world.ask(FailActivity(ref(script), FAILURE, "w"))
    request = UnpauseActivityRequest(unpause_all=True, reset_attempts=True, reset_heartbeat=True)
    request.jitter.FromSeconds(1_000)
    now_ms = script.world.now_ms
    script.world.ask(UnpauseActivity(request))
    activity = pending(script)
    assert (activity.attempt, activity.heartbeat_details) == (1, None)
    assert now_ms <= activity.ready_at_ms < now_ms + 1_000_000


def test_activities_are_paused_by_type() -> None:
    script = scheduled()
    pause(script, type="Greet")
    assert pending(script).paused_at_ms
    for ask in (pause, unpause, reset):
        with pytest.raises(NotFound, match=NO_SUCH):
            ask(script, type="other")
    unpause(script, type="Greet")
    assert not pending(script).paused_at_ms


def test_what_is_not_paused_is_not_unpaused() -> None:
    assert unpause(started()).empty


def test_a_reset_of_a_waiting_activity_begins_again_at_once() -> None:
    script = started()
    script.world.ask(HeartbeatActivity(ref(script), DETAILS, "w"))
    script.world.ask(FailActivity(ref(script), FAILURE, "w"))
    assert (pending(script).attempt, waiting(script)) == (2, [])
    reset(script, reset_heartbeat=True)
    activity = pending(script)
    assert (activity.attempt, activity.heartbeat_details, activity.last_failure) == (1, None, None)
    assert waiting(script) == ["q"]


def test_a_reset_of_a_running_attempt_is_told_and_its_heartbeat_forgotten_with_the_next() -> None:
    script = started()
    reset(script, reset_heartbeat=True)
    reply = script.world.ask(HeartbeatActivity(ref(script), DETAILS, "w")).reply
    assert reply == HeartbeatReply(cancel_requested=False, reset=True)
    script.world.ask(FailActivity(ref(script), FAILURE, "w"))
    activity = pending(script)
    assert (activity.attempt, activity.reset, activity.heartbeat_details) == (2, False, None)


def test_a_batch_resets_an_attempt_once_and_not_those_that_failed_since() -> None:
    script = started()
    script.world.ask(FailActivity(ref(script), FAILURE, "w"))
    for_batch = ForBatch(ResetActivity(ResetActivityRequest(match_all=True)), "batch/run")
    script.world.ask(for_batch)
    assert pending(script).attempt == 1
    script.do("poll-activity id=a")
    script.world.ask(FailActivity(ref(script), FAILURE, "w"))
    assert script.world.ask(for_batch).empty
    assert pending(script).attempt == 2
    script.world.ask(ForBatch(for_batch.request, "another batch/run"))
    assert pending(script).attempt == 1


def test_a_reset_ends_a_pause_unless_told_to_keep_it() -> None:
    script = scheduled()
    pause(script)
    reset(script, keep_paused=True)
    assert pending(script).paused_at_ms
    reset(script)
    assert not pending(script).paused_at_ms
    assert waiting(script) == ["q"]


def test_options_change_as_the_mask_says_in_either_spelling() -> None:
    script = scheduled()
    turn = update(
        script,
        "task_queue.name",
        "startToCloseTimeout",
        "retry_policy.maximum_attempts",
        "priority.priorityKey",
        "unknown.path",
        task_queue=TaskQueue(name="other"),
        start_to_close_timeout={"seconds": 7},
        heartbeat_timeout={"seconds": 3},
        retry_policy=RetryPolicy(maximum_attempts=9),
        priority={"priority_key": 2},
    )
    options = turn.reply
    assert options.task_queue.name == "other"
    assert (options.start_to_close_timeout.seconds, options.heartbeat_timeout.seconds) == (7, 0)
    assert (options.retry_policy.maximum_attempts, options.retry_policy.initial_interval.seconds) == (9, 10)
    assert options.priority.priority_key == 2
    assert waiting(script) == ["other"]
    restored = UpdateActivityOptionsRequest(match_all=True, restore_original=True)
    assert script.world.ask(UpdateActivityOptions(restored)).reply.start_to_close_timeout.seconds == 60
    assert waiting(script) == ["q"]
    assert pending(script).original is None


def test_a_waiting_retry_waits_as_its_new_policy_says() -> None:
    script = started()
    script.world.ask(FailActivity(ref(script), FAILURE, "w"))
    ended_ms = pending(script).last_attempt_completed_at_ms
    assert pending(script).ready_at_ms == ended_ms + 10_000
    update(script, "retry_policy.initial_interval", retry_policy=RetryPolicy(initial_interval={"seconds": 3}))
    assert pending(script).ready_at_ms == ended_ms + 3_000
    script.world.now_ms = ended_ms + 3_000
    script.world.ask(FireDue())
    assert waiting(script) == ["q"]


def test_a_reset_may_restore_the_options() -> None:
    script = scheduled()
    update(script, "heartbeat_timeout", heartbeat_timeout={"seconds": 3})
    assert pending(script).scheduled.heartbeat_timeout.seconds == 3
    reset(script, restore_original_options=True)
    assert pending(script).scheduled.heartbeat_timeout.seconds == 0


@pytest.mark.parametrize(
    ("paths", "options", "message"),
    [
        (["task_queue.name"], {}, "TaskQueue is not provided"),
        (["retry_policy"], {}, "RetryPolicy is not provided"),
        (["retry_policy.maximum_attempts"], {}, "RetryPolicy is not provided"),
        (["priority.fairness_key"], {}, "Priority is not provided"),
        (["task_queue.name"], {"task_queue": TaskQueue()}, "missing task queue name"),
        (
            ["retry_policy.maximum_attempts"],
            {"retry_policy": RetryPolicy(maximum_attempts=-1)},
            "MaximumAttempts cannot be negative",
        ),
        (
            ["start_to_close_timeout"],
            {"start_to_close_timeout": {"seconds": -1}},
            "invalid StartToCloseTimeout: negative duration",
        ),
        (["start_to_close_timeout"], {}, "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set"),
    ],
)
def test_options_that_no_activity_may_have_are_refused(paths: list[str], options: Any, message: str) -> None:
    script = scheduled()
    with pytest.raises(InvalidArgument, match=message):
        update(script, *paths, **options)


def test_an_update_needs_options_and_a_mask_or_the_wish_to_restore() -> None:
    script = scheduled()
    for request, message in (
        (UpdateActivityOptionsRequest(id="a"), "ActivityOptions are not provided"),
        (UpdateActivityOptionsRequest(id="a", activity_options=ActivityOptions()), "UpdateMask is not provided"),
        (
            UpdateActivityOptionsRequest(id="a", restore_original=True, update_mask=FieldMask(paths=["priority"])),
            "Both UpdateMask and RestoreOriginal are provided",
        ),
    ):
        with pytest.raises(InvalidArgument, match=message):
            script.world.ask(UpdateActivityOptions(request))


def test_a_run_is_shown_with_the_types_that_are_paused_in_it() -> None:
    script = scheduled()
    assert "TemporalPauseInfo" not in shown_attributes(script.world.state)
    pause(script)
    payload = Payload.FromString(shown_attributes(script.world.state)["TemporalPauseInfo"])
    assert payload.data == b'["property:activityType=Greet"]'
    unpause(script)
    assert "TemporalPauseInfo" not in shown_attributes(script.world.state)


def test_nothing_is_done_to_activities_of_a_closed_run() -> None:
    script = scheduled()
    script.world.ask(Terminate(TerminateWorkflowExecutionRequest()))
    for ask in (pause, unpause, reset):
        with pytest.raises(NotFound, match="workflow execution already completed"):
            ask(script)
    with pytest.raises(NotFound, match="workflow execution already completed"):
        update(script, "heartbeat_timeout")
