"""The states of runs that are in memory: those used last, bounded in number and in bytes.

What a state takes is estimated: a fixed part, measured, and the bytes of the messages that it keeps. Those are counted
when a run comes here, and again when its history has grown by as much since: not at every turn.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState

STATE_BYTES: Final = 8_000
"""What a state takes whose messages are small: measured, with what is kept beside it by its key."""
_ENTRY_BYTES: Final = 300
"""What an entry of one of its containers takes at least."""
_COUNT_AGAIN_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class _Cached:
    state: RunState
    counted_bytes: int = 0
    """When it was counted last."""
    counted_at_bytes: int = 0
    """The history's size at that time."""
    size_bytes: int = 0
    """What it may take by now: all that came into its history since may be kept."""


class RunCache:
    """See the module."""

    def __init__(
        self, *, runs_max: int, size_max: int, held: Callable[[RunState], bool], dropped: Callable[[RunKey], None]
    ) -> None:
        """`held` says whether a run had better stay; `dropped` is told which went."""
        self.runs_max = runs_max
        self._size_max = size_max
        self._held = held
        self._dropped = dropped
        self._cached: OrderedDict[RunKey, _Cached] = OrderedDict()
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._cached)

    def get(self, key: RunKey) -> RunState | None:
        """Return a run's state, and take note that it is used."""
        cached = self._cached.get(key)
        if cached is None:
            return None
        self._cached.move_to_end(key)
        return cached.state

    def peek(self, key: RunKey) -> RunState | None:
        """Return a run's state as who only looks does."""
        cached = self._cached.get(key)
        return None if cached is None else cached.state

    def put(self, state: RunState) -> None:
        """Keep a run's newest state, and let go of those used longest ago where that is too much."""
        known = self._cached.get(state.key)
        if known is None:
            known = self._cached[state.key] = _Cached(state)
            self._count(known)
        else:
            known.state = state
            self._cached.move_to_end(state.key)
            grown = state.history_size_bytes - known.counted_at_bytes
            if grown > _COUNT_AGAIN_BYTES and grown > known.counted_bytes:
                self._count(known)
            else:
                self._takes(known, known.counted_bytes + (grown if grown > 0 else 0))
        self._make_room()

    def drop(self, key: RunKey) -> bool:
        """Forget a run's state; return whether it was here."""
        cached = self._cached.pop(key, None)
        if cached is None:
            return False
        self.size_bytes -= cached.size_bytes
        return True

    def _count(self, cached: _Cached) -> None:
        cached.counted_bytes = estimated_bytes(cached.state)
        cached.counted_at_bytes = cached.state.history_size_bytes
        self._takes(cached, cached.counted_bytes)

    def _takes(self, cached: _Cached, size_bytes: int) -> None:
        self.size_bytes += size_bytes - cached.size_bytes
        cached.size_bytes = size_bytes

    def _make_room(self) -> None:
        # One run is kept, whatever it takes: its next turn would otherwise read it again.
        spared = 0
        while len(self._cached) - spared > 1 and (
            len(self._cached) - spared > self.runs_max or self.size_bytes > self._size_max
        ):
            oldest = next(iter(self._cached))
            if self._held(self._cached[oldest].state):
                self._cached.move_to_end(oldest)
                spared += 1
            else:
                self.drop(oldest)
                self._dropped(oldest)


def estimated_bytes(state: RunState) -> int:
    """Return what a state takes in memory, roughly."""
    size = STATE_BYTES + state.start.ByteSize()
    for activity in state.activities.values():
        size += _ENTRY_BYTES * 2 + _size(
            activity.scheduled, activity.heartbeat_details, activity.last_failure, activity.original
        )
    size += sum(_ENTRY_BYTES + child.initiated.ByteSize() for child in state.children.values())
    size += _size(*state.signals_sent.values(), *state.cancels_sent.values(), *state.buffered, *state.reset_points)
    size += _size(state.result_failure, state.last_completed_task, state.user_metadata)
    size += sum(len(value) for value in (*state.memo.values(), *state.search_attributes.values()))
    size += sum(_size(admitted.request) for admitted in state.updates_admitted.values())
    entries = len(state.timers) + len(state.signal_request_ids) + len(state.attached_request_ids)
    return size + _ENTRY_BYTES * (entries + len(state.updates_completed))


def _size(*messages: Message | None) -> int:
    return sum(_ENTRY_BYTES + message.ByteSize() for message in messages if message is not None)
