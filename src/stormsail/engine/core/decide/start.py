"""Starting workflows, and what happens where the workflow id is taken. Concerns the whole chain of a workflow id."""

from typing import Final

from temporalio.api.common.v1 import Link
from temporalio.api.enums.v1 import (
    ContinueAsNewInitiator,
    EventType,
    TaskQueueKind,
    WorkflowExecutionStatus,
    WorkflowIdConflictPolicy,
    WorkflowIdReusePolicy,
)
from temporalio.api.history.v1 import (
    WorkflowExecutionOptionsUpdatedEventAttributes,
    WorkflowExecutionStartedEventAttributes,
    WorkflowExecutionTerminatedEventAttributes,
)
from temporalio.api.workflowservice.v1 import (
    SignalWithStartWorkflowExecutionRequest,
    StartWorkflowExecutionRequest,
)

from stormsail.engine.core import cron, failures, notes, versioning
from stormsail.engine.core.decide import signal, workflow_task
from stormsail.engine.core.decide.begin import (
    attributes_with_value,
    begin_run,
    run_timeout_ms,
    set_duration,
    task_timeout_ms,
    with_value,
)
from stormsail.engine.core.decide.workflow_task import HISTORY_SERVICE
from stormsail.engine.core.errors import AlreadyStarted, InvalidArgument, Unimplemented
from stormsail.engine.core.events import Extras
from stormsail.engine.core.ids import Ids, RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.messages import ChildStarted
from stormsail.engine.core.requests import SignalWithStart, StartChildWorkflow, StartReply, StartWorkflow
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.core.values import members, replace

AnyStart = StartWorkflowExecutionRequest | SignalWithStartWorkflowExecutionRequest
Start = StartWorkflow | SignalWithStart | StartChildWorkflow

_NORMAL: Final = TaskQueueKind.TASK_QUEUE_KIND_NORMAL
_BY_CRON: Final = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_CRON_SCHEDULE
_BY_NOBODY: Final = ContinueAsNewInitiator.CONTINUE_AS_NEW_INITIATOR_UNSPECIFIED
_STARTED: Final = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED
_OPTIONS_UPDATED: Final = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_OPTIONS_UPDATED
_SIGNALED: Final = EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
_SUCCEEDED: Final = frozenset(
    {
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_COMPLETED,
        WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW,
    }
)


def decide_start(current: RunState | None, request: Start, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    """Decide a start. `current` is the newest run of the workflow id, open or closed. Reply: StartReply."""
    wanted = request.request
    _check(wanted, limits)
    if current is not None:
        found = _answer_repeated(current, request, now_ms)
        if found is not None:
            return found
        if current.open:
            found = _resolve_conflict(current, request, now_ms, limits)
            if found is not None:
                return found
        else:
            _check_reuse(current, wanted)
    turn = _begin(request, now_ms, ids, limits)
    if current is not None and current.open:
        turn.also.append(_terminate(current, turn.state.key.run_id, now_ms))
    return turn


def _check(request: AnyStart, limits: Limits) -> None:
    """Refuse what the engine cannot do, and what would make a run that makes no sense."""
    if request.HasField("time_skipping_config"):
        raise Unimplemented(
            "time_skipping_config of a workflow start is not served here; start the workflow without it."
        )
    if not request.request_id:
        raise InvalidArgument("Missing request ID.")
    if not request.task_queue.name:
        raise InvalidArgument("Missing Taskqueue.")
    if not request.workflow_type.name:
        raise InvalidArgument("Missing WorkflowType.")
    if request.input.ByteSize() > limits.blob_size_max:
        raise InvalidArgument("Blob data size exceeds limit.")
    if request.memo.ByteSize() > limits.memo_size_max:
        raise InvalidArgument("Memo size exceeds limit.")
    if request.HasField("versioning_override"):
        versioning.check(request.versioning_override, request.task_queue.name)
    if isinstance(request, SignalWithStartWorkflowExecutionRequest):
        signal.check_size(request.signal_input, limits)


def _answer_repeated(current: RunState, request: Start, now_ms: int) -> Turn | None:
    """Answer a request that was carried out before and whose reply was lost, or return None where it is a new one."""
    wanted = request.request
    turn = Turn.on(current, now_ms)
    if wanted.request_id == current.start_request_id:
        first = current.key._replace(run_id=current.start.first_execution_run_id)
        turn.reply = reply_about(current, started=isinstance(request, StartWorkflow), key=first)
        if isinstance(request, StartChildWorkflow) and _of_another_run(current, request):
            # Its parent was reset: the run that goes on for it hears what that one has heard, or may never hear.
            turn.messages.append(request.message.answer(ChildStarted(first.run_id)))
        if isinstance(request, SignalWithStart):
            turn.reply = replace(turn.reply, link=_request_link(first, wanted.request_id, _SIGNALED))
        elif (
            isinstance(request, StartWorkflow)
            and request.request.request_eager_execution
            and current.open
            and _first_task_held(current)
        ):
            turn.reply = replace(turn.reply, first_task=workflow_task.started_task(current))
        return turn
    if isinstance(request, StartWorkflow) and wanted.request_id in current.attached_request_ids:
        link = _request_link(current.key, wanted.request_id, _OPTIONS_UPDATED)
        turn.reply = replace(reply_about(current, started=False), link=link)
        return turn
    return None


def _of_another_run(child: RunState, request: StartChildWorkflow) -> bool:
    return child.start.parent_workflow_execution.run_id != request.message.initiator.run_id


def _first_task_held(state: RunState) -> bool:
    """Say whether the eager first workflow task is still with the client that started the run."""
    task = state.workflow_task
    if task is None or state.start.continued_execution_run_id:
        return False
    return task.started_event_id == 3 and task.attempt == 1


def _resolve_conflict(current: RunState, request: Start, now_ms: int, limits: Limits) -> Turn | None:
    """Do what the conflict policy says of an open run: refuse, use it, or return None where it is to be terminated."""
    match _conflict_policy(request):
        case WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING:
            return None
        case WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING:
            return _use(current, request, now_ms, limits)
        case _:
            message = (
                "Workflow execution is already running. "
                f"WorkflowId: {current.key.workflow_id}, RunId: {current.key.run_id}."
            )
            raise _already_started(message, current)


def _conflict_policy(request: Start) -> WorkflowIdConflictPolicy.ValueType:
    wanted = request.request
    if wanted.workflow_id_reuse_policy == WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING:
        return WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING
    if wanted.workflow_id_conflict_policy:
        return wanted.workflow_id_conflict_policy
    if isinstance(request, SignalWithStart):
        return WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_USE_EXISTING
    return WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL


def _use(current: RunState, request: Start, now_ms: int, limits: Limits) -> Turn:
    """Use the open run: signal it, or attach the request to it as far as asked for."""
    turn = Turn.on(current, now_ms)
    turn.reply = reply_about(current, started=False)
    wanted = request.request
    if isinstance(request, SignalWithStart) or request.request.HasField("on_conflict_options"):
        workflow_task.write_down(turn)
    if isinstance(request, SignalWithStart):
        signal.signal_found(turn, request.request, limits)
        turn.reply = replace(turn.reply, link=_request_link(current.key, wanted.request_id, _SIGNALED))
    elif isinstance(request, StartWorkflow) and request.request.HasField("on_conflict_options"):
        options = request.request.on_conflict_options
        attached = wanted.request_id if options.attach_request_id else ""
        attributes = WorkflowExecutionOptionsUpdatedEventAttributes(attached_request_id=attached)
        turn.emit(attributes, extras=Extras(links=tuple(wanted.links) if options.attach_links else ()))
        if attached:
            turn.reply = replace(turn.reply, link=_request_link(current.key, attached, _OPTIONS_UPDATED))
    if not turn.empty:
        turn.note(notes.TransitionCounted())
    return turn


def _check_reuse(current: RunState, request: AnyStart) -> None:
    """Refuse a start that the reuse policy forbids after a closed run."""
    where = f"WorkflowId: {current.key.workflow_id}, RunId: {current.key.run_id}."
    match request.workflow_id_reuse_policy:
        case WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE:
            message = (
                f"Workflow execution already finished. {where} Workflow Id reuse policy: reject duplicate workflow Id."
            )
            raise _already_started(message, current)
        case WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY if current.status in _SUCCEEDED:
            message = (
                f"Workflow execution already finished successfully. {where} Workflow Id reuse policy: "
                "allow duplicate workflow Id if last run failed."
            )
            raise _already_started(message, current)


def _already_started(message: str, current: RunState) -> AlreadyStarted:
    first_run_id = current.start.first_execution_run_id
    return AlreadyStarted(message, current.start_request_id, current.key.run_id, first_run_id)


def _begin(request: Start, now_ms: int, ids: Ids, limits: Limits) -> Turn:
    """Begin a new run: its start, the signal that comes with it, its first workflow task."""
    wanted = request.request
    key = RunKey(wanted.namespace, wanted.workflow_id, ids.uuid())
    metadata = wanted.user_metadata if wanted.HasField("user_metadata") else None
    delay_ms = _delay_ms(wanted, now_ms)
    eager = isinstance(request, StartWorkflow) and request.request.request_eager_execution and not delay_ms
    start = _started_event(wanted, key.run_id, now_ms, delay_ms, eager, limits)
    if isinstance(request, StartChildWorkflow):
        _add_parent(start, request)
    turn = begin_run(
        key,
        start,
        now_ms,
        request_id=wanted.request_id,
        extras=Extras(user_metadata=metadata, links=tuple(members(wanted.links))),
    )
    turn.reply = reply_about(turn.state, started=True)
    if isinstance(request, SignalWithStart):
        signal.signal_from_start(turn, request.request)
        turn.reply = replace(turn.reply, link=_request_link(key, wanted.request_id, _SIGNALED))
    workflow_task.ensure_workflow_task(turn, limits)
    if eager:
        first_task = workflow_task.start_pending(turn, wanted.identity, wanted.request_id, ids, limits)
        turn.reply = replace(turn.reply, first_task=first_task)
    return turn


def _delay_ms(request: AnyStart, now_ms: int) -> int:
    """Return how long the first workflow task waits: a start delay, or the time until a cron schedule's next minute."""
    delay_ms = duration_ms(request.workflow_start_delay)
    return delay_ms if delay_ms > 0 else cron.backoff_ms(request.cron_schedule, now_ms, now_ms) or 0


def _add_parent(start: WorkflowExecutionStartedEventAttributes, request: StartChildWorkflow) -> None:
    """Say whose child the run is."""
    parent = request.message.initiator
    start.parent_workflow_namespace = parent.namespace
    start.parent_workflow_namespace_id = request.body.parent_namespace_id
    start.parent_workflow_execution.workflow_id = parent.workflow_id
    start.parent_workflow_execution.run_id = parent.run_id
    start.parent_initiated_event_id = request.message.initiated_event_id
    start.root_workflow_execution.CopyFrom(request.body.root)


def _started_event(
    request: AnyStart, run_id: str, now_ms: int, delay_ms: int, eager: bool, limits: Limits
) -> WorkflowExecutionStartedEventAttributes:
    """Describe the run: the request with its defaults filled in and its timeouts kept within each other."""
    run_ms = run_timeout_ms(request.workflow_run_timeout, request.workflow_execution_timeout)
    start = WorkflowExecutionStartedEventAttributes(
        workflow_id=request.workflow_id,
        workflow_type=request.workflow_type,
        original_execution_run_id=run_id,
        first_execution_run_id=run_id,
        identity=request.identity,
        attempt=1,
        cron_schedule=request.cron_schedule,
        initiator=_BY_CRON if request.cron_schedule else _BY_NOBODY,
        memo=with_value(request.memo) if request.HasField("memo") else None,
        search_attributes=attributes_with_value(request.search_attributes)
        if request.HasField("search_attributes")
        else None,
        eager_execution_accepted=eager,
    )
    start.task_queue.name, start.task_queue.kind = request.task_queue.name, _NORMAL
    set_duration(start.workflow_task_timeout, task_timeout_ms(request.workflow_task_timeout, run_ms, limits))
    set_duration(start.first_workflow_task_backoff, delay_ms)
    for name in (
        "workflow_execution_timeout",
        "workflow_run_timeout",
        "input",
        "header",
        "retry_policy",
        "priority",
        "versioning_override",
    ):
        if request.HasField(name):
            getattr(start, name).CopyFrom(getattr(request, name))
    if start.HasField("versioning_override"):
        start.versioning_override.CopyFrom(versioning.canonical(start.versioning_override))
    if run_ms != duration_ms(start.workflow_run_timeout):
        set_duration(start.workflow_run_timeout, run_ms)
    if isinstance(request, StartWorkflowExecutionRequest):
        if request.HasField("continued_failure"):
            start.continued_failure.CopyFrom(request.continued_failure)
        if request.HasField("last_completion_result"):
            start.last_completion_result.CopyFrom(request.last_completion_result)
    execution_ms = duration_ms(request.workflow_execution_timeout)
    if execution_ms > 0:
        start.workflow_execution_expiration_time.FromMilliseconds(now_ms + execution_ms)
    return start


def _terminate(current: RunState, new_run_id: str, now_ms: int) -> Turn:
    """End the open run in favour of a new one."""
    turn = Turn.on(current, now_ms)
    attributes = WorkflowExecutionTerminatedEventAttributes(
        reason="TerminateIfRunning WorkflowIdReusePolicy",
        details=failures.text_payloads(f"terminated by new runID: {new_run_id}"),
        identity=HISTORY_SERVICE,
    )
    workflow_task.terminate(turn, attributes)
    turn.note(notes.TransitionCounted())
    return turn


def reply_about(state: RunState, *, started: bool, key: RunKey | None = None) -> StartReply:
    """Build the reply about a run; `key` names the run that the request began where a chain has gone on since."""
    run = key or state.key
    link = Link()
    event = link.workflow_event
    event.namespace, event.workflow_id, event.run_id = run
    event.event_ref.event_id, event.event_ref.event_type = 1, _STARTED
    return StartReply(
        run_id=run.run_id,
        first_execution_run_id=state.start.first_execution_run_id,
        started=started,
        status=WorkflowExecutionStatus.ValueType(state.status),
        link=link,
    )


def _request_link(key: RunKey, request_id: str, event_type: EventType.ValueType) -> Link:
    """Return a link to an event that may not have its id yet: it is found by the request id."""
    reference = Link.WorkflowEvent.RequestIdReference(request_id=request_id, event_type=event_type)
    event = Link.WorkflowEvent(
        namespace=key.namespace, workflow_id=key.workflow_id, run_id=key.run_id, request_id_ref=reference
    )
    return Link(workflow_event=event)
