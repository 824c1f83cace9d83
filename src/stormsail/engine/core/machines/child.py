"""A child workflow's life as its parent sees it, however many runs its chain has. What is absent is impossible."""

from collections.abc import Mapping
from typing import Final

from stormsail.engine.core import state
from stormsail.engine.core.values import Word


class Child(Word):
    """Where a child stands."""

    ABSENT = "absent"
    INITIATED = "initiated"
    """Asked for; whether it could be started is not known here yet."""
    STARTED = "started"
    CLOSED = "closed"


CHILD: Final[Mapping[tuple[Child, str], Child]] = {
    (Child.ABSENT, "StartChildWorkflowExecutionInitiated"): Child.INITIATED,
    (Child.INITIATED, "ChildWorkflowExecutionStarted"): Child.STARTED,
    (Child.INITIATED, "StartChildWorkflowExecutionFailed"): Child.CLOSED,
    (Child.STARTED, "ChildWorkflowExecutionCompleted"): Child.CLOSED,
    (Child.STARTED, "ChildWorkflowExecutionFailed"): Child.CLOSED,
    (Child.STARTED, "ChildWorkflowExecutionCanceled"): Child.CLOSED,
    (Child.STARTED, "ChildWorkflowExecutionTimedOut"): Child.CLOSED,
    (Child.STARTED, "ChildWorkflowExecutionTerminated"): Child.CLOSED,
}
"""By event."""


def stands(child: state.Child | None) -> Child:
    """Say where a pending child stands; None is one that is not pending any more."""
    if child is None:
        return Child.CLOSED
    return Child.STARTED if child.run_id else Child.INITIATED
