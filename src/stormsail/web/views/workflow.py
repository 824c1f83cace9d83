"""One workflow run: what it is, what it waits for, its children, and its history page by page."""

from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import EventType, PendingActivityState, PendingWorkflowTaskState
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse

from stormsail.web.sources.followed import FollowedRun
from stormsail.web.sources.held import Source
from stormsail.web.sources.payloads import failure_text, message_json, payloads_json
from stormsail.web.sources.sources import Sources
from stormsail.web.views.paging import cursor_of, token_of
from stormsail.web.views.workflows import WorkflowRow, workflow_row

HISTORY_LIMIT_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class PendingActivityView:
    """An activity that runs, or waits for its next attempt."""

    activity_id: str
    activity_type: str
    state: str
    attempt: int
    attempts_max: int
    """0 where attempts are not limited."""
    scheduled_at_ms: int | None
    last_started_at_ms: int | None
    last_heartbeat_at_ms: int | None
    next_retry_at_ms: int | None
    expires_at_ms: int | None
    last_failure: str
    last_worker: str
    heartbeat: Any
    paused: bool


@dataclass(frozen=True, slots=True)
class PendingChildView:
    """A child that has not ended."""

    workflow_id: str
    run_id: str
    workflow_type: str


@dataclass(frozen=True, slots=True)
class PendingWorkflowTaskView:
    """The workflow task that waits for a worker, or that one holds."""

    state: str
    scheduled_at_ms: int | None
    started_at_ms: int | None
    attempt: int


@dataclass(frozen=True, slots=True)
class WorkflowView:
    """One run as the engine describes it."""

    sources: tuple[Source, ...]
    workflow: WorkflowRow
    first_run_id: str
    execution_timeout_ms: int
    run_timeout_ms: int
    task_timeout_ms: int
    pending_activities: tuple[PendingActivityView, ...]
    pending_children: tuple[PendingChildView, ...]
    pending_workflow_task: PendingWorkflowTaskView | None


@dataclass(frozen=True, slots=True)
class EventView:
    """One history event."""

    event_id: int
    type: str
    """As Temporal's SDKs spell it: `ActivityTaskScheduled`."""
    at_ms: int
    attributes: dict[str, Any]
    """The event's own attributes, payloads decoded where they are JSON."""


@dataclass(frozen=True, slots=True)
class HistoryView:
    """One page of a history."""

    sources: tuple[Source, ...]
    events: tuple[EventView, ...]
    next_cursor: str


async def read_workflow(sources: Sources, workflow_id: str, run_id: str = "") -> WorkflowView | None:
    """Describe a run, or the newest run of a workflow id; None when the engine is away and never answered for it.

    Raises NotThere.
    """
    reading = await sources.held.read(
        ("workflow", workflow_id, run_id), lambda: sources.engine.describe_workflow(workflow_id, run_id)
    )
    if reading.value is None:
        return None
    view = _view(reading.source, reading.value)
    if view.workflow.status == "Running":
        sources.followed.look_at(FollowedRun(view.workflow.workflow_id, view.workflow.run_id))
    return view


async def read_history(
    sources: Sources,
    workflow_id: str,
    run_id: str,
    *,
    limit: int = 200,
    cursor: str = "",
    newest_first: bool = False,
) -> HistoryView:
    """Read a page of a history. A run must be named, so that a page never jumps to the run after it.

    Raises NotThere, BadCursor, or Refused for a cursor whose history the engine does not know any more.
    """
    kind = f"history-{'newest' if newest_first else 'oldest'}"
    token = token_of(kind, cursor)
    key = (kind, workflow_id, run_id, limit, token)
    engine = sources.engine
    if newest_first:
        back = await sources.histories.read(
            key, lambda: engine.history_page_newest_first(workflow_id, run_id, limit, token)
        )
        source, page_events, next_token = back.source, back.value, back.value.next_page_token if back.value else b""
        events = page_events.history.events if page_events else ()
    else:
        page = await sources.histories.read(key, lambda: engine.history_page(workflow_id, run_id, limit, token))
        source, next_token = page.source, page.value.next_page_token if page.value else b""
        events = page.value.history.events if page.value else ()
    return HistoryView((source,), tuple(event_view(event) for event in events), cursor_of(kind, next_token))


def event_view(event: HistoryEvent) -> EventView:
    """Return an event with its attributes as JSON."""
    which = event.WhichOneof("attributes")
    return EventView(
        event_id=event.event_id,
        type=event_word(event.event_type),
        at_ms=event.event_time.ToMilliseconds(),
        attributes=message_json(getattr(event, which)) if which else {},
    )


def event_word(event_type: "EventType.ValueType") -> str:
    """Return an event type as SDKs spell it."""
    words = EventType.Name(event_type).removeprefix("EVENT_TYPE_").split("_")
    return "".join(word.capitalize() for word in words)


def _view(source: Source, described: DescribeWorkflowExecutionResponse) -> WorkflowView:
    config = described.execution_config
    task = described.pending_workflow_task
    return WorkflowView(
        sources=(source,),
        workflow=workflow_row(described.workflow_execution_info),
        first_run_id=described.workflow_execution_info.first_run_id,
        execution_timeout_ms=config.workflow_execution_timeout.ToMilliseconds(),
        run_timeout_ms=config.workflow_run_timeout.ToMilliseconds(),
        task_timeout_ms=config.default_workflow_task_timeout.ToMilliseconds(),
        pending_activities=tuple(pending_activity(activity) for activity in described.pending_activities),
        pending_children=tuple(
            PendingChildView(child.workflow_id, child.run_id, child.workflow_type_name)
            for child in described.pending_children
        ),
        pending_workflow_task=(
            PendingWorkflowTaskView(
                PendingWorkflowTaskState.Name(task.state).removeprefix("PENDING_WORKFLOW_TASK_STATE_").lower(),
                _ms(task.original_scheduled_time),
                _ms(task.started_time),
                task.attempt,
            )
            if described.HasField("pending_workflow_task")
            else None
        ),
    )


def pending_activity(activity: PendingActivityInfo) -> PendingActivityView:
    """Return what the engine says of an activity that has not ended."""
    state = PendingActivityState.Name(activity.state).removeprefix("PENDING_ACTIVITY_STATE_").lower()
    next_retry = _ms(activity.next_attempt_schedule_time)
    return PendingActivityView(
        activity_id=activity.activity_id,
        activity_type=activity.activity_type.name,
        state="backing off" if state == "scheduled" and next_retry and activity.attempt > 1 else state,
        attempt=activity.attempt,
        attempts_max=activity.maximum_attempts,
        scheduled_at_ms=_ms(activity.scheduled_time),
        last_started_at_ms=_ms(activity.last_started_time),
        last_heartbeat_at_ms=_ms(activity.last_heartbeat_time),
        next_retry_at_ms=next_retry,
        expires_at_ms=_ms(activity.expiration_time),
        last_failure=failure_text(activity.last_failure) if activity.HasField("last_failure") else "",
        last_worker=activity.last_worker_identity,
        heartbeat=payloads_json(activity.heartbeat_details),
        paused=activity.paused,
    )


def _ms(instant: Timestamp) -> int | None:
    return instant.ToMilliseconds() or None
