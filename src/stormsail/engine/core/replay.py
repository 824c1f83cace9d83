"""A run's state from its history and its progress."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from temporalio.api.history.v1 import HistoryEvent

from stormsail.engine.core import progress as progress_bytes
from stormsail.engine.core.apply import apply
from stormsail.engine.core.errors import InvalidTransition
from stormsail.engine.core.events import EVENT_TAG
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState


def replay(
    key: RunKey,
    histories: Iterable[bytes],
    progress: bytes,
    apart: Mapping[int, dict[str, Any]] = progress_bytes.NOTHING_APART,
) -> RunState:
    """Return the state that all these frames lead to. Each of `histories` is a serialised History message; `apart` is
    what is kept apart from progress, of activities.

    Raises InvalidTransition for a history that no correct server writes.
    """
    state = RunState(key=key)
    for history in histories:
        for event, size_bytes in frames(history):
            if event.event_id != state.next_event_id:
                raise InvalidTransition(f"run {key}: event {event.event_id} where {state.next_event_id} must be")
            apply(state, event, size_bytes=size_bytes)
    progress_bytes.unpack_into(state, progress, apart)
    return state


def frames(history: bytes) -> Iterator[tuple[HistoryEvent, int]]:
    """Yield each event of a serialised History with the length of its frame."""
    at = 0
    while at < len(history):
        if history[at : at + 1] != EVENT_TAG:
            raise InvalidTransition(f"no event begins at byte {at} of a history")
        length, body = _varint(history, at + 1)
        end = body + length
        if end > len(history):
            raise InvalidTransition(f"the event at byte {at} of a history is cut off")
        yield HistoryEvent.FromString(history[body:end]), end - at
        at = end


def framed(history: bytes) -> Iterator[tuple[HistoryEvent, bytes]]:
    """Yield each event of a serialised History with its frame."""
    at = 0
    for event, size_bytes in frames(history):
        yield event, history[at : at + size_bytes]
        at += size_bytes


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Decode the varint at `at`; return it and the place behind it."""
    number = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return number, at
        shift += 7
    raise InvalidTransition(f"no length at byte {at} of a history")
