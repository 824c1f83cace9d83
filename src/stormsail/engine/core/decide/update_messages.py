"""What a worker says of updates when it completes a workflow task: accepted, rejected, completed.

A message is told of where a command names it, so that its event stands in its place among those of the commands;
messages that no command names follow them. Rejections have no event, and need no command.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from temporalio.api.command.v1 import ProtocolMessageCommandAttributes
from temporalio.api.enums.v1 import CommandType, WorkflowTaskFailedCause
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    WorkflowExecutionUpdateAcceptedEventAttributes,
    WorkflowExecutionUpdateCompletedEventAttributes,
)
from temporalio.api.protocol.v1 import Message
from temporalio.api.update.v1 import Acceptance, Outcome, Rejection, Request, Response

from stormsail.engine.core import failures, notes, updates
from stormsail.engine.core.decide.carrying import BadCommand, Carrying, Kind
from stormsail.engine.core.decide.update import check_count
from stormsail.engine.core.errors import InvalidArgument, WorkflowNotReady
from stormsail.engine.core.events import Extras
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.values import members

PROTOCOL: Final = "temporal.api.update.v1"
REJECTION: Final = Rejection.DESCRIPTOR.full_name

_BAD_MESSAGE: Final = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_BAD_UPDATE_WORKFLOW_EXECUTION_MESSAGE
_STATE_NAMES: Final = {updates.ADMITTED: "Admitted", updates.ACCEPTED: "Accepted", updates.COMPLETED: "Completed"}

Body = Acceptance | Rejection | Response


def by_id(messages: Sequence[Message]) -> dict[str, Message]:
    """Return messages by their ids, in order."""
    return {message.id: message for message in members(messages)}


def type_name(message: Message) -> str:
    """Return the full name of what a message carries, "" for nothing."""
    return message.body.type_url.rpartition("/")[2]


def take_rest(carrying: Carrying) -> None:
    """Take the messages that no command named."""
    while carrying.messages:
        _take(carrying, next(iter(carrying.messages)))


def reject_unprocessed(turn: Turn) -> None:
    """Reject the updates that the worker was given and said nothing of: they would be sent again and again."""
    for update_id, one in list(turn.state.updates_admitted.items()):
        if one.sent:
            _reject(turn, update_id, failures.UPDATE_NOT_PROCESSED)


def abort_sent(turn: Turn) -> None:
    """Tell the callers of the updates that the worker was given that it could not process its workflow task. Updates
    that no worker has seen wait for the next one, and so do those that history tells of."""
    for update_id, one in list(turn.state.updates_admitted.items()):
        if one.sent and not one.event_id:
            turn.hold(notes.UpdateDropped(update_id))
            turn.ended[update_id] = WorkflowNotReady(
                "Unable to perform workflow execution update due to unexpected workflow task failure."
            )


def _protocol_message(carrying: Carrying, command: ProtocolMessageCommandAttributes, _extras: Extras) -> None:
    if not command.message_id:
        raise InvalidArgument("MessageID is not set on ProtocolMessageCommand.")
    if command.message_id not in carrying.messages:
        raise InvalidArgument(f"ProtocolMessageCommand referenced absent message ID {command.message_id}")
    _take(carrying, command.message_id)


def _take(carrying: Carrying, message_id: str) -> None:
    message = carrying.messages.pop(message_id)
    name = type_name(message)
    if not name:
        raise BadCommand(_BAD_MESSAGE, "nil body")
    carrying.refuse_large(message.body.ByteSize(), _BAD_MESSAGE, f"Message type {name} exceeds size limit.")
    if name.rpartition(".")[0] != PROTOCOL:
        raise BadCommand(_BAD_MESSAGE, f"unsupported protocol type {name.rpartition('.')[0]}")
    body = _body(message, name)
    update_id = message.protocol_instance_id
    if _ended_with_run(carrying.turn, update_id):
        # Nothing more can be written. Only a rejection still counts; of the rest the caller learns that the run closed.
        if isinstance(body, Rejection):
            carrying.turn.ended[update_id] = Outcome(failure=body.failure)
        return
    if updates.reached(carrying.turn.state, update_id) is None:
        _resurrect(carrying, update_id, body)
    match body:
        case Acceptance():
            _accept(carrying.turn, update_id, body)
        case Rejection():
            _expect(carrying.turn, update_id, "Rejection", updates.ADMITTED)
            _reject(carrying.turn, update_id, body.failure)
        case Response():
            _complete(carrying.turn, update_id, body)


def _body(message: Message, name: str) -> Body:
    for known in (Acceptance, Rejection, Response):
        if name == known.DESCRIPTOR.full_name:
            body = known()
            message.body.Unpack(body)
            return body
    raise BadCommand(_BAD_MESSAGE, f"Message type *update.{name.rpartition('.')[2]} not supported")


def _ended_with_run(turn: Turn, update_id: str) -> bool:
    """Say whether an update ended because a command of the same task closed the run."""
    if turn.state.open or turn.before is None:
        return False
    return update_id in turn.before.updates_admitted or update_id in turn.state.updates_accepted


def _resurrect(carrying: Carrying, update_id: str, body: Body) -> None:
    """Admit an update again that was forgotten after a worker was given it: the worker sends its request back."""
    request: Request | None = None
    if isinstance(body, Acceptance) and body.HasField("accepted_request"):
        request = body.accepted_request
    elif isinstance(body, Rejection) and body.HasField("rejected_request"):
        request = body.rejected_request
    if request is None or not carrying.turn.state.open:
        raise BadCommand(
            _BAD_MESSAGE,
            f"update {update_id} wasn't found on the server. This is most likely a transient error which will be "
            "resolved automatically by retries",
        )
    check_count(carrying.turn.state, carrying.limits)
    carrying.turn.hold(notes.UpdateAdmitted(update_id, updates.packed(request)))


def _accept(turn: Turn, update_id: str, acceptance: Acceptance) -> None:
    _expect(turn, update_id, "Acceptance", updates.ADMITTED)
    for name in ("accepted_request_sequencing_event_id", "accepted_request_message_id"):
        if not getattr(acceptance, name):
            raise BadCommand(_BAD_MESSAGE, f"invalid *update.Acceptance: {name} is not set")
    event = WorkflowExecutionUpdateAcceptedEventAttributes(
        protocol_instance_id=update_id,
        accepted_request_message_id=updates.message_id(update_id),
        accepted_request_sequencing_event_id=acceptance.accepted_request_sequencing_event_id,
    )
    body = turn.state.updates_admitted[update_id].request
    if body is not None:  # else the event of its admission has it
        body.Unpack(event.accepted_request)
    turn.emit(event)


def _complete(turn: Turn, update_id: str, response: Response) -> None:
    _expect(turn, update_id, "Response", updates.ACCEPTED)
    wrong = ""
    if not response.HasField("meta"):
        wrong = "meta is not set"
    elif not response.meta.update_id:
        wrong = "meta.update_id is not set"
    elif response.meta.update_id != update_id:
        wrong = f"meta.update_id != {update_id}"
    elif not response.HasField("outcome"):
        wrong = "outcome is not set"
    if wrong:
        raise BadCommand(_BAD_MESSAGE, f"invalid *update.Response: {wrong}")
    event = WorkflowExecutionUpdateCompletedEventAttributes(
        meta=response.meta, accepted_event_id=turn.state.updates_accepted[update_id], outcome=response.outcome
    )
    turn.emit(event)


def _reject(turn: Turn, update_id: str, failure: Failure) -> None:
    # One that history tells of would be there again after a restart.
    drop = turn.note if turn.state.updates_admitted[update_id].event_id else turn.hold
    drop(notes.UpdateDropped(update_id))
    turn.ended[update_id] = Outcome(failure=failure)


def _expect(turn: Turn, update_id: str, name: str, stage: int) -> None:
    """Refuse a message that does not fit how far its update is."""
    found = updates.reached(turn.state, update_id)
    if found is None or found.stage != stage:
        stands = _STATE_NAMES[found.stage] if found is not None else "Completed"
        if found is not None and found.stage == updates.ADMITTED and turn.state.updates_admitted[update_id].sent:
            stands = "Sent"
        raise BadCommand(
            _BAD_MESSAGE,
            f"invalid state transition attempted for Update {update_id}: received *update.{name} message while in "
            f"state {stands}",
        )


KINDS: Final[Mapping[int, Kind]] = {
    CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE: Kind(
        "protocol_message_command_attributes", _BAD_MESSAGE, _protocol_message
    )
}
"""The commands of this family."""
