"""The commands of a completed workflow task, each turned into its event.

A bad command raises BadCommand: the whole task then fails and nothing of it is done (`complete.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from temporalio.api.command.v1 import (
    CancelTimerCommandAttributes,
    CancelWorkflowExecutionCommandAttributes,
    Command,
    CompleteWorkflowExecutionCommandAttributes,
    ContinueAsNewWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
    ModifyWorkflowPropertiesCommandAttributes,
    RecordMarkerCommandAttributes,
    RequestCancelActivityTaskCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
    UpsertWorkflowSearchAttributesCommandAttributes,
)
from temporalio.api.common.v1 import Memo, Payload, SearchAttributes
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.history.v1 import (
    ActivityTaskScheduledEventAttributes,
    MarkerRecordedEventAttributes,
    TimerCanceledEventAttributes,
    TimerStartedEventAttributes,
    UpsertWorkflowSearchAttributesEventAttributes,
    WorkflowExecutionCanceledEventAttributes,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionFailedEventAttributes,
    WorkflowPropertiesModifiedEventAttributes,
)

from stormsail.engine.core import notes
from stormsail.engine.core.apply import merge_payloads
from stormsail.engine.core.decide import activity, command_rules, others, update_messages
from stormsail.engine.core.decide.begin import attributes_with_value, with_value
from stormsail.engine.core.decide.carrying import BadCommand, Carrying, Cause, Kind, camel, given, invalid_action
from stormsail.engine.core.decide.close import end_run
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.events import NO_EXTRAS, Extras
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.values import members

_BAD_ACTIVITY: Final = Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_ACTIVITY_ATTRIBUTES
CLOSING: Final = frozenset(
    {
        CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION,
        CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION,
    }
)
"""They end the run, so nothing may follow them."""


def check_sequence(commands: Sequence[Command]) -> None:
    """Refuse unknown commands, and any that follow one which closes the run."""
    closing = None
    for command in members(commands):
        if closing is not None:
            names = ", ".join(_name(one) for one in commands)
            raise InvalidArgument(
                f"invalid command sequence: [{names}], command {_name(closing)} must be the last command."
            )
        command_type = command.command_type
        if command_type not in _CARRYING and command_type not in _NOT_SERVED:
            raise InvalidArgument(f"unknown command type: {_name(command)}")
        if command_type in CLOSING:
            closing = command


def carry_out(carrying: Carrying, commands: Sequence[Command]) -> list[str]:
    """Carry out the commands in order. Returns the ids of the activities that the worker wants to start eagerly."""
    for command in members(commands):
        command_type = command.command_type
        if command_type in _NOT_SERVED:
            raise BadCommand(
                Cause.WORKFLOW_TASK_FAILED_CAUSE_FEATURE_DISABLED,
                f"the command {_name(command)} is not served yet; change the workflow so that it does not use it",
            )
        kind = _CARRYING[command_type]
        attributes = getattr(command, kind.attributes)
        if not command.HasField(kind.attributes):  # type: ignore[arg-type]
            raise BadCommand(kind.cause, f"{_name(command)}CommandAttributes is not set on {_name(command)}Command.")
        if command_type in CLOSING and carrying.unseen:
            raise BadCommand(Cause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND)
        try:
            kind.carry_out(carrying, attributes, _extras(command))
        except InvalidArgument as wrong:
            raise BadCommand(kind.cause, wrong.message) from None
    return carrying.eager


def _extras(command: Command) -> Extras:
    metadata = command.user_metadata if command.HasField("user_metadata") else None
    markers = command.event_group_markers
    if metadata is None and not markers:
        return NO_EXTRAS
    return Extras(user_metadata=metadata, group_markers=tuple(markers))


def _name(command: Command) -> str:
    number = command.command_type
    return camel(CommandType.Name(number), "COMMAND_TYPE_") if number in CommandType.values() else str(number)


def _schedule_activity(carrying: Carrying, command: ScheduleActivityTaskCommandAttributes, extras: Extras) -> None:
    turn, limits = carrying.turn, carrying.limits
    command_rules.complete_activity(command, duration_ms(turn.state.start.workflow_run_timeout), limits)
    carrying.refuse_large(
        command.input.ByteSize(),
        _BAD_ACTIVITY,
        "ScheduleActivityTaskCommandAttributes.Input exceeds size limit.",
    )
    pending = len(turn.state.activities)
    if pending >= limits.pending_activities_max:
        raise BadCommand(
            Cause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_ACTIVITIES_LIMIT_EXCEEDED,
            f"the number of pending activities, {pending}, has reached the per-workflow limit of "
            f"{limits.pending_activities_max}",
        )
    if command.activity_id in turn.state.activity_by_id:
        raise BadCommand(
            Cause.WORKFLOW_TASK_FAILED_CAUSE_SCHEDULE_ACTIVITY_DUPLICATE_ID,
            invalid_action("add-activitytask-scheduled-event", f"ActivityID: {command.activity_id}"),
        )
    event = ActivityTaskScheduledEventAttributes(
        activity_id=command.activity_id,
        workflow_task_completed_event_id=carrying.completed_event_id,
        use_workflow_build_id=command.use_workflow_build_id,
    )
    # CopyFrom copies; a message given to the constructor is written and parsed.
    event.activity_type.CopyFrom(command.activity_type)
    event.task_queue.CopyFrom(command.task_queue)
    event.schedule_to_close_timeout.CopyFrom(command.schedule_to_close_timeout)
    event.schedule_to_start_timeout.CopyFrom(command.schedule_to_start_timeout)
    event.start_to_close_timeout.CopyFrom(command.start_to_close_timeout)
    event.heartbeat_timeout.CopyFrom(command.heartbeat_timeout)
    event.retry_policy.CopyFrom(command.retry_policy)
    if command.HasField("header"):
        event.header.CopyFrom(command.header)
    if command.HasField("input"):
        event.input.CopyFrom(command.input)
    if command.HasField("priority"):
        event.priority.CopyFrom(command.priority)
    turn.emit(event, extras=extras)
    if command.request_eager_execution and len(carrying.eager) < limits.eager_activities_max:
        carrying.eager.append(command.activity_id)


def _cancel_activity(carrying: Carrying, command: RequestCancelActivityTaskCommandAttributes, extras: Extras) -> None:
    if command.scheduled_event_id <= 0:
        raise InvalidArgument("ScheduledEventId is not set on RequestCancelActivityTaskCommand.")
    activity.request_cancel(
        carrying.turn,
        command.scheduled_event_id,
        task_completed_event_id=carrying.completed_event_id,
        identity=carrying.identity,
        extras=extras,
    )


def _start_timer(carrying: Carrying, command: StartTimerCommandAttributes, extras: Extras) -> None:
    turn, limits = carrying.turn, carrying.limits
    command_rules.check_id(command.timer_id, "TimerId", "StartTimerCommand", limits)
    if fault := command_rules.duration_fault(command.start_to_fire_timeout):
        raise InvalidArgument(
            f"An invalid StartToFireTimeout is set on StartTimerCommand: {fault}. TimerId={command.timer_id}"
        )
    if command.timer_id in turn.state.timers:
        raise BadCommand(
            Cause.WORKFLOW_TASK_FAILED_CAUSE_START_TIMER_DUPLICATE_ID,
            invalid_action("add-timer-started-event", f"TimerID: {command.timer_id}"),
        )
    if len(turn.state.timers) >= limits.pending_timers_max:
        raise InvalidArgument(
            f"the number of pending timers, {len(turn.state.timers)}, has reached the per-workflow limit of "
            f"{limits.pending_timers_max}"
        )
    event = TimerStartedEventAttributes(
        timer_id=command.timer_id,
        start_to_fire_timeout=given(command, "start_to_fire_timeout"),
        workflow_task_completed_event_id=carrying.completed_event_id,
    )
    turn.emit(event, extras=extras)


def _cancel_timer(carrying: Carrying, command: CancelTimerCommandAttributes, extras: Extras) -> None:
    """Cancel a timer, or one that has fired without the worker knowing: its firing is then never told."""
    turn = carrying.turn
    command_rules.check_id(command.timer_id, "TimerId", "CancelTimerCommand", carrying.limits)
    timer = turn.state.timers.get(command.timer_id)
    started_event_id = timer.started_event_id if timer is not None else _fired_unseen(turn, command.timer_id)
    if not started_event_id:
        raise InvalidArgument(invalid_action("add-timer-canceled-event", f"TimerID: {command.timer_id}"))
    event = TimerCanceledEventAttributes(
        timer_id=command.timer_id,
        started_event_id=started_event_id,
        workflow_task_completed_event_id=carrying.completed_event_id,
        identity=carrying.identity,
    )
    turn.emit(event, extras=extras)
    if timer is None:
        turn.note(notes.BufferedTimerFiredDropped(command.timer_id, started_event_id))
        # Nothing else may have been unseen: then the run may close after all.
        carrying.unseen = carrying.unseen and bool(turn.state.buffered)


def _fired_unseen(turn: Turn, timer_id: str) -> int:
    """Return the started event id of a timer whose firing is buffered, 0 when there is none of this id."""
    for event in turn.state.buffered:
        if event.event_type == EventType.EVENT_TYPE_TIMER_FIRED:
            fired = event.timer_fired_event_attributes
            if fired.timer_id == timer_id:
                return fired.started_event_id
    return 0


def _record_marker(carrying: Carrying, command: RecordMarkerCommandAttributes, extras: Extras) -> None:
    command_rules.check_id(command.marker_name, "MarkerName", "RecordMarkerCommand", carrying.limits)
    carrying.refuse_large(
        sum(len(key.encode()) + payloads.ByteSize() for key, payloads in command.details.items()),
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_RECORD_MARKER_ATTRIBUTES,
        "RecordMarkerCommandAttributes.Details exceeds size limit.",
    )
    event = MarkerRecordedEventAttributes(
        marker_name=command.marker_name,
        details=command.details,
        workflow_task_completed_event_id=carrying.completed_event_id,
        header=given(command, "header"),
        failure=given(command, "failure"),
    )
    carrying.turn.emit(event, extras=extras)


def _upsert_search_attributes(
    carrying: Carrying, command: UpsertWorkflowSearchAttributesCommandAttributes, extras: Extras
) -> None:
    turn = carrying.turn
    name = "UpsertWorkflowSearchAttributesCommand"
    if not command.HasField("search_attributes"):
        raise InvalidArgument(f"SearchAttributes is not set on {name}.")
    fields = command.search_attributes.indexed_fields
    if not fields:
        raise InvalidArgument(f"IndexedFields is not set on {name}.")
    cause = Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES
    carrying.refuse_large(command_rules.payloads_size(fields), cause, f"{name}Attributes exceeds size limit.")
    merged = dict(turn.state.search_attributes)
    merge_payloads(merged, fields)
    whole = SearchAttributes(indexed_fields={key: Payload.FromString(value) for key, value in merged.items()})
    carrying.check_search_attributes(command.search_attributes, cause, whole)
    event = UpsertWorkflowSearchAttributesEventAttributes(
        workflow_task_completed_event_id=carrying.completed_event_id,
        search_attributes=SearchAttributes(indexed_fields=fields),
    )
    turn.emit(event, extras=extras)


def _modify_properties(carrying: Carrying, command: ModifyWorkflowPropertiesCommandAttributes, extras: Extras) -> None:
    turn = carrying.turn
    name = "ModifyWorkflowPropertiesCommand"
    if not command.HasField("upserted_memo"):
        raise InvalidArgument(f"UpsertedMemo is not set on {name}.")
    fields = command.upserted_memo.fields
    if not fields:
        raise InvalidArgument(f"UpsertedMemo.Fields is not set on {name}.")
    cause = Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES
    carrying.refuse_large(command_rules.payloads_size(fields), cause, f"{name}Attributes exceeds size limit.")
    merged = dict(turn.state.memo)
    merge_payloads(merged, fields)
    if _size(merged) > carrying.limits.memo_size_max:
        raise BadCommand(cause, f"{name}Attributes. Memo exceeds size limit.", terminates=True)
    event = WorkflowPropertiesModifiedEventAttributes(
        workflow_task_completed_event_id=carrying.completed_event_id, upserted_memo=Memo(fields=fields)
    )
    turn.emit(event, extras=extras)


def _complete_workflow(carrying: Carrying, command: CompleteWorkflowExecutionCommandAttributes, extras: Extras) -> None:
    # RespondWorkflowTaskCompleted: Temporal gives this cause for too large a result, so histories show it.
    carrying.refuse_large(
        command.result.ByteSize(),
        _BAD_ACTIVITY,
        "CompleteWorkflowExecutionCommandAttributes.Result exceeds size limit.",
    )
    event = WorkflowExecutionCompletedEventAttributes(
        result=given(command, "result"), workflow_task_completed_event_id=carrying.completed_event_id
    )
    end_run(carrying.turn, event, carrying.ids, carrying.limits, extras=extras)


def _fail_workflow(carrying: Carrying, command: FailWorkflowExecutionCommandAttributes, extras: Extras) -> None:
    if not command.HasField("failure"):
        raise InvalidArgument("Failure is not set on FailWorkflowExecutionCommand.")
    carrying.refuse_large(
        command.failure.ByteSize(),
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES,
        "FailWorkflowExecutionCommandAttributes.Failure exceeds size limit.",
    )
    event = WorkflowExecutionFailedEventAttributes(
        failure=command.failure, workflow_task_completed_event_id=carrying.completed_event_id
    )
    end_run(carrying.turn, event, carrying.ids, carrying.limits, extras=extras)


def _cancel_workflow(carrying: Carrying, command: CancelWorkflowExecutionCommandAttributes, extras: Extras) -> None:
    event = WorkflowExecutionCanceledEventAttributes(
        details=given(command, "details"), workflow_task_completed_event_id=carrying.completed_event_id
    )
    end_run(carrying.turn, event, carrying.ids, carrying.limits, extras=extras)


def _continue_as_new(
    carrying: Carrying, command: ContinueAsNewWorkflowExecutionCommandAttributes, extras: Extras
) -> None:
    cause = Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_CONTINUE_AS_NEW_ATTRIBUTES
    command_rules.complete_continue_as_new(command, carrying.turn.state, carrying.limits)
    name = "ContinueAsNewWorkflowExecutionCommandAttributes"
    carrying.refuse_large(command.input.ByteSize(), cause, f"{name}. Input exceeds size limit.")
    if command.memo.ByteSize() > carrying.limits.memo_size_max:
        raise BadCommand(cause, f"{name}. Memo exceeds size limit.", terminates=True)
    carrying.check_search_attributes(command.search_attributes, cause)
    event = WorkflowExecutionContinuedAsNewEventAttributes(
        workflow_type=command.workflow_type,
        task_queue=command.task_queue,
        input=given(command, "input"),
        workflow_run_timeout=command.workflow_run_timeout,
        workflow_task_timeout=command.workflow_task_timeout,
        workflow_task_completed_event_id=carrying.completed_event_id,
        backoff_start_interval=given(command, "backoff_start_interval"),
        initiator=command.initiator,
        failure=given(command, "failure"),
        last_completion_result=given(command, "last_completion_result"),
        header=given(command, "header"),
        memo=with_value(command.memo),
        search_attributes=attributes_with_value(command.search_attributes),
        inherit_build_id=command.inherit_build_id,
    )
    end_run(carrying.turn, event, carrying.ids, carrying.limits, command=command, extras=extras)


def _size(fields: Mapping[str, bytes]) -> int:
    return sum(len(key.encode()) + len(value) for key, value in fields.items())


_CARRYING: Final[Mapping[int, Kind]] = {
    CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK: Kind(
        "schedule_activity_task_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SCHEDULE_ACTIVITY_ATTRIBUTES,
        _schedule_activity,
    ),
    CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK: Kind(
        "request_cancel_activity_task_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_ACTIVITY_ATTRIBUTES,
        _cancel_activity,
    ),
    CommandType.COMMAND_TYPE_START_TIMER: Kind(
        "start_timer_command_attributes", Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_TIMER_ATTRIBUTES, _start_timer
    ),
    CommandType.COMMAND_TYPE_CANCEL_TIMER: Kind(
        "cancel_timer_command_attributes", Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_TIMER_ATTRIBUTES, _cancel_timer
    ),
    CommandType.COMMAND_TYPE_RECORD_MARKER: Kind(
        "record_marker_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_RECORD_MARKER_ATTRIBUTES,
        _record_marker,
    ),
    CommandType.COMMAND_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES: Kind(
        "upsert_workflow_search_attributes_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SEARCH_ATTRIBUTES,
        _upsert_search_attributes,
    ),
    CommandType.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES: Kind(
        "modify_workflow_properties_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES,
        _modify_properties,
    ),
    CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION: Kind(
        "complete_workflow_execution_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES,
        _complete_workflow,
    ),
    CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION: Kind(
        "fail_workflow_execution_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES,
        _fail_workflow,
    ),
    CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION: Kind(
        "cancel_workflow_execution_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_CANCEL_WORKFLOW_EXECUTION_ATTRIBUTES,
        _cancel_workflow,
    ),
    CommandType.COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION: Kind(
        "continue_as_new_workflow_execution_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_CONTINUE_AS_NEW_ATTRIBUTES,
        _continue_as_new,
    ),
    **update_messages.KINDS,
    **others.CARRYING,
}

_NOT_SERVED: Final = frozenset(
    {
        CommandType.COMMAND_TYPE_SCHEDULE_NEXUS_OPERATION,
        CommandType.COMMAND_TYPE_REQUEST_CANCEL_NEXUS_OPERATION,
    }
)
"""Known commands that fail their task."""
