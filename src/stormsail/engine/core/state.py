"""What a run is right now. Only `apply` and `notes` change one, and only inside a Turn, on the Turn's own copy.

Two parts: what its history says (rebuilt by `replay`), and its *progress*: what Temporal keeps out of histories but
a crash must not lose (attempts, heartbeats, buffered events, the sticky queue); `progress.py` makes bytes of that.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Final

from google.protobuf.any_pb2 import Any
from temporalio.api.common.v1 import Link, Payloads, Priority, WorkflowExecution
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    ActivityTaskScheduledEventAttributes,
    HistoryEvent,
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
    SignalExternalWorkflowExecutionInitiatedEventAttributes,
    StartChildWorkflowExecutionInitiatedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowTaskCompletedEventAttributes,
)
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.workflow.v1 import ResetPointInfo, VersioningOverride

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.values import quick, replace

RUNNING: Final = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
PAUSED: Final = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_PAUSED
_OPEN: Final = (RUNNING, PAUSED)


@quick
@dataclass(frozen=True, slots=True)
class Activity:
    """A pending activity. `scheduled` comes from history, unless options of it were changed; all else but
    `cancel_requested_event_id` is progress.

    Where it stands (machines/activity.py): *started* while `started_at_ms` is set; else *scheduled* when `ready`, or
    *backing off* until `ready_at_ms`. Closed ones are not here.
    """

    scheduled_event_id: int
    scheduled_at_ms: int
    """When the activity was first scheduled; schedule-to-close counts from here."""
    scheduled: ActivityTaskScheduledEventAttributes
    cancel_requested_event_id: int = 0
    attempt: int = 1
    ready: bool = True
    """In a task queue now. False while backing off and while started."""
    ready_at_ms: int = 0
    """When this attempt was, or will be, put into the queue; schedule-to-start counts from here."""
    started_at_ms: int = 0
    nonce: str = ""
    """Drawn at each start; a task token with another nonce is stale."""
    identity: str = ""
    """The worker that holds, or last held, an attempt."""
    build_id: str = ""
    heartbeat_at_ms: int = 0
    heartbeat_details: Payloads | None = None
    last_failure: Failure | None = None
    last_attempt_completed_at_ms: int = 0
    paused_at_ms: int = 0
    """Since when no attempt of it is handed out, and none of its timeouts counts; 0 while it is not paused."""
    paused_by: str = ""
    pause_reason: str = ""
    pause_request_id: str = ""
    reset: bool = False
    """Somebody reset it while an attempt ran: the worker hears of it by heartbeat."""
    begun_again_at_ms: int = 0
    """When a reset of the run let it begin again; `scheduled_at_ms` is then this, and not what history says."""
    forget_heartbeat: bool = False
    """The next attempt begins without this one's heartbeat details."""
    original: ActivityTaskScheduledEventAttributes | None = None
    """What history says, where options were changed since; `scheduled` is what counts."""
    first_due_ms: int = field(default=-1, init=False, compare=False, repr=False)
    """Follows from the others: see `deadlines.py`, which fills it in when it first needs it. A run may have thousands,
    and needs that of each after every turn."""


@quick
@dataclass(frozen=True, slots=True)
class Timer:
    """A pending timer."""

    timer_id: str
    started_event_id: int
    fire_at_ms: int


@quick
@dataclass(frozen=True, slots=True)
class Child:
    """A pending child workflow, over all runs of its chain."""

    initiated_event_id: int
    initiated: StartChildWorkflowExecutionInitiatedEventAttributes
    started_event_id: int = 0
    """0 also while the started event is buffered."""
    run_id: str = ""
    """The chain's first run; empty until the start is known here."""


@quick
@dataclass(frozen=True, slots=True)
class WorkflowTask:
    """The one pending workflow task.

    From its second attempt on it is *transient*: neither its scheduled nor its started event is in history until it
    completes; `scheduled_event_id` and `started_event_id` are then the ids that these events will have.
    """

    scheduled_event_id: int
    scheduled_at_ms: int
    original_scheduled_at_ms: int
    attempt: int
    timeout_ms: int
    """Start-to-close."""
    queue: str
    sticky: bool = False
    ready: bool = True
    """In a task queue now. False while backing off and while started."""
    ready_at_ms: int = 0
    started_event_id: int = 0
    started_at_ms: int = 0
    nonce: str = ""
    """Drawn at each start; a task token with another nonce is stale."""
    identity: str = ""
    transient: bool = False
    request_id: str = ""
    """Of the start: a repetition of it gets the same task."""
    history_size_bytes: int = 0
    """What the started event says; kept for a transient task, whose event is written when it completes."""
    suggest_continue_as_new_reasons: tuple[int, ...] = ()
    speculative: bool = False
    """Made to carry updates, and in memory alone: it is as if it had never been when all of them are rejected, and
    becomes an ordinary one with the first thing that is written. It is transient too, though a first attempt."""
    held_start: HistoryEvent | None = None
    """Its started event, while that is in memory alone. It is written with the first thing that is: the completion,
    mostly. After a restart the task waits again."""

    @property
    def unwritten(self) -> bool:
        """Whether part of it is in memory alone, and has its place in history reserved."""
        return self.speculative or self.held_start is not None

    @property
    def waiting(self) -> "WorkflowTask":
        """It as it was before it was handed out."""
        return replace(
            self,
            ready=True,
            started_event_id=0,
            started_at_ms=0,
            nonce="",
            identity="",
            request_id="",
            history_size_bytes=0,
            suggest_continue_as_new_reasons=(),
            held_start=None,
        )


@quick
@dataclass(frozen=True, slots=True)
class AdmittedUpdate:
    """An update that no worker has accepted yet. In memory alone: its caller asks again after a restart."""

    request: Any | None
    """A temporal.api.update.v1.Request; None where the history has it (`event_id`)."""
    sent: bool = False
    """A worker was given it with a workflow task."""
    event_id: int = 0
    """Of WorkflowExecutionUpdateAdmitted, where a reset carried the update over: then it survives a restart."""


@quick
@dataclass(frozen=True, slots=True)
class Pause:
    """Since when a run is paused, and by whom."""

    at_ms: int
    identity: str
    reason: str
    request_id: str


@dataclass(slots=True)
class RunState:
    """One run. Containers are copied by `copy`, the values in them are frozen or never changed in place."""

    key: RunKey
    next_event_id: int = 1
    status: int = 0
    """A WorkflowExecutionStatus; 0 before the first event."""
    start: WorkflowExecutionStartedEventAttributes = field(default_factory=WorkflowExecutionStartedEventAttributes)
    workflow_type: str = ""
    """Its name, and that of the run's normal workflow task queue: `start` has them, and every turn asks for them."""
    task_queue: str = ""
    started_at_ms: int = 0
    execution_started_at_ms: int = 0
    """When the first workflow task may run: start time plus start delay or backoff."""
    expires_at_ms: int = 0
    """When the run times out, 0 for never (`deadlines.py`). Follows from its start, or from the reset that began it."""
    closed_at_ms: int = 0
    close_event_id: int = 0
    new_run_id: str = ""
    """The run that follows this one (continue-as-new, retry, cron), once closed."""
    result_failure: Failure | None = None
    history_size_bytes: int = 0
    activities: dict[int, Activity] = field(default_factory=dict)
    """By scheduled event id, in order of scheduling."""
    activity_by_id: dict[str, int] = field(default_factory=dict)
    timers: dict[str, Timer] = field(default_factory=dict)
    children: dict[int, Child] = field(default_factory=dict)
    """By initiated event id, in order of initiation; so too the next two."""
    signals_sent: dict[int, SignalExternalWorkflowExecutionInitiatedEventAttributes] = field(default_factory=dict)
    """Signals to other runs that have not been answered."""
    cancels_sent: dict[int, RequestCancelExternalWorkflowExecutionInitiatedEventAttributes] = field(
        default_factory=dict
    )
    """Cancellations of other runs that have not been answered."""
    workflow_task: WorkflowTask | None = None
    workflow_tasks_completed: int = 0
    last_completed_task_started_event_id: int = 0
    """The started event of the last completed workflow task: `previous_started_event_id` of the next."""
    last_completed_task_event_id: int = 0
    last_completed_task: WorkflowTaskCompletedEventAttributes | None = None
    """What its worker said of itself: build, deployment, versioning behaviour."""
    cancel_requested: bool = False
    pause: Pause | None = None
    """Where the run is paused, or was when it closed."""
    priority: Priority | None = None
    """Of the run's tasks: as started, or as its options were updated since. So too the next."""
    versioning_override: VersioningOverride | None = None
    start_request_id: str = ""
    """Progress: of the start that began the chain of runs. Its repetition is answered with the first of them."""
    reset_request_id: str = ""
    """Progress: of the reset that began this run; its repetition is answered with the run."""
    reset_at_ms: int = 0
    """Progress: when that was. Its history tells of a start long before."""
    reset_run_id: str = ""
    """Progress: the run that a reset made of this one's history."""
    reset_event_id: int = 0
    """Progress: the first event of this run that the other one does not have."""
    reset_run_request_id: str = ""
    """Progress: of that reset. Its repetition is answered with that run, also where others have followed it."""
    batch_request_id: str = ""
    """Progress: of the batch that changed the run last. Others may have changed it since: its repetition must not."""
    reset_points: tuple[ResetPointInfo, ...] = ()
    """Where each build first did a workflow task, here or in the runs before; the oldest first."""
    attached_request_ids: dict[str, int] = field(default_factory=dict)
    """Of starts that found this run in use and asked to be attached to it, and the events that say so; 0 where that is
    buffered."""
    user_metadata: UserMetadata | None = None
    """Of the start."""
    start_links: tuple[Link, ...] = ()
    signals: int = 0
    signal_request_ids: dict[str, None] = field(default_factory=dict)
    """Request ids of signals: a repetition has no effect. As many as signals at most."""
    memo: dict[str, bytes] = field(default_factory=dict)
    """Serialised Payload by key, with upserts merged."""
    search_attributes: dict[str, bytes] = field(default_factory=dict)
    sticky_queue: str = ""
    sticky_timeout_ms: int = 0
    sticky_touched_at_ms: int = 0
    close_attempted: bool = False
    """Progress: the worker wanted to close the run, but had not seen all events. Signals wait for its second try."""
    state_transitions: int = 0
    """Progress: turns that changed the run."""
    buffered: list[HistoryEvent] = field(default_factory=list)
    """Progress: events that happened while a workflow task was started; they get ids when it ends."""
    updates_admitted: dict[str, AdmittedUpdate] = field(default_factory=dict)
    """By update id, in order of admission."""
    updates_turned_down: list[str] = field(default_factory=list)
    """Progress: those that history says were admitted, and that are no more: a rejection leaves no event."""
    updates_accepted: dict[str, int] = field(default_factory=dict)
    """Accepted and not completed: the accepted event's id by update id."""
    updates_completed: dict[str, int] = field(default_factory=dict)
    """The completed event's id by update id."""
    first_task_ready: bool = True
    """False while the first workflow task waits for a start delay, a retry's or a cron's backoff."""
    first_task_at_ms: int = 0
    first_due_ms: int = field(default=-1, init=False, compare=False, repr=False)
    """Follows from the others, and is unknown again in a copy: see `deadlines.py`, which fills it in when it is asked
    for. That is once a turn is decided, when nothing changes its state any more."""

    @property
    def open(self) -> bool:
        """Whether the run has started and not closed."""
        return self.status in _OPEN

    @property
    def paused(self) -> bool:
        """Whether it is open and none of its tasks may be handed out."""
        return self.status == PAUSED

    @property
    def last_event_id(self) -> int:
        """The id of the newest event in history; buffered ones are not counted."""
        return self.next_event_id - 1

    @property
    def execution(self) -> WorkflowExecution:
        """The protocol's name of this run."""
        return WorkflowExecution(workflow_id=self.key.workflow_id, run_id=self.key.run_id)

    @property
    def durable(self) -> "RunState":
        """What a restart would find: the state without what is in memory alone."""
        task = self.workflow_task
        if (task is None or not task.unwritten) and not self.updates_admitted:
            return self
        kept = self.copy()
        admitted = self.updates_admitted.items()
        kept.updates_admitted = {key: replace(one, sent=False) for key, one in admitted if one.event_id}
        if task is not None and task.unwritten:
            kept.workflow_task = None if task.speculative else task.waiting
        return kept

    def copy(self) -> "RunState":
        """Return a state that can be changed without changing this one."""
        return _COPY(self)


def _copier() -> Callable[[RunState], RunState]:
    """Write the function that copies a state, as dataclasses write __init__: every turn begins with it, and a loop over
    the fields takes several times as long."""
    lines = []
    for one in fields(RunState):
        value = f"self.{one.name}" if one.init else repr(one.default)
        if one.default_factory in (dict, list):
            value = f"{value}.copy() if {value} else {one.default_factory()!r}"
        lines.append(f" new.{one.name} = {value}")
    made: dict[str, Callable[[RunState], RunState]] = {}
    text = "\n".join(["def copy(self):", " new = create(RunState)", *lines, " return new"])
    exec(text, {"create": object.__new__, "RunState": RunState}, made)  # noqa: S102 - of the names above, and no input
    return made["copy"]


_COPY: Final = _copier()
