"""Resetting a workflow: a new run begins with part of a run's history, and hears again what that run was told since.

Where Temporal goes on with children that were pending at that point, this refuses: their ends would be told to a run
that is closed.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from temporalio.api.enums.v1 import (
    EventType,
    ResetReapplyExcludeType,
    ResetReapplyType,
    RetryState,
    UpdateAdmittedEventOrigin,
    WorkflowTaskFailedCause,
)
from temporalio.api.history.v1 import (
    ActivityTaskFailedEventAttributes,
    HistoryEvent,
    WorkflowExecutionSignaledEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowExecutionUpdateAdmittedEventAttributes,
    WorkflowTaskFailedEventAttributes,
    WorkflowTaskStartedEventAttributes,
)
from temporalio.api.workflow.v1 import PostResetOperation
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest

from stormsail.engine.core import failures, notes, replay
from stormsail.engine.core.decide import workflow_task
from stormsail.engine.core.decide.workflow_task import HISTORY_SERVICE
from stormsail.engine.core.errors import InvalidArgument, Unimplemented
from stormsail.engine.core.events import Extras
from stormsail.engine.core.ids import Ids, RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.messages import RESETTER
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn

_ACTIVITY_STARTED: Final = EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
_SIGNALS: Final = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL
_UPDATES: Final = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE
_BY_INCLUDED: Final = {
    ResetReapplyType.RESET_REAPPLY_TYPE_SIGNAL: frozenset({_UPDATES}),
    ResetReapplyType.RESET_REAPPLY_TYPE_NONE: frozenset({_SIGNALS, _UPDATES}),
}
"""What the older way of asking leaves out."""


def decide_reset(
    base: RunState,
    current: RunState,
    history: Iterable[bytes],
    followers: Sequence[tuple[RunKey, Iterable[bytes]]],
    request: ResetWorkflowExecutionRequest,
    now_ms: int,
    ids: Ids,
    limits: Limits,
) -> Turn:
    """Decide a reset of `base`. `current` is the newest run of the workflow id, which may be the same.

    `history` is all of the base run's, and `followers` those of the runs that it continued as, in order. Reply: the new
    run's id; the same request asked again gets the same one.
    """
    if current.reset_request_id and current.reset_request_id == request.request_id:
        turn = Turn.on(current, now_ms)
        turn.reply = current.key.run_id
        return turn
    point = request.workflow_task_finish_event_id
    if not 1 < point < base.next_event_id:
        raise InvalidArgument("Workflow task finish ID must be > 1 && <= workflow last event ID.")
    check_after(request.post_reset_operations)
    turn = Turn.begin(RunState(key=RunKey(*base.key.workflow, ids.uuid())), now_ms)
    later = _begin_as(turn, base, history, point)
    turn.note(notes.StartRequested(base.start_request_id))
    turn.note(notes.RunBegunByReset(request.request_id, now_ms))
    turn.note(notes.TransitionCounted())
    _cut_off(turn, base, point, request.reason)
    ending = _end(current, request.reason, now_ms)
    for _, follower in followers:
        later += [event for frames in follower for event, _ in replay.framed(frames)]
    last = followers[-1][0] if followers else base.key
    if ending is not None and last == current.key:
        later += ending.events
    _tell_again(turn, later, _excluded(request))
    _do_after(turn, request.post_reset_operations)
    workflow_task.schedule(turn, limits)
    turn.also += _linked(base, current, ending, turn.state.key.run_id, now_ms)
    turn.reply = turn.state.key.run_id
    return turn


def _begin_as(turn: Turn, base: RunState, history: Iterable[bytes], point: int) -> list[HistoryEvent]:
    """Copy the base run's history up to the event before the point. Returns the events from there on."""
    later: list[HistoryEvent] = []
    for frames in history:
        for event, framed in replay.framed(frames):
            if event.event_id < point:
                turn.copy(event, framed)
            else:
                later.append(event)
    assert turn.state.next_event_id == point and later[-1].event_id == base.last_event_id
    return later


def _cut_off(turn: Turn, base: RunState, point: int, reason: str) -> None:
    """Fail the workflow task that is pending at the point, and what attempts of activities are; others begin again."""
    task = turn.state.workflow_task
    if task is None:
        raise InvalidArgument(
            f"Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: {point}"
        )
    if turn.state.children or turn.state.signals_sent or turn.state.cancels_sent:
        raise InvalidArgument(
            "WorkflowResetter encountered pending child workflows. Reset to an event before they were initiated, or "
            "after they, and signals and cancellations of other workflows, have ended."
        )
    started_event_id = task.started_event_id
    if not started_event_id:
        started = WorkflowTaskStartedEventAttributes(
            scheduled_event_id=task.scheduled_event_id,
            identity=HISTORY_SERVICE,
            history_size_bytes=turn.state.history_size_bytes,
        )
        started_event_id = turn.emit(started).event_id
    turn.emit(
        WorkflowTaskFailedEventAttributes(
            scheduled_event_id=task.scheduled_event_id,
            started_event_id=started_event_id,
            cause=WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_RESET_WORKFLOW,
            failure=failures.reset_failure(reason),
            identity=HISTORY_SERVICE,
            base_run_id=base.key.run_id,
            new_run_id=turn.state.key.run_id,
        )
    )
    for activity in list(turn.state.activities.values()):
        if not activity.started_at_ms:
            turn.note(notes.ActivityBegunAgain(activity.scheduled_event_id, turn.now_ms))
            continue
        turn.emit(
            ActivityTaskFailedEventAttributes(
                failure=failures.reset_failure(reason),
                scheduled_event_id=activity.scheduled_event_id,
                started_event_id=_started_event_id(turn, activity.scheduled_event_id),
                identity=activity.identity,
                retry_state=RetryState.RETRY_STATE_NON_RETRYABLE_FAILURE,
            )
        )


def _started_event_id(turn: Turn, scheduled_event_id: int) -> int:
    for event in turn.events:
        started = event.activity_task_started_event_attributes
        if event.event_type == _ACTIVITY_STARTED and started.scheduled_event_id == scheduled_event_id:
            return event.event_id
    return 0


def _end(current: RunState, reason: str, now_ms: int) -> Turn | None:
    """End the current run where it is open."""
    if not current.open:
        return None
    turn = Turn.on(current, now_ms)
    workflow_task.terminate(turn, WorkflowExecutionTerminatedEventAttributes(reason=reason, identity=RESETTER))
    turn.note(notes.TransitionCounted())
    return turn


def _linked(base: RunState, current: RunState, ending: Turn | None, run_id: str, now_ms: int) -> list[Turn]:
    """Return the turns of the other runs: the base run learns which run was made of its history."""
    turns = [ending] if ending is not None else []
    if ending is None or base.key != current.key:
        turns.append(Turn.on(base, now_ms))
    turns[-1].note(notes.RunWasReset(run_id))
    return turns


def _excluded(request: ResetWorkflowExecutionRequest) -> frozenset[int]:
    return frozenset(request.reset_reapply_exclude_types) | _BY_INCLUDED.get(request.reset_reapply_type, frozenset())


def _tell_again(turn: Turn, later: Sequence[HistoryEvent], excluded: frozenset[int]) -> None:
    """Tell the new run what the others were told since the point: signals, updates that they took, other options."""
    for event in later:
        extras = Extras(links=tuple(event.links))
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED if _SIGNALS not in excluded:
                turn.emit(event.workflow_execution_signaled_event_attributes, extras=extras)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED if _UPDATES not in excluded:
                turn.emit(event.workflow_execution_update_admitted_event_attributes)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED if _UPDATES not in excluded:
                accepted = event.workflow_execution_update_accepted_event_attributes
                if not accepted.HasField("accepted_request"):
                    continue  # The event that admitted it has the request, and told it already.
                admitted = WorkflowExecutionUpdateAdmittedEventAttributes(
                    request=accepted.accepted_request,
                    origin=UpdateAdmittedEventOrigin.UPDATE_ADMITTED_EVENT_ORIGIN_REAPPLY,
                )
                turn.emit(admitted)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED:
                turn.emit(event.workflow_execution_options_updated_event_attributes, extras=extras)


def check_after(operations: Sequence[PostResetOperation]) -> None:
    """Refuse what is not served of what shall follow a reset."""
    for operation in operations:
        if operation.WhichOneof("variant") != "signal_workflow":
            raise Unimplemented(
                f"{operation.WhichOneof('variant') or 'an empty variant'} of a reset's post_reset_operations is not"
                " served here; signal_workflow is."
            )


def _do_after(turn: Turn, operations: Sequence[PostResetOperation]) -> None:
    for operation in operations:
        wanted = operation.signal_workflow
        signal = WorkflowExecutionSignaledEventAttributes(
            signal_name=wanted.signal_name,
            input=wanted.input if wanted.HasField("input") else None,
            identity=HISTORY_SERVICE,
            header=wanted.header if wanted.HasField("header") else None,
        )
        turn.emit(signal, extras=Extras(links=tuple(wanted.links)))
