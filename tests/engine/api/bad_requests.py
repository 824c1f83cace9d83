"""Requests that each break one rule, and the words in which a server turns them down."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import Link, RetryPolicy, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import TaskQueueKind, WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.failure.v1 import Failure
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    QueryWorkflowRequest,
    RequestCancelWorkflowExecutionRequest,
    RespondActivityTaskCompletedByIdRequest,
    RespondActivityTaskFailedByIdRequest,
    RespondWorkflowTaskCompletedRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from engine.api.bad_queues import QUEUES

LONG = "x" * 1001
UUID = "32049b68-7872-4094-8e63-d0dd59896a83"


def start(**changed: Any) -> StartWorkflowExecutionRequest:
    """A start that nothing is wrong with."""
    return StartWorkflowExecutionRequest(**_startable(changed))


def signal_with_start(**changed: Any) -> SignalWithStartWorkflowExecutionRequest:
    return SignalWithStartWorkflowExecutionRequest(**_startable({"signal_name": "s", **changed}))


def _startable(changed: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": "w",
        "workflow_type": WorkflowType(name="t"),
        "task_queue": TaskQueue(name="q"),
        "request_id": "r",
    }
    return {name: value for name, value in {**fields, **changed}.items() if value is not None}


def with_(request: Any, change: Callable[[Any], object]) -> Any:
    change(request)
    return request


def run_of(workflow_id: str = "w", run_id: str = "") -> WorkflowExecution:
    return WorkflowExecution(workflow_id=workflow_id, run_id=run_id)


TERMINATE_IF_RUNNING = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING
REJECT = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
FAIL = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL
TERMINATE = WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING

STARTS: dict[str, tuple[Message, str]] = {
    "no workflow id": (start(workflow_id=None), "WorkflowId is not set on request."),
    "long workflow id": (start(workflow_id=LONG), "WorkflowId exceeds maximum allowed length (1001/1000)"),
    "long workflow id in bytes": (
        start(workflow_id="ü" * 501),
        "WorkflowId exceeds maximum allowed length (1002/1000)",
    ),
    "no type": (start(workflow_type=None), "WorkflowType is not set on request."),
    "long type": (start(workflow_type=WorkflowType(name=LONG)), "WorkflowType length exceeds limit."),
    "no task queue": (start(task_queue=None), "taskQueue is not set"),
    "unnamed task queue": (start(task_queue=TaskQueue()), "missing task queue name"),
    "long task queue": (start(task_queue=TaskQueue(name=LONG)), "taskQueue length exceeds limit"),
    "reserved task queue": (
        start(task_queue=TaskQueue(name="/_sys/q")),
        "task queue name cannot start with reserved prefix /_sys/",
    ),
    "internal task queue": (
        start(task_queue=TaskQueue(name="temporal-sys-per-ns-tq")),
        "cannot use internal per-namespace task queue:temporal-sys-per-ns-tq",
    ),
    "long request id": (start(request_id=LONG), "RequestId length exceeds limit."),
    "negative run timeout": (
        with_(start(), lambda r: r.workflow_run_timeout.FromSeconds(-1)),
        "An invalid WorkflowRunTimeoutSeconds is set on request. cause: negative duration",
    ),
    "negative execution timeout": (
        with_(start(), lambda r: r.workflow_execution_timeout.FromSeconds(-1)),
        "An invalid WorkflowExecutionTimeoutSeconds is set on request. cause: negative duration",
    ),
    "negative task timeout": (
        with_(start(), lambda r: r.workflow_task_timeout.FromMilliseconds(-1)),
        "An invalid WorkflowTaskTimeoutSeconds is set on request. cause: negative duration",
    ),
    "negative delay": (
        with_(start(), lambda r: r.workflow_start_delay.FromSeconds(-1)),
        "An invalid WorkflowStartDelaySeconds is set on request. cause: negative duration",
    ),
    "delay and cron": (
        with_(start(cron_schedule="* * * * *"), lambda r: r.workflow_start_delay.FromSeconds(1)),
        "CronSchedule and WorkflowStartDelay may not be used together.",
    ),
    "no cron schedule": (start(cron_schedule="61 * * * *"), "invalid CronSchedule."),
    "a cron schedule for the 30th of February": (
        start(cron_schedule="0 0 30 2 *"),
        "invalid CronSchedule, no time can be found to satisfy the schedule",
    ),
    "backoff under one": (
        start(retry_policy=RetryPolicy(backoff_coefficient=0.5)),
        "BackoffCoefficient cannot be less than 1 on retry policy.",
    ),
    "negative attempts": (
        start(retry_policy=RetryPolicy(maximum_attempts=-1)),
        "MaximumAttempts cannot be negative on retry policy.",
    ),
    "negative interval": (
        with_(start(), lambda r: r.retry_policy.initial_interval.FromSeconds(-1)),
        "invalid InitialInterval set on retry policy: negative duration",
    ),
    "maximum interval under the first": (
        with_(start(), lambda r: r.retry_policy.maximum_interval.FromMilliseconds(999)),
        "MaximumInterval cannot be less than InitialInterval on retry policy.",
    ),
    "unknown timeout type": (
        start(retry_policy=RetryPolicy(non_retryable_error_types=["TemporalTimeout:Lunch"])),
        "Invalid timeout type value: Lunch.",
    ),
    "reuse terminate with a conflict policy": (
        start(workflow_id_reuse_policy=TERMINATE_IF_RUNNING, workflow_id_conflict_policy=FAIL),
        "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with a"
        " WorkflowIDConflictPolicy",
    ),
    "reject with terminate": (
        start(workflow_id_reuse_policy=REJECT, workflow_id_conflict_policy=TERMINATE),
        "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with"
        " WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
    ),
    "unknown search attribute": (
        with_(start(), lambda r: r.search_attributes.indexed_fields["Colour"].SetInParent()),
        "Namespace default has no mapping defined for search attribute Colour",
    ),
    "system search attribute": (
        with_(start(), lambda r: r.search_attributes.indexed_fields["RunId"].SetInParent()),
        "RunId attribute can't be set in SearchAttributes",
    ),
    "negative priority": (
        with_(start(), lambda r: setattr(r.priority, "priority_key", -1)),
        "priority key can't be negative",
    ),
    "long fairness key": (
        with_(start(), lambda r: setattr(r.priority, "fairness_key", "x" * 65)),
        "fairness key length exceeds limit",
    ),
    "empty link": (start(links=[Link()]), "unsupported link variant"),
    "many links": (start(links=[Link()] * 11), "cannot attach more than 10 links per request, got 11"),
    "link to nowhere": (
        start(links=[Link(workflow_event=Link.WorkflowEvent(namespace="n", run_id=UUID))]),
        "workflow event link must not have an empty workflow ID field",
    ),
    "large input": (
        with_(start(), lambda r: r.input.payloads.add(data=b"x" * 2 * 1024 * 1024)),
        "Blob data size exceeds limit.",
    ),
    "large memo": (
        with_(start(), lambda r: setattr(r.memo.fields["m"], "data", b"x" * 2 * 1024 * 1024)),
        "Memo size exceeds limit.",
    ),
    "signal with start: no signal": (signal_with_start(signal_name=None), "signal not set"),
    "signal with start: no workflow id": (signal_with_start(workflow_id=None), "WorkflowId is not set on request."),
    "signal with start: fail": (
        signal_with_start(workflow_id_conflict_policy=FAIL),
        "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation.",
    ),
    "signal with start: large signal": (
        with_(signal_with_start(), lambda r: r.signal_input.payloads.add(data=b"x" * 2 * 1024 * 1024)),
        "Blob data size exceeds limit.",
    ),
}

NO_RUN = "workflow not found for ID: w"
OTHERS: dict[str, tuple[Message, str, str]] = {
    **QUEUES,
    "describe nothing": (
        DescribeWorkflowExecutionRequest(namespace="default"),
        "INVALID_ARGUMENT",
        "Execution is not set on request.",
    ),
    "describe without id": (
        DescribeWorkflowExecutionRequest(namespace="default", execution=run_of("")),
        "INVALID_ARGUMENT",
        "WorkflowId is not set on request.",
    ),
    "describe with bad run id": (
        DescribeWorkflowExecutionRequest(namespace="default", execution=run_of(run_id="1")),
        "INVALID_ARGUMENT",
        "Invalid RunId.",
    ),
    "describe what is not there": (
        DescribeWorkflowExecutionRequest(namespace="default", execution=run_of()),
        "NOT_FOUND",
        NO_RUN,
    ),
    "describe a run that is not there": (
        DescribeWorkflowExecutionRequest(namespace="default", execution=run_of(run_id=UUID)),
        "NOT_FOUND",
        f'workflow execution not found for workflow ID "w" and run ID "{UUID}"',
    ),
    "history of nothing": (
        GetWorkflowExecutionHistoryRequest(namespace="default", execution=run_of()),
        "NOT_FOUND",
        NO_RUN,
    ),
    "history with a made-up token": (
        GetWorkflowExecutionHistoryRequest(namespace="default", execution=run_of(), next_page_token=b"?"),
        "INVALID_ARGUMENT",
        "Invalid NextPageToken.",
    ),
    "signal nothing": (
        SignalWorkflowExecutionRequest(namespace="default", workflow_execution=run_of(), signal_name="s"),
        "NOT_FOUND",
        NO_RUN,
    ),
    "signal without name": (
        SignalWorkflowExecutionRequest(namespace="default", workflow_execution=run_of()),
        "INVALID_ARGUMENT",
        "SignalName is not set on request.",
    ),
    "cancel nothing": (
        RequestCancelWorkflowExecutionRequest(namespace="default", workflow_execution=run_of()),
        "NOT_FOUND",
        NO_RUN,
    ),
    "terminate nothing": (
        TerminateWorkflowExecutionRequest(namespace="default", workflow_execution=run_of()),
        "NOT_FOUND",
        NO_RUN,
    ),
    "query without query": (
        QueryWorkflowRequest(namespace="default", execution=run_of()),
        "INVALID_ARGUMENT",
        "WorkflowQuery is not set on request.",
    ),
    "query without type": (
        QueryWorkflowRequest(namespace="default", execution=run_of(), query=WorkflowQuery()),
        "INVALID_ARGUMENT",
        "QueryType is not set on request.",
    ),
    "poll without queue": (
        PollWorkflowTaskQueueRequest(namespace="default"),
        "INVALID_ARGUMENT",
        "taskQueue is not set",
    ),
    "poll with long identity": (
        PollActivityTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="q"), identity=LONG),
        "INVALID_ARGUMENT",
        "Identity length exceeds limit.",
    ),
    "sticky queue of a long queue": (
        PollWorkflowTaskQueueRequest(
            namespace="default",
            task_queue=TaskQueue(name="s", kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name=LONG),
        ),
        "INVALID_ARGUMENT",
        "taskQueue length exceeds limit",
    ),
    "describe no queue": (DescribeTaskQueueRequest(namespace="default"), "INVALID_ARGUMENT", "taskQueue is not set"),
    "complete without token": (
        RespondWorkflowTaskCompletedRequest(namespace="default"),
        "INVALID_ARGUMENT",
        "Task token not set on request.",
    ),
    "complete activity without id": (
        RespondActivityTaskCompletedByIdRequest(namespace="default", workflow_id="w"),
        "INVALID_ARGUMENT",
        "ActivityId is not set on request.",
    ),
    "complete activity without workflow id": (
        RespondActivityTaskCompletedByIdRequest(namespace="default", activity_id="a"),
        "INVALID_ARGUMENT",
        "WorkflowId is not set on request.",
    ),
    "complete activity of nothing": (
        RespondActivityTaskCompletedByIdRequest(namespace="default", activity_id="a", workflow_id="w"),
        "NOT_FOUND",
        NO_RUN,
    ),
    "fail with a strange failure": (
        RespondActivityTaskFailedByIdRequest(
            namespace="default", activity_id="a", workflow_id="w", failure=Failure(message="m")
        ),
        "INVALID_ARGUMENT",
        "Failure must have ApplicationFailureInfo.",
    ),
}

OURS_ALONE = frozenset(
    {
        "a poll for tasks of its version alone",  # Temporal's dev server has the older kinds of versioning
        "complete activity without workflow id",  # on Temporal such an activity stands alone, which is not served
        "fail with a strange failure",  # Temporal looks for the workflow first
    }
)
"""Refused otherwise by Temporal's dev server, on purpose."""
