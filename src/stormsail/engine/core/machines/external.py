"""A signal to another run, and a cancellation of one: asked for once, answered once. What is absent is impossible."""

from collections.abc import Mapping
from typing import Final

from stormsail.engine.core.values import Word


class External(Word):
    """Where a signal or a cancellation stands."""

    ABSENT = "absent"
    PENDING = "pending"
    ANSWERED = "answered"


SIGNAL: Final[Mapping[tuple[External, str], External]] = {
    (External.ABSENT, "SignalExternalWorkflowExecutionInitiated"): External.PENDING,
    (External.PENDING, "ExternalWorkflowExecutionSignaled"): External.ANSWERED,
    (External.PENDING, "SignalExternalWorkflowExecutionFailed"): External.ANSWERED,
}
CANCEL: Final[Mapping[tuple[External, str], External]] = {
    (External.ABSENT, "RequestCancelExternalWorkflowExecutionInitiated"): External.PENDING,
    (External.PENDING, "ExternalWorkflowExecutionCancelRequested"): External.ANSWERED,
    (External.PENDING, "RequestCancelExternalWorkflowExecutionFailed"): External.ANSWERED,
}
"""By event."""


def stands(pending: bool) -> External:
    """Say where one stands that was asked for."""
    return External.PENDING if pending else External.ANSWERED
