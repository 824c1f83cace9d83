"""RPCs about task queues: what is in them, and how their tasks are handed out."""

import platform
from collections.abc import Mapping
from typing import Final

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import RateLimitConfig, TaskQueueConfig, TaskQueuePartitionMetadata
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    ListTaskQueuePartitionsRequest,
    ListTaskQueuePartitionsResponse,
    UpdateTaskQueueConfigRequest,
    UpdateTaskQueueConfigResponse,
)

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.core import priority
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.limits import Limits
from stormsail.engine.shell.engine import Engine

REASON_MAX: Final = 1_000
_WORKFLOW: Final = TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW
_RATES: Final[Mapping[str, tuple[str, str, str]]] = {
    "update_queue_rate_limit": ("queue_rate_limit", "UpdateQueueRateLimit", "rate limit"),
    "update_fairness_key_rate_limit_default": (
        "fairness_keys_rate_limit_default",
        "UpdateFairnessKeyRateLimitDefault",
        "fairness key rate limit",
    ),
}
"""By the request's field: the configuration's field, and what errors call it."""


async def describe_task_queue(engine: Engine, _: Call, request: DescribeTaskQueueRequest) -> Message:
    """Show who polls a task queue, what waits in it by priority, and its limits."""
    validate.task_queue(request.task_queue, engine.limits, present=request.HasField("task_queue"))
    return engine.describe_task_queue(request)


async def list_task_queue_partitions(engine: Engine, _: Call, request: ListTaskQueuePartitionsRequest) -> Message:
    """List the partitions of a task queue: there is one of each kind, the queue itself."""
    validate.task_queue(request.task_queue, engine.limits, present=request.HasField("task_queue"))
    only = [TaskQueuePartitionMetadata(key=request.task_queue.name, owner_host_name=platform.node())]
    return ListTaskQueuePartitionsResponse(activity_task_queue_partitions=only, workflow_task_queue_partitions=only)


async def update_task_queue_config(engine: Engine, _: Call, request: UpdateTaskQueueConfigRequest) -> Message:
    """Set how many tasks a second an activity task queue hands out, in all and for each fairness key, and what weights
    fairness keys have."""
    limits = engine.limits
    task_queue_type = request.task_queue_type or _WORKFLOW
    validate.task_queue_name(request.task_queue, limits)
    for field, (_into, label, what) in _RATES.items():
        _check_rate(getattr(request, field), label, what, task_queue_type)
    _check_length("Identity", request.identity, limits.id_length_max)
    _check_weights(request, limits)
    now = Timestamp()
    now.FromMilliseconds(engine.clock.now_ms())
    name = (request.namespace, request.task_queue, task_queue_type)
    config = await engine.store.task_queue_configs.change(name, lambda old: _changed(old, request, now, limits))
    return UpdateTaskQueueConfigResponse(config=config)


def _changed(
    old: TaskQueueConfig, request: UpdateTaskQueueConfigRequest, now: Timestamp, limits: Limits
) -> TaskQueueConfig:
    """Return a configuration with what a request says in place of what was there."""
    new = TaskQueueConfig()
    new.CopyFrom(old)
    for field, (into, _, _) in _RATES.items():
        if not request.HasField(field):  # type: ignore[arg-type]
            continue
        update = getattr(request, field)
        rate = RateLimitConfig(rate_limit=update.rate_limit if update.HasField("rate_limit") else None)
        rate.metadata.reason, rate.metadata.update_identity = update.reason, request.identity
        rate.metadata.update_time.CopyFrom(now)
        getattr(new, into).CopyFrom(rate)
    for key in request.unset_fairness_weight_overrides:
        new.fairness_weight_overrides.pop(key, None)
    new.fairness_weight_overrides.update(request.set_fairness_weight_overrides)
    if len(new.fairness_weight_overrides) > limits.fairness_weights_max:
        raise InvalidArgument("fairness weight overrides update rejected: exceeding maximum key size")
    return new


def _check_rate(
    update: UpdateTaskQueueConfigRequest.RateLimitUpdate,
    label: str,
    what: str,
    task_queue_type: TaskQueueType.ValueType,
) -> None:
    if update.HasField("rate_limit") and task_queue_type == _WORKFLOW:
        raise InvalidArgument(f"Setting {what} on workflow task queues is not allowed.")
    if not update.rate_limit.requests_per_second >= 0:
        raise InvalidArgument(f"RequestsPerSecond for {label} rate limit must be non-negative.")
    _check_length(f"{label}.Reason", update.reason, REASON_MAX)


def _check_weights(request: UpdateTaskQueueConfigRequest, limits: Limits) -> None:
    weights, unset = request.set_fairness_weight_overrides, request.unset_fairness_weight_overrides
    total = len(weights) + len(unset)
    if total > limits.fairness_weights_max:
        raise InvalidArgument(
            f"too many fairness weight overrides in request: got {total}, maximum {limits.fairness_weights_max}"
        )
    for key in (*weights, *unset):
        if not key:
            raise InvalidArgument("fairness weight override key must not be empty")
        if wrong := priority.fairness_key_fault(key):
            raise InvalidArgument(wrong)
        if key in weights and not weights[key] > 0:
            raise InvalidArgument(f'invalid fairness weight weight for key "{key}": must be greater than zero')
    for key in unset:
        if key in weights:
            raise InvalidArgument(f'fairness weight override key "{key}" present in both set and unset lists')


def _check_length(field: str, text: str, most: int) -> None:
    if len(text.encode()) > most:
        raise InvalidArgument(f"{field} field too long (max {most} characters).")
