"""What a request does to a run: pure functions from state and request to a Turn."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import WorkflowExecutionTerminatedEventAttributes

from stormsail.engine.core import notes
from stormsail.engine.core.decide import (
    activity,
    activity_admin,
    cancel,
    complete,
    deliveries,
    due,
    options,
    pause,
    signal,
    start,
    update,
    workflow_task,
)
from stormsail.engine.core.decide.update_with_start import decide_start_and_update
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.ids import Ids
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import (
    CancelActivity,
    CompleteActivity,
    CompleteWorkflowTask,
    Delivered,
    FailActivity,
    FailWorkflowTask,
    FireDue,
    ForBatch,
    HeartbeatActivity,
    PauseActivity,
    PauseWorkflow,
    RequestCancel,
    ResetActivity,
    ResetSticky,
    RunRequest,
    SignalWorkflow,
    StartActivity,
    StartAndUpdate,
    StartRequest,
    StartWorkflowTask,
    StickyGone,
    Terminate,
    UnpauseActivity,
    UnpauseWorkflow,
    UpdateActivityOptions,
    UpdateWorkflow,
    UpdateWorkflowOptions,
)
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn

__all__ = ["decide", "decide_start"]

TOO_MANY_EVENTS: Final = "Workflow history count exceeds limit."
TOO_MANY_BYTES: Final = "Workflow history size exceeds limit."


def decide(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    """Decide what a request does to a run. Raises Refused to turn it down; `state` is left as it is."""
    if isinstance(request, CompleteWorkflowTask):
        turn = complete.complete(state, request, now_ms, ids, limits)
    else:
        deciding = _DECIDING[type(request)]
        turn = Turn.on(state, now_ms)
        deciding(turn, request, ids, limits)
        if not turn.empty and workflow_task.leaves_unwritten(turn):
            # What is reserved in history may not be left where something is written, for that must stand behind it.
            turn = Turn.on(state, now_ms)
            workflow_task.write_down(turn)
            deciding(turn, request, ids, limits)
    if turn.empty:
        return turn
    excess = _excess(turn, limits)
    if excess:
        return _ended_by_limit(state, excess, now_ms)
    _keep_buffer_small(turn, limits)
    turn.note(notes.TransitionCounted())
    return turn


def _excess(turn: Turn, limits: Limits) -> str:
    """Say which limit of an open run's history the turn breaks, "" for none."""
    if not turn.state.open or not turn.events:
        return ""
    if turn.state.last_event_id > limits.history_events_max:
        return TOO_MANY_EVENTS
    return TOO_MANY_BYTES if turn.state.history_size_bytes > limits.history_size_max else ""


def _ended_by_limit(state: RunState, reason: str, now_ms: int) -> Turn:
    """Terminate the run instead of doing what was asked: its history may grow no more."""
    turn = Turn.on(state, now_ms)
    attributes = WorkflowExecutionTerminatedEventAttributes(reason=reason, identity=workflow_task.HISTORY_SERVICE)
    workflow_task.terminate(turn, attributes)
    turn.note(notes.TransitionCounted())
    turn.refusal = InvalidArgument(reason)
    return turn


def _keep_buffer_small(turn: Turn, limits: Limits) -> None:
    """End a workflow task that has been started for so long that too many events wait for its end."""
    buffered = turn.state.buffered
    if not buffered:
        return
    small = len(buffered) <= limits.buffered_events_max
    if small and sum(event.ByteSize() for event in buffered) <= limits.buffered_events_size_max:
        return
    cause = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND
    attempt = workflow_task.fail_task(turn, cause, None, workflow_task.HISTORY_SERVICE)
    turn.flush()
    workflow_task.schedule(turn, limits, attempt=attempt)


def decide_start(current: RunState | None, request: StartRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    """Decide what begins a run or finds one. `current` is the newest run of the workflow id, open or closed."""
    if isinstance(request, StartAndUpdate):
        return decide_start_and_update(current, request, now_ms, ids, limits)
    return start.decide_start(current, request, now_ms, ids, limits)


def _do_for_batch(turn: Turn, asked: ForBatch, ids: Ids, limits: Limits) -> None:
    if turn.state.batch_request_id == asked.request_id:
        return
    _DECIDING[type(asked.request)](turn, asked.request, ids, limits)
    if not turn.empty:
        turn.note(notes.DoneForBatch(asked.request_id))


Deciding = Callable[[Turn, Any, Ids, Limits], None]

_DECIDING: Final[Mapping[type, Deciding]] = {
    SignalWorkflow: lambda turn, asked, _, limits: signal.signal(turn, asked.request, limits),
    RequestCancel: lambda turn, asked, _, limits: cancel.request_cancel(turn, asked.request, limits),
    Terminate: lambda turn, asked, _, __: cancel.terminate(turn, asked.request),
    StartWorkflowTask: workflow_task.start,
    FailWorkflowTask: lambda turn, asked, _, limits: workflow_task.fail(turn, asked, limits),
    StickyGone: lambda turn, asked, _, __: workflow_task.sticky_gone(turn, asked),
    ResetSticky: lambda turn, asked, _, __: workflow_task.reset_sticky(turn, asked),
    StartActivity: lambda turn, asked, _, __: activity.start(turn, asked),
    CompleteActivity: lambda turn, asked, _, limits: activity.complete(turn, asked, limits),
    FailActivity: lambda turn, asked, _, limits: activity.fail(turn, asked, limits),
    CancelActivity: lambda turn, asked, _, limits: activity.cancel(turn, asked, limits),
    HeartbeatActivity: lambda turn, asked, _, limits: activity.heartbeat(turn, asked, limits),
    UpdateWorkflow: lambda turn, asked, _, limits: update.admit(turn, asked.request, limits),
    PauseActivity: lambda turn, asked, _, __: activity_admin.pause(turn, asked.request),
    UnpauseActivity: lambda turn, asked, ids, _: activity_admin.unpause(turn, asked.request, ids),
    ResetActivity: lambda turn, asked, ids, _: activity_admin.reset(turn, asked.request, ids),
    UpdateActivityOptions: lambda turn, asked, _, limits: activity_admin.update_options(turn, asked.request, limits),
    PauseWorkflow: lambda turn, asked, _, __: pause.pause(turn, asked.request),
    UnpauseWorkflow: lambda turn, asked, _, limits: pause.unpause(turn, asked.request, limits),
    UpdateWorkflowOptions: lambda turn, asked, _, __: options.update(turn, asked.request),
    ForBatch: _do_for_batch,
    FireDue: lambda turn, _, ids, limits: due.fire_due(turn, ids, limits),
    Delivered: lambda turn, asked, _, limits: deliveries.deliver(turn, asked, limits),
}
"""By type of request; CompleteWorkflowTask makes its Turn itself, for it may have to begin again."""
