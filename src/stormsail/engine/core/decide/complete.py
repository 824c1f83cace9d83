"""RespondWorkflowTaskCompleted: a worker's commands, carried out all together or not at all."""

from typing import Final

from temporalio.api.common.v1 import WorkerVersionStamp
from temporalio.api.deployment.v1 import WorkerDeploymentVersion
from temporalio.api.enums.v1 import TimeoutType, WorkerVersioningMode, WorkflowTaskFailedCause
from temporalio.api.history.v1 import (
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowTaskCompletedEventAttributes,
)
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from stormsail.engine.core import failures, notes
from stormsail.engine.core.decide import activity, update_messages, workflow_task
from stormsail.engine.core.decide.carrying import BadCommand, Carrying
from stormsail.engine.core.decide.commands import carry_out, check_sequence
from stormsail.engine.core.decide.workflow_task import HISTORY_SERVICE, TASK_GONE
from stormsail.engine.core.errors import FailedPrecondition, InvalidArgument, NotFound
from stormsail.engine.core.ids import Ids
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import (
    CompletedWorkflowTask,
    CompleteWorkflowTask,
    StartedActivity,
    StartedWorkflowTask,
)
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.state import RunState, WorkflowTask
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.values import replace

RETURNED_REQUEST_ID: Final = "request-from-RespondWorkflowTaskCompleted"
"""The request id of a workflow task that is handed out in the reply to the one before."""

_UNHANDLED: Final = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND
_VERSIONED: Final = WorkerVersioningMode.WORKER_VERSIONING_MODE_VERSIONED


def complete(state: RunState, request: CompleteWorkflowTask, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    """Carry out a worker's commands. Where one of them is bad, nothing of them is done and the task fails instead: the
    turn then says so in its reply (`failed`)."""
    if not state.open:
        raise NotFound(TASK_GONE)
    task = workflow_task.held(state, request.token)
    if state.paused and request.request.force_create_new_workflow_task:
        raise FailedPrecondition("Workflow is paused and force create new workflow task is not allowed.")
    _check_versioning(request.request)
    check_sequence(request.request.commands)

    def begun() -> Turn:
        turn = Turn.on(state, now_ms)
        workflow_task.take_up(turn, task, request.request.identity)
        return turn

    try:
        return _carried_out(begun(), task, request, ids, limits)
    except BadCommand as bad:
        if task.attempt > 1 and bad.cause != _UNHANDLED:
            # The task is left to its timeout, which grows: a broken worker is slowed down, and fills no history.
            turn = Turn.on(state, now_ms)
            update_messages.abort_sent(turn)
            turn.reply, turn.refusal = CompletedWorkflowTask(), InvalidArgument(bad.message)
            if not turn.held:
                raise turn.refusal from None
            return turn
        return _failed(begun(), request.request, bad, limits)


def _check_versioning(request: RespondWorkflowTaskCompletedRequest) -> None:
    if (
        request.versioning_behavior
        and not request.HasField("deployment")
        and request.deployment_options.worker_versioning_mode != _VERSIONED
    ):
        raise InvalidArgument(
            "versioning behavior cannot be specified without deployment options being set with versioned mode"
        )


def _carried_out(turn: Turn, task: WorkflowTask, asked: CompleteWorkflowTask, ids: Ids, limits: Limits) -> Turn:
    request = asked.request
    create_new = request.force_create_new_workflow_task
    heartbeat = create_new and not request.commands and not request.messages
    beats_ms = turn.now_ms - task.original_scheduled_at_ms
    if heartbeat and beats_ms > limits.workflow_task_heartbeat_timeout_ms:
        return _heartbeats_over(turn, limits)
    if task.speculative and _discardable(turn.state, request, limits):
        return _discarded(turn, request, ids, limits)
    completed_event_id = _complete_task(turn, task, request)
    _set_sticky(turn, request)
    carrying = Carrying(turn, completed_event_id, request.identity, bool(turn.state.buffered), ids, limits)
    carrying.messages = update_messages.by_id(request.messages)
    carrying.attribute_types = asked.attribute_types
    carrying.namespace_ids = asked.namespace_ids
    eager = carry_out(carrying, request.commands)
    update_messages.take_rest(carrying)
    if not turn.state.open:
        turn.reply = CompletedWorkflowTask()
        return turn
    if not create_new:
        update_messages.reject_unprocessed(turn)
    activities = _start_eagerly(turn, eager, request.identity, ids)
    original_at_ms = task.original_scheduled_at_ms if heartbeat else None
    new_task = _next_task(turn, request, ids, limits, original_at_ms)
    turn.reply = CompletedWorkflowTask(new_task=new_task, activities=activities)
    return turn


def _next_task(
    turn: Turn, request: RespondWorkflowTaskCompletedRequest, ids: Ids, limits: Limits, original_at_ms: int | None
) -> StartedWorkflowTask | None:
    """Schedule the next workflow task where there is something to tell, and start it where the worker asked for it."""
    if request.force_create_new_workflow_task or turn.state.buffered:
        workflow_task.schedule(turn, limits, original_at_ms=original_at_ms)
    elif not turn.state.updates_admitted or turn.state.paused:
        return None
    elif request.return_new_workflow_task:
        workflow_task.schedule_speculative(turn, limits)
    else:
        workflow_task.schedule(turn, limits)
    if not request.return_new_workflow_task or turn.state.workflow_task is None:
        return None
    resend = not request.force_create_new_workflow_task
    started = workflow_task.start_pending(
        turn,
        request.identity,
        RETURNED_REQUEST_ID,
        ids,
        limits,
        resend=resend,
        worker_version=_version(request),
    )
    # The worker that asks still has the run in its cache, whichever queue the task was scheduled on.
    return replace(started, sticky=True)


def _discardable(state: RunState, request: RespondWorkflowTaskCompletedRequest, limits: Limits) -> bool:
    """Say whether a speculative task may be as if it had never been: the worker only rejected what it was given."""
    if request.commands or request.force_create_new_workflow_task:
        return False
    shown = state.next_event_id - (state.last_completed_task_started_event_id + 2)
    may_show = request.capabilities.discard_speculative_workflow_task_with_events
    if shown > (limits.discard_speculative_events_max if may_show else 0):
        return False
    return all(update_messages.type_name(message) == update_messages.REJECTION for message in request.messages)


def _discarded(turn: Turn, request: RespondWorkflowTaskCompletedRequest, ids: Ids, limits: Limits) -> Turn:
    """Forget a speculative task; the worker is told how far back to forget it too."""
    turn.hold(notes.WorkflowTaskPlaced(None))
    queue = request.sticky_attributes.worker_task_queue.name
    timeout_ms = duration_ms(request.sticky_attributes.schedule_to_start_timeout) if queue else 0
    turn.hold(notes.StickySet(queue, timeout_ms, turn.now_ms))
    carrying = Carrying(turn, 0, request.identity, False, ids, limits)
    carrying.messages = update_messages.by_id(request.messages)
    update_messages.take_rest(carrying)
    update_messages.reject_unprocessed(turn)
    reset_to = turn.state.last_completed_task_started_event_id
    new_task = _next_task(turn, request, ids, limits, None)
    turn.reply = CompletedWorkflowTask(new_task=new_task, reset_history_event_id=reset_to)
    return turn


def _complete_task(turn: Turn, task: WorkflowTask, request: RespondWorkflowTaskCompletedRequest) -> int:
    """Write the task's completion, and for a transient task the events that were only shown to the worker before.
    Returns the id of the completed event."""
    scheduled_event_id, started_event_id = task.scheduled_event_id, task.started_event_id
    if task.transient:
        turn.note(notes.WorkflowTaskPlaced(None))
        attributes = workflow_task.scheduled_event(turn.state, task.timeout_ms, task.attempt)
        scheduled_event_id = turn.emit(attributes, at_ms=task.scheduled_at_ms).event_id
        started = workflow_task.started_event(task, request.identity, _version(request))
        started.scheduled_event_id = scheduled_event_id
        started_event_id = turn.emit(started, at_ms=task.started_at_ms).event_id
    workflow_task.write_down(turn)
    completed = WorkflowTaskCompletedEventAttributes(
        scheduled_event_id=scheduled_event_id,
        started_event_id=started_event_id,
        identity=request.identity,
        binary_checksum=request.binary_checksum,
        worker_version=_version(request),
    )
    if request.HasField("sdk_metadata"):
        completed.sdk_metadata.CopyFrom(request.sdk_metadata)
    if request.HasField("metering_metadata"):
        completed.metering_metadata.CopyFrom(request.metering_metadata)
    _add_deployment(completed, request)
    event = turn.emit(completed)
    workflow_task.note_close_attempt(turn, False)
    return event.event_id


def _version(request: RespondWorkflowTaskCompletedRequest) -> WorkerVersionStamp | None:
    return request.worker_version_stamp if request.HasField("worker_version_stamp") else None


def _add_deployment(
    completed: WorkflowTaskCompletedEventAttributes, request: RespondWorkflowTaskCompletedRequest
) -> None:
    options = request.deployment_options
    name = options.deployment_name or request.deployment.series_name
    completed.worker_deployment_name = name
    versioned = options.worker_versioning_mode == _VERSIONED
    if request.HasField("deployment"):
        build_id = request.deployment.build_id
        completed.deployment_version.CopyFrom(WorkerDeploymentVersion(deployment_name=name, build_id=build_id))
    elif versioned:
        completed.deployment_version.CopyFrom(
            WorkerDeploymentVersion(deployment_name=options.deployment_name, build_id=options.build_id)
        )
    # RespondWorkflowTaskCompleted: SDKs send a behaviour also where versioning is off; it then counts for nothing.
    if versioned or not request.HasField("deployment_options"):
        completed.versioning_behavior = request.versioning_behavior


def _set_sticky(turn: Turn, request: RespondWorkflowTaskCompletedRequest) -> None:
    sticky = request.sticky_attributes
    queue = sticky.worker_task_queue.name
    timeout_ms = duration_ms(sticky.schedule_to_start_timeout) if queue else 0
    if queue or turn.state.sticky_queue:
        turn.note(notes.StickySet(queue, timeout_ms, turn.now_ms))


def _start_eagerly(turn: Turn, wanted: list[str], identity: str, ids: Ids) -> tuple[StartedActivity, ...]:
    """Hand the worker the activities it asked for, as far as they are still pending after all commands."""
    started: list[StartedActivity] = []
    for activity_id in wanted if not turn.state.paused else ():
        scheduled_event_id = turn.state.activity_by_id.get(activity_id)
        if scheduled_event_id is not None:
            started.append(activity.start_attempt(turn, scheduled_event_id, identity, ids.uuid()))
    return tuple(started)


def _heartbeats_over(turn: Turn, limits: Limits) -> Turn:
    """End a task that was prolonged for too long; the next one goes to whoever polls the normal queue."""
    attempt = workflow_task.time_out_task(turn, TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE)
    workflow_task.schedule(turn, limits, attempt=attempt)
    turn.reply = CompletedWorkflowTask()
    turn.refusal = NotFound("workflow task heartbeat timeout")
    return turn


def _failed(turn: Turn, request: RespondWorkflowTaskCompletedRequest, bad: BadCommand, limits: Limits) -> Turn:
    """Fail the task instead of completing it; a command too large to keep ends the run."""
    failure = failures.server_failure(bad.message, non_retryable=False)
    update_messages.abort_sent(turn)
    attempt = workflow_task.fail_task(
        turn, bad.cause, failure, request.identity, request.binary_checksum, worker_version=_version(request)
    )
    if bad.terminates:
        turn.flush()
        turn.emit(WorkflowExecutionTerminatedEventAttributes(reason=bad.message, identity=HISTORY_SERVICE))
    else:
        workflow_task.schedule(turn, limits, attempt=attempt)
    turn.reply = CompletedWorkflowTask(failed=bad.message)
    return turn
