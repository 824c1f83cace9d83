"""An update's life, as histories tell it. What is absent is impossible.

A rejection is not here: it leaves no event. Nor is the admission, but for updates that a reset carried over.
"""

from collections.abc import Mapping
from typing import Final

from stormsail.engine.core import state
from stormsail.engine.core.values import Word


class Update(Word):
    """Where an update stands."""

    ABSENT = "absent"
    ADMITTED = "admitted"
    """It waits for a worker to accept or reject it."""
    ACCEPTED = "accepted"
    COMPLETED = "completed"


UPDATE: Final[Mapping[tuple[Update, str], Update]] = {
    (Update.ABSENT, "WorkflowExecutionUpdateAdmitted"): Update.ADMITTED,
    (Update.ADMITTED, "WorkflowExecutionUpdateAccepted"): Update.ACCEPTED,
    (Update.ABSENT, "WorkflowExecutionUpdateAccepted"): Update.ACCEPTED,  # in a replay: its admission was in memory
    (Update.ACCEPTED, "WorkflowExecutionUpdateCompleted"): Update.COMPLETED,
}
"""By event."""


def stands(of: state.RunState, update_id: str) -> Update:
    """Say where an update of a run stands."""
    if update_id in of.updates_completed:
        return Update.COMPLETED
    if update_id in of.updates_accepted:
        return Update.ACCEPTED
    return Update.ADMITTED if update_id in of.updates_admitted else Update.ABSENT
