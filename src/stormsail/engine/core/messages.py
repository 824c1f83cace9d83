"""What one run tells another: start this child, take this signal, your child has closed.

A message is committed with the turn that sends it and dropped with the turn that takes it, so its effect happens once
whenever the process dies. `sent` derives from each event what it sends; no decision can forget a message. Answers,
which depend on what the other run did, are added where that is decided (`decide/deliveries.py`).

Each is about one event: the initiated event of a child, a signal or a cancellation, in the run that initiated it. With
what it says (the class of its body) that names it: the store keeps one of each.
"""

import hashlib
import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from google.protobuf.message import Message as Proto
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ParentClosePolicy
from temporalio.api.history.v1 import (
    HistoryEvent,
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
    SignalExternalWorkflowExecutionInitiatedEventAttributes,
    StartChildWorkflowExecutionInitiatedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
)
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from stormsail.engine.core import events
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.machines import run as run_machine
from stormsail.engine.core.priority import inherited
from stormsail.engine.core.state import RunState

VERSION: Final = 1
RESETTER: Final = "history-resetter"
"""The identity that terminates a run because it is reset: its children live on, and no parent hears of its end."""


@dataclass(frozen=True, slots=True)
class StartChild:
    """Start a workflow as the child of the run that asks."""

    request: StartWorkflowExecutionRequest
    parent_namespace_id: str
    root: WorkflowExecution


@dataclass(frozen=True, slots=True)
class SendSignal:
    """Take a signal."""

    attributes: SignalExternalWorkflowExecutionInitiatedEventAttributes


@dataclass(frozen=True, slots=True)
class SendCancel:
    """Cancel yourself."""

    attributes: RequestCancelExternalWorkflowExecutionInitiatedEventAttributes


@dataclass(frozen=True, slots=True)
class ParentClosed:
    """The parent has closed: do what its close policy says."""

    policy: int
    first_run_id: str
    """Of the child, "" where the parent never heard of its start."""


@dataclass(frozen=True, slots=True)
class ChildStarted:
    """The child is there."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ChildNotStarted:
    """The child was not started; `cause` is a StartChildWorkflowExecutionFailedCause."""

    cause: int


@dataclass(frozen=True, slots=True)
class ChildClosed:
    """The child's last run has closed with this event."""

    first_run_id: str
    run_id: str
    event: HistoryEvent


@dataclass(frozen=True, slots=True)
class SignalAnswered:
    """What came of a signal; `cause` is a SignalExternalWorkflowExecutionFailedCause, 0 where it was taken."""

    cause: int


@dataclass(frozen=True, slots=True)
class CancelAnswered:
    """What came of a cancellation; `cause` is a CancelExternalWorkflowExecutionFailedCause, 0 where it was taken."""

    cause: int


Body = (
    StartChild
    | SendSignal
    | SendCancel
    | ParentClosed
    | ChildStarted
    | ChildNotStarted
    | ChildClosed
    | SignalAnswered
    | CancelAnswered
)
_TERMINATED: Final = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED
_BODIES: Final[Mapping[str, type[Any]]] = {one.__name__: one for one in Body.__args__}


@dataclass(frozen=True, slots=True)
class RunMessage:
    """See the module. `to` is who takes it; its run id is empty where the current run is meant."""

    initiator: RunKey
    initiated_event_id: int
    to: RunKey
    body: Body

    @property
    def kind(self) -> str:
        """What it says."""
        return type(self.body).__name__

    @property
    def name(self) -> tuple[str, int, str]:
        """What tells it from all others."""
        return (self.initiator.run_id, self.initiated_event_id, self.kind)

    @property
    def request_id(self) -> str:
        """What a run that takes a signal remembers it by: named after the event that asks, as random as others look."""
        drawn = hashlib.sha256(f"{self.initiator.run_id}/{self.initiated_event_id}".encode()).hexdigest()
        return f"{drawn[:8]}-{drawn[8:12]}-8{drawn[13:16]}-a{drawn[17:20]}-{drawn[20:32]}"

    def answer(self, body: Body) -> "RunMessage":
        """Return the message that tells the initiator what came of this one."""
        return RunMessage(self.initiator, self.initiated_event_id, self.initiator, body)


def sent(state: RunState, event: HistoryEvent) -> list[RunMessage]:
    """Return what an event about to be applied to `state` tells other runs."""
    sending = _SENDING.get(event.event_type)
    return sending(state, event) if sending is not None else []


def again(state: RunState, event: HistoryEvent, first: RunKey) -> list[RunMessage]:
    """Return what an event tells other runs once more, in the name of a run that was made of another one's history.
    `first` is the run that told it before: a child that it began is found, and not begun again."""
    telling = sent(state, event)
    for message in telling:
        if isinstance(message.body, StartChild):
            message.body.request.request_id = _child_request_id(first, event)
    return telling


def pack(message: RunMessage) -> bytes:
    """Return a message as bytes: JSON, with protocol messages as base64."""
    body = {one.name: _packed(getattr(message.body, one.name)) for one in fields(message.body)}
    out = {
        "v": VERSION,
        "kind": message.kind,
        "initiator": _names(message.initiator),
        "event": message.initiated_event_id,
        "to": _names(message.to),
        "body": body,
    }
    return json.dumps(out, separators=(",", ":")).encode()


def unpack(packed: bytes) -> RunMessage:
    """Return what `pack` was given. Raises ValueError for bytes that are no message of this version."""
    found = json.loads(packed)
    if found.get("v") != VERSION or found.get("kind") not in _BODIES:
        raise ValueError(f"a message of version {found.get('v')} and kind {found.get('kind')}")
    kind = _BODIES[found["kind"]]
    body = kind(**{one.name: _restored(one.type, found["body"][one.name]) for one in fields(kind)})
    return RunMessage(RunKey(*found["initiator"]), found["event"], RunKey(*found["to"]), body)


def _names(key: RunKey) -> list[str]:
    return [key.namespace, key.workflow_id, key.run_id]


def _packed(value: Any) -> Any:
    return b64encode(value.SerializeToString(deterministic=True)).decode("ascii") if isinstance(value, Proto) else value


def _restored(kind: Any, value: Any) -> Any:
    return kind.FromString(b64decode(value)) if issubclass(kind, Proto) else value


def _start_child(state: RunState, event: HistoryEvent) -> list[RunMessage]:
    asked = event.start_child_workflow_execution_initiated_event_attributes
    to = RunKey(asked.namespace or state.key.namespace, asked.workflow_id, "")
    request = _child_request(state, asked)
    request.namespace = to.namespace
    request.request_id = _child_request_id(state.key, event)
    if event.HasField("user_metadata"):
        request.user_metadata.CopyFrom(event.user_metadata)
    root = state.start.root_workflow_execution if state.start.HasField("root_workflow_execution") else state.execution
    return [RunMessage(state.key, event.event_id, to, StartChild(request, asked.namespace_id, root))]


def _child_request_id(parent: RunKey, event: HistoryEvent) -> str:
    return f"{parent.run_id}:{event.event_id}:0"  # as Temporal writes it


def _child_request(
    state: RunState, asked: StartChildWorkflowExecutionInitiatedEventAttributes
) -> StartWorkflowExecutionRequest:
    request = StartWorkflowExecutionRequest(
        workflow_id=asked.workflow_id,
        workflow_id_reuse_policy=asked.workflow_id_reuse_policy,
        cron_schedule=asked.cron_schedule,
    )
    for name in (
        "workflow_type",
        "task_queue",
        "input",
        "header",
        "workflow_execution_timeout",
        "workflow_run_timeout",
        "workflow_task_timeout",
        "retry_policy",
        "memo",
        "search_attributes",
    ):
        if asked.HasField(name):
            getattr(request, name).CopyFrom(getattr(asked, name))
    own = asked.priority if asked.HasField("priority") else None
    if (priority := inherited(state.priority, own)) is not None:
        request.priority.CopyFrom(priority)
    return request


def _signal(state: RunState, event: HistoryEvent) -> list[RunMessage]:
    asked = event.signal_external_workflow_execution_initiated_event_attributes
    to = _target(state, asked.namespace, asked.workflow_execution)
    return [RunMessage(state.key, event.event_id, to, SendSignal(asked))]


def _cancel(state: RunState, event: HistoryEvent) -> list[RunMessage]:
    asked = event.request_cancel_external_workflow_execution_initiated_event_attributes
    to = _target(state, asked.namespace, asked.workflow_execution)
    return [RunMessage(state.key, event.event_id, to, SendCancel(asked))]


def _target(state: RunState, namespace: str, execution: WorkflowExecution) -> RunKey:
    return RunKey(namespace or state.key.namespace, execution.workflow_id, execution.run_id)


def _started(state: RunState, event: HistoryEvent) -> list[RunMessage]:
    """The first run of a child's chain tells the parent that it is there."""
    start = event.workflow_execution_started_event_attributes
    if not start.HasField("parent_workflow_execution") or start.continued_execution_run_id:
        return []
    parent = _parent(start)
    return [RunMessage(parent, start.parent_initiated_event_id, parent, ChildStarted(state.key.run_id))]


def _closed(state: RunState, event: HistoryEvent) -> list[RunMessage]:
    """Tell the parent, where no other run follows; tell the children, whatever follows."""
    attributes: Any = events.attributes_of(event)
    if event.event_type == _TERMINATED and attributes.identity == RESETTER:
        return []
    start = state.start
    telling: list[RunMessage] = []
    if start.HasField("parent_workflow_execution") and not getattr(attributes, "new_execution_run_id", ""):
        parent = _parent(start)
        body = ChildClosed(start.first_execution_run_id, state.key.run_id, event)
        telling.append(RunMessage(parent, start.parent_initiated_event_id, parent, body))
    for child in state.children.values():
        asked = child.initiated
        if asked.parent_close_policy != ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON:
            to = RunKey(asked.namespace or state.key.namespace, asked.workflow_id, "")
            policy = ParentClosed(asked.parent_close_policy, child.run_id)
            telling.append(RunMessage(state.key, child.initiated_event_id, to, policy))
    return telling


def _parent(start: WorkflowExecutionStartedEventAttributes) -> RunKey:
    parent = start.parent_workflow_execution
    return RunKey(start.parent_workflow_namespace, parent.workflow_id, parent.run_id)


_OF_NAME: Final[Mapping[str, Callable[[RunState, HistoryEvent], list[RunMessage]]]] = {
    "StartChildWorkflowExecutionInitiated": _start_child,
    "SignalExternalWorkflowExecutionInitiated": _signal,
    "RequestCancelExternalWorkflowExecutionInitiated": _cancel,
    "WorkflowExecutionStarted": _started,
    **dict.fromkeys(run_machine.CLOSING, _closed),
}
_SENDING: Final = {number: _OF_NAME[name] for number, name in events.NAME_OF_TYPE.items() if name in _OF_NAME}
