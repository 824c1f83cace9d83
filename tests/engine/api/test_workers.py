"""Workers over gRPC: what they say of themselves, and how it is found again."""

from temporalio.api.enums.v1 import WorkerStatus
from temporalio.api.worker.v1 import PluginInfo, WorkerHeartbeat, WorkerHostInfo
from temporalio.api.workflowservice.v1 import (
    CountWorkersRequest,
    DescribeWorkerRequest,
    ListWorkersRequest,
    RecordWorkerHeartbeatRequest,
    ShutdownWorkerRequest,
)

from engine.api.rpc import Rpc

RUNNING = WorkerStatus.WORKER_STATUS_RUNNING
SHUTTING_DOWN = WorkerStatus.WORKER_STATUS_SHUTTING_DOWN
SHUTDOWN = WorkerStatus.WORKER_STATUS_SHUTDOWN


def heartbeat(key: str, task_queue: str = "q", status: WorkerStatus.ValueType = RUNNING) -> WorkerHeartbeat:
    return WorkerHeartbeat(
        worker_instance_key=key,
        worker_identity=f"id-{key}",
        task_queue=task_queue,
        sdk_name="temporal-python",
        sdk_version="1.2",
        status=status,
        host_info=WorkerHostInfo(host_name=f"host-{key}", process_id="7"),
        plugins=[PluginInfo(name="p")],
    )


async def record(rpc: Rpc, *heartbeats: WorkerHeartbeat) -> None:
    await rpc.call(RecordWorkerHeartbeatRequest(namespace="default", worker_heartbeat=heartbeats))


async def keys(rpc: Rpc, query: str = "") -> list[str]:
    listed = await rpc.call(ListWorkersRequest(namespace="default", query=query))
    found = [worker.worker_instance_key for worker in listed.workers]
    assert found == [worker.worker_heartbeat.worker_instance_key for worker in listed.workers_info]
    assert (await rpc.call(CountWorkersRequest(namespace="default", query=query))).count == len(found)
    return found


async def test_a_worker_is_shown_as_it_said_last(rpc: Rpc) -> None:
    await record(rpc, heartbeat("a", "old"))
    await record(rpc, heartbeat("a"))
    described = await rpc.call(DescribeWorkerRequest(namespace="default", worker_instance_key="a"))
    assert described.worker_info.worker_heartbeat == heartbeat("a")
    (listed,) = (await rpc.call(ListWorkersRequest(namespace="default"))).workers
    assert (listed.worker_identity, listed.host_name, listed.process_id) == ("id-a", "host-a", "7")
    assert (listed.status, [plugin.name for plugin in listed.plugins]) == (RUNNING, ["p"])


async def test_a_worker_nobody_heard_of_is_not_found(rpc: Rpc) -> None:
    refusal = await rpc.refused(DescribeWorkerRequest(namespace="default", worker_instance_key="zz"))
    assert (refusal.code, refusal.text) == ("NOT_FOUND", "Worker zz not found")


async def test_a_query_finds_workers_by_what_they_say(rpc: Rpc) -> None:
    await record(rpc, heartbeat("b", "q2"), heartbeat("a"))
    assert await keys(rpc, "TaskQueue = 'q2'") == ["b"]
    assert await keys(rpc, "TaskQueue STARTS_WITH 'q'") == ["a", "b"]
    for request in (ListWorkersRequest, CountWorkersRequest):
        refusal = await rpc.refused(request(namespace="default", query="Foo = 'a'"))
        assert refusal.code == "INVALID_ARGUMENT"
        assert "unknown or unsupported worker heartbeat search field: Foo" in refusal.text


async def test_pages_hold_every_worker_once(rpc: Rpc) -> None:
    await record(rpc, *(heartbeat(key) for key in "badec"))
    found, token = [], b""
    while True:
        page = await rpc.call(ListWorkersRequest(namespace="default", page_size=2, next_page_token=token))
        found.append([worker.worker_instance_key for worker in page.workers])
        token = page.next_page_token
        if not token:
            break
    assert found == [["a", "b"], ["c", "d"], ["e"]]
    refusal = await rpc.refused(ListWorkersRequest(namespace="default", next_page_token=b"zz"))
    assert (refusal.code, refusal.text) == ("INVALID_ARGUMENT", "invalid next_page_token")
    refusal = await rpc.refused(ListWorkersRequest(namespace="default", page_size=-1))
    assert "PageSize is -1" in refusal.text


async def test_a_worker_that_stops_is_marked_and_one_that_has_stopped_is_gone(rpc: Rpc) -> None:
    await record(rpc, heartbeat("a"), heartbeat("b"), heartbeat("c"))
    await rpc.call(ShutdownWorkerRequest(namespace="default", identity="id-a", worker_instance_key="a"))
    await rpc.call(ShutdownWorkerRequest(namespace="default", worker_heartbeat=heartbeat("b", status=SHUTDOWN)))
    await record(rpc, heartbeat("c", status=SHUTDOWN))
    assert await keys(rpc) == ["a"]
    assert await keys(rpc, "Status = 'ShuttingDown'") == ["a"]


async def test_the_servers_own_workers_are_listed_when_asked_for(rpc: Rpc) -> None:
    await record(rpc, heartbeat("a"), heartbeat("s", "temporal-sys-per-ns-tq"))
    assert await keys(rpc) == ["a"]
    listed = await rpc.call(ListWorkersRequest(namespace="default", include_system_workers=True))
    assert [worker.worker_instance_key for worker in listed.workers] == ["a", "s"]
