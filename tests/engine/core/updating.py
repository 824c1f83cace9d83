"""Requests and messages of updates, as clients and workers send them."""

from typing import Any

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.failure.v1 import Failure
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update.v1 import Acceptance, Outcome, Rejection, Response
from temporalio.api.workflowservice.v1 import UpdateWorkflowExecutionRequest


def asked(update_id: str, *, stage: int = 3, size: int = 0, **fields: Any) -> UpdateWorkflowExecutionRequest:
    """What a client asks; `size` bytes of arguments."""
    request = UpdateWorkflowExecutionRequest(namespace="default", **fields)
    request.wait_policy.lifecycle_stage = stage  # type: ignore[assignment]
    request.request.meta.update_id = update_id
    request.request.input.name = "change"
    if size:
        request.request.input.args.payloads.append(Payload(data=b"x" * size))
    return request


def accepts(update_id: str, event_id: int = 1) -> ProtocolMessage:
    """A worker accepts."""
    body = Acceptance(accepted_request_message_id=f"{update_id}/request", accepted_request_sequencing_event_id=event_id)
    return _says(update_id, "accept", body)


def rejects(update_id: str) -> ProtocolMessage:
    """A worker rejects."""
    return _says(update_id, "reject", Rejection(failure=Failure(message="no")))


def responds(update_id: str, text: str = "done") -> ProtocolMessage:
    """A worker is done."""
    body = Response(outcome=outcome(text))
    body.meta.update_id = update_id
    return _says(update_id, "respond", body)


def outcome(text: str) -> Outcome:
    """The outcome that says this."""
    return Outcome(success=Payloads(payloads=[Payload(data=text.encode())]))


def _says(update_id: str, kind: str, body: Message) -> ProtocolMessage:
    packed = Packed()
    packed.Pack(body)
    return ProtocolMessage(id=f"{update_id}/{kind}", protocol_instance_id=update_id, body=packed)
