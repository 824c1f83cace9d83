"""What clients and workers were told, to be held against what is there in the end."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse

from stormsail.engine.core.ids import RunKey
from stormsail.engine.sim.network import Violated
from stormsail.engine.sim.program import text_of
from stormsail.engine.sim.trace import Violation
from stormsail.engine.sim.updates import UpdateSent

TOLD_WITHIN_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class SignalSent:
    """A signal; `run_id` is the run that the reply named, empty where there was no reply."""

    namespace: str
    workflow_id: str
    client: str
    number: int
    run_id: str
    named_run: bool
    """The request named the run, so that its repetitions meant no other."""

    @property
    def name(self) -> str:
        """What it is called in histories."""
        return f"{self.namespace}.{self.client}.{self.number}"


@dataclass(frozen=True, slots=True)
class StartSent:
    """A start; `run_id` is the run that the reply named, empty where there was no reply."""

    namespace: str
    workflow_id: str
    request_id: str
    run_id: str
    started: bool


@dataclass(slots=True)
class Ledger:
    """See the module."""

    violated: Violated
    signals: list[SignalSent] = field(default_factory=list)
    starts: list[StartSent] = field(default_factory=list)
    updates: list[UpdateSent] = field(default_factory=list)
    terminated: list[tuple[str, str, str]] = field(default_factory=list)
    """(namespace, workflow id, identity) of acknowledged terminations."""
    paused: list[tuple[RunKey, str]] = field(default_factory=list)
    """Runs and request ids of acknowledged pauses."""
    unpaused: list[tuple[RunKey, str]] = field(default_factory=list)
    to_delete: set[RunKey] = field(default_factory=set)
    """Runs that somebody asked to delete."""
    attempts_forgotten: Callable[[RunKey], bool] = lambda _key: False
    """Whether somebody asked that activities of a run begin again."""
    tasks_done: list[tuple[RunKey, str]] = field(default_factory=list)
    activities_done: list[tuple[RunKey, str]] = field(default_factory=list)
    answering: dict[str, int] = field(default_factory=dict)
    """The attempt that an activity worker meant, by the identity it answered under."""
    acknowledged: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """Signals acknowledged, by run id."""
    read: dict[RunKey, list[bytes]] = field(default_factory=dict)
    """The longest history read of each run."""
    ordered: bool = True
    """Whether the network delivers a request once at most."""
    told_late_s: Callable[[RunKey], float] = lambda _key: 0.0
    """For how many seconds a run has been closed, as far as the server had time to say so."""
    uncancelled: Callable[[RunKey], bool] = lambda _key: False
    """Whether a run is open and was not asked to cancel itself."""
    _beats: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """The attempt and number of the last acknowledged heartbeat, by run id and activity id; or a lower number, where
    a later attempt has sent that since."""
    _tasks: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def delivered(self, worker: str, task: PollWorkflowTaskQueueResponse) -> None:
        """W1: one worker at most is handed a started workflow task."""
        if task.HasField("query"):
            return
        self._once(worker, "workflow task", task.task_token)

    def activity_delivered(self, worker: str, task: PollActivityTaskQueueResponse) -> None:
        """A1: one worker at most is handed a started attempt. D1: it gets the progress that was acknowledged before."""
        self._once(worker, "activity", task.task_token)
        run = task.workflow_execution
        if self.attempts_forgotten(RunKey(task.workflow_namespace, run.workflow_id, run.run_id)):
            return
        attempt, number = self._beats.get((run.run_id, task.activity_id), (task.attempt, 0))
        told = text_of(task.heartbeat_details)
        if attempt < task.attempt and (not told or int(told) < number):
            told = f"{run.workflow_id}/{run.run_id}: {task.activity_id} is told {told!r} of heartbeat {number}"
            self.violated(Violation("D1", told))

    def beating(self, task: PollActivityTaskQueueResponse, number: int) -> None:
        """Take note of a heartbeat that is sent: it may replace an earlier attempt's though nobody hears of that."""
        name = (task.workflow_execution.run_id, task.activity_id)
        attempt, least = self._beats.get(name, (task.attempt, 0))
        if attempt < task.attempt:
            self._beats[name] = (attempt, min(least, number))

    def beaten(self, task: PollActivityTaskQueueResponse, number: int) -> None:
        """Take note of an acknowledged heartbeat. On a network that doubles, an older one may come after it: heartbeats
        have no order of their own."""
        if self.ordered:
            self._beats[task.workflow_execution.run_id, task.activity_id] = (task.attempt, number)

    def cancelled(self, key: RunKey) -> None:
        """D1: a run whose cancellation was acknowledged has closed, or knows of it."""
        if self.uncancelled(key):
            self.violated(Violation("D1", f"{key} was acknowledged as cancelled, and does not know of it"))

    def activity_answering(self, identity: str, task: PollActivityTaskQueueResponse) -> None:
        """Take note of the attempt that an answer is for."""
        self.answering[identity] = task.attempt

    def workflow_task_done(self, namespace: str, run: WorkflowExecution, identity: str) -> None:
        """Take note of an acknowledged completion."""
        self.tasks_done.append((RunKey(namespace, run.workflow_id, run.run_id), identity))

    def activity_done(self, namespace: str, run: WorkflowExecution, identity: str) -> None:
        """Take note of an acknowledged completion."""
        self.activities_done.append((RunKey(namespace, run.workflow_id, run.run_id), identity))

    def saw(self, namespace: str, run: WorkflowExecution, events: list[HistoryEvent]) -> None:
        """H1 and H3: a history read has no gap, and is what was read before, perhaps with more."""
        key = RunKey(namespace, run.workflow_id, run.run_id)
        for place, event in enumerate(events):
            if event.event_id != place + 1:
                self.violated(Violation("H1", f"{key}: a read history has event {event.event_id} at place {place + 1}"))
                return
        now = [event.SerializeToString(deterministic=True) for event in events]
        before = self.read.get(key, [])
        common = min(len(now), len(before))
        if now[:common] != before[:common]:
            place = next(n for n in range(common) if now[n] != before[n])
            self.violated(Violation("H3", f"{key}: event {place + 1} was read before, and was another"))
        if len(now) > len(before):
            self.read[key] = now

    def still_open(self, key: RunKey) -> None:
        """L1: who waits for a run's end is told soon."""
        late_s = self.told_late_s(key)
        if late_s > TOLD_WITHIN_S:
            self.violated(Violation("L1", f"a wait for the end of {key} ended without it, {late_s:.1f} s after it"))

    def _once(self, worker: str, what: str, token: bytes) -> None:
        name = (what, token)
        if name in self._tasks:
            self.violated(Violation("W1", f"{what} handed to {worker} and before to {self._tasks[name]}: {token!r}"))
        self._tasks[name] = worker
