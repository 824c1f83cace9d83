"""RPCs about namespaces, and the rule by which every other call is held against its own."""

import uuid
from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from temporalio.api.enums.v1 import ArchivalState, NamespaceState, ReplicationState
from temporalio.api.namespace.v1 import NamespaceConfig, UpdateNamespaceInfo
from temporalio.api.replication.v1 import NamespaceReplicationConfig
from temporalio.api.workflowservice.v1 import (
    DeprecateNamespaceRequest,
    DeprecateNamespaceResponse,
    DescribeNamespaceRequest,
    DescribeNamespaceResponse,
    ListNamespacesRequest,
    ListNamespacesResponse,
    RegisterNamespaceRequest,
    RegisterNamespaceResponse,
    UpdateNamespaceRequest,
    UpdateNamespaceResponse,
)

from stormsail.engine.api import validate
from stormsail.engine.api.transport import Call
from stormsail.engine.core.errors import InvalidArgument, NamespaceAlreadyExists, NamespaceNotFound, Unimplemented
from stormsail.engine.core.limits import Limits
from stormsail.engine.shell.engine import Engine
from stormsail.engine.store.namespaces import StoredNamespace
from stormsail.engine.store.store import Store

CLUSTER = "active"
"""The one cluster's name, as clients know it from a single Temporal server."""
RETENTION_MIN_S = 3_600
RETENTION_DEFAULT_S = 24 * 3_600
_PAGE_DEFAULT = 100
_REGISTERED = NamespaceState.NAMESPACE_STATE_REGISTERED
_DEPRECATED = NamespaceState.NAMESPACE_STATE_DEPRECATED
_DELETED = NamespaceState.NAMESPACE_STATE_DELETED
_NEXT_STATES = {_REGISTERED: (_DEPRECATED, _DELETED), _DEPRECATED: (_DELETED,)}


async def register_missing(store: Store, names: Sequence[str], limits: Limits) -> None:
    """Register those of the names that are not there yet, with the default retention; but not those of which something
    is left to delete."""
    for name in names:
        if store.namespaces.get(name) is None and not store.namespaces.being_emptied(name):
            validate.required(name, "Namespace", limits)
            request = RegisterNamespaceRequest(namespace=name)
            request.workflow_execution_retention_period.seconds = RETENTION_DEFAULT_S
            await store.namespaces.register(_new_namespace(request))


async def register_namespace(engine: Engine, _: Call, request: RegisterNamespaceRequest) -> Message:
    """Add a namespace."""
    if request.is_global_namespace:
        raise InvalidArgument("Cannot register global namespace when not enabled")
    _check_retention(request.workflow_execution_retention_period)
    if engine.store.namespaces.get(request.namespace) is not None:
        raise NamespaceAlreadyExists(request.namespace)
    _check_clusters([request.active_cluster_name, *(cluster.cluster_name for cluster in request.clusters)])
    await engine.store.namespaces.register(_new_namespace(request))
    return RegisterNamespaceResponse()


async def describe_namespace(engine: Engine, _: Call, request: DescribeNamespaceRequest) -> Message:
    """Show a namespace, found by name or by id."""
    if request.namespace and request.id:
        raise InvalidArgument("Only one of namespace name or Id should be set on request.")
    if request.id:
        found = engine.store.namespaces.get_by_id(request.id)
    else:
        found = engine.store.namespaces.get(request.namespace)
    if found is None:
        raise NamespaceNotFound(request.namespace or request.id)
    return _shown(engine, found)


async def list_namespaces(engine: Engine, _: Call, request: ListNamespacesRequest) -> Message:
    """List the namespaces by name; deleted ones only where asked for."""
    if request.page_size < 0:
        raise InvalidArgument(
            f"PageSize is {request.page_size}: it cannot be negative; leave it out for {_PAGE_DEFAULT}."
        )
    size = min(request.page_size or _PAGE_DEFAULT, engine.limits.visibility_page_max)
    page = engine.store.namespaces.page(size, request.next_page_token)
    with_deleted = request.namespace_filter.include_deleted
    shown = [
        _shown(engine, namespace)
        for namespace in page.namespaces
        if with_deleted or namespace.described.namespace_info.state != _DELETED
    ]
    return ListNamespacesResponse(namespaces=shown, next_page_token=page.next_token)


async def update_namespace(engine: Engine, _: Call, request: UpdateNamespaceRequest) -> Message:
    """Change what a namespace says of itself, its retention or its state."""
    found = _found(engine, request.namespace)
    described = DescribeNamespaceResponse()
    described.CopyFrom(found.described)
    if request.promote_namespace:
        raise InvalidArgument(
            "global namespace is not enabled on this cluster, cannot update global namespace or promote local"
            f" namespace: {request.namespace}"
        )
    if request.delete_bad_binary:
        raise InvalidArgument(f"Bad binary checksum {request.delete_bad_binary} doesn't exists.")
    if request.HasField("update_info"):
        _update_info(described, request.update_info)
    if request.HasField("config"):
        _update_config(described, request.config)
    if request.HasField("replication_config"):
        _check_replication(request.replication_config)
    if request.config.custom_search_attribute_aliases:
        await engine.store.search_attributes.alias(found.name, request.config.custom_search_attribute_aliases)
    updated = StoredNamespace(found.name, found.id, described)
    await engine.store.namespaces.update(updated)
    shown = _shown(engine, updated)
    return UpdateNamespaceResponse(
        namespace_info=shown.namespace_info, config=shown.config, replication_config=shown.replication_config
    )


async def deprecate_namespace(engine: Engine, _: Call, request: DeprecateNamespaceRequest) -> Message:
    """Let a namespace's open runs end and take no new ones."""
    found = _found(engine, request.namespace)
    described = DescribeNamespaceResponse()
    described.CopyFrom(found.described)
    described.namespace_info.state = _DEPRECATED
    await engine.store.namespaces.update(StoredNamespace(found.name, found.id, described))
    return DeprecateNamespaceResponse()


def _found(engine: Engine, name: str) -> StoredNamespace:
    found = engine.store.namespaces.get(name)
    if found is None:
        raise NamespaceNotFound(name)
    return found


def _new_namespace(request: RegisterNamespaceRequest) -> StoredNamespace:
    described = DescribeNamespaceResponse()
    info, config = described.namespace_info, described.config
    info.id = str(uuid.uuid4())
    info.name, info.state = request.namespace, _REGISTERED
    info.description, info.owner_email = request.description, request.owner_email
    info.data.update(request.data)
    config.workflow_execution_retention_ttl.CopyFrom(request.workflow_execution_retention_period)
    return StoredNamespace(request.namespace, info.id, described)


def _shown(engine: Engine, namespace: StoredNamespace) -> DescribeNamespaceResponse:
    """A namespace with what depends on this server: a capability is set here when, and only when, it is served."""
    shown = DescribeNamespaceResponse()
    shown.CopyFrom(namespace.described)
    shown.namespace_info.name = namespace.name
    shown.config.history_archival_state = ArchivalState.ARCHIVAL_STATE_DISABLED
    shown.config.visibility_archival_state = ArchivalState.ARCHIVAL_STATE_DISABLED
    shown.config.bad_binaries.SetInParent()
    for attribute in engine.store.search_attributes.custom(namespace.name).values():
        shown.config.custom_search_attribute_aliases[attribute.field] = attribute.name
    shown.replication_config.active_cluster_name = CLUSTER
    shown.replication_config.clusters.add(cluster_name=CLUSTER)
    shown.replication_config.state = ReplicationState.REPLICATION_STATE_NORMAL
    shown.namespace_info.supports_schedules = True
    capabilities = shown.namespace_info.capabilities
    capabilities.eager_workflow_start = True
    capabilities.sync_update = True
    capabilities.async_update = True
    capabilities.worker_heartbeats = True
    capabilities.poller_autoscaling = True
    capabilities.worker_poll_complete_on_shutdown = True
    capabilities.workflow_pause = True
    shown.namespace_info.limits.blob_size_limit_error = engine.limits.blob_size_max
    shown.namespace_info.limits.memo_size_limit_error = engine.limits.memo_size_max
    return shown


def _check_retention(retention: Duration) -> None:
    if validate.duration(retention) is not None or retention.seconds < RETENTION_MIN_S:
        raise InvalidArgument("A valid retention period is not set on request.")


def _check_clusters(names: Sequence[str]) -> None:
    for name in names:
        if name and name != CLUSTER:
            raise InvalidArgument(f"Invalid cluster name: {name}")


def _update_info(described: DescribeNamespaceResponse, update: UpdateNamespaceInfo) -> None:
    info = described.namespace_info
    info.description = update.description or info.description
    info.owner_email = update.owner_email or info.owner_email
    info.data.update(update.data)
    if update.state not in (NamespaceState.NAMESPACE_STATE_UNSPECIFIED, info.state):
        if update.state not in _NEXT_STATES.get(info.state, ()):
            raise InvalidArgument("Invalid namespace state update.")
        info.state = update.state


def _update_config(described: DescribeNamespaceResponse, update: NamespaceConfig) -> None:
    if update.HasField("workflow_execution_retention_ttl"):
        _check_retention(update.workflow_execution_retention_ttl)
        described.config.workflow_execution_retention_ttl.CopyFrom(update.workflow_execution_retention_ttl)
    if update.bad_binaries.binaries:
        raise Unimplemented("bad_binaries of UpdateNamespace is not served here: no worker would be turned away.")


def _check_replication(update: NamespaceReplicationConfig) -> None:
    _check_clusters([update.active_cluster_name, *(cluster.cluster_name for cluster in update.clusters)])
    if update.state == ReplicationState.REPLICATION_STATE_HANDOVER:
        raise InvalidArgument("Handover can only be set for global namespace")
