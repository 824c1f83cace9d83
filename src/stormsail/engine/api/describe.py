"""A run's state as DescribeWorkflowExecution and lists show it."""

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import EventType, PendingActivityState, PendingWorkflowTaskState, TaskQueueKind
from temporalio.api.workflow.v1 import PendingActivityInfo, PendingChildExecutionInfo, WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from stormsail.engine.core.deadlines import chain_expires_at_ms
from stormsail.engine.core.state import Activity, Child, RunState, WorkflowTask
from stormsail.engine.core.versioning import behavior
from stormsail.engine.core.visibility_row import VisibilityRow, visibility_row


def describe(state: RunState, now_ms: int) -> DescribeWorkflowExecutionResponse:
    """Show a run with what it waits for."""
    response = DescribeWorkflowExecutionResponse()
    _fill_config(response, state)
    row = visibility_row(state)
    info = response.workflow_execution_info
    info.CopyFrom(execution_info(row))
    # The started event of a workflow task that a worker holds may not be written yet, and is served all the same.
    task = state.workflow_task
    info.history_length = state.last_event_id + (task is not None and task.held_start is not None)
    info.history_size_bytes = state.history_size_bytes
    info.state_transition_count = state.state_transitions
    info.first_run_id = state.start.first_execution_run_id
    info.auto_reset_points.SetInParent()
    info.auto_reset_points.points.extend(state.reset_points)
    if state.priority is not None:
        info.priority.CopyFrom(state.priority)
    if state.last_completed_task is not None and state.last_completed_task.HasField("worker_version"):
        info.most_recent_worker_version_stamp.CopyFrom(state.last_completed_task.worker_version)
    if state.versioning_override is not None:
        override = info.versioning_info.versioning_override
        override.CopyFrom(state.versioning_override)
        override.behavior = behavior(state.versioning_override)  # as older clients look for it
    for activity in state.activities.values():
        response.pending_activities.append(_pending_activity(activity, now_ms))
    response.pending_children.extend(_pending_child(child) for child in state.children.values())
    if state.start.HasField("parent_workflow_execution"):
        info.parent_namespace_id = state.start.parent_workflow_namespace_id
    if state.workflow_task is not None:
        _fill_workflow_task(response, state.workflow_task)
    _fill_extended(response, state)
    return response


def execution_info(row: VisibilityRow) -> WorkflowExecutionInfo:
    """Show a run as lists do. Sizes and counts are those of closed runs, as Temporal lists them."""
    info = WorkflowExecutionInfo(status=row.status, task_queue=row.task_queue)  # type: ignore[arg-type]
    info.execution.workflow_id, info.execution.run_id = row.workflow_id, row.run_id
    info.type.name = row.workflow_type
    info.start_time.CopyFrom(_timestamp(row.start_ms))
    info.execution_time.CopyFrom(_timestamp(row.execution_ms))
    info.memo.SetInParent()
    info.memo.MergeFromString(row.memo)
    info.search_attributes.SetInParent()
    info.search_attributes.MergeFromString(row.search_attributes)
    info.root_execution.workflow_id = row.root_workflow_id or row.workflow_id
    info.root_execution.run_id = row.root_run_id or row.run_id
    if row.parent_workflow_id:
        info.parent_execution.workflow_id = row.parent_workflow_id
        info.parent_execution.run_id = row.parent_run_id
    if row.close_ms is not None:
        info.close_time.CopyFrom(_timestamp(row.close_ms))
        info.history_length = row.history_events or 0
        info.history_size_bytes = row.history_size_bytes or 0
        info.state_transition_count = row.state_transitions or 0
        if row.execution_duration_ms is not None:
            info.execution_duration.CopyFrom(_duration(row.execution_duration_ms))
    return info


def _fill_config(response: DescribeWorkflowExecutionResponse, state: RunState) -> None:
    config, start = response.execution_config, state.start
    config.task_queue.name = start.task_queue.name
    config.task_queue.kind = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
    if start.HasField("workflow_execution_timeout"):
        config.workflow_execution_timeout.CopyFrom(start.workflow_execution_timeout)
    if start.HasField("workflow_run_timeout"):
        config.workflow_run_timeout.CopyFrom(start.workflow_run_timeout)
    config.default_workflow_task_timeout.CopyFrom(start.workflow_task_timeout)
    if state.user_metadata is not None:
        config.user_metadata.CopyFrom(state.user_metadata)


def _fill_workflow_task(response: DescribeWorkflowExecutionResponse, task: WorkflowTask) -> None:
    pending = response.pending_workflow_task
    pending.attempt = task.attempt
    pending.scheduled_time.CopyFrom(_timestamp(task.scheduled_at_ms))
    pending.original_scheduled_time.CopyFrom(_timestamp(task.original_scheduled_at_ms))
    pending.state = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_SCHEDULED
    if task.started_at_ms:
        pending.state = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
        pending.started_time.CopyFrom(_timestamp(task.started_at_ms))


def _fill_extended(response: DescribeWorkflowExecutionResponse, state: RunState) -> None:
    extended, start = response.workflow_extended_info, state.start
    extended.cancel_requested = state.cancel_requested
    extended.reset_run_id = state.reset_run_id
    extended.original_start_time.CopyFrom(_timestamp(state.started_at_ms))
    if start.HasField("workflow_execution_expiration_time"):
        extended.execution_expiration_time.CopyFrom(_timestamp(chain_expires_at_ms(state)))
    run_timeout_ms = start.workflow_run_timeout.ToMilliseconds()
    if run_timeout_ms:
        extended.run_expiration_time.CopyFrom(_timestamp(state.execution_started_at_ms + run_timeout_ms))
    if state.pause is not None:
        extended.pause_info.identity, extended.pause_info.reason = state.pause.identity, state.pause.reason
        extended.pause_info.paused_time.CopyFrom(_timestamp(state.pause.at_ms))
    if state.start_request_id:
        known = extended.request_id_infos[state.start_request_id]
        known.event_type, known.event_id = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, 1
    for request_id, event_id in state.attached_request_ids.items():
        known = extended.request_id_infos[request_id]
        known.event_type = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
        known.event_id, known.buffered = event_id, not event_id


def _pending_activity(activity: Activity, now_ms: int) -> PendingActivityInfo:
    scheduled = activity.scheduled
    info = PendingActivityInfo(
        activity_id=scheduled.activity_id,
        activity_type=scheduled.activity_type,
        state=_activity_state(activity),
        attempt=activity.attempt,
        maximum_attempts=scheduled.retry_policy.maximum_attempts,
        last_worker_identity=activity.identity,
    )
    info.scheduled_time.CopyFrom(_timestamp(activity.ready_at_ms or activity.scheduled_at_ms))
    close_timeout_ms = scheduled.schedule_to_close_timeout.ToMilliseconds()
    if close_timeout_ms:
        info.expiration_time.CopyFrom(_timestamp(activity.scheduled_at_ms + close_timeout_ms))
    if activity.started_at_ms:
        info.last_started_time.CopyFrom(_timestamp(activity.started_at_ms))
    if activity.last_attempt_completed_at_ms:
        info.last_attempt_complete_time.CopyFrom(_timestamp(activity.last_attempt_completed_at_ms))
    if activity.paused_at_ms:
        info.paused = True
        info.pause_info.pause_time.CopyFrom(_timestamp(activity.paused_at_ms))
        info.pause_info.manual.identity, info.pause_info.manual.reason = activity.paused_by, activity.pause_reason
    elif not activity.started_at_ms and now_ms < activity.ready_at_ms:
        info.next_attempt_schedule_time.CopyFrom(_timestamp(activity.ready_at_ms))
        waited_from_ms = activity.last_attempt_completed_at_ms
        info.current_retry_interval.CopyFrom(_duration(activity.ready_at_ms - waited_from_ms))
    if activity.last_failure is not None:
        info.last_failure.CopyFrom(activity.last_failure)
    if activity.heartbeat_at_ms:
        info.last_heartbeat_time.CopyFrom(_timestamp(activity.heartbeat_at_ms))
    if activity.heartbeat_details is not None:
        info.heartbeat_details.CopyFrom(activity.heartbeat_details)
    if scheduled.HasField("priority"):
        info.priority.CopyFrom(scheduled.priority)
    _fill_options(info, activity)
    return info


def _pending_child(child: Child) -> PendingChildExecutionInfo:
    return PendingChildExecutionInfo(
        workflow_id=child.initiated.workflow_id,
        run_id=child.run_id,
        workflow_type_name=child.initiated.workflow_type.name,
        initiated_id=child.initiated_event_id,
        parent_close_policy=child.initiated.parent_close_policy,
    )


def _activity_state(activity: Activity) -> PendingActivityState.ValueType:
    if activity.cancel_requested_event_id:
        return PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
    if activity.started_at_ms:
        if activity.paused_at_ms:
            return PendingActivityState.PENDING_ACTIVITY_STATE_PAUSE_REQUESTED
        return PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    if activity.paused_at_ms:
        return PendingActivityState.PENDING_ACTIVITY_STATE_PAUSED
    return PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED


def _fill_options(info: PendingActivityInfo, activity: Activity) -> None:
    options, scheduled = info.activity_options, activity.scheduled
    options.task_queue.name = options.task_queue.normal_name = scheduled.task_queue.name
    options.schedule_to_close_timeout.CopyFrom(scheduled.schedule_to_close_timeout)
    options.schedule_to_start_timeout.CopyFrom(scheduled.schedule_to_start_timeout)
    options.start_to_close_timeout.CopyFrom(scheduled.start_to_close_timeout)
    options.heartbeat_timeout.CopyFrom(scheduled.heartbeat_timeout)
    options.retry_policy.CopyFrom(scheduled.retry_policy)
    if scheduled.HasField("priority"):
        options.priority.CopyFrom(scheduled.priority)


def _timestamp(at_ms: int) -> Timestamp:
    moment = Timestamp()
    moment.FromMilliseconds(at_ms)
    return moment


def _duration(length_ms: int) -> Duration:
    length = Duration()
    length.FromMilliseconds(length_ms)
    return length
