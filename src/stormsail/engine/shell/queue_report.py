"""What DescribeTaskQueue says: pollers, backlog, rates. There is one partition and there are no worker versions."""

from typing import Final

from temporalio.api.enums.v1 import DescribeTaskQueueMode, RateLimitSource, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskIdBlock, TaskQueueStats, TaskQueueStatus
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse

from stormsail.engine.core.work import TaskKind
from stormsail.engine.shell.matching import Matching, QueueName
from stormsail.engine.shell.workers import UNLIMITED_RATE

_KINDS: Final = {
    TaskQueueType.TASK_QUEUE_TYPE_UNSPECIFIED: TaskKind.WORKFLOW,
    TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW: TaskKind.WORKFLOW,
    TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY: TaskKind.ACTIVITY,
}
_BOTH: Final = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
_DEFAULT_PRIORITY: Final = 3
_UNVERSIONED: Final = "__unversioned__"


def describe_task_queue(
    matching: Matching, request: DescribeTaskQueueRequest, now_ms: int
) -> DescribeTaskQueueResponse:
    """Build the response. The enhanced mode, which is deprecated, answers for both kinds at once, per build id."""
    if request.api_mode == DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED:
        return _enhanced(matching, request, now_ms)
    response = DescribeTaskQueueResponse()
    response.versioning_info.current_version = _UNVERSIONED
    response.effective_rate_limit.requests_per_second = UNLIMITED_RATE
    response.effective_rate_limit.rate_limit_source = RateLimitSource.RATE_LIMIT_SOURCE_SYSTEM
    kind = _KINDS.get(request.task_queue_type)
    if kind is None:
        return response  # Nexus: no task of that type is ever queued here
    name = QueueName(request.namespace, kind, request.task_queue.name)
    queue = matching.queue(name)
    if queue is not None:
        response.pollers.extend(queue.pollers.recent(now_ms))
    if queue is not None and queue.limit is not None:
        response.effective_rate_limit.requests_per_second = queue.limit.per_second
        response.effective_rate_limit.rate_limit_source = RateLimitSource.RATE_LIMIT_SOURCE_WORKER
    if request.include_task_queue_status:
        count, _ = matching.backlog(name)
        response.task_queue_status.CopyFrom(
            TaskQueueStatus(
                backlog_count_hint=count,
                rate_per_second=response.effective_rate_limit.requests_per_second,
                task_id_block=TaskIdBlock(),
            )
        )
    if request.report_stats:
        stats = _stats(matching, name, now_ms)
        response.stats.CopyFrom(stats)
        response.stats_by_priority_key[_DEFAULT_PRIORITY].CopyFrom(stats)
    return response


def _enhanced(matching: Matching, request: DescribeTaskQueueRequest, now_ms: int) -> DescribeTaskQueueResponse:
    response = DescribeTaskQueueResponse()
    types = response.versions_info[""].types_info
    for task_queue_type in request.task_queue_types or _BOTH:
        entry = types[task_queue_type]
        kind = _KINDS.get(task_queue_type)
        if kind is None:
            continue
        name = QueueName(request.namespace, kind, request.task_queue.name)
        queue = matching.queue(name)
        if request.report_pollers and queue is not None:
            entry.pollers.extend(queue.pollers.recent(now_ms))
        if request.report_stats:
            entry.stats.CopyFrom(_stats(matching, name, now_ms))
    return response


def _stats(matching: Matching, name: QueueName, now_ms: int) -> TaskQueueStats:
    count, age_ms = matching.backlog(name)
    stats = TaskQueueStats(approximate_backlog_count=count)
    stats.approximate_backlog_age.FromMilliseconds(age_ms)
    queue = matching.queue(name)
    if queue is not None:
        stats.tasks_add_rate = queue.added.per_second(now_ms)
        stats.tasks_dispatch_rate = queue.dispatched.per_second(now_ms)
        stats.rate_limiting_active = queue.limited is not None
    return stats
