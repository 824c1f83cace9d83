"""What the simulator met: a promise that was never put to the test was not kept, it was only not asked for."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, get_args

from stormsail.engine.core.errors import Refused
from stormsail.engine.core.events import NAME_OF_TYPE
from stormsail.engine.core.ids import Ids
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.messages import Body
from stormsail.engine.core.requests import RunRequest, StartRequest
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.shell.runs import Core

Met = tuple[str, str]
"""What kind of thing, and which one."""

_LISTED: Final = {
    "rpc": (
        "CountSchedules",
        "DescribeBatchOperation",
        "ListBatchOperations",
        "StartBatchOperation",
        "StopBatchOperation",
        "CreateSchedule",
        "DeleteSchedule",
        "DeleteWorkflowExecution",
        "DescribeSchedule",
        "ListSchedules",
        "PatchSchedule",
        "QueryWorkflow",
        "ResetWorkflowExecution",
        "UpdateSchedule",
    ),
    "schedule": ("due", "asked for", "run begun", "skipped", "caught up", "missed", "deleted"),
    "batch": (
        "cancellation_operation",
        "deletion_operation",
        "reset_activities_operation",
        "reset_operation",
        "signal_operation",
        "termination_operation",
        "unpause_activities_operation",
        "update_activity_options_operation",
        "update_workflow_options_operation",
        "completed",
        "forgotten",
        "stopped",
    ),
    "queue": ("backlog", "passed over"),
    "deleted": ("asked for", "retention over"),
    "rot": ("served", "refused"),
    "fault": (
        "power cut",
        "power cut at a disk call",
        "power cut after a message struck",
        "power cut after a schedule struck",
        "power cut after a batch struck",
        "kill -9",
        "kill -9 at a disk call",
        "restart",
        "I/O error",
        "full disk",
        "clock step",
        "worker death",
    ),
}
"""What must be met, beside all that the engine's own tables name."""
NOT_PLAYED: Final = frozenset(
    {
        # Never written: what Temporal has names for and no server writes, or what is not served here.
        ("event", "ActivityPropertiesModifiedExternally"),
        ("event", "WorkflowPropertiesModifiedExternally"),
        ("event", "WorkflowExecutionTimeSkippingTransitioned"),
        ("event", "WorkflowExecutionUpdateRejected"),
        *(("event", name) for name in NAME_OF_TYPE.values() if name.startswith("NexusOperation")),
        # Told by nobody in the simulator; the tests of their own rooms do.
        ("event", "UpsertWorkflowSearchAttributes"),
        ("request", "StartAndUpdate"),
    }
)


class Coverage:
    """Counts what was met."""

    def __init__(self) -> None:
        self.counts: Counter[Met] = Counter()

    def saw(self, kind: str, name: str) -> None:
        """Count something."""
        self.counts[kind, name] += 1

    def counting(self, core: Core) -> Core:
        """Return a core whose decisions are counted."""

        def decide(state: RunState, request: RunRequest, now_ms: int, ids: Ids, limits: Limits) -> Turn:
            return self._counted(request, lambda: core.decide(state, request, now_ms, ids, limits))

        def decide_start(
            current: RunState | None, request: StartRequest, now_ms: int, ids: Ids, limits: Limits
        ) -> Turn:
            return self._counted(request, lambda: core.decide_start(current, request, now_ms, ids, limits))

        return replace(core, decide=decide, decide_start=decide_start)

    def _counted(self, request: Any, deciding: Callable[[], Turn]) -> Turn:
        name = type(request).__name__
        try:
            turn = deciding()
        except Refused as refused:
            self.saw("refusal", f"{name} {type(refused).__name__}")
            raise
        self.saw("request", name)
        if turn.empty:
            self.saw("no effect", name)
        return turn


def listed() -> frozenset[Met]:
    """Return what must be met in enough seeds: every event, request and message of the engine that is not excused, so
    that one added there is missed here."""
    every = {("event", name) for name in NAME_OF_TYPE.values()}
    every |= {("request", one.__name__) for one in (*get_args(RunRequest), *get_args(StartRequest))}
    every |= {("message", one.__name__) for one in get_args(Body)}
    every |= {(kind, name) for kind, names in _LISTED.items() for name in names}
    return frozenset(every - NOT_PLAYED)


def report(counts: Counter[Met]) -> list[str]:
    """Return lines that say what was met, kind by kind, the rarest first, and what was not."""
    lines = []
    for kind in sorted({kind for kind, _ in counts}):
        found = sorted((number, name) for (each, name), number in counts.items() if each == kind)
        lines.append(f"  {kind}: " + ", ".join(f"{name} {number}" for number, name in found))
    if never := missing(counts):
        lines.append("  never met: " + ", ".join(" ".join(one) for one in never))
    return lines


def missing(counts: Counter[Met], wanted: Iterable[Met] | None = None) -> list[Met]:
    """Return what must be met and was not."""
    return sorted(one for one in (listed() if wanted is None else wanted) if not counts[one])
