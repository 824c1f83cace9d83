"""RPCs about workers: what they say of themselves, who is there, and that one stops."""

from google.protobuf.message import Message
from temporalio.api.worker.v1 import WorkerHeartbeat, WorkerInfo, WorkerListInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkersRequest,
    CountWorkersResponse,
    DescribeWorkerRequest,
    DescribeWorkerResponse,
    ListWorkersRequest,
    ListWorkersResponse,
    RecordWorkerHeartbeatRequest,
    RecordWorkerHeartbeatResponse,
    ShutdownWorkerRequest,
    ShutdownWorkerResponse,
)

from stormsail.engine.api.transport import Call
from stormsail.engine.core.errors import InvalidArgument, NotFound
from stormsail.engine.shell.engine import Engine
from stormsail.engine.shell.worker_filter import worker_filter


async def shutdown_worker(engine: Engine, _: Call, request: ShutdownWorkerRequest) -> Message:
    """End a worker's polls and give its sticky queue up."""
    await engine.shutdown_worker(request)
    return ShutdownWorkerResponse()


async def record_worker_heartbeat(engine: Engine, _: Call, request: RecordWorkerHeartbeatRequest) -> Message:
    """Keep what workers say about themselves, for as long as they are alive."""
    engine.workers.record(request.namespace, request.worker_heartbeat)
    return RecordWorkerHeartbeatResponse()


async def list_workers(engine: Engine, _: Call, request: ListWorkersRequest) -> Message:
    """List the workers that were heard of in the last minutes and that a query finds, by instance key."""
    if request.page_size < 0:
        raise InvalidArgument(f"PageSize is {request.page_size}: it cannot be negative; leave it out for the most.")
    found = engine.workers.alive(request.namespace, worker_filter(request.query), system=request.include_system_workers)
    most = engine.limits.visibility_page_max
    page = engine.workers.page(found, min(request.page_size or most, most), request.next_page_token)
    return ListWorkersResponse(
        workers_info=[WorkerInfo(worker_heartbeat=heartbeat) for heartbeat in page.workers],
        workers=[_listed(heartbeat) for heartbeat in page.workers],
        next_page_token=page.next_token,
    )


async def count_workers(engine: Engine, _: Call, request: CountWorkersRequest) -> Message:
    """Count the workers that ListWorkers would list."""
    found = engine.workers.alive(request.namespace, worker_filter(request.query), system=request.include_system_workers)
    return CountWorkersResponse(count=len(found))


async def describe_worker(engine: Engine, _: Call, request: DescribeWorkerRequest) -> Message:
    """Show what a worker said of itself last."""
    heartbeat = engine.workers.get(request.namespace, request.worker_instance_key)
    if heartbeat is None:
        raise NotFound(f"Worker {request.worker_instance_key} not found")
    return DescribeWorkerResponse(worker_info=WorkerInfo(worker_heartbeat=heartbeat))


def _listed(heartbeat: WorkerHeartbeat) -> WorkerListInfo:
    """Return what lists show of a worker."""
    has = heartbeat.HasField
    return WorkerListInfo(
        worker_instance_key=heartbeat.worker_instance_key,
        worker_identity=heartbeat.worker_identity,
        task_queue=heartbeat.task_queue,
        deployment_version=heartbeat.deployment_version if has("deployment_version") else None,
        sdk_name=heartbeat.sdk_name,
        sdk_version=heartbeat.sdk_version,
        status=heartbeat.status,
        start_time=heartbeat.start_time if has("start_time") else None,
        host_name=heartbeat.host_info.host_name,
        worker_grouping_key=heartbeat.host_info.worker_grouping_key,
        process_id=heartbeat.host_info.process_id,
        plugins=heartbeat.plugins,
        drivers=heartbeat.drivers,
    )
