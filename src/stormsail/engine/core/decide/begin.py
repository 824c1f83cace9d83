"""The first event of a run, and its first workflow task: alike for a start, a retry and a continue-as-new."""

from google.protobuf.duration_pb2 import Duration
from temporalio.api.common.v1 import Memo, Payload, SearchAttributes
from temporalio.api.history.v1 import WorkflowExecutionStartedEventAttributes

from stormsail.engine.core import notes
from stormsail.engine.core.apply import is_nil
from stormsail.engine.core.events import NO_EXTRAS, Extras
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn


def begin_run(
    key: RunKey,
    start: WorkflowExecutionStartedEventAttributes,
    now_ms: int,
    *,
    request_id: str,
    extras: Extras = NO_EXTRAS,
) -> Turn:
    """Return a turn with a new run in it. Its first workflow task is not scheduled yet: a signal may come first."""
    turn = Turn.begin(RunState(key=key), now_ms)
    turn.note(notes.StartRequested(request_id))
    turn.note(notes.TransitionCounted())
    turn.emit(start, extras=extras)
    return turn


def with_value(memo: Memo) -> Memo | None:
    """Return the memo without its nil payloads; None where nothing is left, as histories then have no memo."""
    kept = {key: payload for key, payload in memo.fields.items() if not is_nil(payload)}
    return Memo(fields=kept) if kept else None


def attributes_with_value(given: SearchAttributes) -> SearchAttributes | None:
    """Return the search attributes without their nil payloads; None where nothing is left."""
    kept: dict[str, Payload] = {key: one for key, one in given.indexed_fields.items() if not is_nil(one)}
    return SearchAttributes(indexed_fields=kept) if kept else None


def run_timeout_ms(run: Duration, execution: Duration) -> int:
    """Return a run's timeout: at most the whole chain's, where that has one; 0 for none."""
    run_ms, execution_ms = duration_ms(run), duration_ms(execution)
    return min(run_ms or execution_ms, execution_ms) if execution_ms else run_ms


def task_timeout_ms(task: Duration, run_ms: int, limits: Limits) -> int:
    """Return a workflow task's timeout: the default where none is asked for, at most the maximum and the run's."""
    wanted_ms = duration_ms(task) or limits.default_workflow_task_timeout_ms
    capped_ms = min(wanted_ms, limits.workflow_task_timeout_max_ms)
    return min(capped_ms, run_ms) if run_ms else capped_ms


def set_duration(duration: Duration, length_ms: int) -> None:
    """Set a duration in place, also to zero: it is there then."""
    duration.seconds = length_ms // 1_000
    duration.nanos = length_ms % 1_000 * 1_000_000
