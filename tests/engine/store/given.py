"""Turns as the store is given them, with few words: real events through the real `Turn`."""

import json

from temporalio.api.common.v1 import Memo, Payload, Payloads, SearchAttributes, WorkflowType
from temporalio.api.history.v1 import (
    TimerStartedEventAttributes,
    UpsertWorkflowSearchAttributesEventAttributes,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionSignaledEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowTaskScheduledEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn

AT_MS = 1_700_000_000_000


def key(workflow: str, run: str = "", namespace: str = "default") -> RunKey:
    """Name a run. Run ids differ in a namespace, as real ones do."""
    return RunKey(namespace, workflow, run or f"{workflow}-1")


def started(
    named: RunKey,
    *,
    at_ms: int = AT_MS,
    workflow_type: str = "Deploy",
    queue: str = "q",
    memo: dict[str, bytes] | None = None,
    task: bool = True,
    timeout_ms: int = 0,
    attributes: dict[str, object] | None = None,
) -> Turn:
    """Begin a run with its first workflow task scheduled."""
    turn = Turn.begin(RunState(key=named), at_ms)
    start = WorkflowExecutionStartedEventAttributes(
        workflow_type=WorkflowType(name=workflow_type),
        task_queue=TaskQueue(name=queue),
        original_execution_run_id=named.run_id,
        first_execution_run_id=named.run_id,
        attempt=1,
        memo=Memo(fields={name: Payload(data=value) for name, value in (memo or {}).items()}),
        search_attributes=search_attributes(attributes or {}),
    )
    if timeout_ms:
        start.workflow_run_timeout.FromMilliseconds(timeout_ms)
        start.workflow_execution_timeout.FromMilliseconds(timeout_ms)
        start.workflow_execution_expiration_time.FromMilliseconds(at_ms + timeout_ms)
    turn.emit(start)
    if task:
        schedule_task(turn)
    return turn


def search_attributes(values: dict[str, object]) -> SearchAttributes:
    """Write values as a client does."""
    fields = {
        name: Payload(metadata={"encoding": b"json/plain"}, data=json.dumps(value).encode())
        for name, value in values.items()
    }
    return SearchAttributes(indexed_fields=fields)


def upserted(state: RunState, values: dict[str, object], *, at_ms: int = AT_MS) -> Turn:
    """Change a run's search attributes."""
    turn = Turn.on(state, at_ms)
    turn.emit(UpsertWorkflowSearchAttributesEventAttributes(search_attributes=search_attributes(values)))
    return turn


def schedule_task(turn: Turn) -> None:
    """Schedule a workflow task on the run's queue."""
    attributes = WorkflowTaskScheduledEventAttributes(task_queue=TaskQueue(name=turn.state.task_queue), attempt=1)
    attributes.start_to_close_timeout.FromMilliseconds(10_000)
    turn.emit(attributes)


def signaled(state: RunState, payload: bytes = b"", *, times: int = 1, at_ms: int = AT_MS) -> Turn:
    """Signal a run."""
    turn = Turn.on(state, at_ms)
    for _ in range(times):
        turn.emit(
            WorkflowExecutionSignaledEventAttributes(
                signal_name="go", input=Payloads(payloads=[Payload(data=payload)]), identity="test"
            )
        )
    return turn


def timer_started(state: RunState, timer_id: str, after_ms: int, *, at_ms: int = AT_MS) -> Turn:
    """Start a timer."""
    turn = Turn.on(state, at_ms)
    attributes = TimerStartedEventAttributes(timer_id=timer_id)
    attributes.start_to_fire_timeout.FromMilliseconds(after_ms)
    turn.emit(attributes)
    return turn


def completed(state: RunState, *, at_ms: int = AT_MS + 5_000) -> Turn:
    """Close a run."""
    turn = Turn.on(state, at_ms)
    turn.emit(WorkflowExecutionCompletedEventAttributes())
    return turn


def continued(state: RunState, next_run: str, *, at_ms: int = AT_MS + 5_000) -> Turn:
    """Close a run and carry along the one that follows it."""
    turn = Turn.on(state, at_ms)
    turn.emit(WorkflowExecutionContinuedAsNewEventAttributes(new_execution_run_id=next_run))
    turn.also.append(started(RunKey(state.key.namespace, state.key.workflow_id, next_run), at_ms=at_ms))
    return turn
