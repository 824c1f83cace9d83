"""The limits of single requests: what is counted, how much of it there may be, and the words for one too many.

Each row makes the request that has `size` of it. Both our server and Temporal's are asked them.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message
from temporalio.api.common.v1 import (
    Link,
    Memo,
    Payload,
    Payloads,
    Priority,
    SearchAttributes,
    WorkflowExecution,
    WorkflowType,
)
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.schedule.v1 import Schedule
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.update.v1 import Input, Meta, Request
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    DescribeTaskQueueRequest,
    PatchScheduleRequest,
    PauseWorkflowExecutionRequest,
    PollWorkflowTaskQueueRequest,
    QueryWorkflowRequest,
    RegisterNamespaceRequest,
    RequestCancelWorkflowExecutionRequest,
    ResetWorkflowExecutionRequest,
    SignalWithStartWorkflowExecutionRequest,
    SignalWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
    UnpauseWorkflowExecutionRequest,
    UpdateWorkflowExecutionRequest,
)

OPEN: Final = "limits-open"
"""The workflow id of a run that is there, and open."""
IDS: Final = 1_000
MIB: Final = 1024 * 1024


@dataclass(frozen=True)
class Row:
    """One limit. `most` passes, one more and a hundred times as much do not."""

    name: str
    most: int
    request: Callable[[int], Message]
    text: str
    code: str = "INVALID_ARGUMENT"
    passes: str = "OK"
    """How `most` of it is answered: a request may be within this limit and be refused for another reason."""
    large: str = ""
    """How a hundred times as much is answered, where that is not as one too many is: with the message's own limit."""
    differs: str = ""
    """Why Temporal's server draws the line elsewhere, where it does."""


def start(**more: Any) -> StartWorkflowExecutionRequest:
    """A start that nothing is wrong with."""
    asked: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": str(uuid.uuid4()),
        "workflow_type": WorkflowType(name="T"),
        "task_queue": TaskQueue(name="q"),
        "request_id": str(uuid.uuid4()),
    }
    return StartWorkflowExecutionRequest(**{**asked, **more})


def signal(**more: Any) -> SignalWorkflowExecutionRequest:
    """A signal that nothing is wrong with."""
    asked: dict[str, Any] = {
        "namespace": "default",
        "workflow_execution": WorkflowExecution(workflow_id=OPEN),
        "signal_name": "s",
    }
    return SignalWorkflowExecutionRequest(**{**asked, **more})


def signal_with_start(**more: Any) -> SignalWithStartWorkflowExecutionRequest:
    """A signal-with-start that nothing is wrong with."""
    asked: dict[str, Any] = {
        "namespace": "default",
        "workflow_id": str(uuid.uuid4()),
        "workflow_type": WorkflowType(name="T"),
        "task_queue": TaskQueue(name="q"),
        "signal_name": "s",
    }
    return SignalWithStartWorkflowExecutionRequest(**{**asked, **more})


def of_open(kind: Any, **more: Any) -> Any:
    """A request about the open run."""
    field = "workflow_execution" if "workflow_execution" in kind.DESCRIPTOR.fields_by_name else "execution"
    return kind(namespace="default", **{field: WorkflowExecution(workflow_id=OPEN)}, **more)


def sized(kind: Any, size: int) -> Any:
    """Payloads or a memo that is `size` bytes long when it is serialised."""
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"1")

    def made(length: int) -> Any:
        payload.data = b"1" * length
        return Payloads(payloads=[payload]) if kind is Payloads else kind(fields={"k": payload})

    length = max(0, size - 100)
    while made(length).ByteSize() < size:
        length += size - made(length).ByteSize()
        while made(length).ByteSize() > size:
            length -= 1
            if made(length).ByteSize() < size:
                break  # a length prefix grew by one: this size cannot be met exactly
        else:
            continue
        break
    return made(length)


def keyword(length: int) -> Payload:
    """A search attribute's value whose data is `length` bytes long."""
    return Payload(metadata={"encoding": b"json/plain", "type": b"Keyword"}, data=b'"' + b"x" * (length - 2) + b'"')


def attributes(fields: dict[str, Payload]) -> SearchAttributes:
    """Search attributes of every namespace: these are set by tools."""
    return SearchAttributes(indexed_fields=fields)


def link() -> Link:
    """A link that nothing is wrong with."""
    return Link(workflow_event=Link.WorkflowEvent(namespace="n", workflow_id="w", run_id="r"))


def schedule(schedule_id: str = "", **more: Any) -> CreateScheduleRequest:
    """A schedule that never acts."""
    action = {"workflow_id": "acted", "workflow_type": {"name": "T"}, "task_queue": {"name": "q"}}
    asked: dict[str, Any] = {"schedule_id": schedule_id or str(uuid.uuid4()), "request_id": "r", **more}
    return CreateScheduleRequest(namespace="default", schedule=Schedule(action={"start_workflow": action}), **asked)


def filled(size: int) -> StartWorkflowExecutionRequest:
    """A start of that many bytes; what fills it has no limit of its own."""
    request = start()
    request.header.fields["k"].data = b"x" * (size - 100 - request.ByteSize())
    while request.ByteSize() < size:
        request.header.fields["k"].data += b"x" * (size - request.ByteSize())
    assert request.ByteSize() == size
    return request


def update(**more: Any) -> UpdateWorkflowExecutionRequest:
    """An update of a run that is not there: one within its limits is not found."""
    asked = Request(meta=Meta(**more.pop("meta", {})), input=Input(**{"name": "n", **more.pop("input", {})}))
    return UpdateWorkflowExecutionRequest(
        namespace="default", workflow_execution=WorkflowExecution(workflow_id="absent"), request=asked, **more
    )


def registration(name: str) -> RegisterNamespaceRequest:
    """A namespace to register."""
    request = RegisterNamespaceRequest(namespace=name)
    request.workflow_execution_retention_period.seconds = 24 * 3600
    return request


def x(size: int) -> str:
    """A text of that many bytes, unlike any other."""
    return uuid.uuid4().hex[: min(size, 32)] + "x" * (size - 32)


ROWS: Final = [
    Row("a workflow id", IDS, lambda n: start(workflow_id=x(n)), "WorkflowId exceeds maximum allowed length"),
    Row("a workflow id in bytes", IDS // 2, lambda n: start(workflow_id=x(32) + "é" * (n - 16)), "WorkflowId exceeds"),
    Row("a workflow type", IDS, lambda n: start(workflow_type=WorkflowType(name=x(n))), "WorkflowType length exceeds"),
    Row("a task queue", IDS, lambda n: start(task_queue=TaskQueue(name=x(n))), "taskQueue length exceeds limit"),
    Row("a start's request id", IDS, lambda n: start(request_id=x(n)), "RequestId length exceeds limit."),
    Row("a signal's name", IDS, lambda n: signal(signal_name=x(n)), "SignalName length exceeds limit."),
    Row("a signal's request id", IDS, lambda n: signal(request_id=x(n)), "RequestId length exceeds limit."),
    Row(
        "the workflow id of a signal-with-start",
        IDS,
        lambda n: signal_with_start(workflow_id=x(n)),
        "WorkflowId exceeds maximum allowed length",
    ),
    Row(
        "the signal's name of a signal-with-start",
        IDS,
        lambda n: signal_with_start(signal_name=x(n)),
        "signal name exceeds maximum allowed length",
    ),
    Row(
        "a reset's request id",
        IDS,
        lambda n: of_open(ResetWorkflowExecutionRequest, request_id=x(n), workflow_task_finish_event_id=1),
        "RequestId length exceeds limit.",
        passes="INVALID_ARGUMENT",
    ),
    Row(
        "a pause's reason",
        IDS,
        lambda n: PauseWorkflowExecutionRequest(namespace="default", workflow_id="absent", reason=x(n)),
        "reason is too long.",
        passes="NOT_FOUND",
    ),
    Row(
        "an unpause's identity",
        IDS,
        lambda n: UnpauseWorkflowExecutionRequest(namespace="default", workflow_id="absent", identity=x(n)),
        "identity is too long.",
        passes="NOT_FOUND",
    ),
    Row(
        "an update's id", IDS, lambda n: update(meta={"update_id": x(n)}), "UpdateId length exceeds", passes="NOT_FOUND"
    ),
    Row(
        "a described task queue",
        IDS,
        lambda n: DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=x(n))),
        "taskQueue length exceeds limit",
    ),
    Row(
        "a workflow poller's identity",
        IDS,
        lambda n: PollWorkflowTaskQueueRequest(namespace="default", task_queue=TaskQueue(name=""), identity=x(n)),
        "Identity length exceeds limit.",
        passes="INVALID_ARGUMENT",
    ),
    Row("a namespace's name", IDS, lambda n: registration(x(n)), "Namespace length exceeds limit."),
    Row(
        "a schedule's notes",
        IDS,
        lambda n: PatchScheduleRequest(namespace="default", schedule_id="absent", patch={"pause": "x" * n}),
        "Schedule notes exceeds limit.",
        passes="NOT_FOUND",
    ),
    Row(
        "a schedule's memo",
        2 * MIB,
        lambda n: schedule(memo=sized(Memo, n)),
        "Memo size exceeds limit.",
        large="RESOURCE_EXHAUSTED",
        differs="it counts what it adds to the memo itself",
    ),
    Row(
        "the whole message",
        4 * MIB,
        filled,
        "grpc: received message larger than max",
        code="RESOURCE_EXHAUSTED",
        differs="between its own parts a request is a few bytes longer",
    ),
    Row(
        "a schedule's id",
        IDS - len("temporal-sys-scheduler:"),
        lambda n: schedule(x(n)),
        "WorkflowId exceeds maximum allowed length",
    ),
    Row(
        "the input of a start",
        2 * MIB,
        lambda n: start(input=sized(Payloads, n)),
        "Blob data size exceeds limit.",
        large="RESOURCE_EXHAUSTED",
    ),
    Row(
        "the input of a signal",
        2 * MIB,
        lambda n: signal(input=sized(Payloads, n)),
        "Blob data size exceeds limit.",
        large="RESOURCE_EXHAUSTED",
    ),
    Row(
        "the signal's input of a signal-with-start",
        2 * MIB,
        lambda n: signal_with_start(signal_input=sized(Payloads, n)),
        "Blob data size exceeds limit.",
        large="RESOURCE_EXHAUSTED",
    ),
    Row(
        "the arguments of a query",
        2 * MIB,
        lambda n: QueryWorkflowRequest(
            namespace="default",
            execution=WorkflowExecution(workflow_id="absent"),
            query=WorkflowQuery(query_type="q", query_args=sized(Payloads, n)),
        ),
        "Blob data size exceeds limit.",
        passes="NOT_FOUND",
        large="RESOURCE_EXHAUSTED",
    ),
    Row(
        "a memo",
        2 * MIB,
        lambda n: start(memo=sized(Memo, n)),
        "Memo size exceeds limit.",
        large="RESOURCE_EXHAUSTED",
    ),
    Row(
        "a search attribute",
        2 * 1024,
        lambda n: start(search_attributes=attributes({"BatcherUser": keyword(n)})),
        "search attribute BatcherUser value size",
    ),
    Row("the links of a signal", 10, lambda n: signal(links=[link()] * n), "cannot attach more than 10 links"),
    Row(
        "the links of a cancellation",
        10,
        lambda n: of_open(RequestCancelWorkflowExecutionRequest, links=[link()] * n),
        "cannot attach more than 10 links",
    ),
    Row(
        "a fairness key",
        64,
        lambda n: start(priority=Priority(fairness_key="x" * n)),
        "fairness key length exceeds limit",
    ),
]
