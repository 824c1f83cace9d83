"""One server from start to stop, in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpc import aio
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import HistoryEventFilterType, TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeTaskQueueRequest,
    GetClusterInfoRequest,
    GetWorkflowExecutionHistoryRequest,
    ListNamespacesRequest,
    PollActivityTaskQueueRequest,
    PollWorkflowTaskQueueRequest,
    StartWorkflowExecutionRequest,
)
from temporalio.client import Client, WorkflowExecutionCount
from temporalio.service import TLSConfig

from engine.api.front.certificates import issued
from engine.api.rpc import Rpc
from stormsail.engine.api.server import DataDirInUse, PortTaken, ServerSettings, StorageFailed, Tls, serve
from stormsail.engine.core.errors import InvalidArgument


@asynccontextmanager
async def serving(settings: ServerSettings, renew: asyncio.Event | None = None) -> AsyncIterator[str]:
    stop = asyncio.Event()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    server = asyncio.ensure_future(serve(settings, stop=stop, started=listening.set_result, renew=renew))
    await asyncio.wait((server, listening), return_when=asyncio.FIRST_COMPLETED)
    if server.done():
        await server
    try:
        yield await listening
    finally:
        stop.set()
        await asyncio.wait_for(server, 60)


def settings_in(tmp_path: Path, **changed: object) -> ServerSettings:
    return ServerSettings(tmp_path / "data", port=0, log_level="error", **changed)  # type: ignore[arg-type]


async def test_the_given_namespaces_are_there_and_stay(tmp_path: Path) -> None:
    async with (
        serving(settings_in(tmp_path, namespaces=("a", "b"))) as address,
        aio.insecure_channel(address) as channel,
    ):
        first = await Rpc(channel).call(DescribeNamespaceRequest(namespace="a"))
    async with serving(settings_in(tmp_path, namespaces=("c",))) as address, aio.insecure_channel(address) as channel:
        listed = (await Rpc(channel).call(ListNamespacesRequest())).namespaces
        assert [namespace.namespace_info.name for namespace in listed] == ["a", "b", "c"]
        assert await Rpc(channel).call(DescribeNamespaceRequest(namespace="a")) == first


@pytest.mark.e2e
async def test_the_sdk_speaks_mutual_tls_and_certificates_are_renewed_on_demand(tmp_path: Path) -> None:
    authority = issued("authority")
    server, client = issued("server", authority), issued("client", authority)
    cert, key, ca = tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem"
    cert.write_bytes(server.cert_pem)
    key.write_bytes(server.key_pem())
    ca.write_bytes(authority.cert_pem)
    known = TLSConfig(authority.cert_pem, "localhost", client.cert_pem, client.key_pem())
    stranger = TLSConfig(authority.cert_pem, "localhost")
    renew = asyncio.Event()
    async with serving(settings_in(tmp_path, tls=Tls(cert, key, ca)), renew) as address:
        connected = await Client.connect(address, tls=known)
        assert await connected.count_workflows() == WorkflowExecutionCount(count=0, groups=[])
        with pytest.raises(RuntimeError):
            await Client.connect(address, tls=stranger)
        cert.write_bytes(b"spoilt")
        renew.set()
        await Client.connect(address, tls=known)
        assert not renew.is_set()


async def test_the_cluster_id_outlives_the_process(tmp_path: Path) -> None:
    ids = set()
    for _ in range(2):
        async with serving(settings_in(tmp_path)) as address, aio.insecure_channel(address) as channel:
            ids.add((await Rpc(channel).call(GetClusterInfoRequest())).cluster_id)
    assert len(ids) == 1


async def test_a_namespace_name_that_cannot_be_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="Namespace length exceeds limit"):
        async with serving(settings_in(tmp_path, namespaces=("x" * 1001,))):
            pass


async def test_a_second_server_in_the_directory_is_refused(tmp_path: Path) -> None:
    async with serving(settings_in(tmp_path)):
        with pytest.raises(DataDirInUse):
            async with serving(settings_in(tmp_path)):
                pass


async def test_a_server_that_found_its_port_taken_leaves_the_directory_free(tmp_path: Path) -> None:
    async with serving(settings_in(tmp_path / "one")) as address:
        port = int(address.rpartition(":")[2])
        taken = ServerSettings(tmp_path / "two", port=port, log_level="error")
        with pytest.raises(PortTaken):
            async with serving(taken):
                pass
    async with serving(ServerSettings(tmp_path / "two", port=0, log_level="error")):
        pass


async def test_a_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    with pytest.raises((StorageFailed, OSError)):
        async with serving(settings_in(tmp_path)):
            pass
    assert (tmp_path / "data").read_text() == "mine"


async def has_poller(rpc: Rpc, request: DescribeTaskQueueRequest) -> None:
    async with asyncio.timeout(60):
        while not (await rpc.call(request)).pollers:  # noqa: ASYNC110 - it is the server that knows
            await asyncio.sleep(0)


async def test_a_stop_ends_waiting_calls_with_an_answer(tmp_path: Path) -> None:
    server = serving(settings_in(tmp_path))
    async with aio.insecure_channel(await server.__aenter__()) as channel:
        rpc = Rpc(channel)
        start = StartWorkflowExecutionRequest(namespace="default", workflow_id="w")
        start.workflow_type.name, start.task_queue.name = "t", "elsewhere"
        await rpc.call(start)
        queue = TaskQueue(name="q")
        history = GetWorkflowExecutionHistoryRequest(
            namespace="default",
            execution=WorkflowExecution(workflow_id="w"),
            wait_new_event=True,
            history_event_filter_type=HistoryEventFilterType.HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT,
        )
        waiting = [
            asyncio.ensure_future(rpc.call(request, timeout=60))
            for request in (
                history,
                PollWorkflowTaskQueueRequest(namespace="default", task_queue=queue),
                PollActivityTaskQueueRequest(namespace="default", task_queue=queue),
            )
        ]
        for kind in (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY):
            await has_poller(rpc, DescribeTaskQueueRequest(namespace="default", task_queue=queue, task_queue_type=kind))
        await server.__aexit__(None, None, None)
        page, workflow_task, activity_task = await asyncio.gather(*waiting, return_exceptions=True)
    assert not workflow_task.task_token
    assert not activity_task.task_token
    assert isinstance(page, aio.AioRpcError)
    assert page.code().name == "UNAVAILABLE"
