"""Bugs planted in what is decided. Each stands before the real decision and changes its question or its answer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from stormsail.engine.core import notes
from stormsail.engine.core.deadlines import deadline_ms
from stormsail.engine.core.decide import decide, decide_start
from stormsail.engine.core.decide.workflow_task import started_task
from stormsail.engine.core.errors import NotFound
from stormsail.engine.core.ids import Ids
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import (
    ActivityRef,
    CompleteActivity,
    CompleteWorkflowTask,
    FailActivity,
    FireDue,
    RunRequest,
    SignalWorkflow,
    StartRequest,
    StartWorkflowTask,
    Terminate,
)
from stormsail.engine.core.state import RUNNING, RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.shell.runs import Core

Decide = Callable[[RunState, RunRequest, int, Ids, Limits], Turn]


def deciding(wrong: Decide) -> Core:
    """Return a core that decides wrongly. What a turn says of the state before is put right: the bug is to be found,
    and not how it was planted."""

    def decided(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
        turn = wrong(state, request, now_ms, ids, limits)
        turn.before = state
        return turn

    return Core(decide=decided)


def no_start_request_id(current: RunState | None, request: StartRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    real = current
    if current is not None:
        current = current.copy()
        current.start_request_id = ""
        current.attached_request_ids.clear()
    turn = decide_start(current, request, now_ms, ids, limits)
    for other in turn.also:
        other.before = real
    if turn.before is not None:
        turn.before = real
    return turn


def no_signal_request_id(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    if isinstance(request, SignalWorkflow):
        unnamed = type(request.request)()
        unnamed.CopyFrom(request.request)
        unnamed.request_id = ids.uuid()
        request = SignalWorkflow(unnamed)
    return decide(state, request, now_ms, ids, limits)


def stale_activity_token(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    if isinstance(request, CompleteActivity | FailActivity) and request.ref.token is not None:
        token = request.ref.token
        activity = state.activities.get(token.scheduled_event_id)
        if activity is not None:
            token = replace(token, attempt=activity.attempt, nonce=activity.nonce)
            request = replace(request, ref=ActivityRef(token=token))
    return decide(state, request, now_ms, ids, limits)


def stale_task_token(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    task = state.workflow_task
    if isinstance(request, CompleteWorkflowTask) and task is not None and task.started_at_ms:
        token = replace(
            request.token,
            scheduled_event_id=task.scheduled_event_id,
            started_event_id=task.started_event_id,
            attempt=task.attempt,
            nonce=task.nonce,
        )
        request = replace(request, token=token)
    return decide(state, request, now_ms, ids, limits)


def task_started_twice(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    """The task row is not dropped at its start, and nobody checks: the next poller gets the task too."""
    task = state.workflow_task
    if isinstance(request, StartWorkflowTask) and task is not None and task.started_at_ms:
        turn = Turn.on(state, now_ms)
        turn.reply = started_task(state)
        return turn
    return decide(state, request, now_ms, ids, limits)


def fires_early(by_ms: int) -> Decide:
    def early(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
        return decide(state, request, now_ms + by_ms if isinstance(request, FireDue) else now_ms, ids, limits)

    return early


def _deadline_early_ms(state: RunState) -> int | None:
    at_ms = deadline_ms(state)
    return None if at_ms is None else at_ms - 1


def _fire_early(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    if not isinstance(request, FireDue):
        return decide(state, request, now_ms, ids, limits)
    turn = decide(state, request, now_ms + 1, ids, limits)
    turn.now_ms = now_ms
    return turn


TIMER_EARLY: Final = Core(decide=_fire_early, deadline_ms=_deadline_early_ms)
"""A millisecond too early, in the deadline and in the decision."""


def loses_buffered(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    if isinstance(request, CompleteWorkflowTask) and state.buffered:
        state = state.copy()
        state.buffered.pop()
    return decide(state, request, now_ms, ids, limits)


def turns_buffer_round(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    if isinstance(request, CompleteWorkflowTask) and len(state.buffered) > 1:
        state = state.copy()
        state.buffered.reverse()
    return decide(state, request, now_ms, ids, limits)


def closes_twice(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    if isinstance(request, Terminate) and not state.open:
        state = state.copy()
        state.status = RUNNING
    return decide(state, request, now_ms, ids, limits)


def keeps_attempt(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    turn = decide(state, request, now_ms, ids, limits)
    for key, activity in turn.state.activities.items():
        old = state.activities.get(key)
        if old is not None and activity.attempt > old.attempt:
            turn.state.activities[key] = replace(activity, attempt=old.attempt)
    return turn


def ignores_maximum(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    if isinstance(request, FailActivity):
        real = dict(state.activities)
        state = state.copy()
        for key, activity in real.items():
            scheduled = type(activity.scheduled)()
            scheduled.CopyFrom(activity.scheduled)
            scheduled.retry_policy.maximum_attempts = 0
            state.activities[key] = replace(activity, scheduled=scheduled)
        turn = decide(state, request, now_ms, ids, limits)
        for key, activity in turn.state.activities.items():
            turn.state.activities[key] = replace(activity, scheduled=real[key].scheduled)
        return turn
    return decide(state, request, now_ms, ids, limits)


def wakes_nobody(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    """A signal that finds no workflow task pending does not cause one."""
    turn = decide(state, request, now_ms, ids, limits)
    if not isinstance(request, SignalWorkflow) or state.workflow_task is not None or not turn.events:
        return turn
    alone = Turn.on(state, now_ms)
    attributes = turn.events[0].workflow_execution_signaled_event_attributes
    alone.emit(attributes)
    alone.note(notes.TransitionCounted())
    alone.reply = turn.reply
    return alone


def breaks_chain(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    turn = decide(state, request, now_ms, ids, limits)
    turn.also.clear()
    return turn


def always_new(_current: RunState | None, request: StartRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    return decide_start(None, request, now_ms, ids, limits)


def acks_stale(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    """An answer of a worker that comes too late is taken for one that was recorded before."""
    try:
        return decide(state, request, now_ms, ids, limits)
    except NotFound:
        if isinstance(request, CompleteActivity):
            return Turn.on(state, now_ms)
        raise
