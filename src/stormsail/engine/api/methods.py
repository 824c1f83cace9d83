"""Every method of the services that we speak, and which of them are served by what. The only list of it."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from temporalio.api.operatorservice.v1 import service_pb2 as operator_service
from temporalio.api.workflowservice.v1 import service_pb2 as workflow_service

from stormsail.engine.api import (
    activity_admin,
    activity_tasks,
    batches,
    namespaces,
    operator,
    schedules,
    system,
    task_queues,
    visibility,
    workers,
    workflow_admin,
    workflow_reads,
    workflow_start,
    workflow_tasks,
    workflow_update,
)
from stormsail.engine.api.transport import Call
from stormsail.engine.shell.engine import Engine

Handler = Callable[[Engine, Call, Any], Coroutine[Any, Any, bytes | Message]]
"""A coroutine function, or one that looks at the request and returns another's coroutine."""

WORKFLOW_SERVICE: Final[ServiceDescriptor] = workflow_service.DESCRIPTOR.services_by_name["WorkflowService"]
OPERATOR_SERVICE: Final[ServiceDescriptor] = operator_service.DESCRIPTOR.services_by_name["OperatorService"]
SERVICES: Final = (WORKFLOW_SERVICE, OPERATOR_SERVICE)

_WORKFLOW: Final[Mapping[str, Handler]] = {
    "RegisterNamespace": namespaces.register_namespace,
    "DescribeNamespace": namespaces.describe_namespace,
    "ListNamespaces": namespaces.list_namespaces,
    "UpdateNamespace": namespaces.update_namespace,
    "DeprecateNamespace": namespaces.deprecate_namespace,
    "StartWorkflowExecution": workflow_start.start_workflow_execution,
    "SignalWorkflowExecution": workflow_start.signal_workflow_execution,
    "SignalWithStartWorkflowExecution": workflow_start.signal_with_start_workflow_execution,
    "RequestCancelWorkflowExecution": workflow_start.request_cancel_workflow_execution,
    "TerminateWorkflowExecution": workflow_start.terminate_workflow_execution,
    "GetWorkflowExecutionHistory": workflow_reads.get_workflow_execution_history,
    "GetWorkflowExecutionHistoryReverse": workflow_reads.get_workflow_execution_history_reverse,
    "DescribeWorkflowExecution": workflow_reads.describe_workflow_execution,
    "QueryWorkflow": workflow_reads.query_workflow,
    "ListWorkflowExecutions": visibility.list_workflow_executions,
    "ListOpenWorkflowExecutions": visibility.list_open_workflow_executions,
    "ListClosedWorkflowExecutions": visibility.list_closed_workflow_executions,
    "ListArchivedWorkflowExecutions": visibility.list_archived_workflow_executions,
    "ScanWorkflowExecutions": visibility.scan_workflow_executions,
    "CountWorkflowExecutions": visibility.count_workflow_executions,
    "UpdateWorkflowExecution": workflow_update.update_workflow_execution,
    "PollWorkflowExecutionUpdate": workflow_update.poll_workflow_execution_update,
    "ExecuteMultiOperation": workflow_update.execute_multi_operation,
    "PollWorkflowTaskQueue": workflow_tasks.poll_workflow_task_queue,
    "RespondWorkflowTaskCompleted": workflow_tasks.respond_workflow_task_completed,
    "RespondWorkflowTaskFailed": workflow_tasks.respond_workflow_task_failed,
    "RespondQueryTaskCompleted": workflow_tasks.respond_query_task_completed,
    "ResetStickyTaskQueue": workflow_tasks.reset_sticky_task_queue,
    "DescribeTaskQueue": task_queues.describe_task_queue,
    "ListTaskQueuePartitions": task_queues.list_task_queue_partitions,
    "UpdateTaskQueueConfig": task_queues.update_task_queue_config,
    "ShutdownWorker": workers.shutdown_worker,
    "RecordWorkerHeartbeat": workers.record_worker_heartbeat,
    "ListWorkers": workers.list_workers,
    "CountWorkers": workers.count_workers,
    "DescribeWorker": workers.describe_worker,
    "PollActivityTaskQueue": activity_tasks.poll_activity_task_queue,
    "RespondActivityTaskCompleted": activity_tasks.respond_activity_task_completed,
    "RespondActivityTaskCompletedById": activity_tasks.respond_activity_task_completed_by_id,
    "RespondActivityTaskFailed": activity_tasks.respond_activity_task_failed,
    "RespondActivityTaskFailedById": activity_tasks.respond_activity_task_failed_by_id,
    "RespondActivityTaskCanceled": activity_tasks.respond_activity_task_canceled,
    "RespondActivityTaskCanceledById": activity_tasks.respond_activity_task_canceled_by_id,
    "RecordActivityTaskHeartbeat": activity_tasks.record_activity_task_heartbeat,
    "RecordActivityTaskHeartbeatById": activity_tasks.record_activity_task_heartbeat_by_id,
    "CreateSchedule": schedules.create_schedule,
    "DescribeSchedule": schedules.describe_schedule,
    "UpdateSchedule": schedules.update_schedule,
    "PatchSchedule": schedules.patch_schedule,
    "DeleteSchedule": schedules.delete_schedule,
    "ListSchedules": schedules.list_schedules,
    "CountSchedules": schedules.count_schedules,
    "ListScheduleMatchingTimes": schedules.list_schedule_matching_times,
    "StartBatchOperation": batches.start_batch_operation,
    "StopBatchOperation": batches.stop_batch_operation,
    "DescribeBatchOperation": batches.describe_batch_operation,
    "ListBatchOperations": batches.list_batch_operations,
    "ResetWorkflowExecution": workflow_admin.reset_workflow_execution,
    "PauseWorkflowExecution": workflow_admin.pause_workflow_execution,
    "UnpauseWorkflowExecution": workflow_admin.unpause_workflow_execution,
    "UpdateWorkflowExecutionOptions": workflow_admin.update_workflow_execution_options,
    "DeleteWorkflowExecution": workflow_admin.delete_workflow_execution,
    "PauseActivity": activity_admin.pause_activity,
    "UnpauseActivity": activity_admin.unpause_activity,
    "ResetActivity": activity_admin.reset_activity,
    "UpdateActivityOptions": activity_admin.update_activity_options,
    "GetSystemInfo": system.get_system_info,
    "GetClusterInfo": system.get_cluster_info,
    "GetSearchAttributes": system.get_search_attributes,
}
_OPERATOR: Final[Mapping[str, Handler]] = {
    "AddSearchAttributes": operator.add_search_attributes,
    "RemoveSearchAttributes": operator.remove_search_attributes,
    "ListSearchAttributes": operator.list_search_attributes,
    "DeleteNamespace": operator.delete_namespace,
    "ListClusters": system.list_clusters,
}


@dataclass(frozen=True, slots=True)
class Method:
    """One method of a service; `handler` is None where it is not served."""

    service: str
    name: str
    request: type[Message]
    handler: Handler | None

    @property
    def path(self) -> str:
        """What names the method in a call."""
        return f"/{self.service}/{self.name}"


def _methods() -> dict[str, Method]:
    methods: dict[str, Method] = {}
    for service, handlers in ((WORKFLOW_SERVICE, _WORKFLOW), (OPERATOR_SERVICE, _OPERATOR)):
        unknown = handlers.keys() - {method.name for method in service.methods}
        assert not unknown, f"{service.full_name} has no {sorted(unknown)}"
        for each in service.methods:
            method = Method(service.full_name, each.name, GetMessageClass(each.input_type), handlers.get(each.name))
            methods[method.path] = method
    return methods


METHODS: Final[Mapping[str, Method]] = _methods()
"""By path, in the order in which the services name them."""
