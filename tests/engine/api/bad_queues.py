"""Requests about task queues that every server turns down, with the words of Temporal's dev server."""

from typing import Any

from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkerVersionCapabilities
from temporalio.api.enums.v1 import DescribeTaskQueueMode, TaskQueueKind, TaskQueueType
from temporalio.api.taskqueue.v1 import RateLimit, TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    UpdateTaskQueueConfigRequest,
)

WORKFLOW = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
ACTIVITY = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
ENHANCED = DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED
STICKY = TaskQueue(name="s", kind=TaskQueueKind.TASK_QUEUE_KIND_STICKY, normal_name="q")
Update = UpdateTaskQueueConfigRequest.RateLimitUpdate


def update(**fields: Any) -> UpdateTaskQueueConfigRequest:
    named: dict[str, Any] = {"namespace": "default", "task_queue": "q", "task_queue_type": ACTIVITY, "identity": "ann"}
    return UpdateTaskQueueConfigRequest(**{**named, **fields})


def rate(per_second: float, reason: str = "why") -> Update:
    return Update(rate_limit=RateLimit(requests_per_second=per_second), reason=reason)


_CONFIGS: dict[str, tuple[UpdateTaskQueueConfigRequest, str]] = {
    "a rate on a workflow queue": (
        update(task_queue_type=WORKFLOW, update_queue_rate_limit=rate(5)),
        "Setting rate limit on workflow task queues is not allowed.",
    ),
    "a rate for each key of a workflow queue": (
        update(task_queue_type=WORKFLOW, update_fairness_key_rate_limit_default=rate(5)),
        "Setting fairness key rate limit on workflow task queues is not allowed.",
    ),
    "a negative rate": (
        update(update_queue_rate_limit=rate(-5)),
        "RequestsPerSecond for UpdateQueueRateLimit rate limit must be non-negative.",
    ),
    "a negative rate for each key": (
        update(update_fairness_key_rate_limit_default=rate(-5)),
        "RequestsPerSecond for UpdateFairnessKeyRateLimitDefault rate limit must be non-negative.",
    ),
    "a long reason": (
        update(update_queue_rate_limit=rate(5, "x" * 1_001)),
        "UpdateQueueRateLimit.Reason field too long (max 1000 characters).",
    ),
    "a long identity": (update(identity="x" * 1_001), "Identity field too long (max 1000 characters)."),
    "a weight of nothing": (
        update(set_fairness_weight_overrides={"a": 0}),
        'invalid fairness weight weight for key "a": must be greater than zero',
    ),
    "a weight of no key": (
        update(set_fairness_weight_overrides={"": 1}),
        "fairness weight override key must not be empty",
    ),
    "a long key": (update(set_fairness_weight_overrides={"x" * 65: 1}), "fairness key length exceeds limit"),
    "a key set and unset": (
        update(set_fairness_weight_overrides={"x": 1}, unset_fairness_weight_overrides=["x"]),
        'fairness weight override key "x" present in both set and unset lists',
    ),
    "too many keys": (
        update(set_fairness_weight_overrides={str(number): 1 for number in range(1_001)}),
        "too many fairness weight overrides in request: got 1001, maximum 1000",
    ),
}


QUEUES: dict[str, tuple[Message, str, str]] = {
    **{name: (request, "INVALID_ARGUMENT", words) for name, (request, words) in _CONFIGS.items()},
    "partitions of no queue": (
        ListTaskQueuePartitionsRequest(namespace="default"),
        "INVALID_ARGUMENT",
        "taskQueue is not set",
    ),
    "stats of a sticky queue": (
        DescribeTaskQueueRequest(namespace="default", task_queue=STICKY, report_stats=True),
        "INVALID_ARGUMENT",
        "DescribeTaskQueue stats are only supported for the root partition",
    ),
    "a sticky queue in the older mode": (
        DescribeTaskQueueRequest(namespace="default", task_queue=STICKY, api_mode=ENHANCED),
        "INVALID_ARGUMENT",
        "Enhanced DescribeTaskQueue is not valid for a sticky queue, use api_mode=UNSPECIFIED or a normal queue.",
    ),
    "a poll for tasks of its version alone": (
        PollWorkflowTaskQueueRequest(
            namespace="default",
            task_queue=TaskQueue(name="q"),
            worker_version_capabilities=WorkerVersionCapabilities(build_id="b", use_versioning=True),
        ),
        "UNIMPLEMENTED",
        "use_versioning of worker_version_capabilities is not served here: tasks go to workers of every build. Leave"
        " use_worker_versioning out of the worker's options.",
    ),
    "a long build id": (
        PollActivityTaskQueueRequest(
            namespace="default",
            task_queue=TaskQueue(name="q"),
            worker_version_capabilities=WorkerVersionCapabilities(build_id="b" * 256),
        ),
        "INVALID_ARGUMENT",
        "Build ID exceeds configured limit.workerBuildIdSize, use a shorter build ID.",
    ),
}
