"""A namespace that is deleted is gone at once, and what it had soon."""

import asyncio
from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    DeleteNamespaceRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.schedule.v1 import Schedule
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    CountSchedulesRequest,
    CountWorkflowExecutionsRequest,
    CreateScheduleRequest,
    DeprecateNamespaceRequest,
    DescribeNamespaceRequest,
    DescribeScheduleRequest,
    ListNamespacesRequest,
    StartWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
)

from engine.api.rpc import Rpc
from engine.api.test_namespaces import DELETED, registration

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD


def start(workflow_id: str) -> StartWorkflowExecutionRequest:
    return StartWorkflowExecutionRequest(
        namespace="shop", workflow_id=workflow_id, workflow_type=WorkflowType(name="T"), task_queue=TaskQueue(name="q")
    )


def schedule(**more: Any) -> CreateScheduleRequest:
    action = {"workflow_id": "acted", "workflow_type": {"name": "T"}, "task_queue": {"name": "q"}}
    every_second = {"interval": [{"interval": {"seconds": 1}}]}
    wanted = Schedule(spec=every_second, action={"start_workflow": action})
    return CreateScheduleRequest(namespace="shop", schedule_id="s", request_id="r", schedule=wanted, **more)


async def listed(rpc: Rpc) -> list[str]:
    request = ListNamespacesRequest()
    request.namespace_filter.include_deleted = True
    return [one.namespace_info.name for one in (await rpc.call(request)).namespaces]


async def test_a_deleted_namespace_loses_its_name_at_once_and_all_that_it_had_soon(rpc: Rpc) -> None:
    await rpc.call(registration("shop"))
    for workflow_id in ("open", "closed"):
        await rpc.call(start(workflow_id))
    closed = WorkflowExecution(workflow_id="closed")
    await rpc.call(TerminateWorkflowExecutionRequest(namespace="shop", workflow_execution=closed))
    await rpc.call(AddSearchAttributesRequest(namespace="shop", search_attributes={"Colour": KEYWORD}))
    await rpc.call(schedule())
    described = await rpc.call(DescribeNamespaceRequest(namespace="shop"))
    answer = await rpc.call(DeleteNamespaceRequest(namespace="shop"))
    assert answer.deleted_namespace == f"shop-deleted-{described.namespace_info.id[:5]}"
    for request in (start("w"), DescribeNamespaceRequest(namespace="shop"), DeleteNamespaceRequest(namespace="shop")):
        refusal = await rpc.refused(request)
        assert (refusal.code, refusal.text) == ("NOT_FOUND", "Namespace shop is not found.")
    async with asyncio.timeout(60):
        while answer.deleted_namespace in await listed(rpc):  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.02)
    await rpc.call(registration("shop"))
    assert (await rpc.call(CountWorkflowExecutionsRequest(namespace="shop"))).count == 0
    assert (await rpc.call(CountSchedulesRequest(namespace="shop"))).count == 0
    assert not (await rpc.call(ListSearchAttributesRequest(namespace="shop"))).custom_attributes


async def test_a_namespace_may_be_deleted_by_its_id(rpc: Rpc) -> None:
    await rpc.call(registration("shop"))
    described = await rpc.call(DescribeNamespaceRequest(namespace="shop"))
    await rpc.call(DeleteNamespaceRequest(namespace_id=described.namespace_info.id))
    assert (await rpc.refused(start("w"))).code == "NOT_FOUND"
    request = ListNamespacesRequest()
    request.namespace_filter.include_deleted = True
    states = [one.namespace_info.state for one in (await rpc.call(request)).namespaces]
    assert DELETED in states or len(states) == 1


async def test_schedules_of_a_deprecated_namespace_go_on_and_new_ones_may_be_made(rpc: Rpc) -> None:
    await rpc.call(registration("shop"))
    await rpc.call(DeprecateNamespaceRequest(namespace="shop"))
    await rpc.call(schedule(initial_patch={"trigger_immediately": {}}))
    described = await rpc.call(DescribeScheduleRequest(namespace="shop", schedule_id="s"))
    assert described.info.action_count == 1


REFUSED: list[tuple[Message, str, str]] = [
    (DeleteNamespaceRequest(namespace="none"), "NOT_FOUND", "Namespace none is not found."),
    (DeleteNamespaceRequest(namespace_id="none"), "NOT_FOUND", "Namespace none is not found."),
    (DeleteNamespaceRequest(), "INVALID_ARGUMENT", "Namespace not set on request."),
    (
        DeleteNamespaceRequest(namespace="default", namespace_id="x"),
        "INVALID_ARGUMENT",
        "Only one of namespace name or Id should be set on request.",
    ),
]


@pytest.mark.parametrize(("request_", "code", "text"), REFUSED)
async def test_what_breaks_a_rule_is_refused(rpc: Rpc, request_: Message, code: str, text: str) -> None:
    refusal = await rpc.refused(request_)
    assert (refusal.code, refusal.text) == (code, text)
