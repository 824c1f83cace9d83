"""History events: how one is built from its attributes, framed and kept. The protocol's own messages, nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import EventGroupMarker, UserMetadata

from stormsail.engine.core.values import quick

EVENT_TAG: Final = b"\x0a"
"""Field 1, length-delimited: `temporal.api.history.v1.History.events`. Frames laid end to end are a History message."""


def _kinds() -> dict[type[Message], tuple[int, str]]:
    """Map a class of attributes to its event type and its field in HistoryEvent."""
    kinds: dict[type[Message], tuple[int, str]] = {}
    for one in HistoryEvent.DESCRIPTOR.oneofs_by_name["attributes"].fields:
        assert one.message_type is not None
        event_type = "EVENT_TYPE_" + one.name.removesuffix("_event_attributes").upper()
        kinds[GetMessageClass(one.message_type)] = (EventType.Value(event_type), one.name)
    return kinds


KINDS: Final = _kinds()
FIELD_OF_TYPE: Final[dict[int, str]] = dict(KINDS.values())


NAME_OF_TYPE: Final[dict[int, str]] = {
    number: name.removeprefix("EVENT_TYPE_").title().replace("_", "") for name, number in EventType.items() if number
}
"""Event types as histories show them and the machines' tables name them: `WorkflowTaskScheduled`."""


@quick
@dataclass(frozen=True, slots=True)
class Extras:
    """What an event may carry beside its attributes."""

    user_metadata: UserMetadata | None = None
    links: Sequence[Link] = ()
    group_markers: Sequence[EventGroupMarker] = ()


NO_EXTRAS: Final = Extras()
_SHORT: Final = tuple(bytes((number,)) for number in range(0x80))


_IGNORABLE: Final = (
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_PAUSED,
    EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UNPAUSED,
)


def build(event_id: int, at_ms: int, attributes: Message, extras: Extras = NO_EXTRAS) -> HistoryEvent:
    """Build the event that these attributes belong to. They are copied."""
    event_type, field = KINDS[type(attributes)]
    event = HistoryEvent()
    event.event_id, event.event_type = event_id, event_type  # type: ignore[assignment]
    set_time(event.event_time, at_ms)
    getattr(event, field).CopyFrom(attributes)
    if event_type in _IGNORABLE:
        event.worker_may_ignore = True  # an SDK older than the event type must not fail on it
    if extras is not NO_EXTRAS:
        if extras.links:
            event.links.extend(extras.links)
        if extras.group_markers:
            event.event_group_markers.extend(extras.group_markers)
        if extras.user_metadata is not None:
            event.user_metadata.CopyFrom(extras.user_metadata)
    return event


def set_time(timestamp: Timestamp, at_ms: int) -> None:
    """Set an instant. `FromMilliseconds` does the same and checks it."""
    timestamp.seconds = at_ms // 1_000
    timestamp.nanos = at_ms % 1_000 * 1_000_000


def attributes_of(event: HistoryEvent) -> Message:
    """Return the event's attributes message."""
    message = getattr(event, FIELD_OF_TYPE[event.event_type])
    assert isinstance(message, Message)
    return message


def frame(event: HistoryEvent) -> bytes:
    """Serialise an event as one element of a History message: tag, length, bytes."""
    body = event.SerializeToString(deterministic=True)
    return EVENT_TAG + varint(len(body)) + body


def varint(number: int) -> bytes:
    """Encode a non-negative number as protobuf's base-128 varint."""
    if number < 0x4000:
        return _SHORT[number] if number < 0x80 else bytes((number & 0x7F | 0x80, number >> 7))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
