"""Commands about other runs: start a child, signal a run, ask one to cancel itself. Each only becomes its event here;
the message that carries it out follows from the event (`messages.py`)."""

import re
from collections.abc import Mapping
from typing import Final

from temporalio.api.command.v1 import (
    RequestCancelExternalWorkflowExecutionCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes,
)
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import CommandType, ParentClosePolicy, WorkflowIdReusePolicy
from temporalio.api.history.v1 import (
    RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
    SignalExternalWorkflowExecutionInitiatedEventAttributes,
    StartChildWorkflowExecutionInitiatedEventAttributes,
)

from stormsail.engine.core import cron, priority
from stormsail.engine.core.decide.begin import (
    attributes_with_value,
    run_timeout_ms,
    set_duration,
    task_timeout_ms,
    with_value,
)
from stormsail.engine.core.decide.carrying import BadCommand, Carrying, Cause, Kind, given
from stormsail.engine.core.decide.command_rules import (
    complete_retry_policy,
    complete_task_queue,
    duration_fault,
    too_long,
)
from stormsail.engine.core.errors import InvalidArgument
from stormsail.engine.core.events import Extras
from stormsail.engine.core.limits import Limits

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _start_child(carrying: Carrying, command: StartChildWorkflowExecutionCommandAttributes, extras: Extras) -> None:
    turn, limits = carrying.turn, carrying.limits
    command.namespace = command.namespace or turn.state.key.namespace
    _complete_child(carrying, command)
    cause = Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_CHILD_EXECUTION_ATTRIBUTES
    if command.HasField("versioning_override"):
        raise InvalidArgument("versioning_override is not served here: worker versioning is not.")
    name = "StartChildWorkflowExecutionCommandAttributes"
    carrying.refuse_large(command.input.ByteSize(), cause, f"{name}. Input exceeds size limit.")
    if command.memo.ByteSize() > limits.memo_size_max:
        raise BadCommand(cause, f"{name}.Memo exceeds size limit.", terminates=True)
    carrying.check_search_attributes(command.search_attributes, cause)
    _refuse_many(
        len(turn.state.children),
        limits.pending_children_max,
        Cause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_CHILD_WORKFLOWS_LIMIT_EXCEEDED,
        "pending child workflow executions",
    )
    event = StartChildWorkflowExecutionInitiatedEventAttributes(
        namespace=command.namespace,
        namespace_id=carrying.namespace_ids.get(command.namespace, ""),
        workflow_id=command.workflow_id,
        workflow_type=command.workflow_type,
        task_queue=command.task_queue,
        input=given(command, "input"),
        workflow_execution_timeout=given(command, "workflow_execution_timeout"),
        workflow_run_timeout=command.workflow_run_timeout,
        workflow_task_timeout=command.workflow_task_timeout,
        parent_close_policy=command.parent_close_policy or ParentClosePolicy.PARENT_CLOSE_POLICY_TERMINATE,
        control=command.control,
        workflow_task_completed_event_id=carrying.completed_event_id,
        workflow_id_reuse_policy=command.workflow_id_reuse_policy
        or WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
        retry_policy=given(command, "retry_policy"),
        cron_schedule=command.cron_schedule,
        header=given(command, "header"),
        memo=with_value(command.memo),
        search_attributes=attributes_with_value(command.search_attributes),
        inherit_build_id=command.inherit_build_id,
        priority=given(command, "priority"),
    )
    turn.emit(event, extras=extras)
    carrying.children_begun.add(command.workflow_id)


def _signal(carrying: Carrying, command: SignalExternalWorkflowExecutionCommandAttributes, extras: Extras) -> None:
    turn, limits = carrying.turn, carrying.limits
    name = "SignalExternalWorkflowExecutionCommand"
    if not command.HasField("execution"):
        raise InvalidArgument(f"Execution is not set on {name}.")
    _check_namespace(carrying, command.namespace)
    target, signal_name, namespace = command.execution, command.signal_name, command.namespace
    about = f"Namespace={namespace} RunId={target.run_id} SignalName={signal_name}"
    where = f"WorkflowId={target.workflow_id} Namespace={namespace} RunId={target.run_id}"
    _check_target(target, namespace, name, about, f"{where} SignalName={signal_name}", limits)
    if not signal_name:
        raise InvalidArgument(f"SignalName is not set on {name}. {where}")
    _refuse_many(
        len(turn.state.signals_sent),
        limits.pending_signals_sent_max,
        Cause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_SIGNALS_LIMIT_EXCEEDED,
        "pending signals to external workflows",
    )
    carrying.refuse_large(
        command.input.ByteSize(),
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES,
        "SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit.",
    )
    event = SignalExternalWorkflowExecutionInitiatedEventAttributes(
        workflow_task_completed_event_id=carrying.completed_event_id,
        namespace=namespace,
        namespace_id=carrying.namespace_ids.get(namespace or turn.state.key.namespace, ""),
        workflow_execution=WorkflowExecution(workflow_id=target.workflow_id, run_id=target.run_id),
        signal_name=signal_name,
        input=given(command, "input"),
        control=command.control,
        child_workflow_only=command.child_workflow_only,
        header=given(command, "header"),
    )
    turn.emit(event, extras=extras)


def _cancel(
    carrying: Carrying, command: RequestCancelExternalWorkflowExecutionCommandAttributes, extras: Extras
) -> None:
    turn, limits = carrying.turn, carrying.limits
    name = "RequestCancelExternalWorkflowExecutionCommand"
    _check_namespace(carrying, command.namespace)
    target = WorkflowExecution(workflow_id=command.workflow_id, run_id=command.run_id)
    about = f"Namespace={command.namespace} RunId={target.run_id}"
    where = f"WorkflowId={target.workflow_id} RunId={target.run_id} Namespace={command.namespace}"
    _check_target(target, command.namespace, name, about, where, limits)
    if target.workflow_id in carrying.children_begun:
        raise InvalidArgument(
            f"Start and RequestCancel for child workflow is not allowed in same workflow task. {where}"
        )
    _refuse_many(
        len(turn.state.cancels_sent),
        limits.pending_cancels_sent_max,
        Cause.WORKFLOW_TASK_FAILED_CAUSE_PENDING_REQUEST_CANCEL_LIMIT_EXCEEDED,
        "pending requests to cancel external workflows",
    )
    event = RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(
        workflow_task_completed_event_id=carrying.completed_event_id,
        namespace=command.namespace,
        namespace_id=carrying.namespace_ids.get(command.namespace or turn.state.key.namespace, ""),
        workflow_execution=target,
        control=command.control,
        child_workflow_only=command.child_workflow_only,
        reason=command.reason,
    )
    turn.emit(event, extras=extras)


def _complete_child(carrying: Carrying, command: StartChildWorkflowExecutionCommandAttributes) -> None:
    """Check a child and fill in what its parent leaves open: task queue, timeouts, retry policy."""
    limits, state = carrying.limits, carrying.turn.state
    name = "StartChildWorkflowExecutionCommand"
    workflow_id, workflow_type, namespace = command.workflow_id, command.workflow_type.name, command.namespace
    _check_namespace(carrying, namespace)
    if not workflow_id:
        raise InvalidArgument(
            f"Required field WorkflowId is not set on {name}. WorkflowType={workflow_type} Namespace={namespace}"
        )
    if not workflow_type:
        raise InvalidArgument(
            f"Required field WorkflowType is not set on {name}. WorkflowId={workflow_id} Namespace={namespace}"
        )
    where = f"WorkflowId={workflow_id} WorkflowType={workflow_type} Namespace={namespace}"
    for label, text in (("Namespace", namespace), ("WorkflowId", workflow_id), ("WorkflowType", workflow_type)):
        if too_long(text, limits):
            size = f"Length={len(text.encode())} Limit={limits.id_length_max}"
            raise InvalidArgument(f"{label} on {name} exceeds length limit. {where} {size}")
    for label, duration in (
        ("WorkflowExecutionTimeout", command.workflow_execution_timeout),
        ("WorkflowRunTimeout", command.workflow_run_timeout),
        ("WorkflowTaskTimeout", command.workflow_task_timeout),
    ):
        if fault := duration_fault(duration):
            raise InvalidArgument(f"Invalid {label} on {name}: {fault}. {where}")
    try:
        if command.HasField("retry_policy"):
            complete_retry_policy(command.retry_policy, limits)
    except InvalidArgument as wrong:
        raise InvalidArgument(f"invalid WorkflowRetryPolicy on {name}: {wrong.message}. {where}") from None
    if fault := cron.fault(command.cron_schedule, carrying.turn.now_ms):
        raise InvalidArgument(f"invalid CronSchedule on {name}: {fault}. {where}")
    if fault := priority.fault(command.priority):
        raise InvalidArgument(fault)
    try:
        complete_task_queue(command.task_queue, state.task_queue, limits)
    except InvalidArgument as wrong:
        queue = f'name:"{command.task_queue.name}"'
        raise InvalidArgument(f"invalid TaskQueue on {name}: {wrong.message}. {where} TaskQueue={queue}") from None
    run_ms = run_timeout_ms(command.workflow_run_timeout, command.workflow_execution_timeout)
    set_duration(command.workflow_run_timeout, run_ms)
    task_ms = task_timeout_ms(command.workflow_task_timeout, run_ms, limits)
    set_duration(command.workflow_task_timeout, task_ms)


def _check_namespace(carrying: Carrying, namespace: str) -> None:
    """A run asks only runs of its own namespace: what Temporal's server does unless it is told otherwise."""
    if namespace and namespace != carrying.turn.state.key.namespace:
        raise InvalidArgument("cross namespace commands are not allowed")


def _check_target(target: WorkflowExecution, namespace: str, name: str, about: str, where: str, limits: Limits) -> None:
    """Refuse the name of a run that cannot be one."""
    if not target.workflow_id:
        raise InvalidArgument(f"WorkflowId is not set on {name}. {about}")
    for label, text in (("Namespace", namespace), ("WorkflowId", target.workflow_id)):
        if too_long(text, limits):
            size = f"Length={len(text.encode())} Limit={limits.id_length_max}"
            raise InvalidArgument(f"{label} on {name} exceeds length limit. {where} {size}")
    if target.run_id and not _UUID.fullmatch(target.run_id):
        raise InvalidArgument(f"Invalid RunId set on {name}. {where}")


def _refuse_many(pending: int, most: int, cause: Cause.ValueType, what: str) -> None:
    if pending >= most:
        raise BadCommand(cause, f"the number of {what}, {pending}, has reached the per-workflow limit of {most}")


CARRYING: Final[Mapping[int, Kind]] = {
    CommandType.COMMAND_TYPE_START_CHILD_WORKFLOW_EXECUTION: Kind(
        "start_child_workflow_execution_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_START_CHILD_EXECUTION_ATTRIBUTES,
        _start_child,
    ),
    CommandType.COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION: Kind(
        "signal_external_workflow_execution_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_SIGNAL_WORKFLOW_EXECUTION_ATTRIBUTES,
        _signal,
    ),
    CommandType.COMMAND_TYPE_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION: Kind(
        "request_cancel_external_workflow_execution_command_attributes",
        Cause.WORKFLOW_TASK_FAILED_CAUSE_BAD_REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_ATTRIBUTES,
        _cancel,
    ),
}
