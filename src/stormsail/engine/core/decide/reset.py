"""Resetting a workflow: a new run begins with part of a run's history, and hears again what that run was told since.

What was pending at that point between the run and others stays so: the new run hears what came of it since, asks again
for what was never answered, and answers that come yet are passed on to it (`deliveries.py`).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

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

from stormsail.engine.core import events, failures, notes, replay, updates
from stormsail.engine.core.apply_others import ANSWERS, CHILD_ENDS
from stormsail.engine.core.decide import options, workflow_task
from stormsail.engine.core.decide.workflow_task import HISTORY_SERVICE
from stormsail.engine.core.errors import InvalidArgument, Unimplemented
from stormsail.engine.core.events import Extras
from stormsail.engine.core.ids import Ids, RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.messages import RESETTER, again
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn

_ACTIVITY_STARTED: Final = EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED
_SIGNALS: Final = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL
_UPDATES: Final = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE
_EVERYTHING: Final = frozenset(ResetReapplyExcludeType.values()) - {0}
_BY_INCLUDED: Final = {
    ResetReapplyType.RESET_REAPPLY_TYPE_SIGNAL: frozenset({_UPDATES}),
    ResetReapplyType.RESET_REAPPLY_TYPE_NONE: _EVERYTHING,
}
"""What the older way of asking leaves out."""
_CHILD_EVENTS: Final = frozenset({*CHILD_ENDS, "ChildWorkflowExecutionStarted", "StartChildWorkflowExecutionFailed"})


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
    made = {base.reset_run_request_id: base.reset_run_id, current.reset_request_id: current.key.run_id}
    if request.request_id and request.request_id in made:
        turn = Turn.on(current, now_ms)
        turn.reply = made[request.request_id]
        return turn
    point = request.workflow_task_finish_event_id
    if not 1 < point < base.next_event_id:
        raise InvalidArgument("Workflow task finish ID must be > 1 && <= workflow last event ID.")
    check_after(request.post_reset_operations)
    turn = Turn.begin(RunState(key=RunKey(*base.key.workflow, ids.uuid())), now_ms)
    later = _begin_as(turn, base, history, point)
    copied = list(turn.events)
    turn.note(notes.StartRequested(base.start_request_id))
    turn.note(notes.RunBegunByReset(request.request_id, now_ms))
    turn.note(notes.TransitionCounted())
    _cut_off(turn, base, point, request.reason)
    ending = _end(current, request.reason, now_ms)
    excluded = _excluded(request)
    if excluded != _EVERYTHING:
        _tell_answers(turn, later)
        for _, follower in followers:
            later += [event for frames in follower for event, _ in replay.framed(frames)]
        last = followers[-1][0] if followers else base.key
        if ending is not None and last == current.key:
            later += ending.events
        _tell_again(turn, later, excluded)
    _ask_again(turn, base.key, copied)
    _do_after(turn, request.post_reset_operations)
    workflow_task.schedule(turn, limits)
    told = notes.RunWasReset(turn.state.key.run_id, point, request.request_id)
    turn.also += _linked(base, current, ending, told, now_ms)
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
    started_event_id = task.started_event_id
    if not started_event_id:
        started = WorkflowTaskStartedEventAttributes(
            scheduled_event_id=task.scheduled_event_id,
            identity=HISTORY_SERVICE,
            request_id="emptyUuid",  # as ResetWorkflowExecution of Temporal writes where no worker had polled
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


def _linked(base: RunState, current: RunState, ending: Turn | None, made: notes.RunWasReset, now_ms: int) -> list[Turn]:
    """Return the turns of the other runs: the base run learns which run was made of its history."""
    turns = [ending] if ending is not None else []
    if ending is None or base.key != current.key:
        turns.append(Turn.on(base, now_ms))
    turns[-1].note(made)
    return turns


def _excluded(request: ResetWorkflowExecutionRequest) -> frozenset[int]:
    named = frozenset(request.reset_reapply_exclude_types) - {0}
    return named | _BY_INCLUDED.get(request.reset_reapply_type, frozenset())


def _tell_answers(turn: Turn, later: Sequence[HistoryEvent]) -> None:
    """Tell the new run what its base run heard, since the point, of what both had asked of other runs before it."""
    for event in later:
        if events.NAME_OF_TYPE[event.event_type] not in ANSWERS:
            continue
        told: Any = events.attributes_of(event)
        asked, state = told.initiated_event_id, turn.state
        child = state.children.get(asked)
        if events.NAME_OF_TYPE[event.event_type] not in _CHILD_EVENTS:
            if asked in state.signals_sent or asked in state.cancels_sent:
                turn.emit(told)
        elif child is not None:
            if "started_event_id" in told.DESCRIPTOR.fields_by_name:
                told.started_event_id = child.started_event_id
            turn.emit(told)


def _ask_again(turn: Turn, base: RunKey, copied: Sequence[HistoryEvent]) -> None:
    """Ask other runs once more for what was not answered: who asked before has closed, and is heard no more."""
    state = turn.state
    waiting = {event_id for event_id, child in state.children.items() if not child.run_id}
    waiting |= state.signals_sent.keys() | state.cancels_sent.keys()
    first = base
    for event in reversed(copied):
        failed = event.workflow_task_failed_event_attributes
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED and failed.base_run_id:
            first = base._replace(run_id=failed.base_run_id)  # events before this one are of an earlier run
        elif event.event_id in waiting:
            turn.messages += again(state, event, first)
    turn.messages.sort(key=lambda message: message.initiated_event_id)


def _tell_again(turn: Turn, later: Sequence[HistoryEvent], excluded: frozenset[int]) -> None:
    """Tell the new run what the others were told since the point: signals, updates that they took, other options."""
    for event in later:
        extras = Extras(links=tuple(event.links))
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED if _SIGNALS not in excluded:
                signal = event.workflow_execution_signaled_event_attributes
                # A client that had no reply may have told the run that followed as well.
                if signal.request_id not in turn.state.signal_request_ids:
                    turn.emit(signal, extras=extras)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED if _UPDATES not in excluded:
                _ask_for_update(turn, event.workflow_execution_update_admitted_event_attributes)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED if _UPDATES not in excluded:
                accepted = event.workflow_execution_update_accepted_event_attributes
                if not accepted.HasField("accepted_request"):
                    continue  # The event that admitted it has the request, and told it already.
                admitted = WorkflowExecutionUpdateAdmittedEventAttributes(
                    request=accepted.accepted_request,
                    origin=UpdateAdmittedEventOrigin.UPDATE_ADMITTED_EVENT_ORIGIN_REAPPLY,
                )
                _ask_for_update(turn, admitted)
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED:
                turn.emit(event.workflow_execution_options_updated_event_attributes, extras=extras)


def _ask_for_update(turn: Turn, admitted: WorkflowExecutionUpdateAdmittedEventAttributes) -> None:
    """Ask the new run for an update, once: a client that had no reply may have asked the run that followed as well."""
    if updates.reached(turn.state, admitted.request.meta.update_id) is None:
        turn.emit(admitted)


def check_after(operations: Sequence[PostResetOperation]) -> None:
    """Refuse what is not served of what shall follow a reset."""
    for operation in operations:
        match operation.WhichOneof("variant"):
            case "signal_workflow":
                continue
            case "update_workflow_options":
                if operation.update_workflow_options.workflow_execution_options.HasField("time_skipping_config"):
                    raise Unimplemented("The Time-Skipping feature is not enabled for namespace.")
            case _:
                raise InvalidArgument("An operation of post_reset_operations is empty; leave it out or say what to do.")


def _do_after(turn: Turn, operations: Sequence[PostResetOperation]) -> None:
    for operation in operations:
        if operation.WhichOneof("variant") == "update_workflow_options":
            update = operation.update_workflow_options
            options.change(turn, update.workflow_execution_options, update.update_mask.paths, "")
            continue
        wanted = operation.signal_workflow
        signal = WorkflowExecutionSignaledEventAttributes(
            signal_name=wanted.signal_name,
            input=wanted.input if wanted.HasField("input") else None,
            identity=HISTORY_SERVICE,
            header=wanted.header if wanted.HasField("header") else None,
        )
        turn.emit(signal, extras=Extras(links=tuple(wanted.links)))
