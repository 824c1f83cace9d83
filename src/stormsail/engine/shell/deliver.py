"""What a worker gets: task responses, with stored history frames spliced in instead of rebuilt."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowType
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import PollerScalingDecision, TaskQueue
from temporalio.api.workflowservice.v1 import (
    PollActivityTaskQueueResponse,
    PollWorkflowTaskQueueResponse,
    RespondWorkflowTaskCompletedResponse,
)

from stormsail.engine.core import events
from stormsail.engine.core.events import varint
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import StartedActivity, StartedWorkflowTask
from stormsail.engine.core.state import RunState
from stormsail.engine.core.values import quick
from stormsail.engine.core.work import activity_priority
from stormsail.engine.shell import tokens
from stormsail.engine.shell.runs import Runs
from stormsail.engine.shell.tokens import HistoryPageToken
from stormsail.engine.store.history import HistoryPage


def _bytes_tag(message: type[Message], name: str) -> bytes:
    """Return the tag that starts a length-delimited field."""
    return varint(message.DESCRIPTOR.fields_by_name[name].number << 3 | 2)


_NORMAL: Final = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_TASK_HISTORY: Final = _bytes_tag(PollWorkflowTaskQueueResponse, "history")
_REPLY_TASK: Final = _bytes_tag(RespondWorkflowTaskCompletedResponse, "workflow_task")
_REPLY_ACTIVITY: Final = _bytes_tag(RespondWorkflowTaskCompletedResponse, "activity_tasks")


@quick
@dataclass(frozen=True, slots=True)
class Extras:
    """What goes with a task that the run knows nothing of."""

    queries: Mapping[str, WorkflowQuery] = field(default_factory=dict)
    backlog: int = 0
    scaling: int = 0
    """How many polls more, or fewer, the worker had better keep open."""


def field_bytes(tag: bytes, body: bytes) -> bytes:
    """Return one length-delimited field. Readers take fields in any order: it may follow a serialised message."""
    return tag + varint(len(body)) + body


class Deliver:
    """Builds task responses."""

    def __init__(self, runs: Runs, limits: Limits) -> None:
        self._runs = runs
        self._limits = limits

    def page(self, key: RunKey, first_event_id: int, through: int, events_max: int = 0) -> HistoryPage:
        """Return stored events from one to another, at most a page of them. Raises NotFound for a deleted run."""
        left = through - first_event_id + 1
        if left <= 0:
            return HistoryPage(b"", 0, 0)
        most = min(left, events_max or self._limits.history_page_events_max, self._limits.history_page_events_max)
        page = self._runs.page(key, first_event_id, max_events=most, max_bytes=self._limits.grpc_message_size_max // 4)
        if page.next_event_id and page.last_event_id >= through:
            return HistoryPage(page.frames, 0, page.last_event_id)
        return page

    def workflow_task(self, started: StartedWorkflowTask, *, partial: bool, extras: Extras) -> bytes:
        """Build the response that hands out a workflow task; `partial` when the worker has the run in its cache."""
        key = started.token.key
        first = started.previous_started_event_id + 1 if partial else 1
        page = self.page(key, first, started.history_through)
        transient = b"".join([events.frame(event) for event in started.transient_events])
        response = PollWorkflowTaskQueueResponse(
            task_token=tokens.encode_workflow_task(started.token),
            previous_started_event_id=started.previous_started_event_id,
            started_event_id=started.started_event_id,
            attempt=started.attempt,
            backlog_count_hint=extras.backlog,
        )
        if started.messages:
            response.messages.extend(started.messages)
        response.workflow_type.name = started.workflow_type
        queue = response.workflow_execution_task_queue
        queue.name, queue.kind = started.task_queue, _NORMAL
        _name_run(response, key)
        events.set_time(response.scheduled_time, started.scheduled_at_ms)
        events.set_time(response.started_time, started.started_at_ms)
        for query_id, query in extras.queries.items():
            response.queries[query_id].CopyFrom(query)
        if extras.scaling:
            response.poller_scaling_decision.CopyFrom(
                PollerScalingDecision(poll_request_delta_suggestion=extras.scaling)
            )
        frames = page.frames
        if page.next_event_id:
            response.next_page_token = tokens.encode_history_page(
                HistoryPageToken(key.run_id, page.next_event_id, True, started.history_through, transient)
            )
        else:
            frames += transient
        return response.SerializeToString() + field_bytes(_TASK_HISTORY, frames)

    def query_task(self, state: RunState, query_id: str, query: WorkflowQuery, *, partial: bool) -> bytes:
        """Build the response that hands out a query alone; a worker with the run in its cache needs no history."""
        key = state.key
        page = HistoryPage(b"", 0, 0) if partial else self.page(key, 1, state.last_event_id)
        response = PollWorkflowTaskQueueResponse(
            task_token=tokens.encode_query(tokens.QueryToken(key.namespace, query_id)),
            workflow_type=WorkflowType(name=state.workflow_type),
            previous_started_event_id=state.last_completed_task_started_event_id,
            attempt=1,
            query=query,
            workflow_execution_task_queue=TaskQueue(name=state.task_queue, kind=_NORMAL),
        )
        _name_run(response, key)
        if page.next_event_id:
            response.next_page_token = tokens.encode_history_page(
                HistoryPageToken(key.run_id, page.next_event_id, state.open, state.last_event_id)
            )
        return response.SerializeToString() + field_bytes(_TASK_HISTORY, page.frames)

    def activity_task(self, started: StartedActivity, state: RunState, scaling: int = 0) -> bytes | None:
        """Build the response that hands out an activity's attempt. None when it is over already."""
        activity = state.activities.get(started.scheduled_event_id)
        if activity is None or activity.nonce != started.token.nonce or activity.attempt != started.attempt:
            return None
        scheduled = activity.scheduled
        response = PollActivityTaskQueueResponse(
            task_token=tokens.encode_activity(started.token),
            workflow_namespace=state.key.namespace,
            activity_id=scheduled.activity_id,
            heartbeat_details=started.heartbeat_details,
            attempt=started.attempt,
            priority=activity_priority(state, activity),
        )
        response.workflow_type.name = started.workflow_type
        _name_run(response, state.key)
        # Copied, not handed to the constructor, which writes and parses them. The timeouts are always present, if only
        # as zero: an SDK relies on it.
        response.activity_type.CopyFrom(scheduled.activity_type)
        response.schedule_to_close_timeout.CopyFrom(scheduled.schedule_to_close_timeout)
        response.start_to_close_timeout.CopyFrom(scheduled.start_to_close_timeout)
        response.heartbeat_timeout.CopyFrom(scheduled.heartbeat_timeout)
        if scheduled.HasField("header"):
            response.header.CopyFrom(scheduled.header)
        if scheduled.HasField("input"):
            response.input.CopyFrom(scheduled.input)
        if scheduled.HasField("retry_policy"):
            response.retry_policy.CopyFrom(scheduled.retry_policy)
        events.set_time(response.scheduled_time, started.scheduled_at_ms)
        events.set_time(response.current_attempt_scheduled_time, started.attempt_scheduled_at_ms)
        events.set_time(response.started_time, started.started_at_ms)
        if scaling:
            response.poller_scaling_decision.CopyFrom(PollerScalingDecision(poll_request_delta_suggestion=scaling))
        return response.SerializeToString()

    def completion_reply(
        self, new_task: bytes, activities: Iterable[bytes], reset_history_event_id: int | None = None
    ) -> bytes:
        """Build a RespondWorkflowTaskCompletedResponse around task responses built before."""
        parts = [field_bytes(_REPLY_TASK, new_task)] if new_task else []
        parts += [field_bytes(_REPLY_ACTIVITY, activity) for activity in activities]
        if reset_history_event_id:
            reset = RespondWorkflowTaskCompletedResponse(reset_history_event_id=reset_history_event_id)
            parts.insert(0, reset.SerializeToString())
        return b"".join(parts)


def _name_run(response: PollWorkflowTaskQueueResponse | PollActivityTaskQueueResponse, key: RunKey) -> None:
    named = response.workflow_execution
    _, named.workflow_id, named.run_id = key
