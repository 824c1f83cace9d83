"""Requests that break a rule, and the words in which they are turned down."""

from typing import Any

import pytest
from google.protobuf.message_factory import GetMessageClass
from grpc import aio
from temporalio.api.common.v1 import Callback
from temporalio.api.errordetails.v1 import NamespaceNotFoundFailure, WorkflowExecutionAlreadyStartedFailure
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    DescribeWorkflowExecutionRequest,
    ListWorkflowExecutionsRequest,
    RespondActivityTaskCompletedRequest,
    RespondWorkflowTaskCompletedRequest,
)

from engine.api.bad_requests import LONG, OTHERS, STARTS, UUID, run_of, start
from engine.api.rpc import Rpc
from stormsail.engine.api.methods import METHODS

UNSERVED = [method for method in METHODS.values() if method.handler is None]
NAMESPACED = [
    method
    for method in METHODS.values()
    if method.handler is not None
    and "namespace" in method.request.DESCRIPTOR.fields_by_name
    and "task_token" not in method.request.DESCRIPTOR.fields_by_name
    and not method.name.endswith("SearchAttributes")
]


def nexus(url: str) -> Callback:
    return Callback(nexus=Callback.Nexus(url=url))


@pytest.mark.parametrize("case", STARTS)
async def test_a_start_that_breaks_a_rule_is_refused_and_starts_nothing(rpc: Rpc, case: str) -> None:
    request, text = STARTS[case]
    refusal = await rpc.refused(request)
    assert (refusal.code, refusal.text) == ("INVALID_ARGUMENT", text)
    assert not (await rpc.call(ListWorkflowExecutionsRequest(namespace="default"))).executions


@pytest.mark.parametrize("case", OTHERS)
async def test_a_request_that_breaks_a_rule_is_refused(rpc: Rpc, case: str) -> None:
    request, code, text = OTHERS[case]
    refusal = await rpc.refused(request)
    assert (refusal.code, refusal.text) == (code, text)
    assert refusal.detail == ("NotFoundFailure" if code == "NOT_FOUND" else "")


async def test_a_field_that_is_not_served_is_named(rpc: Rpc) -> None:
    request = start()
    request.time_skipping_config.SetInParent()
    refusal = await rpc.refused(request)
    assert refusal.code == "UNIMPLEMENTED"
    assert "time_skipping_config" in refusal.text


@pytest.mark.parametrize(
    ("callback", "code", "text"),
    [
        (nexus("http://a/b"), "INVALID_ARGUMENT", "invalid url: url does not match any configured callback address"),
        (nexus("ftp://a/b"), "INVALID_ARGUMENT", "invalid url: unknown scheme: ftp://a/b"),
        (nexus("http:///b"), "INVALID_ARGUMENT", "invalid url: missing host"),
        (nexus("http://" + "a" * 1_000), "INVALID_ARGUMENT", "invalid url: url length longer than max length allowed"),
        (nexus("http://[a"), "INVALID_ARGUMENT", "invalid callback url: "),
        (nexus("temporal://system"), "UNIMPLEMENTED", "Nexus is not"),
        (Callback(internal=Callback.Internal(data=b"x")), "INVALID_ARGUMENT", "unsupported callback variant"),
        (Callback(), "UNIMPLEMENTED", "unknown callback variant: <nil>"),
    ],
)
async def test_nobody_can_be_called_back_when_a_workflow_completes(
    rpc: Rpc, callback: Callback, code: str, text: str
) -> None:
    request = start()
    request.completion_callbacks.append(callback)
    refusal = await rpc.refused(request)
    assert refusal.code == code
    assert text in refusal.text


async def test_every_method_that_is_not_served_names_itself(rpc: Rpc) -> None:
    for method in UNSERVED:
        refusal = await rpc.refused(method.request())
        assert refusal.code == "UNIMPLEMENTED"
        assert method.name in refusal.text


async def test_every_method_wants_a_namespace_that_exists(rpc: Rpc) -> None:
    for method in NAMESPACED:
        unset = await rpc.refused(method.request())
        assert (unset.code, unset.text) == ("INVALID_ARGUMENT", "Namespace not set on request."), method.name
        long = await rpc.refused(method.request(namespace=LONG))  # type: ignore[call-arg]
        assert (long.code, long.text) == ("INVALID_ARGUMENT", "Namespace length exceeds limit."), method.name
        if method.name == "RegisterNamespace":
            continue
        unknown = await rpc.refused(method.request(namespace="nowhere"))  # type: ignore[call-arg]
        assert (unknown.code, unknown.text) == ("NOT_FOUND", "Namespace nowhere is not found."), method.name
        detail = NamespaceNotFoundFailure()
        assert unknown.details[0].Unpack(detail)
        assert detail.namespace == "nowhere"


@pytest.mark.parametrize("token", [b"?", b"w[]", b'w["default","w","r",1,2,3]', b"a" * 100_000])
async def test_a_made_up_task_token_is_refused(rpc: Rpc, token: bytes) -> None:
    for request in (
        RespondWorkflowTaskCompletedRequest(namespace="default", task_token=token),
        RespondActivityTaskCompletedRequest(namespace="default", task_token=token),
    ):
        refusal = await rpc.refused(request)
        assert refusal.code == "INVALID_ARGUMENT"
        assert "token" in refusal.text


async def test_bytes_that_are_no_message_are_refused(rpc: Rpc) -> None:
    call = rpc.channel.unary_unary("/temporal.api.workflowservice.v1.WorkflowService/StartWorkflowExecution")
    with pytest.raises(aio.AioRpcError) as raised:
        await call(b"\xff\xff\xff")
    assert raised.value.code().name == "INVALID_ARGUMENT"
    assert "StartWorkflowExecutionRequest" in (raised.value.details() or "")


async def test_a_workflow_id_in_use_is_refused_with_the_run_that_has_it(rpc: Rpc) -> None:
    first = await rpc.call(start(request_id="first"))
    refusal = await rpc.refused(start(request_id="second"))
    text = f"Workflow execution is already running. WorkflowId: w, RunId: {first.run_id}."
    assert (refusal.code, refusal.text) == ("ALREADY_EXISTS", text)
    detail = WorkflowExecutionAlreadyStartedFailure()
    assert refusal.details[0].Unpack(detail)
    assert (detail.run_id, detail.start_request_id) == (first.run_id, "first")


async def test_a_start_sent_twice_starts_once(rpc: Rpc) -> None:
    assert await rpc.call(start()) == await rpc.call(start())


async def test_a_duration_over_a_century_is_cut_to_one(rpc: Rpc) -> None:
    request = start()
    request.workflow_run_timeout.FromSeconds(10_000 * 365 * 24 * 3600)
    await rpc.call(request)
    described = await rpc.call(DescribeWorkflowExecutionRequest(namespace="default", execution=run_of()))
    assert described.execution_config.workflow_run_timeout.seconds == 100 * 365 * 24 * 3600


async def test_every_request_of_random_bytes_is_answered_with_a_status(rpc: Rpc) -> None:
    """No handler breaks down: INTERNAL would mean that one did."""
    for method in METHODS.values():
        request: Any = GetMessageClass(method.request.DESCRIPTOR)()
        if "namespace" in method.request.DESCRIPTOR.fields_by_name:
            request.namespace = "default"
        if "task_token" in method.request.DESCRIPTOR.fields_by_name:
            request.task_token = b"w"
        if method.name in ("PollWorkflowTaskQueue", "PollActivityTaskQueue"):
            continue
        try:
            await rpc.call(request)
        except aio.AioRpcError as error:
            assert error.code().name != "INTERNAL", (method.name, error.details())


async def test_describing_a_namespace_needs_a_name_or_an_id(rpc: Rpc) -> None:
    both = await rpc.refused(DescribeNamespaceRequest(namespace="default", id=UUID))
    assert both.code == "INVALID_ARGUMENT"
    assert (await rpc.refused(DescribeNamespaceRequest(id=UUID))).text == f"Namespace {UUID} is not found."
