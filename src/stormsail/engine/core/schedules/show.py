"""A schedule as DescribeSchedule and ListSchedules show it."""

from collections.abc import Iterable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Memo, SearchAttributes, WorkflowExecution
from temporalio.api.schedule.v1 import (
    ScheduleActionResult,
    ScheduleInfo,
    ScheduleListEntry,
    ScheduleListInfo,
    ScheduleSpec,
)
from temporalio.api.workflowservice.v1 import DescribeScheduleResponse

from stormsail.engine.core.schedule_spec import SpecError, compile_spec, shown
from stormsail.engine.core.schedules import bounds
from stormsail.engine.core.schedules.decide import TOKEN_BYTES, future_times
from stormsail.engine.core.schedules.state import Recent, Schedule

_LISTED_FIELDS: Final = ("exclude_structured_calendar", "interval", "structured_calendar")


def describe(schedule: Schedule, now_ms: int) -> DescribeScheduleResponse:
    """Show all of a schedule."""
    response = DescribeScheduleResponse(conflict_token=conflict_token(schedule))
    message = response.schedule
    message.spec.CopyFrom(shown(schedule.spec))
    message.action.CopyFrom(schedule.action)
    message.policies.CopyFrom(schedule.policies)
    message.state.SetInParent()
    message.state.notes, message.state.paused = schedule.notes, schedule.paused
    message.state.limited_actions = schedule.limited_actions
    message.state.remaining_actions = schedule.remaining_actions
    _fill_info(response.info, schedule, now_ms)
    if schedule.memo:
        response.memo.MergeFromString(schedule.memo)
    attributes = SearchAttributes.FromString(schedule.search_attributes)
    if attributes.indexed_fields:
        response.search_attributes.CopyFrom(attributes)
    return response


def list_entry(schedule: Schedule, now_ms: int) -> ScheduleListEntry:
    """Show what a list does."""
    spec = ScheduleSpec()
    spec.CopyFrom(schedule.spec)
    spec.ClearField("timezone_data")
    for name in _LISTED_FIELDS:
        del getattr(spec, name)[bounds.LISTED_SPECS_MAX :]
    info = ScheduleListInfo(
        spec=shown(spec),
        notes=schedule.notes,
        paused=schedule.paused,
        recent_actions=[_action(each) for each in schedule.recent[-bounds.LISTED_MAX :]],
        future_action_times=_timestamps(future_times(schedule, bounds.LISTED_MAX, now_ms)),
    )
    if schedule.action.HasField("start_workflow"):
        info.workflow_type.CopyFrom(schedule.action.start_workflow.workflow_type)
    entry = ScheduleListEntry(schedule_id=schedule.key.schedule_id, info=info)
    entry.memo.CopyFrom(Memo.FromString(schedule.memo))
    attributes = SearchAttributes.FromString(schedule.search_attributes)
    if attributes.indexed_fields:
        entry.search_attributes.CopyFrom(attributes)
    return entry


def conflict_token(schedule: Schedule) -> bytes:
    """Return what an update gives back to say which state of the schedule it has seen."""
    return schedule.conflict_token.to_bytes(TOKEN_BYTES)


def timestamp(at_ms: int) -> Timestamp:
    """Return milliseconds as the protocol's instant."""
    moment = Timestamp()
    moment.FromMilliseconds(at_ms)
    return moment


def _fill_info(info: ScheduleInfo, schedule: Schedule, now_ms: int) -> None:
    info.action_count = schedule.actions
    info.missed_catchup_window = schedule.missed_catchup_window
    info.overlap_skipped = schedule.overlap_skipped
    info.buffer_dropped = schedule.buffer_dropped
    info.buffer_size = len(schedule.buffered)
    for each in schedule.running:
        info.running_workflows.add(workflow_id=each.workflow_id, run_id=each.run_id)
    info.recent_actions.extend(_action(each) for each in schedule.recent)
    info.future_action_times.extend(_timestamps(future_times(schedule, bounds.FUTURE_MAX, now_ms)))
    info.create_time.CopyFrom(timestamp(schedule.created_ms))
    if schedule.updated_ms:
        info.update_time.CopyFrom(timestamp(schedule.updated_ms))
    try:
        compile_spec(schedule.spec)
    except SpecError as error:
        info.invalid_schedule_error = str(error)


def _action(recent: Recent) -> ScheduleActionResult:
    return ScheduleActionResult(
        schedule_time=timestamp(recent.schedule_ms),
        actual_time=timestamp(recent.actual_ms),
        start_workflow_result=WorkflowExecution(workflow_id=recent.workflow_id, run_id=recent.run_id),
        start_workflow_status=recent.status,  # type: ignore[arg-type]
    )


def _timestamps(times_ms: Iterable[int]) -> list[Timestamp]:
    return [timestamp(each) for each in times_ms]
