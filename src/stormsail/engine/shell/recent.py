"""The newest events of runs, as committed: a task handed out after a turn needs just those, and reads no file."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.turn import Turn
from stormsail.engine.store.history import HistoryPage

_TAIL_BYTES: Final = 600
_FRAME_BYTES: Final = 50
"""What a run's tail, and each frame in it, take besides the frame's own bytes."""


@dataclass(slots=True)
class _Tail:
    first_event_id: int
    frames: list[bytes] = field(default_factory=list)
    size_bytes: int = _TAIL_BYTES


class RecentEvents:
    """The ends of histories, of the runs that changed last. What is not here is in the store."""

    def __init__(self, *, size_max: int, run_size_max: int) -> None:
        self._size_max = size_max
        self._run_size_max = run_size_max
        self._tails: OrderedDict[RunKey, _Tail] = OrderedDict()
        self._size_bytes = 0

    def add(self, turn: Turn) -> None:
        """Take note of a committed turn."""
        if not turn.events:
            return
        key, first = turn.state.key, turn.events[0].event_id
        tail = self._tails.get(key)
        if tail is not None and tail.first_event_id + len(tail.frames) == first:
            self._tails.move_to_end(key)
        else:
            self.forget(key)
            tail = self._tails[key] = _Tail(first)
            self._size_bytes += tail.size_bytes
        frames = turn.frames
        added = sum(map(len, frames)) + _FRAME_BYTES * len(frames)
        tail.frames += frames
        tail.size_bytes += added
        self._size_bytes += added
        if tail.size_bytes > self._run_size_max:
            self.forget(key)
        while self._size_bytes > self._size_max:
            self.forget(next(iter(self._tails)))

    def forget(self, key: RunKey) -> None:
        """Drop what is known of a run."""
        tail = self._tails.pop(key, None)
        if tail is not None:
            self._size_bytes -= tail.size_bytes

    def page(self, key: RunKey, first_event_id: int, *, max_events: int, max_bytes: int) -> HistoryPage | None:
        """Return events as `store.history.page` does; None where they are not all here."""
        tail = self._tails.get(key)
        begin = max(first_event_id, 1)
        if tail is None or not tail.first_event_id <= begin < tail.first_event_id + len(tail.frames):
            return None
        frames = tail.frames[begin - tail.first_event_id :]
        if len(frames) > max_events or (tail.size_bytes > max_bytes and sum(map(len, frames)) > max_bytes):
            return _first_of(frames, begin, max_events, max_bytes)
        return HistoryPage(b"".join(frames), 0, begin + len(frames) - 1)


def _first_of(frames: list[bytes], begin: int, max_events: int, max_bytes: int) -> HistoryPage:
    taken, size = 1, len(frames[0])
    while taken < min(len(frames), max_events) and size + len(frames[taken]) <= max_bytes:
        size += len(frames[taken])
        taken += 1
    following = begin + taken if taken < len(frames) else 0
    return HistoryPage(b"".join(frames[:taken]), following, begin + taken - 1)
