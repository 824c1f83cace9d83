"""How runs end, and the runs that follow them: continue-as-new, retries of workflows, cron schedules."""

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

from stormsail.engine.core import cron, failures
from stormsail.engine.core.deadlines import chain_expires_at_ms
from stormsail.engine.core.decide.begin import attributes_with_value, begin_run, set_duration, with_value
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
_BY_CRON: Final = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE
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
    state, now_ms = turn.state, turn.now_ms
    start: WorkflowExecutionStartedEventAttributes | None = None
    match closing:
        case WorkflowExecutionContinuedAsNewEventAttributes():
            assert command is not None
            start = _continued(state, command, now_ms, limits)
        case WorkflowExecutionCompletedEventAttributes():
            start = _by_cron(state, closing, None, now_ms, limits)
        case WorkflowExecutionFailedEventAttributes() | WorkflowExecutionTimedOutEventAttributes():
            failure = _failure_of(closing)
            retry = _retry(state, closing, failure, now_ms)
            closing.retry_state = retry.state
            if retry.delay_ms is not None:
                start = _again(state, _BY_RETRY, failure, retry.delay_ms, now_ms, limits)
                if isinstance(closing, WorkflowExecutionFailedEventAttributes):
                    start.ClearField("last_completion_result")
            elif not _expired(state, closing, now_ms):
                start = _by_cron(state, closing, failure, now_ms, limits)
    following = ids.uuid() if start is not None else ""
    if start is not None:
        closing.new_execution_run_id = start.original_execution_run_id = following  # type: ignore[union-attr]
    turn.emit(closing, extras=extras)
    if start is not None:
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
    if _expired(state, closing, now_ms):
        return RetryDecision(None, RetryState.RETRY_STATE_TIMEOUT)
    if not state.start.HasField("retry_policy"):
        return RetryDecision(None, RetryState.RETRY_STATE_RETRY_POLICY_NOT_SET)
    return next_retry(state.start.retry_policy, state.start.attempt, now_ms, chain_expires_at_ms(state), failure)


def _expired(state: RunState, closing: Closing, now_ms: int) -> bool:
    """Say whether it is the whole chain's time that is over: nothing follows then."""
    expires_at_ms = chain_expires_at_ms(state)
    timed_out = isinstance(closing, WorkflowExecutionTimedOutEventAttributes)
    return timed_out and 0 < expires_at_ms <= now_ms


def _by_cron(
    state: RunState, closing: Closing, failure: Failure | None, now_ms: int, limits: Limits
) -> WorkflowExecutionStartedEventAttributes | None:
    """Describe the run that a cron schedule asks for next, None where there is no schedule. A failed run hands on the
    result that it was given; one that completed, its own."""
    delay_ms = cron.backoff_ms(state.start.cron_schedule, state.execution_started_at_ms, now_ms)
    if delay_ms is None:
        return None
    start = _again(state, _BY_CRON, failure, delay_ms, now_ms, limits)
    if isinstance(closing, WorkflowExecutionCompletedEventAttributes):
        start.ClearField("last_completion_result")
        if closing.HasField("result"):
            start.last_completion_result.CopyFrom(closing.result)
    return start


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
        cron_schedule=command.cron_schedule,
        attempt=state.start.attempt + 1 if initiator == _BY_RETRY else 1,
    )
    return _linked(start, state, duration_ms(command.backoff_start_interval), now_ms, limits)


def _again(
    state: RunState,
    initiator: ContinueAsNewInitiator.ValueType,
    failure: Failure | None,
    delay_ms: int,
    now_ms: int,
    limits: Limits,
) -> WorkflowExecutionStartedEventAttributes:
    """Describe the next run of a retry or a cron schedule: as the last one was started, with its failure."""
    start = WorkflowExecutionStartedEventAttributes()
    start.CopyFrom(state.start)
    for name in ("identity", "eager_execution_accepted", "continued_failure", "versioning_override"):
        start.ClearField(name)
    start.task_queue.CopyFrom(TaskQueue(name=state.task_queue, kind=TaskQueueKind.TASK_QUEUE_KIND_NORMAL))
    if failure is not None:
        start.continued_failure.CopyFrom(failure)
    start.initiator = initiator
    start.attempt = state.start.attempt + 1 if initiator == _BY_RETRY else 1
    return _linked(start, state, delay_ms, now_ms, limits)


def _linked(
    start: WorkflowExecutionStartedEventAttributes,
    state: RunState,
    backoff_ms: int,
    now_ms: int,
    limits: Limits,
) -> WorkflowExecutionStartedEventAttributes:
    """Fill in what ties a run to its chain: names, the chain's timeout, and the wait before its first workflow task."""
    before = state.start
    start.workflow_id = state.key.workflow_id
    start.first_execution_run_id = before.first_execution_run_id
    start.continued_execution_run_id = state.key.run_id
    for name in ("workflow_execution_timeout", "workflow_execution_expiration_time"):
        if before.HasField(name):
            getattr(start, name).CopyFrom(getattr(before, name))
    start.ClearField("prev_auto_reset_points")
    start.prev_auto_reset_points.points.extend(state.reset_points)
    start.ClearField("priority")
    if state.priority is not None:
        start.priority.CopyFrom(state.priority)
    if before.HasField("parent_workflow_execution"):
        start.parent_workflow_namespace = before.parent_workflow_namespace
        start.parent_workflow_namespace_id = before.parent_workflow_namespace_id
        start.parent_workflow_execution.CopyFrom(before.parent_workflow_execution)
        start.parent_initiated_event_id = before.parent_initiated_event_id
        start.root_workflow_execution.CopyFrom(before.root_workflow_execution)
    # A workflow that always continues at once shall not spin.
    lived_ms = now_ms - state.execution_started_at_ms
    if lived_ms + backoff_ms < limits.continue_as_new_interval_min_ms:
        backoff_ms = limits.continue_as_new_interval_min_ms - lived_ms
    set_duration(start.first_workflow_task_backoff, max(0, backoff_ms))
    return start
