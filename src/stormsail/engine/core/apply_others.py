"""What the events about other runs do to a run's state: its children, and the signals and cancellations it sent."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from temporalio.api.history.v1 import HistoryEvent

from stormsail.engine.core import events
from stormsail.engine.core.machines import child as child_machine
from stormsail.engine.core.machines import external as external_machine
from stormsail.engine.core.machines.walk import walk
from stormsail.engine.core.state import Child, RunState
from stormsail.engine.core.values import replace

CHILD_ENDS: Final = frozenset(
    {
        "ChildWorkflowExecutionCompleted",
        "ChildWorkflowExecutionFailed",
        "ChildWorkflowExecutionCanceled",
        "ChildWorkflowExecutionTimedOut",
        "ChildWorkflowExecutionTerminated",
    }
)
ANSWERS: Final = CHILD_ENDS | {
    "ChildWorkflowExecutionStarted",
    "StartChildWorkflowExecutionFailed",
    "ExternalWorkflowExecutionSignaled",
    "SignalExternalWorkflowExecutionFailed",
    "ExternalWorkflowExecutionCancelRequested",
    "RequestCancelExternalWorkflowExecutionFailed",
}
"""The events that other runs cause here."""


def check(state: RunState, event: HistoryEvent, name: str) -> None:
    """Walk the machines' tables for one of ANSWERS."""
    attributes: Any = events.attributes_of(event)
    asked = attributes.initiated_event_id
    if name in _CHILD:
        stands = child_machine.stands(state.children.get(asked))
        walk(child_machine.CHILD, stands, name, f"child {asked} of {state.key}")
    elif name in ("ExternalWorkflowExecutionSignaled", "SignalExternalWorkflowExecutionFailed"):
        answered = external_machine.stands(asked in state.signals_sent)
        walk(external_machine.SIGNAL, answered, name, f"signal {asked} of {state.key}")
    else:
        answered = external_machine.stands(asked in state.cancels_sent)
        walk(external_machine.CANCEL, answered, name, f"cancellation {asked} of {state.key}")


def number(state: RunState, event: HistoryEvent) -> None:
    """Note the id that a buffered started event got."""
    started = event.child_workflow_execution_started_event_attributes
    child = state.children.get(started.initiated_event_id)
    if child is not None:
        state.children[child.initiated_event_id] = replace(child, started_event_id=event.event_id)


def clear(state: RunState) -> None:
    """Forget all of it: the run has closed."""
    state.children.clear()
    state.signals_sent.clear()
    state.cancels_sent.clear()


def _child_initiated(state: RunState, event: HistoryEvent) -> None:
    asked = event.start_child_workflow_execution_initiated_event_attributes
    state.children[event.event_id] = Child(event.event_id, asked)


def _child_started(state: RunState, event: HistoryEvent) -> None:
    started = event.child_workflow_execution_started_event_attributes
    child = state.children[started.initiated_event_id]
    run_id = started.workflow_execution.run_id
    state.children[child.initiated_event_id] = replace(child, started_event_id=event.event_id, run_id=run_id)


def _child_ended(state: RunState, event: HistoryEvent) -> None:
    attributes: Any = events.attributes_of(event)
    del state.children[attributes.initiated_event_id]


def _signal_initiated(state: RunState, event: HistoryEvent) -> None:
    state.signals_sent[event.event_id] = event.signal_external_workflow_execution_initiated_event_attributes


def _signal_answered(state: RunState, event: HistoryEvent) -> None:
    attributes: Any = events.attributes_of(event)
    del state.signals_sent[attributes.initiated_event_id]


def _cancel_initiated(state: RunState, event: HistoryEvent) -> None:
    state.cancels_sent[event.event_id] = event.request_cancel_external_workflow_execution_initiated_event_attributes


def _cancel_answered(state: RunState, event: HistoryEvent) -> None:
    attributes: Any = events.attributes_of(event)
    del state.cancels_sent[attributes.initiated_event_id]


_CHILD: Final = CHILD_ENDS | {"ChildWorkflowExecutionStarted", "StartChildWorkflowExecutionFailed"}

EFFECTS: Final[Mapping[str, Callable[[RunState, HistoryEvent], None]]] = {
    "StartChildWorkflowExecutionInitiated": _child_initiated,
    "StartChildWorkflowExecutionFailed": _child_ended,
    "ChildWorkflowExecutionStarted": _child_started,
    **dict.fromkeys(CHILD_ENDS, _child_ended),
    "SignalExternalWorkflowExecutionInitiated": _signal_initiated,
    "ExternalWorkflowExecutionSignaled": _signal_answered,
    "SignalExternalWorkflowExecutionFailed": _signal_answered,
    "RequestCancelExternalWorkflowExecutionInitiated": _cancel_initiated,
    "ExternalWorkflowExecutionCancelRequested": _cancel_answered,
    "RequestCancelExternalWorkflowExecutionFailed": _cancel_answered,
}
