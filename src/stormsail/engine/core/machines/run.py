"""A run's life. What is absent is impossible: nothing precedes the start, nothing follows a closing event."""

from collections.abc import Mapping
from typing import Final

from temporalio.api.enums.v1 import WorkflowExecutionStatus as Status

from stormsail.engine.core import state
from stormsail.engine.core.values import Word


class Run(Word):
    """Where a run stands."""

    ABSENT = "absent"
    RUNNING = "running"
    PAUSED = "paused"
    """Open, but no task of it is handed out."""
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    TERMINATED = "terminated"
    CONTINUED_AS_NEW = "continued as new"
    TIMED_OUT = "timed out"


CLOSING: Final[Mapping[str, Run]] = {
    "WorkflowExecutionCompleted": Run.COMPLETED,
    "WorkflowExecutionFailed": Run.FAILED,
    "WorkflowExecutionCanceled": Run.CANCELED,
    "WorkflowExecutionTerminated": Run.TERMINATED,
    "WorkflowExecutionContinuedAsNew": Run.CONTINUED_AS_NEW,
    "WorkflowExecutionTimedOut": Run.TIMED_OUT,
}
"""The events that end a run, and as what."""

WHILE_RUNNING: Final = (
    "WorkflowTaskScheduled",
    "WorkflowTaskStarted",
    "WorkflowTaskCompleted",
    "WorkflowTaskFailed",
    "WorkflowTaskTimedOut",
    "ActivityTaskScheduled",
    "ActivityTaskStarted",
    "ActivityTaskCompleted",
    "ActivityTaskFailed",
    "ActivityTaskTimedOut",
    "ActivityTaskCancelRequested",
    "ActivityTaskCanceled",
    "TimerStarted",
    "TimerFired",
    "TimerCanceled",
    "MarkerRecorded",
    "WorkflowExecutionSignaled",
    "WorkflowExecutionCancelRequested",
    "WorkflowExecutionOptionsUpdated",
    "UpsertWorkflowSearchAttributes",
    "WorkflowPropertiesModified",
    "WorkflowExecutionUpdateAdmitted",
    "WorkflowExecutionUpdateAccepted",
    "WorkflowExecutionUpdateCompleted",
    "StartChildWorkflowExecutionInitiated",
    "StartChildWorkflowExecutionFailed",
    "ChildWorkflowExecutionStarted",
    "ChildWorkflowExecutionCompleted",
    "ChildWorkflowExecutionFailed",
    "ChildWorkflowExecutionCanceled",
    "ChildWorkflowExecutionTimedOut",
    "ChildWorkflowExecutionTerminated",
    "SignalExternalWorkflowExecutionInitiated",
    "SignalExternalWorkflowExecutionFailed",
    "ExternalWorkflowExecutionSignaled",
    "RequestCancelExternalWorkflowExecutionInitiated",
    "RequestCancelExternalWorkflowExecutionFailed",
    "ExternalWorkflowExecutionCancelRequested",
)
"""All other events: they leave it running, or paused."""

RUN: Final[Mapping[tuple[Run, str], Run]] = {
    (Run.ABSENT, "WorkflowExecutionStarted"): Run.RUNNING,
    (Run.RUNNING, "WorkflowExecutionPaused"): Run.PAUSED,
    (Run.PAUSED, "WorkflowExecutionUnpaused"): Run.RUNNING,
    **{(stands, name): stands for stands in (Run.RUNNING, Run.PAUSED) for name in WHILE_RUNNING},
    **{(stands, name): closed for stands in (Run.RUNNING, Run.PAUSED) for name, closed in CLOSING.items()},
}

STATUS: Final[Mapping[Run, Status.ValueType]] = {
    Run.ABSENT: Status.WORKFLOW_EXECUTION_STATUS_UNSPECIFIED,
    Run.RUNNING: Status.WORKFLOW_EXECUTION_STATUS_RUNNING,
    Run.PAUSED: Status.WORKFLOW_EXECUTION_STATUS_PAUSED,
    Run.COMPLETED: Status.WORKFLOW_EXECUTION_STATUS_COMPLETED,
    Run.FAILED: Status.WORKFLOW_EXECUTION_STATUS_FAILED,
    Run.CANCELED: Status.WORKFLOW_EXECUTION_STATUS_CANCELED,
    Run.TERMINATED: Status.WORKFLOW_EXECUTION_STATUS_TERMINATED,
    Run.CONTINUED_AS_NEW: Status.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW,
    Run.TIMED_OUT: Status.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
}
"""As the protocol numbers them."""

_OF_STATUS: Final = {number: run for run, number in STATUS.items()}


def stands(of: state.RunState) -> Run:
    """Say where a run stands."""
    return _OF_STATUS[of.status]  # type: ignore[index]
