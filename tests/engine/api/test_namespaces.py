"""Namespaces, and what the server says of itself."""

import uuid

import pytest
from temporalio.api.enums.v1 import IndexedValueType, NamespaceState
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import (
    DeprecateNamespaceRequest,
    DescribeNamespaceRequest,
    GetClusterInfoRequest,
    GetSearchAttributesRequest,
    GetSystemInfoRequest,
    ListNamespacesRequest,
    ListWorkflowExecutionsRequest,
    RegisterNamespaceRequest,
    StartWorkflowExecutionRequest,
    UpdateNamespaceRequest,
)

from engine.api.rpc import Rpc

DAY = 24 * 3600
REGISTERED = NamespaceState.NAMESPACE_STATE_REGISTERED
DEPRECATED = NamespaceState.NAMESPACE_STATE_DEPRECATED
DELETED = NamespaceState.NAMESPACE_STATE_DELETED


def registration(name: str, *, retention_s: int = DAY) -> RegisterNamespaceRequest:
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.seconds = retention_s
    return request


async def test_a_registered_namespace_is_described_by_name_and_by_id(rpc: Rpc) -> None:
    request = registration("shop", retention_s=2 * DAY)
    request.description, request.owner_email = "all of it", "shop@example.com"
    request.data["tier"] = "1"
    await rpc.call(request)
    by_name = await rpc.call(DescribeNamespaceRequest(namespace="shop"))
    info = by_name.namespace_info
    assert (info.name, info.state, info.description) == ("shop", REGISTERED, "all of it")
    assert (info.owner_email, dict(info.data)) == ("shop@example.com", {"tier": "1"})
    assert by_name.config.workflow_execution_retention_ttl.seconds == 2 * DAY
    assert str(uuid.UUID(info.id)) == info.id
    assert await rpc.call(DescribeNamespaceRequest(id=info.id)) == by_name


async def test_the_capabilities_are_those_that_are_served(rpc: Rpc) -> None:
    described = await rpc.call(DescribeNamespaceRequest(namespace="default"))
    capabilities = {field.name for field, value in described.namespace_info.capabilities.ListFields() if value}
    assert capabilities == {
        "eager_workflow_start",
        "sync_update",
        "async_update",
        "worker_heartbeats",
        "poller_autoscaling",
        "worker_poll_complete_on_shutdown",
        "workflow_pause",
    }
    assert described.namespace_info.limits.blob_size_limit_error == 2 * 1024 * 1024
    assert described.namespace_info.limits.memo_size_limit_error == 2 * 1024 * 1024
    assert described.namespace_info.supports_schedules


async def test_a_namespace_cannot_be_registered_twice(rpc: Rpc) -> None:
    await rpc.call(registration("shop"))
    refusal = await rpc.refused(registration("shop"))
    assert (refusal.code, refusal.text) == ("ALREADY_EXISTS", 'Namespace "shop" already exists')
    assert refusal.detail == "NamespaceAlreadyExistsFailure"


@pytest.mark.parametrize("retention_s", [0, -1, 3599])
async def test_a_retention_under_an_hour_is_refused(rpc: Rpc, retention_s: int) -> None:
    refusal = await rpc.refused(registration("shop", retention_s=retention_s))
    assert (refusal.code, refusal.text) == (
        "INVALID_ARGUMENT",
        "A valid retention period is not set on request.",
    )


async def test_what_one_machine_cannot_have_is_refused(rpc: Rpc) -> None:
    request = registration("shop")
    request.is_global_namespace = True
    assert (await rpc.refused(request)).text == "Cannot register global namespace when not enabled"
    request = registration("shop")
    request.clusters.add(cluster_name="other")
    assert (await rpc.refused(request)).text == "Invalid cluster name: other"
    update = UpdateNamespaceRequest(namespace="default", promote_namespace=True)
    assert "global namespace is not enabled on this cluster" in (await rpc.refused(update)).text


async def test_the_list_has_every_namespace_once_over_its_pages(rpc: Rpc) -> None:
    for name in ("a", "b", "c", "d"):
        await rpc.call(registration(name))
    names: list[str] = []
    token = b""
    pages = 0
    while True:
        page = await rpc.call(ListNamespacesRequest(page_size=2, next_page_token=token))
        names += [namespace.namespace_info.name for namespace in page.namespaces]
        token = page.next_page_token
        pages += 1
        if not token:
            break
    assert (names, pages) == (["a", "b", "c", "d", "default"], 3)


async def test_a_negative_page_size_is_refused(rpc: Rpc) -> None:
    assert (await rpc.refused(ListNamespacesRequest(page_size=-1))).code == "INVALID_ARGUMENT"


async def test_an_update_changes_what_it_names_and_nothing_else(rpc: Rpc) -> None:
    request = registration("shop")
    request.description = "old"
    request.data["kept"] = "1"
    await rpc.call(request)
    update = UpdateNamespaceRequest(namespace="shop")
    update.update_info.owner_email = "new@example.com"
    update.update_info.data["added"] = "2"
    update.config.workflow_execution_retention_ttl.seconds = 7200
    updated = await rpc.call(update)
    described = await rpc.call(DescribeNamespaceRequest(namespace="shop"))
    assert updated.namespace_info == described.namespace_info
    assert described.namespace_info.description == "old"
    assert described.namespace_info.owner_email == "new@example.com"
    assert dict(described.namespace_info.data) == {"kept": "1", "added": "2"}
    assert described.config.workflow_execution_retention_ttl.seconds == 7200


async def test_a_deprecated_namespace_takes_no_new_workflows(rpc: Rpc) -> None:
    await rpc.call(registration("shop"))
    await rpc.call(DeprecateNamespaceRequest(namespace="shop"))
    refusal = await rpc.refused(StartWorkflowExecutionRequest(namespace="shop"))
    assert (refusal.code, refusal.text) == (
        "FAILED_PRECONDITION",
        "Namespace has invalid state: Deprecated. Must be Registered.",
    )
    assert refusal.detail == "NamespaceInvalidStateFailure"
    await rpc.call(ListWorkflowExecutionsRequest(namespace="shop"))


async def test_a_deleted_namespace_is_neither_used_nor_listed_nor_revived(rpc: Rpc) -> None:
    await rpc.call(registration("shop"))
    update = UpdateNamespaceRequest(namespace="shop")
    update.update_info.state = DELETED
    await rpc.call(update)
    refusal = await rpc.refused(ListWorkflowExecutionsRequest(namespace="shop"))
    assert refusal.text == "Namespace has invalid state: Deleted. Must be Registered or Deprecated."
    listed = await rpc.call(ListNamespacesRequest())
    assert [namespace.namespace_info.name for namespace in listed.namespaces] == ["default"]
    with_deleted = ListNamespacesRequest()
    with_deleted.namespace_filter.include_deleted = True
    assert len((await rpc.call(with_deleted)).namespaces) == 2
    update.update_info.state = REGISTERED
    assert (await rpc.refused(update)).text.startswith("Namespace has invalid state: Deleted.")


async def test_a_state_goes_only_forward(rpc: Rpc) -> None:
    await rpc.call(registration("shop"))
    await rpc.call(DeprecateNamespaceRequest(namespace="shop"))
    update = UpdateNamespaceRequest(namespace="shop")
    update.update_info.state = REGISTERED
    assert (await rpc.refused(update)).text == "Invalid namespace state update."


async def test_no_namespace_sees_into_another(rpc: Rpc) -> None:
    await rpc.call(registration("shop"))
    start = StartWorkflowExecutionRequest(namespace="shop", workflow_id="w")
    start.workflow_type.name, start.task_queue.name = "t", "q"
    await rpc.call(start)
    assert len((await rpc.call(ListWorkflowExecutionsRequest(namespace="shop"))).executions) == 1
    assert not (await rpc.call(ListWorkflowExecutionsRequest(namespace="default"))).executions
    start.namespace = "default"
    assert (await rpc.call(start)).started


async def test_the_system_says_what_it_can(rpc: Rpc) -> None:
    info = await rpc.call(GetSystemInfoRequest())
    assert {field.name for field, value in info.capabilities.ListFields() if value} == {
        "signal_and_query_header",
        "internal_error_differentiation",
        "activity_failure_include_heartbeat",
        "encoded_failure_attributes",
        "upsert_memo",
        "build_id_based_versioning",
        "eager_workflow_start",
        "supports_schedules",
        "sdk_metadata",
        "count_group_by_execution_status",
    }
    assert info.server_version


async def test_the_cluster_keeps_its_id(rpc: Rpc) -> None:
    first, second = await rpc.call(GetClusterInfoRequest()), await rpc.call(GetClusterInfoRequest())
    assert first == second
    assert uuid.UUID(first.cluster_id)
    assert (first.persistence_store, first.history_shard_count) == ("sqlite", 1)


async def test_both_services_list_the_same_search_attributes(rpc: Rpc) -> None:
    keys = (await rpc.call(GetSearchAttributesRequest())).keys
    listed = await rpc.call(ListSearchAttributesRequest(namespace="default"))
    assert keys == listed.system_attributes
    assert keys["StartTime"] == IndexedValueType.INDEXED_VALUE_TYPE_DATETIME
    assert not listed.custom_attributes
