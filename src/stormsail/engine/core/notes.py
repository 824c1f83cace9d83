"""Notes: changes of a run's progress, which histories do not record. `note` is to them what `apply` is to events.

Every progress change that must survive a crash is one of these values: nothing but `apply` and `note` changes a state.
"""

from dataclasses import dataclass

from google.protobuf.any_pb2 import Any
from temporalio.api.common.v1 import Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent

from stormsail.engine.core.activity_notes import Administered, administered, next_attempt_begins
from stormsail.engine.core.deadlines import run_expires_at_ms
from stormsail.engine.core.state import AdmittedUpdate, RunState, WorkflowTask
from stormsail.engine.core.values import quick, replace


@quick
@dataclass(frozen=True, slots=True)
class WorkflowTaskPlaced:
    """The pending workflow task is now this (or none): used where no event says it, as for transient attempts."""

    task: WorkflowTask | None


@quick
@dataclass(frozen=True, slots=True)
class FirstTaskReady:
    """The first workflow task's delay or backoff is over."""


@quick
@dataclass(frozen=True, slots=True)
class StickySet:
    """The worker asked for its next workflow tasks on this queue; an empty one clears it."""

    queue: str
    timeout_ms: int
    at_ms: int


@quick
@dataclass(frozen=True, slots=True)
class StartRequested:
    """The request id of the start, which no event records."""

    request_id: str


@quick
@dataclass(frozen=True, slots=True)
class RunBegunByReset:
    """This run begins now, with another one's history; its timeouts count from now."""

    request_id: str
    at_ms: int


@quick
@dataclass(frozen=True, slots=True)
class RunWasReset:
    """Another run was made of this one's history, up to the event before this one, by this request."""

    run_id: str
    event_id: int
    request_id: str


@quick
@dataclass(frozen=True, slots=True)
class DoneForBatch:
    """A batch has changed the run by this request."""

    request_id: str


@quick
@dataclass(frozen=True, slots=True)
class ActivityBegunAgain:
    """Nobody had taken it when its run was reset; its timeouts count from now."""

    scheduled_event_id: int
    at_ms: int


@quick
@dataclass(frozen=True, slots=True)
class CloseAttempted:
    """Whether the worker's last workflow task wanted to close the run in vain."""

    attempted: bool


@quick
@dataclass(frozen=True, slots=True)
class TransitionCounted:
    """A turn changed the run."""


@quick
@dataclass(frozen=True, slots=True)
class EventBuffered:
    """Something happened while a workflow task was started. The event has no id yet; see `apply.take_effect`."""

    event: HistoryEvent


@quick
@dataclass(frozen=True, slots=True)
class BufferCleared:
    """The buffered events got their ids."""


@quick
@dataclass(frozen=True, slots=True)
class BufferedTimerFiredDropped:
    """The worker cancelled a timer whose firing was still buffered."""

    timer_id: str
    started_event_id: int


@quick
@dataclass(frozen=True, slots=True)
class ActivityStarted:
    """A worker took an attempt."""

    scheduled_event_id: int
    at_ms: int
    nonce: str
    identity: str
    build_id: str = ""


@quick
@dataclass(frozen=True, slots=True)
class ActivityHeartbeat:
    """A worker reported progress."""

    scheduled_event_id: int
    at_ms: int
    details: Payloads | None
    identity: str


@quick
@dataclass(frozen=True, slots=True)
class ActivityRetry:
    """An attempt ended and the next one waits until `ready_at_ms`."""

    scheduled_event_id: int
    attempt: int
    at_ms: int
    ready_at_ms: int
    failure: Failure | None


@quick
@dataclass(frozen=True, slots=True)
class ActivityReady:
    """A backoff is over: the attempt is in its task queue."""

    scheduled_event_id: int


@quick
@dataclass(frozen=True, slots=True)
class UpdateAdmitted:
    """An update waits for a worker. Held in memory, as are the next two: see `Turn.hold`."""

    update_id: str
    request: Any


@quick
@dataclass(frozen=True, slots=True)
class UpdatesSent:
    """A worker was given all admitted updates."""


@quick
@dataclass(frozen=True, slots=True)
class UpdateDropped:
    """An admitted update ended without being accepted, and leaves no trace."""

    update_id: str


_Rare = (
    RunBegunByReset
    | RunWasReset
    | DoneForBatch
    | ActivityBegunAgain
    | CloseAttempted
    | EventBuffered
    | BufferCleared
    | BufferedTimerFiredDropped
    | UpdateAdmitted
    | UpdatesSent
    | UpdateDropped
    | ActivityStarted
    | ActivityHeartbeat
    | ActivityRetry
    | ActivityReady
    | Administered
)
Note = WorkflowTaskPlaced | TransitionCounted | FirstTaskReady | StickySet | StartRequested | _Rare


def note(state: RunState, change: Note) -> RunState:
    """Apply one note to the given state and return it. Never refuses."""
    # Those of nearly every run are told apart without patterns, which take several times as long.
    if isinstance(change, WorkflowTaskPlaced):
        state.workflow_task = change.task
    elif isinstance(change, TransitionCounted):
        state.state_transitions += 1
    elif isinstance(change, FirstTaskReady):
        state.first_task_ready = True
    elif isinstance(change, StickySet):
        state.sticky_queue, state.sticky_timeout_ms = change.queue, change.timeout_ms
        state.sticky_touched_at_ms = change.at_ms
    elif isinstance(change, StartRequested):
        state.start_request_id = change.request_id
    else:
        _note_rare(state, change)
    return state


def _note_rare(state: RunState, change: _Rare) -> None:
    match change:
        case RunBegunByReset(request_id, at_ms):
            state.reset_request_id, state.reset_at_ms = request_id, at_ms
            state.execution_started_at_ms = at_ms
            state.expires_at_ms = run_expires_at_ms(state)
        case RunWasReset(run_id, event_id, request_id):
            state.reset_run_id, state.reset_event_id = run_id, event_id
            state.reset_run_request_id = request_id
        case DoneForBatch(request_id):
            state.batch_request_id = request_id
        case ActivityBegunAgain(scheduled_event_id, at_ms):
            again = state.activities[scheduled_event_id]
            state.activities[scheduled_event_id] = replace(
                again, begun_again_at_ms=at_ms, scheduled_at_ms=at_ms, ready_at_ms=at_ms
            )
        case CloseAttempted(attempted):
            state.close_attempted = attempted
        case EventBuffered(event):
            state.buffered.append(event)
        case BufferCleared():
            state.buffered.clear()
        case BufferedTimerFiredDropped(timer_id, started_event_id):
            state.buffered = [e for e in state.buffered if not _fired(e, timer_id, started_event_id)]
        case UpdateAdmitted(update_id, request):
            state.updates_admitted[update_id] = AdmittedUpdate(request)
        case UpdatesSent():
            admitted = state.updates_admitted.items()
            state.updates_admitted = {key: replace(one, sent=True) for key, one in admitted}
        case UpdateDropped(update_id):
            if state.updates_admitted.pop(update_id).event_id:
                state.updates_turned_down.append(update_id)
        case _:
            _note_activity(state, change)


def _fired(event: HistoryEvent, timer_id: str, started_event_id: int) -> bool:
    fired = event.timer_fired_event_attributes
    return fired.timer_id == timer_id and fired.started_event_id == started_event_id


def _note_activity(
    state: RunState, change: ActivityStarted | ActivityHeartbeat | ActivityRetry | ActivityReady | Administered
) -> None:
    old = state.activities[change.scheduled_event_id]
    match change:
        case ActivityStarted(_, at_ms, nonce, identity, build_id):
            new = replace(old, ready=False, started_at_ms=at_ms, nonce=nonce, identity=identity, build_id=build_id)
        case ActivityHeartbeat(_, at_ms, details, identity):
            new = replace(old, heartbeat_at_ms=at_ms, heartbeat_details=details, identity=old.identity or identity)
        case ActivityRetry(_, attempt, at_ms, ready_at_ms, failure):
            new = replace(old, attempt=attempt, ready=False, ready_at_ms=ready_at_ms, started_at_ms=0, nonce="")
            new = replace(new, last_failure=failure, last_attempt_completed_at_ms=at_ms)
            new = next_attempt_begins(new)
        case ActivityReady():
            new = replace(old, ready=True)
        case _:
            new = administered(old, change)
    state.activities[change.scheduled_event_id] = new
