"""The one pending workflow task: scheduling and starting it, its failing and its timing out.

A task that fails is tried again as a *transient* one: no event tells of it before it completes, so a broken worker does
not fill the history. It becomes a normal one again when there is something new to tell.
"""

from typing import Final

from temporalio.api.common.v1 import WorkerVersionStamp
from temporalio.api.enums.v1 import (
    SuggestContinueAsNewReason,
    TaskQueueKind,
    TimeoutType,
    WorkflowTaskFailedCause,
)
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    HistoryEvent,
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowTaskFailedEventAttributes,
    WorkflowTaskScheduledEventAttributes,
    WorkflowTaskStartedEventAttributes,
    WorkflowTaskTimedOutEventAttributes,
)
from temporalio.api.protocol.v1 import Message

from stormsail.engine.core import events, notes, updates
from stormsail.engine.core.decide.begin import set_duration
from stormsail.engine.core.errors import NotFound
from stormsail.engine.core.ids import Ids
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import (
    FailWorkflowTask,
    ResetSticky,
    StartedWorkflowTask,
    StartWorkflowTask,
    StickyGone,
    WorkflowTaskToken,
)
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.state import RunState, WorkflowTask
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.values import replace

RUN_COMPLETED: Final = "workflow execution already completed"
TASK_GONE: Final = "Workflow task not found."
HISTORY_SERVICE: Final = "history-service"
"""The identity under which the server itself closes a run."""

_NORMAL: Final = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_STICKY: Final = TaskQueueKind.TASK_QUEUE_KIND_STICKY
_REASON: Final = SuggestContinueAsNewReason.ValueType
_FORCE_CLOSE: Final = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_FORCE_CLOSE_COMMAND
_SCHEDULE_TO_START: Final = TimeoutType.TIMEOUT_TYPE_SCHEDULE_TO_START


def ensure_workflow_task(turn: Turn, limits: Limits) -> None:
    """Schedule a workflow task if the run is open, none is pending and the first one need not wait any more."""
    if turn.state.first_task_ready:
        wake(turn, limits)


def wake(turn: Turn, limits: Limits) -> None:
    """Schedule a workflow task if the run is open and none is pending, even before a start delay is over."""
    if turn.state.open and turn.state.workflow_task is None:
        schedule(turn, limits)


def first_task_due(turn: Turn, limits: Limits) -> None:
    """Let the first workflow task run: its delay or backoff is over."""
    turn.note(notes.FirstTaskReady())
    ensure_workflow_task(turn, limits)


def schedule(turn: Turn, limits: Limits, *, attempt: int = 1, original_at_ms: int | None = None) -> None:
    """Schedule a workflow task, unless the run is paused; none may be pending. Buffered events enter history before it,
    and make it a normal one.

    `original_at_ms` is carried over the heartbeats of a long workflow task, which are tasks of their own.
    """
    state = turn.state
    if state.paused:
        turn.flush()
        return  # it is scheduled when the run goes on
    if state.buffered:
        attempt = 1
        turn.flush()
    timeout_ms = _timeout_ms(duration_ms(state.start.workflow_task_timeout), attempt, limits)
    if attempt == 1:
        turn.emit(scheduled_event(state, timeout_ms, attempt))
        if original_at_ms is not None:
            turn.note(notes.WorkflowTaskPlaced(replace(_pending(state), original_scheduled_at_ms=original_at_ms)))
        return
    transient = WorkflowTask(
        scheduled_event_id=state.next_event_id,
        scheduled_at_ms=turn.now_ms,
        original_scheduled_at_ms=turn.now_ms,
        attempt=attempt,
        timeout_ms=timeout_ms,
        queue=state.task_queue,
        ready_at_ms=turn.now_ms,
        transient=True,
    )
    turn.note(notes.WorkflowTaskPlaced(transient))


def schedule_speculative(turn: Turn, limits: Limits) -> None:
    """Schedule a workflow task that carries updates and is in memory alone; none may be pending."""
    state = turn.state
    assert state.workflow_task is None and not state.buffered
    task = WorkflowTask(
        scheduled_event_id=state.next_event_id,
        scheduled_at_ms=turn.now_ms,
        original_scheduled_at_ms=turn.now_ms,
        attempt=1,
        timeout_ms=_timeout_ms(duration_ms(state.start.workflow_task_timeout), 1, limits),
        queue=state.sticky_queue or state.task_queue,
        sticky=bool(state.sticky_queue),
        ready_at_ms=turn.now_ms,
        transient=True,
        speculative=True,
    )
    turn.hold(notes.WorkflowTaskPlaced(task))


def write_down(turn: Turn, identity: str = "", worker_version: WorkerVersionStamp | None = None) -> None:
    """Write what of the workflow task is in memory alone: its events enter history, where they stand already for the
    worker. The others are what the started event of a speculative one says."""
    task = turn.state.workflow_task
    if task is None or not task.unwritten:
        return
    if task.held_start is not None:
        turn.write(task.held_start)
        turn.note(notes.TransitionCounted())  # the turn that handed it out, of which nothing was written
        return
    turn.hold(notes.WorkflowTaskPlaced(None))
    turn.emit(scheduled_event(turn.state, task.timeout_ms, task.attempt), at_ms=task.scheduled_at_ms)
    if task.started_at_ms:
        turn.emit(started_event(task, identity, worker_version), at_ms=task.started_at_ms)
    turn.note(notes.WorkflowTaskPlaced(replace(task, transient=False, speculative=False)))


def leaves_unwritten(turn: Turn) -> bool:
    """Say whether a turn began with a workflow task that is partly in memory alone, and leaves it so."""
    before = turn.before.workflow_task if turn.before is not None else None
    after = turn.state.workflow_task
    return before is not None and before.unwritten and after is not None and after.unwritten


def start(turn: Turn, request: StartWorkflowTask, ids: Ids, limits: Limits) -> None:
    """Hand the workflow task to a poller. The same request asked again gets the same answer."""
    if not turn.state.open:
        raise NotFound(RUN_COMPLETED)
    task = turn.state.workflow_task
    if task is None or (task.scheduled_event_id, task.attempt) != (request.scheduled_event_id, request.attempt):
        raise NotFound(TASK_GONE)
    if task.started_at_ms:
        if not request.request_id or task.request_id != request.request_id:
            raise NotFound("Workflow task already started.")
        again = updates.outgoing(turn.state, task.started_event_id, resend=True)
        turn.reply = started_task(turn.state, again)
        return
    if not task.ready:
        raise NotFound(TASK_GONE)
    turn.reply = start_pending(
        turn,
        request.identity,
        request.request_id,
        ids,
        limits,
        worker_version=request.worker_version,
        hold=request.hold,
    )


def start_pending(
    turn: Turn,
    identity: str,
    request_id: str,
    ids: Ids,
    limits: Limits,
    *,
    resend: bool = True,
    worker_version: WorkerVersionStamp | None = None,
    hold: bool = False,
) -> StartedWorkflowTask:
    """Start the scheduled workflow task, for a poll or eagerly. With `resend` the worker is given also the updates that
    were sent before; with `hold` the start is in memory alone, where nothing else is written."""
    state = turn.state
    task = _pending(state)
    if task.transient and task.scheduled_event_id != state.next_event_id:
        # Something happened since it was scheduled, so there is news: it is told as a normal, first attempt.
        turn.note(notes.WorkflowTaskPlaced(None))
        turn.emit(scheduled_event(state, task.timeout_ms, 1))
        task = _pending(state)
    in_memory = hold and not task.transient and turn.empty
    started = replace(
        task,
        ready=False,
        started_event_id=task.scheduled_event_id + 1 if task.transient else state.next_event_id,
        started_at_ms=turn.now_ms,
        nonce=ids.uuid(),
        identity=identity,
        request_id=request_id,
        history_size_bytes=state.history_size_bytes,
        suggest_continue_as_new_reasons=tuple(_continue_as_new_reasons(state, limits)),
    )
    if in_memory:
        started = with_held_start(started, worker_version)
    elif not task.transient:
        turn.emit(started_event(started, identity, worker_version))
    place = turn.hold if started.unwritten else turn.note
    place(notes.WorkflowTaskPlaced(started))
    messages = updates.outgoing(state, started.started_event_id, resend=resend)
    if state.updates_admitted:
        turn.hold(notes.UpdatesSent())
    return started_task(state, messages)


def started_task(state: RunState, messages: tuple[Message, ...] = ()) -> StartedWorkflowTask:
    """Describe the started workflow task as its worker needs it. `messages`: the updates that it is given."""
    task = state.workflow_task
    assert task is not None and task.started_at_ms
    return StartedWorkflowTask(
        token=WorkflowTaskToken(state.key, task.scheduled_event_id, task.started_event_id, task.attempt, task.nonce),
        previous_started_event_id=state.last_completed_task_started_event_id,
        started_event_id=task.started_event_id,
        attempt=task.attempt,
        scheduled_at_ms=task.scheduled_at_ms,
        started_at_ms=task.started_at_ms,
        workflow_type=state.workflow_type,
        task_queue=state.task_queue,
        sticky=task.sticky,
        history_through=min(state.last_event_id, task.started_event_id),
        transient_events=unwritten_of(state, task),
        messages=messages,
    )


def unwritten_of(state: RunState, task: WorkflowTask) -> tuple[HistoryEvent, ...]:
    """Return the events that a task will have in history if it completes, and has not yet."""
    if task.held_start is not None:
        return (task.held_start,)
    if not task.transient:
        return ()
    scheduled = events.build(
        task.scheduled_event_id, task.scheduled_at_ms, scheduled_event(state, task.timeout_ms, task.attempt)
    )
    if not task.started_at_ms:
        return (scheduled,)
    return (scheduled, events.build(task.started_event_id, task.started_at_ms, started_event(task, task.identity)))


def unwritten_events(state: RunState) -> tuple[HistoryEvent, ...]:
    """Return what follows the stored history of an open run for who reads all of it: the events of its workflow task
    that are not written."""
    task = state.workflow_task
    if task is None:
        return ()
    if task.transient and task.scheduled_event_id == state.next_event_id:
        # GetWorkflowExecutionHistory does not tell whose a transient task is.
        return unwritten_of(state, replace(task, identity=""))
    return unwritten_of(state, task) if task.held_start is not None else ()


def scheduled_event(state: RunState, timeout_ms: int, attempt: int) -> WorkflowTaskScheduledEventAttributes:
    """Return the attributes of a task scheduled now: on the sticky queue, where there is one."""
    scheduled = WorkflowTaskScheduledEventAttributes(attempt=attempt)
    queue = scheduled.task_queue
    if state.sticky_queue:
        queue.name, queue.kind, queue.normal_name = state.sticky_queue, _STICKY, state.task_queue
    else:
        queue.name, queue.kind = state.task_queue, _NORMAL
    set_duration(scheduled.start_to_close_timeout, timeout_ms)
    return scheduled


def started_event(
    task: WorkflowTask, identity: str, worker_version: WorkerVersionStamp | None = None
) -> WorkflowTaskStartedEventAttributes:
    """Return the attributes of a task's start."""
    started = WorkflowTaskStartedEventAttributes(
        scheduled_event_id=task.scheduled_event_id,
        identity=identity,
        request_id=task.request_id,
        history_size_bytes=task.history_size_bytes,
        worker_version=worker_version,
    )
    if task.suggest_continue_as_new_reasons:
        started.suggest_continue_as_new = True
        started.suggest_continue_as_new_reasons.extend(map(_REASON, task.suggest_continue_as_new_reasons))
    return started


def with_held_start(task: WorkflowTask, worker_version: WorkerVersionStamp | None = None) -> WorkflowTask:
    """Return a started task with its event, which is not written."""
    started = started_event(task, task.identity, worker_version)
    return replace(task, held_start=events.build(task.started_event_id, task.started_at_ms, started))


def held(state: RunState, token: WorkflowTaskToken) -> WorkflowTask:
    """Find the started workflow task that a token is of. One of another start, or of a task that ended, is stale."""
    task = state.workflow_task
    if task is None:
        raise NotFound(TASK_GONE)
    if not task.started_at_ms:
        return _lost_start(state, task, token)
    mine = (task.scheduled_event_id, task.started_event_id, task.attempt, task.nonce)
    if mine != (token.scheduled_event_id, token.started_event_id, token.attempt, token.nonce):
        raise NotFound(TASK_GONE)
    return task


def take_up(turn: Turn, task: WorkflowTask, identity: str) -> None:
    """Go on with a task that `held` found, also where the turn's state knows nothing of its start any more."""
    known = turn.state.workflow_task
    if known is not None and not known.started_at_ms:
        turn.hold(notes.WorkflowTaskPlaced(with_held_start(replace(task, identity=identity))))


def _lost_start(state: RunState, task: WorkflowTask, token: WorkflowTaskToken) -> WorkflowTask:
    """Return a waiting task as it was handed out before a restart that forgot the start, if the token is of that. So a
    worker that outlives the server ends what it has; whoever else was given the task meanwhile has started it."""
    mine = (task.scheduled_event_id, state.next_event_id, task.attempt, False)
    if not task.ready or mine != (token.scheduled_event_id, token.started_event_id, token.attempt, task.transient):
        raise NotFound(TASK_GONE)
    return replace(
        task,
        ready=False,
        started_event_id=token.started_event_id,
        started_at_ms=task.ready_at_ms,
        nonce=token.nonce,
        history_size_bytes=state.history_size_bytes,
    )


def fail(turn: Turn, request: FailWorkflowTask, limits: Limits) -> None:
    """Record that a worker could not do its workflow task, and schedule the next attempt."""
    if not turn.state.open:
        raise NotFound(RUN_COMPLETED)
    take_up(turn, held(turn.state, request.token), request.identity)
    if request.cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_GRPC_MESSAGE_TOO_LARGE:
        # RespondWorkflowTaskFailed: the history can never be sent, so no attempt will ever do better.
        terminate(
            turn, WorkflowExecutionTerminatedEventAttributes(reason="GrpcMessageTooLarge", identity=HISTORY_SERVICE)
        )
        return
    attempt = fail_task(
        turn,
        request.cause,
        request.failure,
        request.identity,
        request.binary_checksum,
        worker_version=request.worker_version,
    )
    schedule(turn, limits, attempt=attempt)


def fail_task(
    turn: Turn,
    cause: WorkflowTaskFailedCause.ValueType,
    failure: Failure | None,
    identity: str,
    binary_checksum: str = "",
    *,
    worker_version: WorkerVersionStamp | None = None,
) -> int:
    """End the workflow task as failed, leaving none. Returns the number of the attempt that follows."""
    write_down(turn, identity, worker_version)
    task = turn.state.workflow_task
    assert task is not None
    if task.transient:
        turn.note(notes.WorkflowTaskPlaced(None))
    else:
        turn.emit(
            WorkflowTaskFailedEventAttributes(
                scheduled_event_id=task.scheduled_event_id,
                started_event_id=task.started_event_id,
                cause=cause,
                failure=failure,
                identity=identity,
                binary_checksum=binary_checksum,
            )
        )
    note_close_attempt(turn, cause == WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND)
    return _attempt_after(turn, task)


def time_out_workflow_task(turn: Turn, timeout_type: TimeoutType.ValueType, limits: Limits) -> None:
    """Record that the workflow task ran out of time, or waited too long in a sticky queue; schedule the next one."""
    schedule(turn, limits, attempt=time_out_task(turn, timeout_type))


def time_out_task(turn: Turn, timeout_type: TimeoutType.ValueType) -> int:
    """End the workflow task as timed out, leaving none. Returns the number of the attempt that follows."""
    write_down(turn)
    task = turn.state.workflow_task
    assert task is not None
    if task.transient:
        turn.note(notes.WorkflowTaskPlaced(None))
    else:
        turn.emit(
            WorkflowTaskTimedOutEventAttributes(
                scheduled_event_id=task.scheduled_event_id,
                started_event_id=task.started_event_id,
                timeout_type=timeout_type,
            )
        )
    note_close_attempt(turn, False)
    after = _attempt_after(turn, task)
    # Waiting in vain in a sticky queue is not the workflow's failure: its task is scheduled anew as a first attempt.
    return 1 if timeout_type == _SCHEDULE_TO_START else after


def end_task_by_force(turn: Turn) -> None:
    """End a started workflow task because the run ends, and put the buffered events into history."""
    task = turn.state.workflow_task
    if task is not None and task.started_at_ms:
        fail_task(turn, _FORCE_CLOSE, None, HISTORY_SERVICE)
        turn.flush()


def terminate(
    turn: Turn, attributes: WorkflowExecutionTerminatedEventAttributes, extras: events.Extras = events.NO_EXTRAS
) -> None:
    """Terminate an open run: nothing follows it, whatever its retry policy."""
    end_task_by_force(turn)
    turn.emit(attributes, extras=extras)


def sticky_gone(turn: Turn, request: StickyGone) -> None:
    """Forget a sticky queue whose worker is gone; a task that waits there moves to the normal queue."""
    if turn.state.open and turn.state.sticky_queue == request.queue:
        clear_sticky(turn)


def reset_sticky(turn: Turn, _request: ResetSticky) -> None:
    """Forget the sticky queue. A task that waits there moves to the normal queue, for nobody else would find it."""
    if not turn.state.open:
        raise NotFound(RUN_COMPLETED)
    clear_sticky(turn)


def clear_sticky(turn: Turn) -> None:
    """Forget the sticky queue, and let no task wait in it."""
    task = turn.state.workflow_task
    # A speculative task is in memory alone, and what sends it elsewhere need be no more.
    note = turn.hold if task is not None and task.speculative else turn.note
    if turn.state.sticky_queue:
        note(notes.StickySet("", 0, turn.now_ms))
    if task is not None and task.sticky and not task.started_at_ms:
        moved = replace(task, queue=turn.state.task_queue, sticky=False, ready_at_ms=turn.now_ms)
        note(notes.WorkflowTaskPlaced(moved))


def note_close_attempt(turn: Turn, attempted: bool) -> None:
    """Note whether the workflow task that ended wanted to close the run in vain."""
    if turn.state.close_attempted != attempted:
        turn.note(notes.CloseAttempted(attempted))


def _attempt_after(turn: Turn, task: WorkflowTask) -> int:
    """Return the number of the attempt after `task`. A worker that had the run in its cache may just have lost it, so
    the first failure there costs no attempt, only the cache."""
    if turn.state.sticky_queue:
        turn.note(notes.StickySet("", 0, turn.now_ms))
        return 1
    return task.attempt + 1


def _timeout_ms(default_ms: int, attempt: int, limits: Limits) -> int:
    """Return an attempt's start-to-close timeout. It grows from the fourth attempt on, and with it the time between
    attempts, because SDKs do not report repeated failures but let them time out."""
    beyond = attempt - limits.workflow_task_retry_free_attempts
    if beyond <= 0:
        return default_ms
    doubled_ms: int = limits.workflow_task_retry_initial_ms << min(beyond - 1, 32)
    return default_ms + min(doubled_ms, limits.workflow_task_retry_max_ms)


def _pending(state: RunState) -> WorkflowTask:
    task = state.workflow_task
    assert task is not None
    return task


def _continue_as_new_reasons(state: RunState, limits: Limits) -> list[SuggestContinueAsNewReason.ValueType]:
    reasons = []
    if state.history_size_bytes >= limits.history_size_suggest_continue_as_new:
        reasons.append(SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_HISTORY_SIZE_TOO_LARGE)
    if state.next_event_id >= limits.history_events_suggest_continue_as_new:
        reasons.append(SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_HISTORY_EVENTS)
    if updates.nearly_too_many(state, limits):
        reasons.append(SuggestContinueAsNewReason.SUGGEST_CONTINUE_AS_NEW_REASON_TOO_MANY_UPDATES)
    return reasons
