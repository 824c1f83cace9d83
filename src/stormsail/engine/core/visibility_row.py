"""The row by which list and count find a run, derived from its state."""

import json
from dataclasses import dataclass
from typing import Final

from temporalio.api.common.v1 import Memo, Payload, SearchAttributes

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState
from stormsail.engine.core.values import quick
from stormsail.engine.core.versioning import behavior_name

_NOBODY: Final = RunKey("", "", "")


@quick
@dataclass(frozen=True, slots=True)
class VisibilityRow:
    """What is indexed of a run. Two equal rows need not be written twice."""

    namespace: str
    workflow_id: str
    run_id: str
    workflow_type: str
    status: int
    start_ms: int
    execution_ms: int
    """When the first workflow task may run."""
    close_ms: int | None
    execution_duration_ms: int | None
    """From `execution_ms` to the close."""
    history_events: int
    """Temporal sets it, and the size and the transitions, when the run closes; 0 before."""
    history_size_bytes: int
    state_transitions: int
    task_queue: str
    memo: bytes
    """A serialised Memo."""
    search_attributes: bytes
    """A serialised SearchAttributes."""
    parent_workflow_id: str
    parent_run_id: str
    root_workflow_id: str
    root_run_id: str


def visibility_row(state: RunState) -> VisibilityRow:
    """Return the run's row as it is now."""
    closed = not state.open
    memo, attributes = state.memo, shown_attributes(state)
    start, key = state.start, state.key
    root = start.root_workflow_execution if start.HasField("root_workflow_execution") else key
    parent = start.parent_workflow_execution if start.HasField("parent_workflow_execution") else _NOBODY
    return VisibilityRow(
        namespace=key.namespace,
        workflow_id=key.workflow_id,
        run_id=key.run_id,
        workflow_type=state.workflow_type,
        status=state.status,
        start_ms=state.reset_at_ms or state.started_at_ms,
        execution_ms=state.execution_started_at_ms,
        close_ms=state.closed_at_ms if closed else None,
        execution_duration_ms=max(0, state.closed_at_ms - state.execution_started_at_ms) if closed else None,
        history_events=state.last_event_id if closed else 0,
        history_size_bytes=state.history_size_bytes if closed else 0,
        state_transitions=state.state_transitions if closed else 0,
        task_queue=state.task_queue,
        memo=_packed(Memo(fields=_payloads(memo))) if memo else b"",
        search_attributes=_packed(SearchAttributes(indexed_fields=_payloads(attributes))) if attributes else b"",
        parent_workflow_id=parent.workflow_id,
        parent_run_id=parent.run_id,
        root_workflow_id=root.workflow_id,
        root_run_id=root.run_id,
    )


def shown_attributes(state: RunState) -> dict[str, bytes]:
    """Return the run's search attributes, with what the server itself says of it: what of it is paused, and how it was
    told to follow its workers' versions. Not to be changed."""
    if state.pause is None and state.versioning_override is None and not _any_paused(state):
        return state.search_attributes
    shown = dict(state.search_attributes)
    if entries := _pauses(state):
        shown["TemporalPauseInfo"] = _attribute("KeywordList", entries)
    if state.versioning_override is not None:
        shown["TemporalWorkflowVersioningBehavior"] = _attribute("Keyword", behavior_name(state.versioning_override))
    return shown


def _any_paused(state: RunState) -> bool:
    return bool(state.activities) and any(activity.paused_at_ms for activity in state.activities.values())


def _pauses(state: RunState) -> list[str]:
    entries: list[str] = []
    if state.pause is not None:
        entries.append(f"Workflow:{state.key.workflow_id}")
        if state.pause.reason:
            entries.append(f"Reason:{state.pause.reason}")
    paused = {one.scheduled.activity_type.name for one in state.activities.values() if one.paused_at_ms}
    return entries + [f"property:activityType={name}" for name in sorted(paused)]


def _attribute(type_name: str, value: str | list[str]) -> bytes:
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    payload = Payload(metadata={"encoding": b"json/plain", "type": type_name.encode()}, data=data)
    return payload.SerializeToString(deterministic=True)


def _payloads(fields: dict[str, bytes]) -> dict[str, Payload]:
    return {key: Payload.FromString(value) for key, value in fields.items()}


def _packed(message: Memo | SearchAttributes) -> bytes:
    """Serialise so that equal messages are equal bytes."""
    return message.SerializeToString(deterministic=True)
