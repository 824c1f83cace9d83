"""What DescribeTaskQueue says: pollers, backlog, rates. There is one partition and there are no worker versions."""

from collections.abc import Sequence
from typing import Final

from temporalio.api.enums.v1 import BuildIdTaskReachability, DescribeTaskQueueMode, TaskQueueKind, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskIdBlock, TaskQueueConfig, TaskQueueStats, TaskQueueStatus
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeTaskQueueResponse

from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.priority import ORDINARY
from stormsail.engine.core.work import TaskKind
from stormsail.engine.shell.backlog import QueueName
from stormsail.engine.shell.dispatch_limit import DispatchLimit
from stormsail.engine.shell.matching import Matching
from stormsail.engine.shell.task_queue import TaskQueue

_KINDS: Final = {
    TaskQueueType.TASK_QUEUE_TYPE_UNSPECIFIED: TaskKind.WORKFLOW,
    TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW: TaskKind.WORKFLOW,
    TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY: TaskKind.ACTIVITY,
}
_BOTH: Final = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)
_STICKY: Final = TaskQueueKind.TASK_QUEUE_KIND_STICKY
_UNVERSIONED: Final = "__unversioned__"


def describe_task_queue(
    matching: Matching, request: DescribeTaskQueueRequest, config: TaskQueueConfig | None, now_ms: int
) -> DescribeTaskQueueResponse:
    """Build the response. The enhanced mode, which is deprecated, answers for both kinds at once, per build id."""
    sticky = request.task_queue.kind == _STICKY
    if request.api_mode == DescribeTaskQueueMode.DESCRIBE_TASK_QUEUE_MODE_ENHANCED:
        if sticky:
            raise InvalidArgument(
                "Enhanced DescribeTaskQueue is not valid for a sticky queue, use api_mode=UNSPECIFIED or a normal"
                " queue."
            )
        return _enhanced(matching, request, now_ms)
    if sticky and request.report_stats:
        raise InvalidArgument("DescribeTaskQueue stats are only supported for the root partition")
    response = DescribeTaskQueueResponse()
    response.versioning_info.current_version = _UNVERSIONED
    kind = _KINDS.get(request.task_queue_type)
    # No Nexus task is ever queued here: there is nothing to tell of such a queue but its configuration.
    name = QueueName(request.namespace, kind, request.task_queue.name) if kind is not None else None
    queue = matching.queue(name) if name is not None else None
    if queue is not None:
        response.pollers.extend(queue.pollers.recent(now_ms))
    rate, source = queue.limit.effective if queue is not None else DispatchLimit.of(config).effective
    response.effective_rate_limit.requests_per_second = rate
    response.effective_rate_limit.rate_limit_source = source
    if request.include_task_queue_status:
        count = matching.count(name) if name is not None else 0
        response.task_queue_status.CopyFrom(
            TaskQueueStatus(backlog_count_hint=count, rate_per_second=rate, task_id_block=TaskIdBlock())
        )
    if request.report_stats:
        by_priority = _stats_by_priority(matching, name, now_ms)
        response.stats.CopyFrom(_together(list(by_priority.values())))
        for level, stats in by_priority.items():
            response.stats_by_priority_key[level].CopyFrom(stats)
    if request.report_config and config is not None:
        response.config.CopyFrom(config)
    return response


def _enhanced(matching: Matching, request: DescribeTaskQueueRequest, now_ms: int) -> DescribeTaskQueueResponse:
    response = DescribeTaskQueueResponse()
    for build_id in _versions(request):
        version = response.versions_info[build_id]
        known = not build_id
        if request.report_task_reachability:
            version.task_reachability = (
                BuildIdTaskReachability.BUILD_ID_TASK_REACHABILITY_REACHABLE
                if known
                else BuildIdTaskReachability.BUILD_ID_TASK_REACHABILITY_UNREACHABLE
            )
        for task_queue_type in request.task_queue_types or _BOTH:
            entry = version.types_info[task_queue_type]
            kind = _KINDS.get(task_queue_type) if known else None
            name = QueueName(request.namespace, kind, request.task_queue.name) if kind is not None else None
            queue = matching.queue(name) if name is not None else None
            if request.report_pollers and queue is not None:
                entry.pollers.extend(queue.pollers.recent(now_ms))
            if request.report_stats:
                entry.stats.CopyFrom(_together(list(_stats_by_priority(matching, name, now_ms).values())))
    return response


def _versions(request: DescribeTaskQueueRequest) -> Sequence[str]:
    """Return the build ids that are asked for; "" stands for workers without one, the only ones there are here."""
    if not request.HasField("versions"):
        return ("",)
    asked = request.versions
    return tuple(dict.fromkeys([*asked.build_ids, *([""] if asked.unversioned or asked.all_active else [])]))


def _stats_by_priority(matching: Matching, name: QueueName | None, now_ms: int) -> dict[int, TaskQueueStats]:
    """Return the stats of each priority of which there were tasks, and of the ordinary one."""
    queue = matching.queue(name) if name is not None else None
    if name is None or queue is None:
        empty = TaskQueueStats()
        empty.approximate_backlog_age.SetInParent()
        return {ORDINARY.level(matching.levels): empty}
    return {
        level: _stats(matching, name, queue, level, now_ms)
        for level in sorted({ORDINARY.level(queue.levels), *queue.flows})
    }


def _stats(matching: Matching, name: QueueName, queue: TaskQueue, level: int, now_ms: int) -> TaskQueueStats:
    count, age_ms = matching.backlog(name, level)
    stats = TaskQueueStats(approximate_backlog_count=count, rate_limiting_active=queue.limited is not None)
    stats.approximate_backlog_age.FromMilliseconds(age_ms)
    flow = queue.flows.get(level)
    if flow is not None:
        stats.tasks_add_rate = flow.added.per_second(now_ms)
        stats.tasks_dispatch_rate = flow.dispatched.per_second(now_ms)
    return stats


def _together(parts: Sequence[TaskQueueStats]) -> TaskQueueStats:
    """Return the stats of several priorities as one."""
    whole = TaskQueueStats(
        approximate_backlog_count=sum(part.approximate_backlog_count for part in parts),
        tasks_add_rate=sum(part.tasks_add_rate for part in parts),
        tasks_dispatch_rate=sum(part.tasks_dispatch_rate for part in parts),
        rate_limiting_active=any(part.rate_limiting_active for part in parts),
    )
    whole.approximate_backlog_age.FromMilliseconds(max(part.approximate_backlog_age.ToMilliseconds() for part in parts))
    return whole
