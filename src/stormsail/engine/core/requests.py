"""What the engine is asked. Where a request is an RPC, its own message is carried; its shape was checked before."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from temporalio.api.common.v1 import Link, Payloads, WorkerVersionStamp
from temporalio.api.enums.v1 import WorkflowExecutionStatus, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.protocol.v1 import Message
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    PauseWorkflowExecutionRequest,
    RequestCancelWorkflowExecutionRequest,
    ResetActivityRequest,
    ResetWorkflowExecutionRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UnpauseActivityRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateActivityOptionsRequest,
    UpdateWorkflowExecutionOptionsRequest,
    UpdateWorkflowExecutionRequest,
)

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.messages import RunMessage, StartChild
from stormsail.engine.core.search_attributes import SETTABLE, Types
from stormsail.engine.core.values import quick


@quick
@dataclass(frozen=True, slots=True)
class StartWorkflow:
    """Start a workflow, or find it running; decided by `decide_start`, for it concerns the whole chain of runs."""

    request: StartWorkflowExecutionRequest


@quick
@dataclass(frozen=True, slots=True)
class SignalWithStart:
    """Signal the running run, or start one and signal it; decided by `decide_start`."""

    request: SignalWithStartWorkflowExecutionRequest


@quick
@dataclass(frozen=True, slots=True)
class StartChildWorkflow:
    """Start a workflow as another's child; decided by `decide_start`. The message's body is a StartChild."""

    message: RunMessage

    @property
    def body(self) -> StartChild:
        """What is asked for."""
        assert isinstance(self.message.body, StartChild)
        return self.message.body

    @property
    def request(self) -> StartWorkflowExecutionRequest:
        """The start, as if a client asked for it."""
        return self.body.request


@quick
@dataclass(frozen=True, slots=True)
class Delivered:
    """Take a message from another run; any but a StartChild."""

    message: RunMessage


@quick
@dataclass(frozen=True, slots=True)
class SignalWorkflow:
    """Signal an open run."""

    request: SignalWorkflowExecutionRequest


@quick
@dataclass(frozen=True, slots=True)
class RequestCancel:
    """Ask an open run to cancel itself."""

    request: RequestCancelWorkflowExecutionRequest


@quick
@dataclass(frozen=True, slots=True)
class Terminate:
    """End an open run now."""

    request: TerminateWorkflowExecutionRequest


@quick
@dataclass(frozen=True, slots=True)
class WorkflowTaskToken:
    """Which started workflow task a worker answers. `nonce` tells this start from any other of the same task."""

    key: RunKey
    scheduled_event_id: int
    started_event_id: int
    attempt: int
    nonce: str


@quick
@dataclass(frozen=True, slots=True)
class ActivityToken:
    """Which started attempt of an activity a worker answers."""

    key: RunKey
    scheduled_event_id: int
    attempt: int
    nonce: str


@quick
@dataclass(frozen=True, slots=True)
class StartWorkflowTask:
    """A poller takes the workflow task. NotFound when there is none to take any more. Reply: StartedWorkflowTask."""

    scheduled_event_id: int
    attempt: int
    identity: str
    request_id: str
    worker_version: WorkerVersionStamp | None = None
    hold: bool = False
    """Write nothing now: the start of a first attempt is written with its completion."""


@quick
@dataclass(frozen=True, slots=True)
class StartedWorkflowTask:
    """A workflow task handed out. Its history is what the run has up to `history_through`, then `transient_events`."""

    token: WorkflowTaskToken
    previous_started_event_id: int
    started_event_id: int
    attempt: int
    scheduled_at_ms: int
    started_at_ms: int
    workflow_type: str
    task_queue: str
    """The run's normal queue."""
    sticky: bool
    """Taken from the sticky queue: the worker has the run in its cache and gets only new events."""
    history_through: int
    transient_events: tuple[HistoryEvent, ...] = ()
    messages: tuple[Message, ...] = ()
    """Updates for the worker to accept or reject."""


@quick
@dataclass(frozen=True, slots=True)
class StartReply:
    """What a start led to: a new run, or the one that was found."""

    run_id: str
    first_execution_run_id: str
    started: bool
    """Whether this request, or an earlier try of it, began the run."""
    status: WorkflowExecutionStatus.ValueType
    link: Link | None
    """To the event that the request caused."""
    first_task: StartedWorkflowTask | None = None
    """The first workflow task, where the caller asked for it (eager start)."""


@quick
@dataclass(frozen=True, slots=True)
class CompleteWorkflowTask:
    """A worker's commands. Reply: CompletedWorkflowTask."""

    token: WorkflowTaskToken
    request: RespondWorkflowTaskCompletedRequest
    attribute_types: Types = field(default_factory=lambda: SETTABLE)
    """The search attributes that may be set in the run's namespace."""
    namespace_ids: Mapping[str, str] = field(default_factory=dict)
    """Of the namespaces that commands name, by name, and of the run's own."""


@quick
@dataclass(frozen=True, slots=True)
class CompletedWorkflowTask:
    """What a completion led to: activities started eagerly, and the next workflow task where the worker asked for it.

    `failed` is set when the commands were bad and the task failed instead: the RPC answers INVALID_ARGUMENT with it.
    """

    new_task: "StartedWorkflowTask | None" = None
    activities: "tuple[StartedActivity, ...]" = ()
    failed: str = ""
    reset_history_event_id: int | None = None
    """Set where the task left no trace: the worker forgets what it saw after this event."""


@quick
@dataclass(frozen=True, slots=True)
class FailWorkflowTask:
    """A worker could not do a workflow task."""

    token: WorkflowTaskToken
    cause: WorkflowTaskFailedCause.ValueType
    failure: Failure | None
    identity: str
    binary_checksum: str = ""
    worker_version: WorkerVersionStamp | None = None


@quick
@dataclass(frozen=True, slots=True)
class StickyGone:
    """The sticky queue's worker is gone: a waiting workflow task moves to the normal queue."""

    queue: str


@quick
@dataclass(frozen=True, slots=True)
class ResetSticky:
    """Forget the sticky queue (RPC ResetStickyTaskQueue)."""


@quick
@dataclass(frozen=True, slots=True)
class StartActivity:
    """A poller takes an activity's attempt. Refused with NotFound when it is gone. Reply: StartedActivity."""

    scheduled_event_id: int
    attempt: int
    identity: str
    request_id: str
    build_id: str = ""


@quick
@dataclass(frozen=True, slots=True)
class StartedActivity:
    """An attempt handed out. `heartbeat_timeout` and the other timeouts are as scheduled, in `scheduled`."""

    token: ActivityToken
    scheduled_event_id: int
    attempt: int
    scheduled_at_ms: int
    attempt_scheduled_at_ms: int
    started_at_ms: int
    workflow_type: str
    heartbeat_details: Payloads | None


@quick
@dataclass(frozen=True, slots=True)
class ActivityRef:
    """An activity named by its task token, or by its id (the ById RPCs). Exactly one is set."""

    token: ActivityToken | None = None
    activity_id: str = ""


@quick
@dataclass(frozen=True, slots=True)
class CompleteActivity:
    """An attempt's result."""

    ref: ActivityRef
    result: Payloads | None
    identity: str
    worker_version: WorkerVersionStamp | None = None


@quick
@dataclass(frozen=True, slots=True)
class FailActivity:
    """An attempt's failure; retried where its policy says so."""

    ref: ActivityRef
    failure: Failure | None
    """None where the worker told none."""
    identity: str
    last_heartbeat_details: Payloads | None = None
    worker_version: WorkerVersionStamp | None = None


@quick
@dataclass(frozen=True, slots=True)
class CancelActivity:
    """A worker says that the activity is cancelled; only after a cancel was requested."""

    ref: ActivityRef
    details: Payloads | None
    identity: str
    worker_version: WorkerVersionStamp | None = None


@quick
@dataclass(frozen=True, slots=True)
class HeartbeatActivity:
    """An attempt is alive. Reply: HeartbeatReply."""

    ref: ActivityRef
    details: Payloads | None
    identity: str


@quick
@dataclass(frozen=True, slots=True)
class HeartbeatReply:
    """What a heartbeat learns."""

    cancel_requested: bool
    paused: bool = False
    reset: bool = False


@quick
@dataclass(frozen=True, slots=True)
class PauseActivity:
    """Hand out no attempt of one activity, or of all of a type."""

    request: PauseActivityRequest


@quick
@dataclass(frozen=True, slots=True)
class UnpauseActivity:
    """Hand attempts of paused activities out again."""

    request: UnpauseActivityRequest


@quick
@dataclass(frozen=True, slots=True)
class ResetActivity:
    """Let activities begin again with their first attempt."""

    request: ResetActivityRequest


@quick
@dataclass(frozen=True, slots=True)
class UpdateActivityOptions:
    """Change options of activities. Reply: an ActivityOptions, that of the last one changed."""

    request: UpdateActivityOptionsRequest


@quick
@dataclass(frozen=True, slots=True)
class PauseWorkflow:
    """Hand out no task of a run until it is unpaused."""

    request: PauseWorkflowExecutionRequest


@quick
@dataclass(frozen=True, slots=True)
class UnpauseWorkflow:
    """Let a paused run go on."""

    request: UnpauseWorkflowExecutionRequest


@quick
@dataclass(frozen=True, slots=True)
class UpdateWorkflowOptions:
    """Change options of an open run. Reply: a WorkflowExecutionOptions, with all of them as they are now."""

    request: UpdateWorkflowExecutionOptionsRequest


@quick
@dataclass(frozen=True, slots=True)
class UpdateWorkflow:
    """Admit an update, or find the one of its id. Reply: the RunKey of the run that has it."""

    request: UpdateWorkflowExecutionRequest


@quick
@dataclass(frozen=True, slots=True)
class StartAndUpdate:
    """Start a workflow, or find it running, and update it; decided by `decide_start`. Reply: StartAndUpdateReply."""

    request: StartWorkflowExecutionRequest
    update: UpdateWorkflowExecutionRequest


@quick
@dataclass(frozen=True, slots=True)
class StartAndUpdateReply:
    """What an update-with-start led to."""

    key: RunKey
    start: StartReply
    completed_before: bool = False
    """Whether nothing happened, because an update of that id had completed."""


@quick
@dataclass(frozen=True, slots=True)
class FireDue:
    """Do everything of this run that is due at `now_ms`. Nothing due: an empty turn."""


@quick
@dataclass(frozen=True, slots=True)
class ForBatch:
    """Do to a run what a batch asks of all of its runs, unless it was done for this `request_id` before."""

    request: UpdateWorkflowOptions | UnpauseActivity | ResetActivity | UpdateActivityOptions
    request_id: str


RunRequest = (
    SignalWorkflow
    | RequestCancel
    | Terminate
    | StartWorkflowTask
    | CompleteWorkflowTask
    | FailWorkflowTask
    | StickyGone
    | ResetSticky
    | StartActivity
    | CompleteActivity
    | FailActivity
    | CancelActivity
    | HeartbeatActivity
    | UpdateWorkflow
    | PauseActivity
    | UnpauseActivity
    | ResetActivity
    | UpdateActivityOptions
    | PauseWorkflow
    | UnpauseWorkflow
    | UpdateWorkflowOptions
    | ForBatch
    | FireDue
    | Delivered
)


@quick
@dataclass(frozen=True, slots=True)
class ResetWorkflow:
    """Begin a new run with part of another one's history; decided by `decide_reset`. Reply: the new run's id."""

    request: ResetWorkflowExecutionRequest


StartRequest = StartWorkflow | SignalWithStart | StartAndUpdate | StartChildWorkflow
"""What concerns the whole chain of runs of a workflow id; decided by `decide_start`."""
