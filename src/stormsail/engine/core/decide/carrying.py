"""What carrying out a command needs, whichever family it is of: the turn, the ways it fails, and how it is listed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message as Proto
from temporalio.api.common.v1 import SearchAttributes
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.protocol.v1 import Message

from stormsail.engine.core import search_attributes
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.events import Extras
from stormsail.engine.core.ids import Ids
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.search_attributes import Types
from stormsail.engine.core.turn import Turn

Cause = WorkflowTaskFailedCause


class BadCommand(Exception):
    """A command that cannot be carried out: its workflow task fails with this cause.

    `terminates`: no repetition would be better (something is too large to keep), so the run is terminated.
    """

    def __init__(self, cause: Cause.ValueType, text: str = "", *, terminates: bool = False) -> None:
        name = camel(Cause.Name(cause), "WORKFLOW_TASK_FAILED_CAUSE_")
        self.message = f"{name}: {text}" if text else name
        self.cause = cause
        self.terminates = terminates
        super().__init__(self.message)


@dataclass(slots=True)
class Carrying:
    """What the commands of one task have in common."""

    turn: Turn
    completed_event_id: int
    """Of the workflow task whose commands they are."""
    identity: str
    unseen: bool
    """Events were buffered that the worker has not seen: the run may not close on what it knew."""
    ids: Ids
    limits: Limits
    eager: list[str] = field(default_factory=list)
    """Ids of the activities that the worker wants to start itself."""
    messages: dict[str, Message] = field(default_factory=dict)
    """What the worker says of updates, by message id, as far as it has not been taken."""
    attribute_types: Types = field(default_factory=lambda: search_attributes.SETTABLE)
    """The search attributes that may be set in the run's namespace."""
    namespace_ids: Mapping[str, str] = field(default_factory=dict)
    """Of the namespaces that commands name, by name."""
    children_begun: set[str] = field(default_factory=set)
    """Workflow ids of the children that this task's commands start."""

    def check_search_attributes(
        self, given: SearchAttributes, cause: Cause.ValueType, whole: SearchAttributes | None = None
    ) -> None:
        """Refuse search attributes that may not be set, and mark each with its type; end the run where they, or those
        of `whole` that they belong to, are too large."""
        search_attributes.check(given, self.attribute_types, self.turn.state.key.namespace)
        try:
            search_attributes.check_size(given if whole is None else whole)
        except InvalidArgument as large:
            raise BadCommand(cause, large.message, terminates=True) from None

    def refuse_large(self, size_bytes: int, cause: Cause.ValueType, text: str) -> None:
        """End the run where a command carries more than one event may."""
        if size_bytes > self.limits.blob_size_max:
            raise BadCommand(cause, text, terminates=True)


@dataclass(frozen=True, slots=True)
class Kind:
    """How one type of command is carried out."""

    attributes: str
    """Its field in Command."""
    cause: Cause.ValueType
    """Why the task fails where its attributes are wrong."""
    carry_out: Callable[[Carrying, Any, Extras], None]


def camel(name: str, prefix: str) -> str:
    """Return an enum's name as Temporal's server prints it: `ScheduleActivityTask`."""
    return name.removeprefix(prefix).title().replace("_", "")


def given(message: Proto, name: str) -> Any:
    """Return a sub-message where it is set, else None: events must not gain empty fields."""
    return getattr(message, name) if message.HasField(name) else None


def invalid_action(action: str, details: str) -> str:
    return f"invalid history builder state for action: {action}, {details}"
