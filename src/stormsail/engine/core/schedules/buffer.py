"""What happens to actions that are due while a workflow of the schedule runs: the overlap policies."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from temporalio.api.enums.v1 import ScheduleOverlapPolicy as Policy

from stormsail.engine.core.schedules.state import Buffered

ALLOW_ALL: Final = Policy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL
_SKIP: Final = Policy.SCHEDULE_OVERLAP_POLICY_SKIP
_ONE: Final = Policy.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE
_ALL: Final = Policy.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL
_CANCEL: Final = Policy.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with the buffer."""

    overlapping: tuple[Buffered, ...]
    """Begin now, whatever runs."""
    next: Buffered | None
    """Begins now, and counts as running."""
    kept: tuple[Buffered, ...]
    """Wait for the end of what runs."""
    skipped: int
    cancel: bool
    terminate: bool


def plan(
    buffered: Iterable[Buffered], *, running: bool, resolve: Callable[[Policy.ValueType], Policy.ValueType]
) -> Plan:
    """Apply each action's policy, in order. `resolve` turns "unspecified" into the schedule's own policy."""
    overlapping: list[Buffered] = []
    chosen: Buffered | None = None
    kept: list[Buffered] = []
    skipped = 0
    cancel = terminate = False
    for action in buffered:
        policy = resolve(action.overlap)
        if policy == ALLOW_ALL:
            overlapping.append(action)
        elif not running and chosen is None:
            chosen = action
        elif policy == _SKIP or (policy == _ONE and kept):
            skipped += 1
        elif policy in (_ONE, _ALL):
            kept.append(action)
        elif running:
            # What runs is asked to end, and this begins once it has.
            kept.append(action)
            cancel = cancel or policy == _CANCEL
            terminate = terminate or policy != _CANCEL
        else:
            chosen = action  # the one chosen before has not begun: this takes its place
    if cancel or terminate:
        overlapping = []  # they would be ended at once
    return Plan(tuple(overlapping), chosen, tuple(kept), skipped, cancel, terminate)
