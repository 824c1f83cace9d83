"""The part of `worker list|describe` that talks to the engine."""

from typing import Any, Final

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import WorkerHeartbeat
from temporalio.api.workflowservice.v1 import DescribeWorkerRequest, ListWorkersRequest

from stormsail.cli.connection import run
from stormsail.cli.errors import ExitCode
from stormsail.cli.options import Place
from stormsail.cli.output import Column, instant, show_list, show_one
from stormsail.cli.temporal.rpc import engine, listed, record
from stormsail.cli.temporal.workflow_run import record_text

PAGE: Final = 1000

_COLUMNS: Final = (
    Column("identity", lambda r: r["identity"]),
    Column("task queue", lambda r: r["task_queue"]),
    Column("status", lambda r: r["status"]),
    Column("sdk", lambda r: f"{r['sdk_name']} {r['sdk_version']}"),
    Column("last heard", lambda r: instant(r["heartbeat_at_ms"])),
    Column("key", lambda r: r["worker_instance_key"]),
)


def run_list(query: str, limit: int, place: Place, output: str) -> int:
    """Print workers."""

    async def main() -> list[dict[str, Any]]:
        async with engine(place) as e:
            asked = ListWorkersRequest(namespace=e.namespace, query=query)
            return await listed(
                e.workflow.list_workers,
                asked,
                limit,
                lambda page: [_worker_record(info.worker_heartbeat) for info in page.workers_info],
            )

    show_list(run(main), _COLUMNS, "worker_instance_key", output, empty="no worker has told of itself")
    return int(ExitCode.OK)


def _worker_record(heartbeat: WorkerHeartbeat) -> dict[str, Any]:
    return {
        "worker_instance_key": heartbeat.worker_instance_key,
        "identity": heartbeat.worker_identity,
        "task_queue": heartbeat.task_queue,
        "status": WorkerStatus.Name(heartbeat.status).removeprefix("WORKER_STATUS_").replace("_", " ").lower(),
        "sdk_name": heartbeat.sdk_name,
        "sdk_version": heartbeat.sdk_version,
        "heartbeat_at_ms": heartbeat.heartbeat_time.ToMilliseconds(),
    }


def run_describe(key: str, place: Place, output: str) -> int:
    """Print one worker; as JSON it is the protocol's own heartbeat."""

    async def main() -> dict[str, Any]:
        async with engine(place) as e:
            request = DescribeWorkerRequest(namespace=e.namespace, worker_instance_key=key)
            reply = await e.workflow.describe_worker(request, retry=True)
            return record(reply.worker_info.worker_heartbeat)

    told = run(main)
    show_one(told, record_text(told), "workerInstanceKey", output)
    return int(ExitCode.OK)
