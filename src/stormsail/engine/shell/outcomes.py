"""How a workflow that a schedule started has ended: the last run of its chain, and what that one left."""

from typing import Final

from temporalio.api.history.v1 import History, HistoryEvent

from stormsail.engine.core.errors import NotFound
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.schedules.bounds import RESULT_OVERHEAD
from stormsail.engine.core.schedules.decide import Outcome
from stormsail.engine.core.schedules.state import Running
from stormsail.engine.core.state import RunState
from stormsail.engine.shell.runs import Runs

_EVENT_BYTES_MAX: Final = 64 * 1024 * 1024


def outcome_of(runs: Runs, namespace: str, running: Running, blob_size_max: int = 0) -> Outcome | None:
    """Return how the workflow ended; None while it is open. Larger results than a start may carry are left out."""
    try:
        state = _last_of_chain(runs, namespace, running)
    except NotFound:
        return Outcome(running.workflow_id, running.run_id, 0)  # deleted: it does not run, and that is all we know
    if state.open:
        return None
    outcome = Outcome(running.workflow_id, running.run_id, state.status)
    event = _closing_event(runs, state.key) if blob_size_max else None
    if event is None:
        return outcome
    size_max = blob_size_max - RESULT_OVERHEAD
    completed, failed = (
        event.workflow_execution_completed_event_attributes,
        event.workflow_execution_failed_event_attributes,
    )
    if completed.HasField("result") and completed.result.ByteSize() <= size_max:
        return Outcome(running.workflow_id, running.run_id, state.status, result=completed.result)
    if failed.HasField("failure") and failed.failure.ByteSize() <= size_max:
        return Outcome(running.workflow_id, running.run_id, state.status, failure=failed.failure)
    return outcome


def run_begun_by(runs: Runs, namespace: str, workflow_id: str, request_id: str) -> str:
    """Return the run that a start request has begun, the first of its chain; "" where none is known."""
    try:
        newest = runs.read(namespace, workflow_id, "")
        first = runs.read(namespace, workflow_id, newest.start.first_execution_run_id)
    except NotFound:
        return ""
    return first.key.run_id if first.start_request_id == request_id else ""


def _last_of_chain(runs: Runs, namespace: str, running: Running) -> RunState:
    state = runs.read(namespace, running.workflow_id, "")
    if state.start.first_execution_run_id == running.run_id:
        return state
    # Another chain has begun under the same workflow id: follow ours from its first run.
    state = runs.read(namespace, running.workflow_id, running.run_id)
    while not state.open and state.new_run_id:
        state = runs.read(namespace, running.workflow_id, state.new_run_id)
    return state


def _closing_event(runs: Runs, key: RunKey) -> HistoryEvent | None:
    page = runs.page_reverse(key, 0, max_events=1, max_bytes=_EVENT_BYTES_MAX)
    events = History.FromString(page.frames).events
    return events[0] if events else None
