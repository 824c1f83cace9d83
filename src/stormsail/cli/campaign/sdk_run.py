"""One run in a worker's cache: the Temporal SDK's own Python side of a workflow, fed with history.

It stands where the SDK's Rust core stands in a real worker, for the few commands and events that delivery uses: history
becomes activations, and what the workflow code answers becomes commands. Replayed commands are held against history, so
workflow code that does not replay is told. It is the only file that reaches into the SDK's private parts.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from datetime import UTC
from typing import Any, Final

import temporalio.common
import temporalio.workflow
from temporalio.api.command.v1 import Command
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.history.v1 import HistoryEvent, WorkflowExecutionStartedEventAttributes
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_commands import ScheduleActivity, WorkflowCommand
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import decode_search_attributes
from temporalio.worker import UnsandboxedWorkflowRunner
from temporalio.worker._workflow_instance import WorkflowInstance, WorkflowInstanceDetails

from stormsail.delivery.operations.runner import UntypedCloudOperationRunner

Events = list[HistoryEvent]
TASK_STARTED: Final = EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED
TASK_COMPLETED: Final = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED

_DEFINITION: Final = temporalio.workflow._Definition.must_from_class(UntypedCloudOperationRunner)


class NotDeterministic(Exception):
    """Replayed workflow code asked for something else than its history holds."""


class CachedRun:
    """See the module. Must be made and fed in a callback of the loop, outside of any task."""

    def __init__(self, namespace: str, workflow_id: str, run_id: str, task_queue: str) -> None:
        self._namespace = namespace
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._task_queue = task_queue
        self._instance: WorkflowInstance | None = None
        self._activities: dict[int, int] = {}
        """The command's number of each activity, by the event that scheduled it."""
        self._seq_of_id: dict[str, int] = {}
        self._resolved: set[int] = set()
        """The numbers of activities that have ended."""
        self._asked: list[Command] = []
        """The commands of the newest task."""
        self._flags: set[int] = set()
        self.new_flags: tuple[int, ...] = ()
        """Manners that the SDK's code took on in the newest task. History keeps them: a replay takes them on, too."""
        self.next_event_id = 1

    def feed(self, events: Events) -> list[Command]:
        """Take in what history has more, up to a workflow task that was just started; return that task's commands."""
        assert events[0].event_id == self.next_event_id, "history is fed in order"
        since: Events = []
        for position, event in enumerate(events):
            since.append(event)
            last = position == len(events) - 1
            if event.event_type != TASK_STARTED:
                continue
            if not last and events[position + 1].event_type != TASK_COMPLETED:
                continue  # that task failed or timed out: what it saw is seen by the next one
            self._compare(since)
            if not last:
                completed = events[position + 1].workflow_task_completed_event_attributes
                self._flags.update(completed.sdk_metadata.lang_used_flags)
            self._asked = self._activated(since, replaying=not last)
            since = []
        self.next_event_id = events[-1].event_id + 1
        return self._asked

    def evict(self) -> None:
        """Let go of the run: its coroutines end now, and not when the collector finds them."""
        if self._instance is not None:
            activation = WorkflowActivation(run_id=self._run_id)
            activation.jobs.add().remove_from_cache.SetInParent()
            self._activate(self._instance, activation)
            self._instance = None

    def _compare(self, since: Events) -> None:
        """Hold the commands of the task before against the events that they became."""
        became = [event for event in since if event.event_type in _COMMAND_OF_EVENT]
        asked = [(command.command_type, _named(command)) for command in self._asked]
        recorded = [(_COMMAND_OF_EVENT[event.event_type], _recorded_as(event)) for event in became]
        if asked != recorded:
            raise NotDeterministic(f"{self._workflow_id}: asks for {asked}, history has {recorded}")
        for event in became:
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                scheduled = event.activity_task_scheduled_event_attributes
                self._activities[event.event_id] = self._seq_of_id[scheduled.activity_id]

    def _activated(self, since: Events, *, replaying: bool) -> list[Command]:
        started = since[-1]
        activation = WorkflowActivation(
            run_id=self._run_id,
            is_replaying=replaying,
            history_length=started.event_id,
            history_size_bytes=started.workflow_task_started_event_attributes.history_size_bytes,
            available_internal_flags=sorted(self._flags),
        )
        activation.timestamp.CopyFrom(started.event_time)
        for event in since:
            self._add_job(activation, event)
        if self._instance is None:
            first = since[0].workflow_execution_started_event_attributes
            self._instance = self._made(activation, first)
        completion = self._activate(self._instance, activation)
        if completion.HasField("failed"):
            raise NotDeterministic(f"{self._workflow_id}: {completion.failed.failure.message}")
        used = set(completion.successful.used_internal_flags)
        self.new_flags = tuple(sorted(used - self._flags))
        self._flags |= used
        return [self._command(asked) for asked in completion.successful.commands if not self._ended(asked)]

    @staticmethod
    def _activate(instance: WorkflowInstance, activation: WorkflowActivation) -> WorkflowActivationCompletion:
        loop = asyncio._get_running_loop()
        try:
            return instance.activate(activation)
        finally:
            asyncio._set_running_loop(loop)  # activate leaves none registered

    def _add_job(self, activation: WorkflowActivation, event: HistoryEvent) -> None:
        jobs = activation.jobs
        match event.event_type:
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED:
                attributes = event.workflow_execution_started_event_attributes
                init = jobs.add().initialize_workflow
                init.workflow_type = attributes.workflow_type.name
                init.workflow_id = self._workflow_id
                init.arguments.extend(attributes.input.payloads)
                init.randomness_seed = zlib.crc32(self._run_id.encode())
                init.first_execution_run_id = attributes.first_execution_run_id
                init.attempt = attributes.attempt
                init.start_time.CopyFrom(event.event_time)
            case EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                done = event.activity_task_completed_event_attributes
                resolved = jobs.add().resolve_activity
                resolved.seq = self._over(done.scheduled_event_id)
                resolved.result.completed.result.CopyFrom(done.result.payloads[0])
            case EventType.EVENT_TYPE_ACTIVITY_TASK_FAILED:
                failed = event.activity_task_failed_event_attributes
                self._resolve_failed(activation, failed, "ActivityTaskFailed")
            case EventType.EVENT_TYPE_ACTIVITY_TASK_TIMED_OUT:
                timed_out = event.activity_task_timed_out_event_attributes
                self._resolve_failed(activation, timed_out, "activity task timed out")
            case EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED:
                ended = event.activity_task_canceled_event_attributes
                resolved = jobs.add().resolve_activity
                resolved.seq = self._over(ended.scheduled_event_id)
                failure = resolved.result.cancelled.failure
                failure.message = "activity canceled"
                failure.cause.canceled_failure_info.SetInParent()
                failure.activity_failure_info.scheduled_event_id = ended.scheduled_event_id
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED:
                asked = event.workflow_execution_cancel_requested_event_attributes
                jobs.add().cancel_workflow.reason = asked.cause
            case EventType.EVENT_TYPE_TIMER_FIRED:
                jobs.add().fire_timer.seq = int(event.timer_fired_event_attributes.timer_id)
            case _ if event.event_type not in _TELLS_NOTHING and event.event_type not in _COMMAND_OF_EVENT:
                raise NotDeterministic(
                    f"{self._workflow_id}: event {event.event_id} is of a kind not fed here: {event}"
                )

    def _ended(self, asked: WorkflowCommand) -> bool:
        """Tell whether this asks to cancel an activity whose end came with the same news. The SDK's core leaves it out.

        Told apart from one that was never scheduled, which `_command` raises for.
        """
        if asked.WhichOneof("variant") != "request_cancel_activity":
            return False
        seq = asked.request_cancel_activity.seq
        return seq in self._resolved and seq not in self._activities.values()

    def _event_of(self, seq: int) -> int:
        """Return the event that scheduled an activity of this number."""
        found = [event_id for event_id, one in self._activities.items() if one == seq]
        if not found:
            raise NotDeterministic(f"{self._workflow_id}: asks to cancel an activity that is not under way")
        return found[0]

    def _over(self, scheduled_event_id: int) -> int:
        """Take an activity off those under way; return its number."""
        seq = self._activities.pop(scheduled_event_id)
        self._resolved.add(seq)
        return seq

    def _resolve_failed(self, activation: WorkflowActivation, attributes: Any, message: str) -> None:
        """Wrap an activity's failure as the SDK's core does."""
        resolved = activation.jobs.add().resolve_activity
        resolved.seq = self._over(attributes.scheduled_event_id)
        failure = resolved.result.failed.failure
        failure.message = message
        failure.cause.CopyFrom(attributes.failure)
        info = failure.activity_failure_info
        info.scheduled_event_id = attributes.scheduled_event_id
        info.started_event_id = attributes.started_event_id
        info.retry_state = attributes.retry_state

    def _made(self, activation: WorkflowActivation, first: WorkflowExecutionStartedEventAttributes) -> WorkflowInstance:
        started = activation.timestamp.ToDatetime(UTC)
        info = temporalio.workflow.Info(
            attempt=first.attempt,
            continued_run_id=None,
            cron_schedule=None,
            execution_timeout=None,
            first_execution_run_id=first.first_execution_run_id,
            headers={},
            namespace=self._namespace,
            original_execution_run_id=first.original_execution_run_id or self._run_id,
            parent=None,
            root=None,
            priority=temporalio.common.Priority.default,
            raw_memo=dict(first.memo.fields),
            retry_policy=None,
            run_id=self._run_id,
            run_timeout=None,
            search_attributes=decode_search_attributes(first.search_attributes),
            start_time=started,
            workflow_start_time=started,
            task_queue=self._task_queue,
            task_timeout=first.workflow_task_timeout.ToTimedelta(),
            typed_search_attributes=temporalio.common.TypedSearchAttributes.empty,
            workflow_id=self._workflow_id,
            workflow_type=first.workflow_type.name,
        )
        details = WorkflowInstanceDetails(
            payload_converter_factory=lambda: pydantic_data_converter.payload_converter,
            failure_converter_class=pydantic_data_converter.failure_converter_class,
            interceptor_classes=(),
            defn=_DEFINITION,
            info=info,
            randomness_seed=zlib.crc32(self._run_id.encode()),
            extern_functions={},
            disable_eager_activity_execution=False,
            worker_level_failure_exception_types=(),
            patch_activation_callback=None,
            last_completion_result=Payloads(),
            last_failure=None,
        )
        return UnsandboxedWorkflowRunner().create_instance(details)

    def _command(self, asked: WorkflowCommand) -> Command:
        command = Command()
        which = asked.WhichOneof("variant")
        if asked.HasField("user_metadata"):
            command.user_metadata.CopyFrom(asked.user_metadata)
        fill = _FILLS.get(which or "")
        if fill is None:
            raise NotDeterministic(f"{self._workflow_id}: the workflow asks for {which}, which is not known here")
        fill(asked, command)
        if which == "request_cancel_activity":
            attributes = command.request_cancel_activity_task_command_attributes
            attributes.scheduled_event_id = self._event_of(asked.request_cancel_activity.seq)
        if which == "schedule_activity":
            self._seq_of_id[asked.schedule_activity.activity_id] = asked.schedule_activity.seq
        return command


def _fill_activity_cancel(_: WorkflowCommand, command: Command) -> None:
    """Leave out which activity: only the run knows its event."""
    command.command_type = CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK


def _fill_timer_cancel(asked: WorkflowCommand, command: Command) -> None:
    command.command_type = CommandType.COMMAND_TYPE_CANCEL_TIMER
    command.cancel_timer_command_attributes.timer_id = str(asked.cancel_timer.seq)


def _fill_cancelled(_: WorkflowCommand, command: Command) -> None:
    command.command_type = CommandType.COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION
    command.cancel_workflow_execution_command_attributes.SetInParent()


def _fill_activity(asked: WorkflowCommand, command: Command) -> None:
    wanted: ScheduleActivity = asked.schedule_activity
    command.command_type = CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK
    attributes = command.schedule_activity_task_command_attributes
    attributes.activity_id = wanted.activity_id
    attributes.activity_type.name = wanted.activity_type
    attributes.task_queue.name = wanted.task_queue
    attributes.input.payloads.extend(wanted.arguments)
    attributes.request_eager_execution = not wanted.do_not_eagerly_execute
    attributes.schedule_to_close_timeout.CopyFrom(wanted.schedule_to_close_timeout)
    attributes.start_to_close_timeout.CopyFrom(wanted.start_to_close_timeout)
    attributes.heartbeat_timeout.CopyFrom(wanted.heartbeat_timeout)
    attributes.priority.CopyFrom(wanted.priority)
    if wanted.HasField("retry_policy"):
        attributes.retry_policy.CopyFrom(wanted.retry_policy)


def _fill_timer(asked: WorkflowCommand, command: Command) -> None:
    command.command_type = CommandType.COMMAND_TYPE_START_TIMER
    command.start_timer_command_attributes.timer_id = str(asked.start_timer.seq)
    command.start_timer_command_attributes.start_to_fire_timeout.CopyFrom(asked.start_timer.start_to_fire_timeout)


def _fill_memo(asked: WorkflowCommand, command: Command) -> None:
    command.command_type = CommandType.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES
    attributes = command.modify_workflow_properties_command_attributes
    attributes.upserted_memo.CopyFrom(asked.modify_workflow_properties.upserted_memo)


def _fill_complete(asked: WorkflowCommand, command: Command) -> None:
    command.command_type = CommandType.COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION
    attributes = command.complete_workflow_execution_command_attributes
    attributes.result.payloads.append(asked.complete_workflow_execution.result)


def _fill_fail(asked: WorkflowCommand, command: Command) -> None:
    command.command_type = CommandType.COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION
    command.fail_workflow_execution_command_attributes.failure.CopyFrom(asked.fail_workflow_execution.failure)


_FILLS: Final[Mapping[str, Callable[[WorkflowCommand, Command], None]]] = {
    "schedule_activity": _fill_activity,
    "start_timer": _fill_timer,
    "modify_workflow_properties": _fill_memo,
    "complete_workflow_execution": _fill_complete,
    "fail_workflow_execution": _fill_fail,
    "request_cancel_activity": _fill_activity_cancel,
    "cancel_timer": _fill_timer_cancel,
    "cancel_workflow_execution": _fill_cancelled,
}

_COMMAND_OF_EVENT: Final = {
    EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED: CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK,
    EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED: CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK,
    EventType.EVENT_TYPE_TIMER_STARTED: CommandType.COMMAND_TYPE_START_TIMER,
    EventType.EVENT_TYPE_TIMER_CANCELED: CommandType.COMMAND_TYPE_CANCEL_TIMER,
    EventType.EVENT_TYPE_WORKFLOW_PROPERTIES_MODIFIED: CommandType.COMMAND_TYPE_MODIFY_WORKFLOW_PROPERTIES,
}
_TELLS_NOTHING: Final = frozenset(
    {
        EventType.EVENT_TYPE_WORKFLOW_TASK_SCHEDULED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_STARTED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED,
        EventType.EVENT_TYPE_WORKFLOW_TASK_TIMED_OUT,
        EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED,
        EventType.EVENT_TYPE_ACTIVITY_TASK_STARTED,
    }
)


def _named(command: Command) -> str:
    match command.command_type:
        case CommandType.COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK:
            wanted = command.schedule_activity_task_command_attributes
            return f"{wanted.activity_type.name} {wanted.activity_id}"
        case CommandType.COMMAND_TYPE_START_TIMER:
            return command.start_timer_command_attributes.timer_id
        case CommandType.COMMAND_TYPE_CANCEL_TIMER:
            return command.cancel_timer_command_attributes.timer_id
        case CommandType.COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK:
            return str(command.request_cancel_activity_task_command_attributes.scheduled_event_id)
    return ""


def _recorded_as(event: HistoryEvent) -> str:
    match event.event_type:
        case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
            scheduled = event.activity_task_scheduled_event_attributes
            return f"{scheduled.activity_type.name} {scheduled.activity_id}"
        case EventType.EVENT_TYPE_TIMER_STARTED:
            return event.timer_started_event_attributes.timer_id
        case EventType.EVENT_TYPE_TIMER_CANCELED:
            return event.timer_canceled_event_attributes.timer_id
        case EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED:
            return str(event.activity_task_cancel_requested_event_attributes.scheduled_event_id)
    return ""
