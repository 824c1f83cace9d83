"""Priorities: which of two waiting tasks goes first, what a start or a command may ask for, and what is inherited."""

import math
from dataclasses import dataclass
from typing import Final

from temporalio.api.common.v1 import Priority

from stormsail.engine.core.values import quick

FAIRNESS_KEY_MAX: Final = 64
"""Bytes of UTF-8."""
_LIGHTEST: Final = 0.001


@quick
@dataclass(frozen=True, slots=True)
class TaskPriority:
    """What of a Priority a task carries. 0, "" and 0.0 stand for what nobody said."""

    key: int = 0
    fairness_key: str = ""
    fairness_weight: float = 0.0

    def level(self, levels: int) -> int:
        """Return the level that it waits at, 1 (first) to `levels`; who said none is in the middle."""
        return min(self.key, levels) if self.key > 0 else (levels + 1) // 2

    def weight(self, of_its_key: float | None) -> float:
        """Return how many turns it has where others have one; `of_its_key` is what its task queue says of the key."""
        return effective_weight(self.fairness_weight if of_its_key is None else of_its_key)


ORDINARY: Final = TaskPriority()


def effective_weight(asked: float) -> float:
    """Return a weight as it counts: 1 where there is none, and never so light that its key would stand still."""
    return max(asked, _LIGHTEST) if asked > 0 and not math.isnan(asked) else 1.0


def fault(priority: Priority) -> str:
    """Return what is wrong with a priority that was asked for, "" for nothing."""
    if priority.priority_key < 0:
        return "priority key can't be negative"
    if wrong := fairness_key_fault(priority.fairness_key):
        return wrong
    return "must be greater than zero" if priority.fairness_weight < 0 else ""


def fairness_key_fault(key: str) -> str:
    """Return what is wrong with a fairness key, "" for nothing."""
    return "fairness key length exceeds limit" if len(key.encode()) > FAIRNESS_KEY_MAX else ""


def inherited(of_run: Priority | None, own: Priority | None) -> Priority | None:
    """Return the priority of what a run asks for: its own, and the run's in what it leaves open. Not to be changed."""
    if of_run is None or own is None:
        return own if of_run is None else of_run
    merged = Priority()
    merged.CopyFrom(of_run)
    merged.MergeFrom(own)
    return merged


def carried(priority: Priority | None) -> TaskPriority:
    """Return what a task of this priority carries."""
    if priority is None:
        return ORDINARY
    return TaskPriority(priority.priority_key, priority.fairness_key, priority.fairness_weight)
