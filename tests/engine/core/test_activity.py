"""What the scenarios do not reach: sizes, and activities without a retry policy."""

import pytest
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.enums.v1 import EventType, RetryState
from temporalio.api.failure.v1 import ApplicationFailureInfo, Failure
from temporalio.api.history.v1 import ActivityTaskFailedEventAttributes, HistoryEvent

from histories.script import Script
from stormsail.engine.core.decide import activity as decisions
from stormsail.engine.core.errors import InvalidArgument, NotFound
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.machines import activity as machine
from stormsail.engine.core.machines import timer as timer_machine
from stormsail.engine.core.requests import (
    ActivityRef,
    ActivityToken,
    CancelActivity,
    CompleteActivity,
    FailActivity,
    HeartbeatActivity,
    HeartbeatReply,
)
from stormsail.engine.core.state import Activity
from stormsail.engine.core.turn import Turn

TOO_LARGE = Payloads(payloads=[Payload(data=b"x" * (DEFAULT_LIMITS.blob_size_max + 1))])


def started(options: str = "") -> Script:
    """A run whose activity `a` a worker holds; no workflow task is pending."""
    script = Script()
    for step in ("start", "poll", f"complete\nactivity id=a start-to-close=60s {options}", "poll-activity id=a"):
        assert not script.do(step).startswith("refused")
    return script


def pending(script: Script) -> Activity:
    (activity,) = script.world.state.activities.values()
    return activity


def ref(script: Script) -> ActivityRef:
    return ActivityRef(token=script.tokens["a"])


def failed(events: list[HistoryEvent]) -> ActivityTaskFailedEventAttributes:
    """The attributes of the activity's failure, which must stand right behind its start."""
    kinds = [event.event_type for event in events[:2]]
    assert kinds == [EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED, EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED]
    assert events[1].activity_task_failed_event_attributes.started_event_id == events[0].event_id
    return events[1].activity_task_failed_event_attributes


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (lambda ref: CompleteActivity(ref, TOO_LARGE, "w"), "Complete result exceeds size limit."),
        (lambda ref: CancelActivity(ref, TOO_LARGE, "w"), "Cancel details exceed size limit."),
        (lambda ref: HeartbeatActivity(ref, TOO_LARGE, "w"), "Heartbeat details exceed size limit."),
    ],
)
def test_a_report_that_is_too_large_fails_the_activity_for_good(said, message: str) -> None:
    script = started()
    turn = script.world.ask(said(ref(script)))
    told = failed(turn.events)
    assert told.failure.message == message
    assert told.failure.server_failure_info.non_retryable
    assert told.retry_state == RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE
    if message.startswith("Heartbeat"):
        assert turn.reply == HeartbeatReply(cancel_requested=True)


def test_a_failure_that_is_too_large_is_cut_and_the_worker_told() -> None:
    script = started()
    huge = Failure(message="m" * 3_000_000, application_failure_info=ApplicationFailureInfo(type="Boom"))
    turn = script.world.ask(FailActivity(ref(script), huge, "w"))
    told = failed(turn.events)
    assert told.failure.message == "Failure exceeds size limit."
    assert told.failure.cause.application_failure_info.type == "Boom"
    assert told.failure.ByteSize() < DEFAULT_LIMITS.blob_size_warn + 1_000
    assert turn.reply == (told.failure,)


def test_a_worker_may_tell_no_failure_and_none_is_written() -> None:
    script = started("attempts=2")
    script.world.ask(FailActivity(ref(script), None, "w"))
    assert pending(script).attempt == 2
    assert pending(script).last_failure is None
    script.do("wait 10s")
    script.do("poll-activity id=a")
    told = failed(script.world.ask(FailActivity(ref(script), None, "w")).events)
    assert told.retry_state == RetryState.RETRY_STATE_MAXIMUM_ATTEMPTS_REACHED
    assert not told.HasField("failure")


def test_heartbeat_details_that_are_too_large_are_dropped_from_a_failure() -> None:
    script = started()
    turn = script.world.ask(FailActivity(ref(script), Failure(message="no"), "w", TOO_LARGE))
    assert [told.message for told in turn.reply] == ["Heartbeat details exceed size limit."]
    assert pending(script).heartbeat_details is None
    assert pending(script).attempt == 2


def test_what_a_run_keeps_of_a_retried_failure_is_small_and_what_history_keeps_is_whole() -> None:
    script = started("attempts=2")
    long = Failure(message="m" * 5_000, application_failure_info=ApplicationFailureInfo(type="Boom"))
    script.world.ask(FailActivity(ref(script), long, "w"))
    kept = pending(script).last_failure
    assert kept is not None
    assert kept.message == "Failure exceeds size limit."
    assert not kept.server_failure_info.non_retryable
    assert kept.ByteSize() < DEFAULT_LIMITS.activity_failure_size_max + 200
    script.do("wait 1s")
    script.do("poll-activity id=a")
    turn = script.world.ask(FailActivity(ref(script), long, "w"))
    assert failed(turn.events).failure == long
    assert turn.events[0].activity_task_started_event_attributes.last_failure == kept


def test_a_token_of_another_start_refers_to_nothing() -> None:
    script = started()
    token = script.tokens["a"]
    forged = ActivityToken(token.key, token.scheduled_event_id, token.attempt, "another")
    with pytest.raises(NotFound, match="invalid activityID or activity already timed out"):
        script.world.ask(CompleteActivity(ActivityRef(token=forged), None, "w"))


def test_an_activity_without_a_retry_policy_is_not_retried() -> None:
    script = started()
    state = script.world.state.copy()
    old = pending(script)
    scheduled = type(old.scheduled)()
    scheduled.CopyFrom(old.scheduled)
    scheduled.ClearField("retry_policy")
    state.activities[old.scheduled_event_id] = Activity(
        old.scheduled_event_id, old.scheduled_at_ms, scheduled, ready=False, started_at_ms=old.started_at_ms, nonce="n"
    )
    token = ActivityToken(state.key, old.scheduled_event_id, 1, "n")
    turn = Turn.on(state, script.world.now_ms)
    decisions.fail(turn, FailActivity(ActivityRef(token=token), Failure(message="no"), "w"), DEFAULT_LIMITS)
    assert failed(turn.events).retry_state == RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET


def test_an_activity_id_must_be_given() -> None:
    with pytest.raises(InvalidArgument, match="activityID cannot be empty"):
        started().world.ask(CompleteActivity(ActivityRef(), None, "w"))


def test_nothing_leads_out_of_the_end_and_all_that_stands_can_be_reached() -> None:
    for table, first, last in (
        (machine.ACTIVITY, machine.Activity.ABSENT, machine.Activity.CLOSED),
        (timer_machine.TIMER, timer_machine.Timer.ABSENT, timer_machine.Timer.CLOSED),
    ):
        sources = {stands for stands, _ in table}
        targets = set(table.values())
        assert last not in sources
        assert set(type(first)) == sources | targets
        assert targets == set(type(first)) - {first}
