"""The start of a schedule's workflow, as any client would ask for it."""

import json
from datetime import UTC, datetime
from typing import Final

from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import ScheduleOverlapPolicy, WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest

from stormsail.engine.core.decide.command_rules import complete_retry_policy
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.schedules.state import Buffered, Schedule, Starting

STARTED_BY: Final = "TemporalScheduledById"
START_TIME: Final = "TemporalScheduledStartTime"
_ALLOW_ALL: Final = ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL
_COPIED: Final = (
    "workflow_type",
    "task_queue",
    "input",
    "workflow_execution_timeout",
    "workflow_run_timeout",
    "workflow_task_timeout",
    "retry_policy",
    "memo",
    "search_attributes",
    "header",
    "user_metadata",
    "priority",
    "versioning_override",
)


def workflow_id_of(schedule: Schedule, action: Buffered) -> str:
    """Return the id of an action's workflow: the schedule's, and the nominal time.

    `keep_original_workflow_id` is shown and otherwise left alone, as by Temporal's server.
    """
    return f"{schedule.action.start_workflow.workflow_id}-{_time(action)}"


def start_request(schedule: Schedule, starting: Starting, limits: Limits) -> StartWorkflowExecutionRequest:
    """Build the start of an action's workflow. Raises InvalidArgument where its retry policy cannot be."""
    action, wanted = starting.action, schedule.action.start_workflow
    reuse = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    if action.manual:
        reuse = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
    request = StartWorkflowExecutionRequest(
        namespace=schedule.key.namespace,
        workflow_id=starting.workflow_id,
        identity=schedule.identity,
        request_id=schedule.request_id(action.number),
        workflow_id_reuse_policy=reuse,
        workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
    )
    for name in _COPIED:
        if wanted.HasField(name):
            getattr(request, name).CopyFrom(getattr(wanted, name))
    if request.HasField("retry_policy"):
        complete_retry_policy(request.retry_policy, limits)
    fields = request.search_attributes.indexed_fields
    fields[START_TIME].CopyFrom(_payload(_time(action), "Datetime"))
    fields[STARTED_BY].CopyFrom(_payload(schedule.key.schedule_id, "Keyword"))
    # Runs that may overlap have no one before them.
    if action.overlap != _ALLOW_ALL:
        if schedule.last_result is not None:
            request.last_completion_result.CopyFrom(schedule.last_result)
        if schedule.last_failure is not None:
            request.continued_failure.CopyFrom(schedule.last_failure)
    return request


def _time(action: Buffered) -> str:
    at = datetime.fromtimestamp(action.nominal_ms // 1_000, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _payload(text: str, type_name: str) -> Payload:
    return Payload(metadata={"encoding": b"json/plain", "type": type_name.encode()}, data=json.dumps(text).encode())
