"""What right each method needs, where keys are asked for. A method without a row here cannot be served."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class Right(IntEnum):
    """What may be done in a namespace. Each holds those before it."""

    ANY = 0
    """Whoever has a key, in whatever namespace: what the server is and can."""
    READ = 1
    WRITE = 2
    """Start, signal, end and change runs and schedules, and work as a worker."""
    ADMIN = 3
    """Make, change and delete namespaces, search attributes and the limits of task queues."""


_BY_RIGHT: Final[Mapping[Right, tuple[str, ...]]] = {
    Right.ANY: ("GetClusterInfo", "GetSystemInfo", "ListClusters"),
    Right.READ: (
        "CountSchedules",
        "CountWorkers",
        "CountWorkflowExecutions",
        "DescribeBatchOperation",
        "DescribeNamespace",
        "DescribeSchedule",
        "DescribeTaskQueue",
        "DescribeWorker",
        "DescribeWorkflowExecution",
        "GetSearchAttributes",
        "GetWorkflowExecutionHistory",
        "GetWorkflowExecutionHistoryReverse",
        "ListArchivedWorkflowExecutions",
        "ListBatchOperations",
        "ListClosedWorkflowExecutions",
        "ListNamespaces",
        "ListOpenWorkflowExecutions",
        "ListScheduleMatchingTimes",
        "ListSchedules",
        "ListSearchAttributes",
        "ListTaskQueuePartitions",
        "ListWorkers",
        "ListWorkflowExecutions",
        "PollWorkflowExecutionUpdate",
        "QueryWorkflow",
        "ScanWorkflowExecutions",
    ),
    Right.WRITE: (
        "CreateSchedule",
        "DeleteSchedule",
        "DeleteWorkflowExecution",
        "ExecuteMultiOperation",
        "PatchSchedule",
        "PauseActivity",
        "PauseWorkflowExecution",
        "PollActivityTaskQueue",
        "PollWorkflowTaskQueue",
        "RecordActivityTaskHeartbeat",
        "RecordActivityTaskHeartbeatById",
        "RecordWorkerHeartbeat",
        "RequestCancelWorkflowExecution",
        "ResetActivity",
        "ResetStickyTaskQueue",
        "ResetWorkflowExecution",
        "RespondActivityTaskCanceled",
        "RespondActivityTaskCanceledById",
        "RespondActivityTaskCompleted",
        "RespondActivityTaskCompletedById",
        "RespondActivityTaskFailed",
        "RespondActivityTaskFailedById",
        "RespondQueryTaskCompleted",
        "RespondWorkflowTaskCompleted",
        "RespondWorkflowTaskFailed",
        "ShutdownWorker",
        "SignalWithStartWorkflowExecution",
        "SignalWorkflowExecution",
        "StartBatchOperation",
        "StartWorkflowExecution",
        "StopBatchOperation",
        "TerminateWorkflowExecution",
        "UnpauseActivity",
        "UnpauseWorkflowExecution",
        "UpdateActivityOptions",
        "UpdateSchedule",
        "UpdateWorkflowExecution",
        "UpdateWorkflowExecutionOptions",
    ),
    Right.ADMIN: (
        "AddSearchAttributes",
        "DeleteNamespace",
        "DeprecateNamespace",
        "RegisterNamespace",
        "RemoveSearchAttributes",
        "UpdateNamespace",
        "UpdateTaskQueueConfig",
    ),
}
RIGHTS: Final[Mapping[str, Right]] = {name: right for right, names in _BY_RIGHT.items() for name in names}
"""By the method's name."""
