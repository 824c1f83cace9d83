"""What events do to a timeline: each is read alone, so that the newest are enough to go on."""

from temporalio.api.common.v1 import ActivityType, WorkflowType
from temporalio.api.enums.v1 import EventType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskFailedEventAttributes,
    ActivityTaskScheduledEventAttributes,
    ActivityTaskStartedEventAttributes,
    HistoryEvent,
    TimerFiredEventAttributes,
    TimerStartedEventAttributes,
    WorkflowExecutionFailedEventAttributes,
    WorkflowExecutionSignaledEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowTaskScheduledEventAttributes,
)

from stormsail.web.pages.timeline import NOTE_MAX, operations_of


def event(event_id: int, kind: str, **attributes: object) -> HistoryEvent:
    made = HistoryEvent(event_id=event_id, event_type=EventType.Value(f"EVENT_TYPE_{kind}"), **attributes)  # type: ignore[arg-type]
    made.event_time.FromMilliseconds(1_000 * event_id)
    return made


def test_each_event_says_what_it_does_to_a_row() -> None:
    events = [
        event(
            1,
            "WORKFLOW_EXECUTION_STARTED",
            workflow_execution_started_event_attributes=WorkflowExecutionStartedEventAttributes(
                workflow_type=WorkflowType(name="Order")
            ),
        ),
        event(
            2,
            "WORKFLOW_TASK_SCHEDULED",
            workflow_task_scheduled_event_attributes=WorkflowTaskScheduledEventAttributes(),
        ),
        event(
            5,
            "ACTIVITY_TASK_SCHEDULED",
            activity_task_scheduled_event_attributes=ActivityTaskScheduledEventAttributes(
                activity_id="charge", activity_type=ActivityType(name="chargeCard")
            ),
        ),
        event(
            6,
            "ACTIVITY_TASK_STARTED",
            activity_task_started_event_attributes=ActivityTaskStartedEventAttributes(
                scheduled_event_id=5, attempt=3, last_failure=Failure(message="card declined")
            ),
        ),
        event(
            7,
            "ACTIVITY_TASK_FAILED",
            activity_task_failed_event_attributes=ActivityTaskFailedEventAttributes(
                scheduled_event_id=5, failure=Failure(message="wrapped", cause=Failure(message="x" * 1000))
            ),
        ),
        event(
            8,
            "TIMER_STARTED",
            timer_started_event_attributes=TimerStartedEventAttributes(timer_id="1"),
        ),
        event(9, "TIMER_FIRED", timer_fired_event_attributes=TimerFiredEventAttributes(started_event_id=8)),
        event(
            10,
            "WORKFLOW_EXECUTION_SIGNALED",
            workflow_execution_signaled_event_attributes=WorkflowExecutionSignaledEventAttributes(signal_name="note"),
        ),
        event(
            11,
            "WORKFLOW_EXECUTION_FAILED",
            workflow_execution_failed_event_attributes=WorkflowExecutionFailedEventAttributes(
                failure=Failure(message="gave up")
            ),
        ),
    ]
    assert operations_of(events) == [
        ["o", 1, "workflow", "Order", 1_000, ""],
        ["o", 5, "activity", "charge chargeCard", 5_000, "charge"],
        ["s", 5, 6_000, 3, "card declined"],
        ["c", 5, 7_000, "bad", "x" * (NOTE_MAX - 1) + "…"],
        ["o", 8, "timer", "timer 1", 8_000, ""],
        ["c", 8, 9_000, "ok", ""],
        ["m", 10, "signal", "signal note", 10_000, "ok"],
        ["c", 1, 11_000, "bad", "gave up"],
    ]


def test_a_part_of_a_history_says_the_same_as_the_whole_does_of_that_part() -> None:
    timers = [
        event(
            number,
            "TIMER_STARTED",
            timer_started_event_attributes=TimerStartedEventAttributes(timer_id=str(number)),
        )
        for number in range(2, 10)
    ]
    assert operations_of(timers[:3]) + operations_of(timers[3:]) == operations_of(timers)
