"""How states and turns are compared, and shown where they differ."""

from dataclasses import fields
from typing import Any

from temporalio.api.history.v1 import HistoryEvent

from stormsail.engine.core.events import NAME_OF_TYPE
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn


def kept(state: RunState) -> RunState:
    """Return what a restart would find, but for the sticky queue: where a task that is not written goes, and when its
    worker was last heard of, is in memory until the next turn. After a restart the older queue does as well."""
    state = state.durable.copy()
    state.sticky_queue, state.sticky_timeout_ms, state.sticky_touched_at_ms = "", 0, 0
    return state


def flatten(turn: Turn, into: list[Turn]) -> None:
    """Add a turn, and those that it carries along, as they are to be applied: what closes a run first."""
    for other in turn.also:
        flatten(other, into)
    if turn.events or turn.noted:
        into.append(turn)
    into.sort(key=lambda each: each.state.open)


def difference(expected: RunState, found: RunState) -> str:
    """Say what differs between two states."""
    compared = [one.name for one in fields(RunState) if one.compare]
    names = [name for name in compared if getattr(expected, name) != getattr(found, name)]
    return ", ".join(
        f"{name} is {getattr(found, name)!r:.80} not {getattr(expected, name)!r:.80}" for name in names[:3]
    )


def few(found: set[Any]) -> str:
    """Show some of a set, in an order of their own."""
    return "; ".join(sorted(str(one)[:160] for one in found)[:3])


def short(event: HistoryEvent) -> str:
    """Name an event."""
    return f"{event.event_id} {NAME_OF_TYPE[event.event_type]}"
