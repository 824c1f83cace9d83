"""How runs end, and the runs that follow them: continue-as-new, and retries of workflows."""

from typing import Final

from temporalio.api.command.v1 import ContinueAsNewWorkflowExecutionCommandAttributes
from temporalio.api.enums.v1 import ContinueAsNewInitiator, RetryState, TaskQueueKind, TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import (
    WorkflowExecutionCanceledEventAttributes,
    WorkflowExecutionCompletedEventAttributes,
    WorkflowExecutionContinuedAsNewEventAttributes,
    WorkflowExecutionFailedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
    WorkflowExecutionTimedOutEventAttributes,
)
from temporalio.api.taskqueue.v1 import TaskQueue

from stormsail.engine.core import failures
from stormsail.engine.core.deadlines import chain_expires_at_ms
from stormsail.engine.core.decide.begin import as_duration, attributes_with_value, begin_run, with_value
from stormsail.engine.core.decide.workflow_task import end_task_by_force, ensure_workflow_task
from stormsail.engine.core.events import NO_EXTRAS, Extras
from stormsail.engine.core.ids import Ids, RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.retry import RetryDecision, duration_ms, next_retry
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn

Closing = (
    WorkflowExecutionCompletedEventAttributes
    | WorkflowExecutionFailedEventAttributes
    | WorkflowExecutionCanceledEventAttributes
    | WorkflowExecutionTerminatedEventAttributes
    | WorkflowExecutionTimedOutEventAttributes
    | WorkflowExecutionContinuedAsNewEventAttributes
)
"""The attributes of the events that close a run."""

_BY_RETRY: Final = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_RETRY
_BY_WORKFLOW: Final = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_WORKFLOW


def end_run(
    turn: Turn,
    closing: Closing,
    ids: Ids,
    limits: Limits,
    *,
    command: ContinueAsNewWorkflowExecutionCommandAttributes | None = None,
    extras: Extras = NO_EXTRAS,
) -> None:
    """Close the run with this event, filling in its retry state and the id of the run that follows; that one begins in
    `turn.also`. `command` is given with a continue-as-new: it says more of the next run than the event does."""
    following = ""
    start = WorkflowExecutionStartedEventAttributes()
    match closing:
        case WorkflowExecutionContinuedAsNewEventAttributes():
            assert command is not None
            following = closing.new_execution_run_id = ids.uuid()
            start = _continued(turn.state, command, following, turn.now_ms, limits)
        case WorkflowExecutionFailedEventAttributes() | WorkflowExecutionTimedOutEventAttributes():
            failure = _failure_of(closing)
            retry = _retry(turn.state, closing, failure, turn.now_ms)
            closing.retry_state = retry.state
            if retry.delay_ms is not None:
                following = closing.new_execution_run_id = ids.uuid()
                start = _retried(turn.state, failure, retry.delay_ms, following, turn.now_ms, limits)
                if isinstance(closing, WorkflowExecutionFailedEventAttributes):
                    start.ClearField("last_completion_result")
    turn.emit(closing, extras=extras)
    if following:
        turn.also.append(_next_run(turn.state, following, start, turn.now_ms, limits))


def time_out_run(turn: Turn, ids: Ids, limits: Limits) -> None:
    """Close a run whose timeout, or whose chain's timeout, is over."""
    end_task_by_force(turn)
    end_run(turn, WorkflowExecutionTimedOutEventAttributes(), ids, limits)


def _failure_of(
    closing: WorkflowExecutionFailedEventAttributes | WorkflowExecutionTimedOutEventAttributes,
) -> Failure:
    if isinstance(closing, WorkflowExecutionFailedEventAttributes):
        return closing.failure
    return failures.timeout_failure(failures.WORKFLOW_TIMEOUT, TimeoutType.TIMEOUT_TYPE_START_TO_CLOSE)


def _retry(state: RunState, closing: Closing, failure: Failure, now_ms: int) -> RetryDecision:
    """Decide whether the workflow is tried again as a new run. The whole chain's timeout ends all tries."""
    expires_at_ms = chain_expires_at_ms(state)
    timed_out = isinstance(closing, WorkflowExecutionTimedOutEventAttributes)
    if timed_out and expires_at_ms and now_ms >= expires_at_ms:
        return RetryDecision(None, RetryState.RETRY_STATE_TIMEOUT)
    if not state.start.HasField("retry_policy"):
        return RetryDecision(None, RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET)
    return next_retry(state.start.retry_policy, state.start.attempt, now_ms, expires_at_ms, failure)


def _next_run(
    state: RunState, run_id: str, start: WorkflowExecutionStartedEventAttributes, now_ms: int, limits: Limits
) -> Turn:
    key = RunKey(state.key.namespace, state.key.workflow_id, run_id)
    # With the request id of the chain's start: it may be sent again after its first run has been followed by another.
    turn = begin_run(key, start, now_ms, request_id=state.start_request_id, extras=Extras(links=state.start_links))
    ensure_workflow_task(turn, limits)
    return turn


def _continued(
    state: RunState,
    command: ContinueAsNewWorkflowExecutionCommandAttributes,
    run_id: str,
    now_ms: int,
    limits: Limits,
) -> WorkflowExecutionStartedEventAttributes:
    """Describe the run that a continue-as-new asks for. `command` has been completed from the run it continues."""
    initiator = command.initiator or _BY_WORKFLOW
    start = WorkflowExecutionStartedEventAttributes(
        workflow_type=command.workflow_type,
        task_queue=TaskQueue(name=command.task_queue.name, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL),
        workflow_run_timeout=command.workflow_run_timeout,
        workflow_task_timeout=command.workflow_task_timeout,
        input=command.input if command.HasField("input") else None,
        header=command.header if command.HasField("header") else None,
        retry_policy=command.retry_policy if command.HasField("retry_policy") else None,
        memo=with_value(command.memo),
        search_attributes=attributes_with_value(command.search_attributes),
        last_completion_result=command.last_completion_result if command.HasField("last_completion_result") else None,
        continued_failure=command.failure if command.HasField("failure") else None,
        initiator=initiator,
        attempt=state.start.attempt + 1 if initiator == _BY_RETRY else 1,
    )
    return _linked(start, state, run_id, duration_ms(command.backoff_start_interval), now_ms, limits)


def _retried(
    state: RunState, failure: Failure, delay_ms: int, run_id: str, now_ms: int, limits: Limits
) -> WorkflowExecutionStartedEventAttributes:
    """Describe the next try of a workflow: as the last one was started, with its failure."""
    start = WorkflowExecutionStartedEventAttributes()
    start.CopyFrom(state.start)
    start.ClearField("identity")
    start.ClearField("eager_execution_accepted")
    start.task_queue.CopyFrom(TaskQueue(name=state.task_queue, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL))
    start.continued_failure.CopyFrom(failure)
    start.initiator = _BY_RETRY
    start.attempt = state.start.attempt + 1
    return _linked(start, state, run_id, delay_ms, now_ms, limits)


def _linked(
    start: WorkflowExecutionStartedEventAttributes,
    state: RunState,
    run_id: str,
    backoff_ms: int,
    now_ms: int,
    limits: Limits,
) -> WorkflowExecutionStartedEventAttributes:
    """Fill in what ties a run to its chain: names, the chain's timeout, and the wait before its first workflow task."""
    before = state.start
    start.workflow_id = state.key.workflow_id
    start.original_execution_run_id = run_id
    start.first_execution_run_id = before.first_execution_run_id
    start.continued_execution_run_id = state.key.run_id
    if before.HasField("workflow_execution_timeout"):
        start.workflow_execution_timeout.CopyFrom(before.workflow_execution_timeout)
    if before.HasField("workflow_execution_expiration_time"):
        start.workflow_execution_expiration_time.CopyFrom(before.workflow_execution_expiration_time)
    if before.HasField("priority"):
        start.priority.CopyFrom(before.priority)
    # A workflow that always continues at once shall not spin.
    lived_ms = now_ms - state.execution_started_at_ms
    if lived_ms + backoff_ms < limits.continue_as_new_interval_min_ms:
        backoff_ms = limits.continue_as_new_interval_min_ms - lived_ms
    start.first_workflow_task_backoff.CopyFrom(as_duration(max(0, backoff_ms)))
    return start
