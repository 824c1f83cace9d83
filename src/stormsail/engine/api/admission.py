"""Which calls are new work, that waits while the engine is busy and is turned away where it would wait too long.

All others go first and are never refused for load: completions, heartbeats and polls free what new work takes; a
worker needs histories to go on; and to cancel, terminate or pause is how somebody ends an overload.
"""

from collections.abc import Callable
from typing import Final

from stormsail.engine.api.front.line import Line
from stormsail.engine.api.methods import METHODS
from stormsail.engine.core.errors import ResourceExhausted
from stormsail.engine.shell.overload import overloaded

NEW_WORK: Final = frozenset(
    {
        "CountSchedules",
        "CountWorkflowExecutions",
        "CreateSchedule",
        "ExecuteMultiOperation",
        "ListArchivedWorkflowExecutions",
        "ListClosedWorkflowExecutions",
        "ListOpenWorkflowExecutions",
        "ListScheduleMatchingTimes",
        "ListSchedules",
        "ListWorkflowExecutions",
        "PatchSchedule",
        "QueryWorkflow",
        "RegisterNamespace",
        "ResetWorkflowExecution",
        "ScanWorkflowExecutions",
        "SignalWithStartWorkflowExecution",
        "SignalWorkflowExecution",
        "StartBatchOperation",
        "StartWorkflowExecution",
        "UpdateSchedule",
        "UpdateWorkflowExecution",
    }
)
"""By name, without their service."""

NEW_WORK_PATHS: Final = frozenset(path for path, method in METHODS.items() if method.name in NEW_WORK)


def line(turns: Callable[[], int]) -> Line:
    """Make the line that new work stands in; `turns` says how many turns are on their way to disk."""
    return Line(_refused, turns=turns)


def _refused() -> ResourceExhausted:
    return overloaded(
        "The server is overloaded: more new work waits than it can begin soon, and this was not begun. Retry later."
    )
