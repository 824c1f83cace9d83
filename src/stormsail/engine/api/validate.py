"""The shape of requests: what is missing, too long, negative or contradictory, in the words of Temporal's frontend.

Nothing here looks at a run. Where Temporal fills a default before it records a request (id policies, retry policy,
request id), so does this, in place: the message was parsed for this call and belongs to it.
"""

import re
import uuid
from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.common.v1 import Link, Priority, RetryPolicy, WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueKind, TimeoutType, WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueRequest, PollWorkflowTaskQueueRequest

from stormsail.engine.core import cron
from stormsail.engine.core import priority as priorities
from stormsail.engine.core.errors import InvalidArgument, Unimplemented
from stormsail.engine.core.limits import Limits

RESERVED_QUEUE_PREFIX: Final = "/_sys/"
INTERNAL_QUEUE_PREFIX: Final = "temporal-sys-per-ns-tq"
DURATION_MAX_S: Final = 100 * 365 * 24 * 3600
LINKS_MAX: Final = 10
LINK_SIZE_MAX: Final = 4_000
_NORMAL: Final = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_STICKY: Final = TaskQueueKind.TASK_QUEUE_KIND_STICKY
_TERMINATE_EXISTING: Final = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
_ALLOW_DUPLICATE: Final = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
_REJECT_DUPLICATE: Final = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
_TERMINATE_IF_RUNNING: Final = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING
_TIMEOUT_TYPE_PREFIX: Final = "TemporalTimeout:"
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TIMEOUTS: Final = (
    ("workflow_execution_timeout", "WorkflowExecutionTimeoutSeconds"),
    ("workflow_run_timeout", "WorkflowRunTimeoutSeconds"),
    ("workflow_task_timeout", "WorkflowTaskTimeoutSeconds"),
)
_LINK_FIELDS: Final = {
    "workflow_event": (("namespace", "namespace"), ("workflow_id", "workflow ID"), ("run_id", "run ID")),
    "batch_job": (("job_id", "job ID"),),
    "workflow": (("namespace", "namespace"), ("workflow_id", "workflow ID"), ("run_id", "run ID")),
    "activity": (("namespace", "namespace"), ("activity_id", "activity ID"), ("run_id", "run ID")),
    "nexus_operation": (("namespace", "namespace"), ("operation_id", "operation ID"), ("run_id", "run ID")),
}


class HasPolicies(Protocol):
    """StartWorkflowExecutionRequest and SignalWithStartWorkflowExecutionRequest, as far as ids are concerned."""

    workflow_id_reuse_policy: WorkflowIdReusePolicy.ValueType
    workflow_id_conflict_policy: WorkflowIdConflictPolicy.ValueType


def too_long(text: str, limits: Limits) -> bool:
    """Whether an id is longer than Temporal's limit, which counts bytes of UTF-8."""
    if len(text) > limits.id_length_max:
        return True
    return len(text) * 4 > limits.id_length_max and len(text.encode()) > limits.id_length_max


def required(text: str, name: str, limits: Limits) -> None:
    """Refuse a name that is missing or too long."""
    if not text:
        raise InvalidArgument(f"{name} is not set on request.")
    bounded(text, name, limits)


def bounded(text: str, name: str, limits: Limits) -> None:
    """Refuse a name that is too long."""
    if len(text) * 4 > limits.id_length_max and too_long(text, limits):
        raise InvalidArgument(f"{name} length exceeds limit.")


def workflow_id(text: str, limits: Limits) -> None:
    """Refuse a missing or overlong id of a workflow about to be started."""
    if not text:
        raise InvalidArgument("WorkflowId is not set on request.")
    if too_long(text, limits):
        size = len(text.encode())
        raise InvalidArgument(f"WorkflowId exceeds maximum allowed length ({size}/{limits.id_length_max})")


def execution(execution: WorkflowExecution, *, present: bool) -> None:
    """Refuse an execution that names no workflow, or whose run id cannot be one."""
    if not present:
        raise InvalidArgument("Execution is not set on request.")
    if not execution.workflow_id:
        raise InvalidArgument("WorkflowId is not set on request.")
    run_id(execution.run_id)


def run_id(text: str) -> None:
    """Refuse a run id that is no UUID; an empty one means the current run."""
    if not is_run_id(text):
        raise InvalidArgument("Invalid RunId.")


def is_run_id(text: str) -> bool:
    """Whether a run id is a UUID, or empty for the current run."""
    return not text or _UUID.fullmatch(text) is not None


def request_id(request: Message, limits: Limits) -> None:
    """Refuse an overlong request id; draw one where the caller gave none, so that the request is recorded with it."""
    given: str = request.request_id  # type: ignore[attr-defined]
    bounded(given, "RequestId", limits)
    if not given:
        request.request_id = str(uuid.uuid4())  # type: ignore[attr-defined]


def identity(text: str, limits: Limits) -> None:
    """Refuse an overlong identity."""
    bounded(text, "Identity", limits)


def task_queue(queue: TaskQueue, limits: Limits, *, present: bool, by_user: bool = False) -> None:
    """Refuse a task queue without a usable name; `by_user`: nor one of the server's own. An unset kind is NORMAL."""
    if not present:
        raise InvalidArgument("taskQueue is not set")
    name, kind = queue.name, queue.kind
    task_queue_name(name, limits)
    if not kind:
        queue.kind = _NORMAL
    elif kind == _STICKY and queue.normal_name:
        task_queue_name(queue.normal_name, limits)
    if by_user and name.startswith(INTERNAL_QUEUE_PREFIX):
        raise InvalidArgument(f"cannot use internal per-namespace task queue:{name}")


def task_queue_name(name: str, limits: Limits) -> None:
    """Refuse a name that no task queue can have."""
    if not name:
        raise InvalidArgument("missing task queue name")
    if too_long(name, limits):
        raise InvalidArgument("taskQueue length exceeds limit")
    if name.startswith(RESERVED_QUEUE_PREFIX):
        raise InvalidArgument(f"task queue name cannot start with reserved prefix {RESERVED_QUEUE_PREFIX}")


def worker_version(poll: PollWorkflowTaskQueueRequest | PollActivityTaskQueueRequest, limits: Limits) -> None:
    """Refuse a worker that wants tasks of its version only, by version sets or rules, and an overlong build id."""
    if not poll.HasField("worker_version_capabilities"):
        return
    capabilities = poll.worker_version_capabilities
    if capabilities.use_versioning and not capabilities.deployment_series_name:
        raise Unimplemented(
            "use_versioning of worker_version_capabilities is not served here: tasks go to workers of every build."
            " Leave use_worker_versioning out of the worker's options."
        )
    if len(capabilities.build_id.encode()) > limits.build_id_size_max:
        raise InvalidArgument("Build ID exceeds configured limit.workerBuildIdSize, use a shorter build ID.")


def duration(length: Duration) -> str | None:
    """Return what is wrong with a duration, None when nothing is; cap it at a hundred years as Temporal does."""
    seconds, nanos = length.seconds, length.nanos
    if (seconds > 0 and nanos < 0) or (seconds < 0 and nanos > 0):
        return "duration has seconds and nanos with different signs"
    if seconds < 0 or nanos < 0:
        return "negative duration"
    if seconds > DURATION_MAX_S or (seconds == DURATION_MAX_S and nanos):
        length.seconds, length.nanos = DURATION_MAX_S, 0
    return None


def workflow_timeouts(start: Message) -> None:
    """Refuse a start's timeouts that cannot be."""
    for field, name in _TIMEOUTS:
        if start.HasField(field) and (wrong := duration(getattr(start, field))):
            raise InvalidArgument(f"An invalid {name} is set on request. cause: {wrong}")


def start_delay(delay: Duration, cron_schedule: str) -> None:
    """Refuse a start delay beside a cron schedule, or one that cannot be."""
    if cron_schedule:
        raise InvalidArgument("CronSchedule and WorkflowStartDelay may not be used together.")
    if wrong := duration(delay):
        raise InvalidArgument(f"An invalid WorkflowStartDelaySeconds is set on request. cause: {wrong}")


def cron_schedule(text: str, now_ms: int) -> None:
    """Refuse a cron schedule that is none, or that no time ever meets."""
    if wrong := cron.fault(text, now_ms):
        raise InvalidArgument(wrong)


def retry_policy(policy: RetryPolicy, limits: Limits) -> None:
    """Fill a given policy's defaults, then refuse what breaks its rules."""
    if not _nanos(policy.initial_interval):
        policy.initial_interval.FromMilliseconds(limits.default_activity_retry_initial_ms)
    if not _nanos(policy.maximum_interval):
        factor = limits.default_activity_retry_max_interval_factor
        policy.maximum_interval.FromNanoseconds(_nanos(policy.initial_interval) * factor)
    if not policy.backoff_coefficient:
        policy.backoff_coefficient = limits.default_activity_retry_coefficient
    if policy.maximum_attempts == 1:
        return  # Temporal looks no further: with one attempt the rest has no effect
    if wrong := duration(policy.initial_interval):
        raise InvalidArgument(f"invalid InitialInterval set on retry policy: {wrong}")
    if policy.backoff_coefficient < 1:
        raise InvalidArgument("BackoffCoefficient cannot be less than 1 on retry policy.")
    if wrong := duration(policy.maximum_interval):
        raise InvalidArgument(f"invalid MaximumInterval set on retry policy: {wrong}")
    if _nanos(policy.maximum_interval) < _nanos(policy.initial_interval):
        raise InvalidArgument("MaximumInterval cannot be less than InitialInterval on retry policy.")
    if policy.maximum_attempts < 0:
        raise InvalidArgument("MaximumAttempts cannot be negative on retry policy.")
    _timeout_types(policy.non_retryable_error_types)


def _timeout_types(types: Iterable[str]) -> None:
    """`TemporalTimeout:StartToClose` and its like name a timeout; a name that is none would never match."""
    known = {name.removeprefix("TIMEOUT_TYPE_").replace("_", "").lower() for name in TimeoutType.keys()[1:]}
    known |= {name.lower() for name in TimeoutType.keys()[1:]}
    for name in types:
        if name.startswith(_TIMEOUT_TYPE_PREFIX):
            value = name.removeprefix(_TIMEOUT_TYPE_PREFIX)
            if value.lower() not in known:
                raise InvalidArgument(f"Invalid timeout type value: {value}.")


def _nanos(length: Duration) -> int:
    return length.seconds * 1_000_000_000 + length.nanos


def id_policies(request: HasPolicies, default: WorkflowIdConflictPolicy.ValueType) -> None:
    """Fill the default id policies and refuse pairs that contradict each other."""
    reuse, conflict = request.workflow_id_reuse_policy, request.workflow_id_conflict_policy
    if not conflict:
        if reuse == _TERMINATE_IF_RUNNING:
            # The older way to say it; Temporal records it as the newer one.
            conflict, reuse = _TERMINATE_EXISTING, _ALLOW_DUPLICATE
        else:
            conflict = default
    if reuse == _TERMINATE_IF_RUNNING:
        raise InvalidArgument(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with"
            " a WorkflowIDConflictPolicy"
        )
    if reuse == _REJECT_DUPLICATE and conflict == _TERMINATE_EXISTING:
        raise InvalidArgument(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with"
            " WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING"
        )
    request.workflow_id_reuse_policy, request.workflow_id_conflict_policy = reuse or _ALLOW_DUPLICATE, conflict


def priority(given: Priority) -> None:
    """Refuse a priority out of range."""
    if fault := priorities.fault(given):
        raise InvalidArgument(fault)


def blob(given: Message, limits: Limits) -> None:
    """Refuse payloads over the limit of one blob."""
    if given.ByteSize() > limits.blob_size_max:
        raise InvalidArgument("Blob data size exceeds limit.")


def memo(given: Message, limits: Limits) -> None:
    """Refuse a memo over its limit."""
    if given.ByteSize() > limits.memo_size_max:
        raise InvalidArgument("Memo size exceeds limit.")


def links(given: Sequence[Link]) -> None:
    """Refuse too many, too large or incomplete links."""
    if not given:
        return
    if len(given) > LINKS_MAX:
        raise InvalidArgument(f"cannot attach more than {LINKS_MAX} links per request, got {len(given)}")
    for link in given:
        if link.ByteSize() > LINK_SIZE_MAX:
            raise InvalidArgument(f"link exceeds allowed size of {LINK_SIZE_MAX}, got {link.ByteSize()}")
        variant = link.WhichOneof("variant")
        if variant not in _LINK_FIELDS:
            raise InvalidArgument("unsupported link variant")
        for field, name in _LINK_FIELDS[variant]:
            if not getattr(getattr(link, variant), field):
                raise InvalidArgument(f"{variant.replace('_', ' ')} link must not have an empty {name} field")
