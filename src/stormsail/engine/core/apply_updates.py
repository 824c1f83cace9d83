"""What the events of updates do to a run's state. Admissions and rejections leave none, but for what a reset admits."""

from collections.abc import Callable, Mapping
from typing import Final

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent

from stormsail.engine.core.machines import update as update_machine
from stormsail.engine.core.machines.walk import walk
from stormsail.engine.core.state import AdmittedUpdate, RunState


def check(state: RunState, event: HistoryEvent, name: str) -> None:
    """Walk the machine's table for one of EFFECTS."""
    update_id = _update_id(event)
    walk(update_machine.UPDATE, update_machine.stands(state, update_id), name, f"update {update_id} of {state.key}")


def _update_id(event: HistoryEvent) -> str:
    match event.event_type:
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ADMITTED:
            return event.workflow_execution_update_admitted_event_attributes.request.meta.update_id
        case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED:
            return event.workflow_execution_update_accepted_event_attributes.protocol_instance_id
        case _:
            return event.workflow_execution_update_completed_event_attributes.meta.update_id


def _admitted(state: RunState, event: HistoryEvent) -> None:
    state.updates_admitted[_update_id(event)] = AdmittedUpdate(None, event_id=event.event_id)


def _accepted(state: RunState, event: HistoryEvent) -> None:
    update_id = _update_id(event)
    state.updates_admitted.pop(update_id, None)
    state.updates_accepted[update_id] = event.event_id


def _completed(state: RunState, event: HistoryEvent) -> None:
    update_id = _update_id(event)
    del state.updates_accepted[update_id]
    state.updates_completed[update_id] = event.event_id


EFFECTS: Final[Mapping[str, Callable[[RunState, HistoryEvent], None]]] = {
    "WorkflowExecutionUpdateAdmitted": _admitted,
    "WorkflowExecutionUpdateAccepted": _accepted,
    "WorkflowExecutionUpdateCompleted": _completed,
}
"""By event."""
