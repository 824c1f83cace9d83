"""Every command: the event it becomes, and how a bad one fails its workflow task."""

from typing import Any

import pytest
from temporalio.api.command.v1 import (
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    ContinueAsNewWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
    ModifyWorkflowPropertiesCommandAttributes,
    RecordMarkerCommandAttributes,
    ScheduleNexusOperationCommandAttributes,
    UpsertWorkflowSearchAttributesCommandAttributes,
)
from temporalio.api.common.v1 import Memo, Payload, Payloads, Priority, RetryPolicy, WorkerVersionStamp
from temporalio.api.deployment.v1 import WorkerDeploymentOptions
from temporalio.api.enums.v1 import CommandType, WorkerVersioningMode, WorkflowTaskFailedCause
from temporalio.api.history.v1 import ActivityTaskScheduledEventAttributes
from temporalio.api.sdk.v1 import UserMetadata, WorkflowTaskCompletedMetadata
from temporalio.api.taskqueue.v1 import TaskQueue

from engine.core import given as g
from histories.world import World
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.limits import DEFAULT_LIMITS, Limits

ONE = Payload(data=b"1")
LARGE = Payloads(payloads=[Payload(data=b"x" * (DEFAULT_LIMITS.blob_size_max + 1))])
LONG = "x" * 1_001
NO_MEMO = ModifyWorkflowPropertiesCommandAttributes()
NO_FIELDS = ModifyWorkflowPropertiesCommandAttributes(upserted_memo=Memo())
NO_ATTRIBUTES = UpsertWorkflowSearchAttributesCommandAttributes()


def polled(**limits: Any) -> g.Given:
    """A run whose worker holds its first workflow task."""
    given = g.Given(World(limits=Limits(**limits)))
    given.start()
    given.poll()
    return given


def bare(name: str) -> Command:
    """A command without its attributes."""
    return Command(command_type=CommandType.Value(f"COMMAND_TYPE_{name}"))


def test_each_command_becomes_its_event_in_order() -> None:
    given = polled()
    commands = [
        g.activity("a"),
        g.timer("t"),
        g.marker("m"),
        g.upsert(K=g.value("1")),
        g.remember(k=ONE),
        g.cancel_timer("t"),
    ]
    turn = given.complete(*commands)
    assert g.told(turn) == [
        "4 WorkflowTaskCompleted scheduled_event_id=2 started_event_id=3 identity=worker",
        "5 ActivityTaskScheduled activity_id=a activity_type=A task_queue=activities start_to_close_timeout=10s "
        "workflow_task_completed_event_id=4 retry_policy={initial_interval=1s backoff_coefficient=2.0 "
        "maximum_interval=100s}",
        "6 TimerStarted timer_id=t start_to_fire_timeout=100s workflow_task_completed_event_id=4",
        "7 MarkerRecorded marker_name=m details={x=[1]} workflow_task_completed_event_id=4",
        "8 UpsertWorkflowSearchAttributes workflow_task_completed_event_id=4 search_attributes={indexed_fields={K=1}}",
        "9 WorkflowPropertiesModified workflow_task_completed_event_id=4 upserted_memo={fields={k=1}}",
        "10 TimerCanceled timer_id=t started_event_id=6 workflow_task_completed_event_id=4 identity=worker",
    ]
    assert turn.state.timers == {}
    assert turn.state.memo == {"k": ONE.SerializeToString()}
    assert turn.state.search_attributes == {"K": g.value("1").SerializeToString(deterministic=True)}
    assert list(turn.state.activities) == [5]


def test_an_upsert_without_a_value_removes_the_key() -> None:
    given = polled()
    given.complete(g.remember(a=ONE, b=ONE), g.upsert(K=g.value("1")), force_create_new_workflow_task=True)
    given.step(g.remember(a=Payload(data=b"null")), g.upsert(K=g.value("[]")))
    assert list(given.state.memo) == ["b"]
    assert given.state.search_attributes == {}


def test_what_a_command_carries_beside_its_attributes_is_kept() -> None:
    given = polled()
    metadata = UserMetadata(summary=ONE)
    command = g.timer()
    command.user_metadata.CopyFrom(metadata)
    turn = given.complete(command)
    assert turn.events[1].user_metadata == metadata
    assert not turn.events[0].HasField("user_metadata")


def test_what_a_worker_says_of_itself_is_kept() -> None:
    given = polled()
    options = WorkerDeploymentOptions(
        deployment_name="d", build_id="b", worker_versioning_mode=WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED
    )
    turn = given.complete(
        g.timer(),
        binary_checksum="sum",
        worker_version_stamp=WorkerVersionStamp(build_id="b"),
        sdk_metadata=WorkflowTaskCompletedMetadata(core_used_flags=[1]),
        deployment_options=options,
        versioning_behavior=1,
    )
    completed = turn.events[0].workflow_task_completed_event_attributes
    assert (completed.binary_checksum, completed.worker_version.build_id) == ("sum", "b")
    assert list(completed.sdk_metadata.core_used_flags) == [1]
    assert (completed.worker_deployment_name, completed.deployment_version.build_id) == ("d", "b")
    assert completed.versioning_behavior == 1
    assert given.state.last_completed_task == completed


def test_a_versioning_behaviour_needs_a_deployment() -> None:
    with pytest.raises(InvalidArgument, match="versioning behavior cannot be specified without deployment options"):
        polled().complete(g.timer(), versioning_behavior=1)


def timeouts(of: ActivityTaskScheduledEventAttributes) -> tuple[float, ...]:
    """Schedule-to-close, schedule-to-start, start-to-close, heartbeat, in seconds."""
    all_four = (of.schedule_to_close_timeout, of.schedule_to_start_timeout, of.start_to_close_timeout)
    return tuple(one.ToMilliseconds() / 1_000 for one in (*all_four, of.heartbeat_timeout))


@pytest.mark.parametrize(
    ("run", "given_timeouts", "recorded"),
    [
        (0, {"start_to_close_timeout": 10}, (0, 0, 10, 0)),
        (50, {"start_to_close_timeout": 10}, (50, 50, 10, 0)),
        (50, {"start_to_close_timeout": 90, "heartbeat_timeout": 70}, (50, 50, 50, 50)),
        (0, {"schedule_to_close_timeout": 5}, (5, 5, 5, 0)),
        (0, {"schedule_to_close_timeout": 5, "start_to_close_timeout": 9, "heartbeat_timeout": 9}, (5, 5, 5, 5)),
        (0, {"schedule_to_close_timeout": 5, "schedule_to_start_timeout": 7}, (5, 5, 5, 0)),
        (0, {"start_to_close_timeout": 5, "schedule_to_start_timeout": 7}, (0, 7, 5, 0)),
    ],
)
def test_timeouts_that_are_not_given_follow_from_those_that_are(
    run: int, given_timeouts: dict[str, float], recorded: tuple[float, ...]
) -> None:
    given = g.Given()
    given.start(workflow_run_timeout=g.seconds(run))
    none: dict[str, Any] = {"start_to_close_timeout": None}
    turn = given.step(g.activity("a", **none | {key: g.seconds(value) for key, value in given_timeouts.items()}))
    assert timeouts(turn.events[1].activity_task_scheduled_event_attributes) == recorded


ACTIVITY_RULES = [
    (g.activity(""), "activityId is not set"),
    (g.activity(LONG), "activityId exceeds length limit. Length=1001 Limit=1000"),
    (g.activity("a", task_queue=None), "taskQueue is not set"),
    (g.activity("a", task_queue=TaskQueue()), "missing task queue name"),
    (
        g.activity("a", start_to_close_timeout=None),
        "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity. "
        "ActivityId=a ActivityType=A",
    ),
    (g.activity("a", start_to_close_timeout=g.seconds(-1)), "invalid StartToCloseTimeout: negative duration"),
    (g.activity("a", priority=Priority(priority_key=-1)), "invalid priorities: priority key can't be negative"),
    (
        g.activity("a", retry_policy=RetryPolicy(backoff_coefficient=0.5)),
        "BackoffCoefficient cannot be less than 1 on retry policy.",
    ),
    (
        g.activity("a", retry_policy=RetryPolicy(initial_interval=g.seconds(5), maximum_interval=g.seconds(1))),
        "MaximumInterval cannot be less than InitialInterval on retry policy.",
    ),
    (
        g.activity("a", retry_policy=RetryPolicy(maximum_attempts=-1)),
        "MaximumAttempts cannot be negative on retry policy.",
    ),
    (
        g.activity("a", retry_policy=RetryPolicy(non_retryable_error_types=["TemporalTimeout:Lunch"])),
        "Invalid timeout type value: Lunch.",
    ),
    (
        bare("SCHEDULE_ACTIVITY_TASK"),
        "ScheduleActivityTaskCommandAttributes is not set on ScheduleActivityTaskCommand.",
    ),
]
OTHER_RULES = [
    (
        g.cancel_activity(0),
        "BadRequestCancelActivityAttributes",
        "ScheduledEventId is not set on RequestCancelActivityTaskCommand.",
    ),
    (
        g.cancel_activity(77),
        "BadRequestCancelActivityAttributes",
        "invalid history builder state for action: add-activitytask-cancel-requested-event, ScheduledEventID: 77",
    ),
    (g.timer(""), "BadStartTimerAttributes", "TimerId is not set on StartTimerCommand."),
    (
        g.timer("t", -1),
        "BadStartTimerAttributes",
        "An invalid StartToFireTimeout is set on StartTimerCommand: negative duration. TimerId=t",
    ),
    (g.cancel_timer(""), "BadCancelTimerAttributes", "TimerId is not set on CancelTimerCommand."),
    (
        g.cancel_timer("none"),
        "BadCancelTimerAttributes",
        "invalid history builder state for action: add-timer-canceled-event, TimerID: none",
    ),
    (
        g.command(RecordMarkerCommandAttributes()),
        "BadRecordMarkerAttributes",
        "MarkerName is not set on RecordMarkerCommand.",
    ),
    (
        g.command(NO_ATTRIBUTES),
        "BadSearchAttributes",
        "SearchAttributes is not set on UpsertWorkflowSearchAttributesCommand.",
    ),
    (
        g.upsert(Unknown=g.value("1")),
        "BadSearchAttributes",
        "Namespace n has no mapping defined for search attribute Unknown",
    ),
    (
        g.upsert(K=g.value('"one"')),
        "BadSearchAttributes",
        "invalid value for search attribute K of type Int: one",
    ),
    (
        g.upsert(WorkflowId=g.value('"w"')),
        "BadSearchAttributes",
        "WorkflowId attribute can't be set in SearchAttributes",
    ),
    (
        g.command(NO_MEMO),
        "BadModifyWorkflowPropertiesAttributes",
        "UpsertedMemo is not set on ModifyWorkflowPropertiesCommand.",
    ),
    (
        g.command(NO_FIELDS),
        "BadModifyWorkflowPropertiesAttributes",
        "UpsertedMemo.Fields is not set on ModifyWorkflowPropertiesCommand.",
    ),
    (
        g.command(FailWorkflowExecutionCommandAttributes()),
        "BadFailWorkflowExecutionAttributes",
        "Failure is not set on FailWorkflowExecutionCommand.",
    ),
    (
        bare("COMPLETE_WORKFLOW_EXECUTION"),
        "BadCompleteWorkflowExecutionAttributes",
        "CompleteWorkflowExecutionCommandAttributes is not set on CompleteWorkflowExecutionCommand.",
    ),
    (
        g.again(workflow_run_timeout=g.seconds(-1)),
        "BadContinueAsNewAttributes",
        "Invalid WorkflowRunTimeout on ContinueAsNewWorkflowExecutionCommand: negative duration. "
        'WorkflowType=W TaskQueue=name:"q" kind:TASK_QUEUE_KIND_NORMAL',
    ),
    (
        g.again(retry_policy=RetryPolicy(backoff_coefficient=0.1)),
        "BadContinueAsNewAttributes",
        "invalid WorkflowRetryPolicy on ContinueAsNewWorkflowExecutionCommand: BackoffCoefficient cannot be less than "
        '1 on retry policy.. WorkflowType=W TaskQueue=name:"q" kind:TASK_QUEUE_KIND_NORMAL',
    ),
    (
        g.command(ScheduleNexusOperationCommandAttributes(endpoint="e")),
        "FeatureDisabled",
        "the command ScheduleNexusOperation is not served yet; change the workflow so that it does not use it",
    ),
]
RULES = [(command, "BadScheduleActivityAttributes", text) for command, text in ACTIVITY_RULES] + OTHER_RULES


@pytest.mark.parametrize(("command", "cause", "text"), RULES, ids=[f"{cause}:{text[:40]}" for _, cause, text in RULES])
def test_a_bad_command_fails_its_task_and_does_nothing(command: Command, cause: str, text: str) -> None:
    given = polled()
    turn = given.complete(g.timer("good"), command)
    assert turn.reply.failed == f"{cause}: {text}"
    assert g.names(turn) == ["WorkflowTaskFailed"]
    failed = turn.events[0].workflow_task_failed_event_attributes
    name = WorkflowTaskFailedCause.Name(failed.cause).removeprefix("WORKFLOW_TASK_FAILED_CAUSE_")
    assert name.title().replace("_", "") == cause
    assert failed.failure.message == turn.reply.failed
    assert failed.failure.HasField("server_failure_info") and not failed.failure.server_failure_info.non_retryable
    assert turn.state.timers == {} and given.poll().attempt == 2


def test_a_bad_command_of_a_repeated_attempt_is_left_to_its_timeout() -> None:
    given = polled()
    given.complete(g.timer(""))
    given.poll()
    with pytest.raises(InvalidArgument, match=r"BadStartTimerAttributes: TimerId is not set on StartTimerCommand\."):
        given.complete(g.timer(""))
    assert given.after(10).events == [] and given.poll().attempt == 3


@pytest.mark.parametrize(
    ("commands", "text"),
    [
        (
            [g.done(), g.timer()],
            "invalid command sequence: [CompleteWorkflowExecution, StartTimer], "
            "command CompleteWorkflowExecution must be the last command.",
        ),
        ([Command()], "unknown command type: Unspecified"),
    ],
)
def test_a_sequence_that_cannot_be_is_refused_and_the_task_goes_on(commands: list[Command], text: str) -> None:
    given = polled()
    with pytest.raises(InvalidArgument) as refused:
        given.complete(*commands)
    assert refused.value.message == text
    assert given.complete(g.done()).state.open is False


@pytest.mark.parametrize(
    ("commands", "text"),
    [
        (
            [g.activity("a"), g.activity("a")],
            "ScheduleActivityDuplicateId: invalid history builder state for action: add-activitytask-scheduled-event, "
            "ActivityID: a",
        ),
        (
            [g.timer("t"), g.timer("t")],
            "StartTimerDuplicateId: invalid history builder state for action: add-timer-started-event, TimerID: t",
        ),
    ],
)
def test_an_id_is_pending_once(commands: list[Command], text: str) -> None:
    assert polled().complete(*commands).reply.failed == text


def test_pending_activities_and_timers_are_limited() -> None:
    commands = [g.activity("1"), g.activity("2"), g.activity("3")]
    assert polled(pending_activities_max=2).complete(*commands).reply.failed == (
        "PendingActivitiesLimitExceeded: the number of pending activities, 2, has reached the per-workflow limit of 2"
    )
    assert polled(pending_timers_max=1).complete(g.timer("1"), g.timer("2")).reply.failed == (
        "BadStartTimerAttributes: the number of pending timers, 1, has reached the per-workflow limit of 1"
    )


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (
            g.activity("a", input=LARGE),
            "BadScheduleActivityAttributes: ScheduleActivityTaskCommandAttributes.Input exceeds size limit.",
        ),
        (
            g.command(RecordMarkerCommandAttributes(marker_name="m", details={"x": LARGE})),
            "BadRecordMarkerAttributes: RecordMarkerCommandAttributes.Details exceeds size limit.",
        ),
        (
            g.command(CompleteWorkflowExecutionCommandAttributes(result=LARGE)),
            "BadScheduleActivityAttributes: CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit.",
        ),
        (
            g.command(ContinueAsNewWorkflowExecutionCommandAttributes(input=LARGE)),
            "BadContinueAsNewAttributes: ContinueAsNewWorkflowExecutionCommandAttributes. Input exceeds size limit.",
        ),
        (
            g.remember(k=LARGE.payloads[0]),
            "BadModifyWorkflowPropertiesAttributes: ModifyWorkflowPropertiesCommandAttributes exceeds size limit.",
        ),
    ],
    ids=["activity", "marker", "result", "continue", "memo"],
)
def test_what_is_too_large_to_keep_ends_the_run(command: Command, text: str) -> None:
    given = polled()
    turn = given.complete(command)
    assert turn.reply.failed == text
    assert g.names(turn) == ["WorkflowTaskFailed", "WorkflowExecutionTerminated"]
    assert turn.events[-1].workflow_execution_terminated_event_attributes.reason == text


def test_cancelling_a_timer_that_fired_unseen_takes_the_firing_back_and_lets_the_run_close() -> None:
    given = polled()
    given.complete(g.timer("t", 1), force_create_new_workflow_task=True)
    given.poll()
    assert g.names(given.after(2)) == [] and given.state.timers == {}
    assert g.told(given.complete(g.cancel_timer("t"), g.done()))[1:] == [
        "9 TimerCanceled timer_id=t started_event_id=5 workflow_task_completed_event_id=8 identity=worker",
        "10 WorkflowExecutionCompleted result=[1] workflow_task_completed_event_id=8",
    ]


def test_a_timers_id_is_free_again_once_it_fired_even_unseen() -> None:
    given = polled()
    given.complete(g.timer("t", 1), force_create_new_workflow_task=True)
    given.poll()
    given.after(2)
    turn = given.complete(g.timer("t", 50), g.cancel_timer("t"), g.timer("t", 60))
    assert g.names(turn)[1:] == ["TimerStarted", "TimerCanceled", "TimerStarted", "TimerFired", "WorkflowTaskScheduled"]
    assert turn.state.timers["t"].started_event_id == 11


def test_cancelling_an_activity_nobody_started_ends_it_behind_the_other_commands() -> None:
    given = polled()
    given.complete(g.activity("a"), force_create_new_workflow_task=True)
    turn = given.step(g.cancel_activity(5), g.timer())
    assert g.names(turn)[-5:] == [
        "WorkflowTaskCompleted",
        "ActivityTaskCancelRequested",
        "TimerStarted",
        "ActivityTaskCanceled",
        "WorkflowTaskScheduled",
    ]
    closing = given.step(g.activity("b"), g.cancel_activity(15), g.done())
    assert g.names(closing)[-3:] == [
        "ActivityTaskScheduled",
        "ActivityTaskCancelRequested",
        "WorkflowExecutionCompleted",
    ]


def test_activities_asked_for_eagerly_come_with_the_reply_if_they_are_still_pending() -> None:
    given = polled()
    given.complete(
        g.activity("a", request_eager_execution=True),
        g.activity("b", request_eager_execution=True),
        g.activity("c"),
        g.cancel_activity(6),
    )
    assert [one.ready for one in given.state.activities.values()] == [False, True]
    closing = polled().complete(g.activity("a", request_eager_execution=True), g.done())
    assert closing.reply.activities == ()


def test_so_many_activities_come_eagerly_with_a_reply_and_the_others_wait_in_their_queue() -> None:
    turn = polled(eager_activities_max=2).complete(*(g.activity(name, request_eager_execution=True) for name in "abc"))
    assert len(turn.reply.activities) == 2
    assert [one.ready for one in turn.state.activities.values()].count(True) == 1
