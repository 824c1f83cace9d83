"""One trace under way on one driver: names, requests from words, and what was told, in lines."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType, EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.protocol.v1 import Message as ProtocolMessage
from temporalio.api.update import v1 as update
from temporalio.api.workflowservice.v1 import RespondWorkflowTaskCompletedRequest

from parity.fields import assign
from parity.language import Step, Trace
from parity.shown import Names, lines
from parity.vocabulary import COMMANDS, MESSAGES, VERBS, Words
from stormsail.engine.api.methods import METHODS

REQUESTS: Final = {method.name: method.request for method in METHODS.values()}


class Driver(Protocol):
    """What takes a trace's steps: a server, or the core."""

    async def take(self, step: Step) -> list[str] | None:
        """Do a step and tell what came of it; None where this driver has no say."""

    async def histories(self) -> list[str]:
        """Tell the histories of all workflows that the trace named."""

    async def leave(self) -> None:
        """Break off what was begun and is not ended."""


@dataclass
class Side:
    """See the module. What a driver keeps of a trace while it is taken."""

    trace: Trace
    namespace: str = "default"
    prefix: str = field(default_factory=lambda: f"t{uuid.uuid4().hex[:12]}")
    kept: dict[str, Any] = field(default_factory=dict)
    """Tokens and ids, by the names that later lines call them."""
    updates: dict[str, ProtocolMessage] = field(default_factory=dict)
    """What workers were given of updates, by update id."""
    workflows: dict[str, None] = field(default_factory=dict)
    """The workflow ids that were started, in order."""
    runs: dict[str, list[str]] = field(default_factory=dict)
    """Run ids that answers told, by workflow id."""

    def __post_init__(self) -> None:
        self.names = Names(self.prefix, self.namespace)

    def resolve(self, text: str) -> Any:
        """Return what a word stands for."""
        if text == "$new":
            return str(uuid.uuid4())
        if text == "$namespace":
            return self.namespace
        if text.startswith("$"):
            return self.kept[text[1:]]
        text = text.replace("~", self.prefix)
        head, at, name = text.partition("@$")
        return head + "@" + self.kept[name] if at else text

    def request(self, words: Words) -> Any:
        """Build the request that a line stands for."""
        verb = VERBS[words.verb]
        made: Any = REQUESTS[verb.stands_for]()
        for path, text in verb.assignments(words):
            if path != "as":
                self._assign(made, path, text)
        if "namespace" in made.DESCRIPTOR.fields_by_name and not words.get("namespace") and not made.namespace:
            made.namespace = self.namespace
        return made

    def _assign(self, message: Message, path: str, text: str) -> None:
        try:
            named = ".".join(str(self.resolve(part)) for part in path.split("."))
            assign(message, named, self.resolve(text))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.trace.name}: {path}={text}: {error!r}") from error

    def completion(self, step: Step) -> RespondWorkflowTaskCompletedRequest:
        """Build the end of a workflow task, with its commands and messages."""
        made: RespondWorkflowTaskCompletedRequest = self.request(step.words)
        for words in step.below:
            if words.verb in MESSAGES:
                message = self._message(words)
                made.messages.append(message)
                if words.verb != "reject" and "bare" not in words.plain:
                    named = made.commands.add(command_type=CommandType.COMMAND_TYPE_PROTOCOL_MESSAGE)
                    named.protocol_message_command_attributes.message_id = message.id
            else:
                made.commands.append(self._command(words))
        return made

    def _command(self, words: Words) -> Command:
        verb = COMMANDS[words.verb]
        made = Command(command_type=CommandType.Value(f"COMMAND_TYPE_{verb.stands_for}"))
        if verb.stands_for == "UNSPECIFIED":
            return made
        name = f"{verb.stands_for.lower()}_command_attributes"
        getattr(made, name).SetInParent()
        for path, text in verb.assignments(words):
            outside = path.startswith("user_metadata.")
            self._assign(made if outside else getattr(made, name), path, text)
        return made

    def _message(self, words: Words) -> ProtocolMessage:
        update_id = str(self.resolve(words.plain[0]))
        asked = self.updates.get(update_id, ProtocolMessage(id=f"{update_id}/request"))
        body: Message
        match words.verb:
            case "accept":
                request = update.Request()
                asked.body.Unpack(request)
                body = update.Acceptance(
                    accepted_request_message_id=asked.id,
                    accepted_request_sequencing_event_id=asked.event_id,
                    accepted_request=request,
                )
            case "reject":
                body = update.Rejection(rejected_request_message_id=asked.id)
                self._assign(body, "failure", words.get("failure", "no"))
            case _:
                body = update.Response()
                body.meta.update_id = update_id
                self._assign(body, "outcome.success", words.get("result", "done"))
        packed = Packed()
        packed.Pack(body)
        return ProtocolMessage(id=f"{update_id}/{words.verb}", protocol_instance_id=update_id, body=packed)

    def met(self, workflow_id: str, run_id: str) -> None:
        """Remember a run."""
        self.workflows.setdefault(workflow_id)
        known = self.runs.setdefault(workflow_id, [])
        if run_id and run_id not in known:
            known.append(run_id)
            self.names.run(run_id)

    def seen(self, shown: Iterable[HistoryEvent]) -> None:
        """Remember which event scheduled which activity, and which children there are."""
        for event in shown:
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                name = event.activity_task_scheduled_event_attributes.activity_id
                self.kept[f"scheduled.{name}"] = event.event_id

    def told(self, messages: Iterable[ProtocolMessage]) -> list[str]:
        """Remember updates that a workflow task brought, and tell of them."""
        found = []
        for each in messages:
            self.updates[each.protocol_instance_id] = each
            found += [f"message {line}" for line in lines(each, self.names) if not line.startswith("body.value")]
        return found
