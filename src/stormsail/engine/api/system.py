"""RPCs about the server itself."""

from importlib.metadata import PackageNotFoundError, version

from google.protobuf.message import Message
from temporalio.api.operatorservice.v1 import ClusterMetadata, ListClustersRequest, ListClustersResponse
from temporalio.api.workflowservice.v1 import (
    GetClusterInfoRequest,
    GetClusterInfoResponse,
    GetSearchAttributesRequest,
    GetSearchAttributesResponse,
    GetSystemInfoRequest,
    GetSystemInfoResponse,
)

from stormsail.engine.api.namespaces import CLUSTER
from stormsail.engine.api.transport import Call
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.search_attributes import PREDEFINED, SYSTEM
from stormsail.engine.shell.engine import Engine

_CLIENTS = {
    "temporal-cli": "<2.0.0",
    "temporal-dotnet": "<2.0.0",
    "temporal-go": "<2.0.0",
    "temporal-java": "<2.0.0",
    "temporal-php": "<3.0.0",
    "temporal-python": "<2.0.0",
    "temporal-ruby": "<2.0.0",
    "temporal-typescript": "<2.0.0",
    "temporal-ui": "<3.0.0",
}
"""Whose wire format this is; none is turned away."""


async def get_system_info(_engine: Engine, _: Call, _request: GetSystemInfoRequest) -> Message:
    """Say which abilities this server has. One is set here when, and only when, it is served."""
    return GetSystemInfoResponse(
        server_version=server_version(),
        capabilities=GetSystemInfoResponse.Capabilities(
            signal_and_query_header=True,
            internal_error_differentiation=True,
            activity_failure_include_heartbeat=True,
            encoded_failure_attributes=True,
            upsert_memo=True,
            supports_schedules=True,
            # A worker that is told so says its build as worker_version, which histories record. One that wants only
            # tasks of its version set or rules is turned away.
            build_id_based_versioning=True,
            eager_workflow_start=True,
            sdk_metadata=True,
            count_group_by_execution_status=True,
        ),
    )


async def get_cluster_info(engine: Engine, _: Call, _request: GetClusterInfoRequest) -> Message:
    """Say what this server is made of."""
    return GetClusterInfoResponse(
        supported_clients=_CLIENTS,
        server_version=server_version(),
        cluster_id=engine.store.cluster_id,
        cluster_name=CLUSTER,
        history_shard_count=1,
        persistence_store="sqlite",
        visibility_store="sqlite",
        initial_failover_version=1,
        failover_version_increment=10,
    )


async def list_clusters(engine: Engine, _: Call, request: ListClustersRequest) -> Message:
    """List the clusters: this one, which has no other to reach it by an address."""
    if request.next_page_token:
        raise InvalidArgument("Invalid NextPageToken: there is one cluster, and it was listed.")
    return ListClustersResponse(
        clusters=[
            ClusterMetadata(
                cluster_name=CLUSTER,
                cluster_id=engine.store.cluster_id,
                initial_failover_version=1,
                history_shard_count=1,
                is_connection_enabled=True,
            )
        ]
    )


async def get_search_attributes(_engine: Engine, _: Call, _request: GetSearchAttributesRequest) -> Message:
    """List the search attributes that every namespace has."""
    return GetSearchAttributesResponse(keys={**SYSTEM, **PREDEFINED})


def server_version() -> str:
    """Return the version that is installed: our own, not that of the server whose protocol this is."""
    try:
        return version("stormsail")
    except PackageNotFoundError:
        return "0.0.0"
