"""Search attributes over gRPC: registered, set, searched for and taken back."""

from typing import Any

import pytest
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, SearchAttributes, WorkflowExecution, WorkflowType
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
    RemoveSearchAttributesRequest,
)
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    GetWorkflowExecutionHistoryRequest,
    ListWorkflowExecutionsRequest,
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    UpdateNamespaceRequest,
)

from engine.api.rpc import Rpc

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
INT = IndexedValueType.INDEXED_VALUE_TYPE_INT


def add(**attributes: Any) -> AddSearchAttributesRequest:
    return AddSearchAttributesRequest(namespace="default", search_attributes=attributes)


def start(workflow_id: str, kind: type[Any] = StartWorkflowExecutionRequest, **values: str) -> Any:
    """Start a workflow with search attributes, each given as JSON."""
    fields = {name: Payload(metadata={"encoding": b"json/plain"}, data=text.encode()) for name, text in values.items()}
    return kind(
        namespace="default",
        workflow_id=workflow_id,
        workflow_type=WorkflowType(name="T"),
        task_queue=TaskQueue(name="q"),
        request_id=workflow_id,
        search_attributes=SearchAttributes(indexed_fields=fields),
    )


async def found(rpc: Rpc, query: str) -> list[str]:
    page = await rpc.call(ListWorkflowExecutionsRequest(namespace="default", query=query))
    return sorted(one.execution.workflow_id for one in page.executions)


async def test_an_attribute_is_registered_set_found_and_shown_with_its_type(rpc: Rpc) -> None:
    await rpc.call(add(Customer=KEYWORD, Items=INT))
    await rpc.call(add(Customer=INT))
    listed = await rpc.call(ListSearchAttributesRequest(namespace="default"))
    assert listed.custom_attributes == {"Customer": KEYWORD, "Items": INT}
    described = await rpc.call(DescribeNamespaceRequest(namespace="default"))
    assert described.config.custom_search_attribute_aliases == {"Keyword01": "Customer", "Int01": "Items"}
    await rpc.call(start("a", Customer='"ann"', Items="3"))
    signalled = start("b", SignalWithStartWorkflowExecutionRequest, Customer='"bob"')
    signalled.signal_name = "s"
    await rpc.call(signalled)
    assert await found(rpc, "Customer STARTS_WITH 'a' OR Items > 5") == ["a"]
    assert await found(rpc, "Items IS NULL") == ["b"]
    execution = WorkflowExecution(workflow_id="a")
    shown = await rpc.call(DescribeWorkflowExecutionRequest(namespace="default", execution=execution))
    history = await rpc.call(GetWorkflowExecutionHistoryRequest(namespace="default", execution=execution))
    begun = history.history.events[0].workflow_execution_started_event_attributes
    for attributes in (shown.workflow_execution_info.search_attributes, begun.search_attributes):
        assert attributes.indexed_fields["Items"].metadata["type"] == b"Int"
    await rpc.call(RemoveSearchAttributesRequest(namespace="default", search_attributes=["Items", "unknown"]))
    assert (await rpc.refused(start("c", Items="3"))).code == "INVALID_ARGUMENT"
    assert not (await rpc.call(ListSearchAttributesRequest(namespace="default"))).custom_attributes.get("Items")


REFUSED: list[tuple[Message, str]] = [
    (add(), "SearchAttributes are not set on request."),
    (add(WorkflowId=INT), "Search attribute WorkflowId is reserved by system."),
    (add(TemporalMine=INT), "Search attribute TemporalMine is reserved by system."),
    (add(x=99), "Unknown search attribute type: 99."),
    (add(x=0), "Unable to create search attributes: cannot have more than 0 search attribute of type Unspecified."),
    (
        add(**{f"i{n}": INT for n in range(4)}),
        "Unable to create search attributes: cannot have more than 3 search attribute of type Int.",
    ),
    (AddSearchAttributesRequest(search_attributes={"x": INT}), "Namespace is not set on request."),
    (RemoveSearchAttributesRequest(namespace="default"), "SearchAttributes are not set on request."),
    (
        RemoveSearchAttributesRequest(namespace="default", search_attributes=["WorkflowId"]),
        "Unable to remove non-custom search attributes: WorkflowId.",
    ),
    (ListSearchAttributesRequest(), "Namespace is not set on request."),
    (start("w", TemporalChangeVersion='"x"'), "invalid value for search attribute TemporalChangeVersion of type"),
    (
        start("w", BatcherUser='"' + "x" * 2_048 + '"'),
        "search attribute BatcherUser value size 2050 exceeds size limit",
    ),
]


@pytest.mark.parametrize(("request_", "text"), REFUSED, ids=lambda one: one if isinstance(one, str) else "")
async def test_what_breaks_a_rule_is_refused_in_temporals_words(rpc: Rpc, request_: Message, text: str) -> None:
    refusal = await rpc.refused(request_)
    assert refusal.code == "INVALID_ARGUMENT"
    assert refusal.text.startswith(text)
    listed = await rpc.call(ListSearchAttributesRequest(namespace="default"))
    assert not listed.custom_attributes


def aliases(**names: str) -> UpdateNamespaceRequest:
    return UpdateNamespaceRequest(namespace="default", config={"custom_search_attribute_aliases": names})


async def test_an_attribute_may_be_registered_and_taken_back_by_its_place(rpc: Rpc) -> None:
    updated = await rpc.call(aliases(Keyword02="Customer", Int01="Items"))
    assert updated.config.custom_search_attribute_aliases == {"Keyword02": "Customer", "Int01": "Items"}
    await rpc.call(start("a", Customer='"ann"', Items="3"))
    assert await found(rpc, "Customer = 'ann' AND Items = 3") == ["a"]
    await rpc.call(add(Other=KEYWORD))
    updated = await rpc.call(aliases(Keyword02="Customer", Int01=""))
    assert updated.config.custom_search_attribute_aliases == {"Keyword01": "Other", "Keyword02": "Customer"}


@pytest.mark.parametrize(
    ("names", "text"),
    [
        ({"Keyword01": "Other"}, "Custom search attribute field name already allocated."),
        ({"Keyword02": "Customer"}, "Search attribute Customer is registered already, at another place."),
        ({"Keyword11": "Other"}, "Keyword11 is no place for a search attribute"),
        ({"Nope01": "Other"}, "Nope01 is no place for a search attribute"),
        ({"Int01": "WorkflowId"}, "Search attribute WorkflowId is reserved by system."),
        ({"Int01": "x" * 1_001}, "Search attribute name is 1001 bytes long"),
    ],
)
async def test_a_place_that_cannot_be_is_refused(rpc: Rpc, names: dict[str, str], text: str) -> None:
    await rpc.call(aliases(Keyword01="Customer"))
    refusal = await rpc.refused(aliases(**names))
    assert refusal.code == "INVALID_ARGUMENT"
    assert refusal.text.startswith(text)
