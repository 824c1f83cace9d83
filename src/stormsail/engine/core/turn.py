"""One atomic step of one run: the events and progress it adds, the runs it begins, the reply it earns.

A Turn works on its own copy of the state. Nothing of it exists for others until the store has committed it; a turn
that is dropped leaves no trace. Durable effects (task rows, the run's next deadline, its visibility row) are not listed
here: they are *derived* by comparing `before` with `state` (see `work.py`), so that no handler can forget one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import Message
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.update.v1 import Outcome

from stormsail.engine.core import apply, events, notes
from stormsail.engine.core.errors import Refused
from stormsail.engine.core.events import NO_EXTRAS, Extras
from stormsail.engine.core.messages import RunMessage, sent
from stormsail.engine.core.state import RunState


@dataclass(slots=True)
class Turn:
    """See the module. `before` is None for a run that this turn begins."""

    before: RunState | None
    state: RunState
    now_ms: int
    events: list[HistoryEvent] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    """`events`, framed; what is stored and later served."""
    noted: bool = False
    """Whether progress changed."""
    held: bool = False
    """Whether something changed that is in memory alone."""
    ended: dict[str, Outcome | Refused] = field(default_factory=dict)
    """How updates ended of which the state keeps nothing: their callers are told, once all this is on disk."""
    also: "list[Turn]" = field(default_factory=list)
    """Turns of other runs of the same workflow id, committed in the same transaction; in the order of `every`."""
    messages: list[RunMessage] = field(default_factory=list)
    """What it tells other runs; committed with it, delivered afterwards."""
    takes: RunMessage | None = None
    """The message that it carries out; dropped with its commit."""
    reply: Any = None
    refusal: Refused | None = None
    """The caller is refused with this although the turn is committed: a workflow task that the server fails itself."""

    @classmethod
    def on(cls, state: RunState, now_ms: int) -> "Turn":
        """Begin a turn on a run that exists."""
        return cls(state, state.copy(), now_ms)

    @classmethod
    def begin(cls, state: RunState, now_ms: int) -> "Turn":
        """Begin a turn on a run that this turn makes."""
        return cls(before=None, state=state, now_ms=now_ms)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.events or self.noted or self.also or self.messages or self.takes)

    @property
    def every(self) -> "list[Turn]":
        """This turn and those of the other runs, closing ones first: a workflow id has at most one open run."""
        if not self.also:
            return [self]
        return sorted([*self.also, self], key=lambda turn: turn.state.open)

    def emit(self, attributes: Message, *, at_ms: int | None = None, extras: Extras = NO_EXTRAS) -> HistoryEvent:
        """Add an event to history and apply it. Where a workflow task is started and the event's type is one that waits
        for its end, the event is buffered instead (id 0). `at_ms` is for an event told later than it happened."""
        if apply.waits_for_task_end(self.state, attributes):
            return self.postpone(attributes, at_ms=at_ms, extras=extras)
        at_ms = self.now_ms if at_ms is None else at_ms
        return self._append(events.build(self.state.next_event_id, at_ms, attributes, extras))

    def postpone(self, attributes: Message, *, at_ms: int | None = None, extras: Extras = NO_EXTRAS) -> HistoryEvent:
        """Buffer an event: it takes effect now and enters history at the next `flush`.

        Called directly for what a command causes but is not itself a command's event (the cancellation of an activity
        that nobody had started): it must follow the events of all commands of its workflow task.
        """
        event = events.build(0, self.now_ms if at_ms is None else at_ms, attributes, extras)
        self.note(notes.EventBuffered(event))
        apply.take_effect(self.state, event)
        return event

    def write(self, event: HistoryEvent) -> None:
        """Add an event that was built before, with the id that history has next."""
        assert event.event_id == self.state.next_event_id
        self._append(event)

    def copy(self, event: HistoryEvent, framed: bytes) -> None:
        """Take over an event of another run as it stands there. What it told other runs it does not tell again."""
        apply.apply(self.state, event, size_bytes=len(framed))
        self.events.append(event)
        self.frames.append(framed)

    def note(self, change: notes.Note) -> None:
        """Change progress."""
        notes.note(self.state, change)
        self.noted = True

    def hold(self, change: notes.Note) -> None:
        """Change what is in memory alone. Where the turn does nothing else it is not written, and costs no fsync."""
        notes.note(self.state, change)
        self.held = True

    def flush(self) -> None:
        """Give the buffered events their ids. Call when the started workflow task has ended."""
        waiting = apply.numbered_buffer(self.state)
        if not waiting:
            return
        self.note(notes.BufferCleared())
        for event in waiting:
            self._append(event, seen=True)

    def _append(self, event: HistoryEvent, *, seen: bool = False) -> HistoryEvent:
        framed = events.frame(event)
        self.messages += sent(self.state, event)
        apply.apply(self.state, event, size_bytes=len(framed), seen=seen)
        self.events.append(event)
        self.frames.append(framed)
        return event


def merged(turns: Sequence[Turn]) -> Turn:
    """Return turns of one run, each taken on the state that the one before leaves, as one. Only the last may carry
    turns of other runs."""
    if len(turns) == 1:
        return turns[0]
    first, last = turns[0], turns[-1]
    assert not any(turn.also for turn in turns[:-1])
    whole = Turn(before=first.before, state=last.state, now_ms=last.now_ms, also=last.also)
    for turn in turns:
        whole.events += turn.events
        whole.frames += turn.frames
        whole.messages += turn.messages
        whole.ended |= turn.ended
        whole.noted |= turn.noted
        whole.held |= turn.held
    return whole
