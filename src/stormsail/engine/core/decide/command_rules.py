"""What a command's attributes must be, in the words of Temporal's server, and the defaults it records.

Each function checks and completes the attributes in place: they were parsed for this call. InvalidArgument says what is
wrong; the caller turns it into a failed workflow task.
"""

from typing import Final

from google.protobuf.duration_pb2 import Duration
from temporalio.api.command.v1 import (
    ContinueAsNewWorkflowExecutionCommandAttributes,
    ScheduleActivityTaskCommandAttributes,
)
from temporalio.api.common.v1 import RetryPolicy
from temporalio.api.enums.v1 import TaskQueueKind
from temporalio.api.taskqueue.v1 import TaskQueue

from stormsail.engine.core import priority
from stormsail.engine.core.decide.begin import run_timeout_ms, set_duration, task_timeout_ms
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.retry import TIMEOUT_NAMES, TIMEOUT_TYPE_PREFIX, duration_ms
from stormsail.engine.core.state import RunState
from stormsail.engine.core.values import members

_NORMAL: Final = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
DURATION_MAX_S: Final = 100 * 365 * 24 * 3600
RESERVED_QUEUE_PREFIX: Final = "/_sys/"
INTERNAL_QUEUE_PREFIX: Final = "temporal-sys-per-ns-tq"


def duration_fault(duration: Duration) -> str:
    """Return what is wrong with a duration, "" for nothing; cap it at a hundred years, as Temporal does."""
    seconds, nanos = duration.seconds, duration.nanos
    if (seconds > 0 > nanos) or (seconds < 0 < nanos):
        return "duration has seconds and nanos with different signs"
    if seconds < 0 or nanos < 0:
        return "negative duration"
    if seconds > DURATION_MAX_S or (seconds == DURATION_MAX_S and nanos):
        duration.seconds, duration.nanos = DURATION_MAX_S, 0
    return ""


def complete_retry_policy(policy: RetryPolicy, limits: Limits) -> None:
    """Fill a policy's defaults, then refuse what breaks its rules."""
    initial, maximum = policy.initial_interval, policy.maximum_interval
    if not duration_ms(initial):
        set_duration(initial, limits.default_activity_retry_initial_ms)
    if not duration_ms(maximum):
        factor = limits.default_activity_retry_max_interval_factor
        maximum.FromNanoseconds((initial.seconds * 10**9 + initial.nanos) * factor)
    if not policy.backoff_coefficient:
        policy.backoff_coefficient = limits.default_activity_retry_coefficient
    if policy.maximum_attempts == 1:
        return
    if fault := duration_fault(initial):
        raise InvalidArgument(f"invalid InitialInterval set on retry policy: {fault}")
    if policy.backoff_coefficient < 1:
        raise InvalidArgument("BackoffCoefficient cannot be less than 1 on retry policy.")
    if fault := duration_fault(maximum):
        raise InvalidArgument(f"invalid MaximumInterval set on retry policy: {fault}")
    if duration_ms(maximum) < duration_ms(initial):
        raise InvalidArgument("MaximumInterval cannot be less than InitialInterval on retry policy.")
    if policy.maximum_attempts < 0:
        raise InvalidArgument("MaximumAttempts cannot be negative on retry policy.")
    for name in members(policy.non_retryable_error_types):
        if name.startswith(TIMEOUT_TYPE_PREFIX) and not _is_timeout_type(name.removeprefix(TIMEOUT_TYPE_PREFIX)):
            raise InvalidArgument(f"Invalid timeout type value: {name.removeprefix(TIMEOUT_TYPE_PREFIX)}.")


def complete_task_queue(queue: TaskQueue, default: str, limits: Limits) -> None:
    """Fill a task queue's default name and kind, then refuse names that cannot be."""
    queue.name = queue.name or default
    queue.kind = queue.kind or _NORMAL
    if not queue.name:
        raise InvalidArgument("missing task queue name")
    if too_long(queue.name, limits):
        raise InvalidArgument("taskQueue length exceeds limit")
    if queue.name.startswith(RESERVED_QUEUE_PREFIX):
        raise InvalidArgument(f"task queue name cannot start with reserved prefix {RESERVED_QUEUE_PREFIX}")
    if queue.name.startswith(INTERNAL_QUEUE_PREFIX) and not default.startswith(INTERNAL_QUEUE_PREFIX):
        raise InvalidArgument(f"cannot use internal per-namespace task queue:{queue.name}")


def complete_activity(attributes: ScheduleActivityTaskCommandAttributes, run_ms: int, limits: Limits) -> None:
    """Check an activity and fill in what Temporal records of it: retry policy, task queue, all timeouts; `run_ms` is
    the run's own."""
    if not attributes.HasField("task_queue"):
        raise InvalidArgument("taskQueue is not set")
    complete_task_queue(attributes.task_queue, "", limits)
    activity_id, activity_type = attributes.activity_id, attributes.activity_type.name
    if not activity_id:
        raise InvalidArgument("activityId is not set")
    if not activity_type:
        raise InvalidArgument("activityType is not set")
    complete_retry_policy(attributes.retry_policy, limits)
    attributes.retry_policy.SetInParent()
    for name, text in (("activityId", activity_id), ("activityType", activity_type)):
        if too_long(text, limits):
            size = len(text.encode())
            raise InvalidArgument(f"{name} exceeds length limit. Length={size} Limit={limits.id_length_max}")
    if fault := priority.fault(attributes.priority):
        raise InvalidArgument(f"invalid priorities: {fault}")
    _complete_activity_timeouts(attributes, run_ms)


def complete_continue_as_new(
    attributes: ContinueAsNewWorkflowExecutionCommandAttributes, state: RunState, limits: Limits
) -> None:
    """Check a continue-as-new and fill in from the run what it does not say."""
    attributes.workflow_type.name = attributes.workflow_type.name or state.workflow_type
    workflow_type = attributes.workflow_type.name
    command = "ContinueAsNewWorkflowExecutionCommand"
    if too_long(workflow_type, limits):
        raise InvalidArgument(
            f"WorkflowType on {command} exceeds length limit. WorkflowType={workflow_type} "
            f"Length={len(workflow_type.encode())} Limit={limits.id_length_max}"
        )
    try:
        complete_task_queue(attributes.task_queue, state.task_queue, limits)
    except InvalidArgument as wrong:
        raise InvalidArgument(f"error validating {command} TaskQueue: {wrong.message}. {_where(attributes)}") from None
    where = _where(attributes)
    for name, duration in (
        ("WorkflowRunTimeout", attributes.workflow_run_timeout),
        ("WorkflowTaskTimeout", attributes.workflow_task_timeout),
        ("BackoffStartInterval", attributes.backoff_start_interval),
    ):
        if fault := duration_fault(duration):
            raise InvalidArgument(f"Invalid {name} on {command}: {fault}. {where}")
    run = attributes.workflow_run_timeout if duration_ms(attributes.workflow_run_timeout) else None
    task = attributes.workflow_task_timeout if duration_ms(attributes.workflow_task_timeout) else None
    run_ms = run_timeout_ms(run or state.start.workflow_run_timeout, state.start.workflow_execution_timeout)
    task_ms = task_timeout_ms(task or state.start.workflow_task_timeout, run_ms, limits)
    set_duration(attributes.workflow_run_timeout, run_ms)
    set_duration(attributes.workflow_task_timeout, task_ms)
    if attributes.HasField("retry_policy"):
        try:
            complete_retry_policy(attributes.retry_policy, limits)
        except InvalidArgument as wrong:
            raise InvalidArgument(f"invalid WorkflowRetryPolicy on {command}: {wrong.message}. {where}") from None


def check_id(text: str, name: str, command: str, limits: Limits) -> None:
    """Refuse a missing or overlong id of a command."""
    if not text:
        raise InvalidArgument(f"{name} is not set on {command}.")
    if too_long(text, limits):
        raise InvalidArgument(
            f"{name} on {command} exceeds length limit. {name}={text} "
            f"Length={len(text.encode())} Limit={limits.id_length_max}"
        )


def too_long(text: str, limits: Limits) -> bool:
    """Say whether an id is longer than allowed; bytes of UTF-8 count."""
    return len(text) > limits.id_length_max or len(text.encode()) > limits.id_length_max


def payloads_size(fields: object) -> int:
    """Return the size of a map of payloads as Temporal counts it: keys and data, not the metadata."""
    assert hasattr(fields, "items")
    return sum(len(key.encode()) + len(payload.data) for key, payload in fields.items())


def _where(attributes: ContinueAsNewWorkflowExecutionCommandAttributes) -> str:
    """Name the run that cannot be, as Temporal does."""
    queue = attributes.task_queue
    kind = TaskQueueKind.Name(queue.kind)
    return f'WorkflowType={attributes.workflow_type.name} TaskQueue=name:"{queue.name}" kind:{kind}'


def _is_timeout_type(name: str) -> bool:
    return any(name in (known, f"TIMEOUT_TYPE_{_snake(known)}") for known in list(TIMEOUT_NAMES.values())[1:])


def _snake(camel: str) -> str:
    return "".join("_" + letter if letter.isupper() else letter for letter in camel).removeprefix("_").upper()


def _complete_activity_timeouts(attributes: ScheduleActivityTaskCommandAttributes, run_ms: int) -> None:
    """Deduce the timeouts that are not set from those that are, and keep all within each other and the run's.

    One of start-to-close and schedule-to-close must be given. The run's timeout stands for those that are not.
    """
    close, queue = attributes.schedule_to_close_timeout, attributes.schedule_to_start_timeout
    work, beat = attributes.start_to_close_timeout, attributes.heartbeat_timeout
    for name, one in (
        ("ScheduleToClose", close),
        ("ScheduleToStart", queue),
        ("StartToClose", work),
        ("Heartbeat", beat),
    ):
        if fault := duration_fault(one):
            raise InvalidArgument(f"invalid {name}Timeout: {fault}")
    close_ms, queue_ms, work_ms, beat_ms = duration_ms(close), duration_ms(queue), duration_ms(work), duration_ms(beat)
    if close_ms:
        queue_ms = min(queue_ms or close_ms, close_ms)
        work_ms = min(work_ms or close_ms, close_ms)
    elif work_ms:
        close_ms, queue_ms = run_ms, queue_ms or run_ms
    else:
        raise InvalidArgument(
            "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity. "
            f"ActivityId={attributes.activity_id} ActivityType={attributes.activity_type.name}"
        )
    if run_ms:
        close_ms, queue_ms, work_ms, beat_ms = (min(one, run_ms) for one in (close_ms, queue_ms, work_ms, beat_ms))
    set_duration(close, close_ms)
    set_duration(queue, queue_ms)
    set_duration(work, work_ms)
    set_duration(beat, min(beat_ms, work_ms))
