"""Updates: how the model worker answers them, and S2, what must hold of them in the end."""

import zlib
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message as Proto
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Acceptance, Outcome, Rejection, Request, Response

from stormsail.engine.core import events
from stormsail.engine.core.events import NAME_OF_TYPE
from stormsail.engine.core.ids import RunKey
from stormsail.engine.sim.program import payloads, text_of


@dataclass(frozen=True, slots=True)
class UpdateSent:
    """An update; `run_id` is the run that the reply named, empty where there was no reply."""

    namespace: str
    workflow_id: str
    update_id: str
    run_id: str
    result: str
    """What the reply gave as outcome; empty where it only said that the update was accepted."""
    named_run: bool


def rejects(update_id: str) -> bool:
    """Whether the workflow turns an update down."""
    return zlib.crc32(update_id.encode()) % 4 == 0


def result_of(update_id: str) -> str:
    """Return what the workflow answers to an update."""
    return f"done {update_id}"


def answers(
    accepted: Mapping[str, str], admitted: Mapping[str, int], messages: Iterable[Message]
) -> tuple[list[Message], list[Command]]:
    """Return what a worker says to updates: outcomes of those accepted before, then of the new ones their fate.

    New ones come with a message, or stand in history as admitted. Every other one that is accepted gets its outcome
    with a later workflow task.
    """
    said = [_message(instance, "done", _response(update_id)) for update_id, instance in accepted.items()]
    refused: list[Message] = []
    asked: list[tuple[Message, Request]] = []
    for message in messages:
        request = Request()
        if message.body.Unpack(request):
            asked.append((message, request))
    for update_id, event_id in admitted.items():
        request = Request()
        request.meta.update_id = update_id
        told = Message(id=f"{update_id}/request", protocol_instance_id=update_id, event_id=event_id)
        asked.append((told, request))
    for message, request in asked:
        update_id = request.meta.update_id
        if rejects(update_id):
            no = Rejection(
                rejected_request_message_id=message.id,
                rejected_request_sequencing_event_id=message.event_id,
                rejected_request=request,
            )
            no.failure.message = "as planned"
            refused.append(_message(message.protocol_instance_id, "no", no))
            continue
        yes = Acceptance(
            accepted_request_message_id=message.id,
            accepted_request_sequencing_event_id=message.event_id,
            accepted_request=request,
        )
        said.append(_message(message.protocol_instance_id, "yes", yes))
        if zlib.crc32(update_id.encode()) % 2:
            said.append(_message(message.protocol_instance_id, "done", _response(update_id)))
    commands = []
    for message in said:
        command = Command(command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE)
        command.protocol_message_command_attributes.message_id = message.id
        commands.append(command)
    return said + refused, commands


def _response(update_id: str) -> Response:
    response = Response(outcome=Outcome(success=payloads(result_of(update_id))))
    response.meta.update_id = update_id
    return response


def _message(instance: str, what: str, body: Proto) -> Message:
    message = Message(id=f"{instance}/{what}", protocol_instance_id=instance)
    message.body.Pack(body)
    return message


def check(
    sent: Iterable[UpdateSent],
    histories: Mapping[RunKey, Sequence[HistoryEvent]],
    reset: Container[tuple[str, str]],
    broken: Callable[[str, str], None],
) -> None:
    """S2: accepted before completed, one outcome, and it is the one that was told. `reset`: workflows of which a run
    has what another had."""
    accepted: dict[str, list[RunKey]] = defaultdict(list)
    completed: dict[tuple[RunKey, str], list[str]] = defaultdict(list)
    for key, history in histories.items():
        for event in history:
            attributes: Any = events.attributes_of(event)
            match NAME_OF_TYPE[event.event_type]:
                case "WorkflowExecutionUpdateAccepted":
                    update_id = attributes.accepted_request.meta.update_id or attributes.protocol_instance_id
                    accepted[update_id].append(key)
                    if rejects(update_id):
                        broken("S2", f"{key}: update {update_id} was turned down, and is there as accepted")
                case "WorkflowExecutionUpdateCompleted":
                    update_id = attributes.meta.update_id
                    if key not in accepted[update_id]:
                        broken("S2", f"{key}: update {update_id} was completed before it was accepted")
                    completed[key, update_id].append(text_of(attributes.outcome.success))
    for update_id, runs in accepted.items():
        if len(runs) != len(set(runs)):
            broken("D2", f"update {update_id} was accepted twice by one run")
    for (key, update_id), results in completed.items():
        if results != [result_of(update_id)]:
            broken("S2", f"{key}: update {update_id} has the outcomes {results}")
    for update in sent:
        key = RunKey(update.namespace, update.workflow_id, update.run_id)
        if not update.run_id:
            continue
        if key not in accepted[update.update_id]:
            broken("D1", f"update {update.update_id} was acknowledged by {update.run_id}, and is not there")
        if update.result and completed[key, update.update_id] != [update.result]:
            broken("S2", f"update {update.update_id} was answered {update.result!r}, and is there otherwise")
        if update.named_run and len(accepted[update.update_id]) > 1 and key.workflow not in reset:
            broken("D2", f"update {update.update_id} named one run and is in {len(accepted[update.update_id])}")
