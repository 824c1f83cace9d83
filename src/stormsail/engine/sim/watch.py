"""Looks on at every commit: what is given to the store, and, after each restart, what the store has.

Everything here is checked against the committed turns themselves, so it holds whatever the clients saw.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from temporalio.api.history.v1 import HistoryEvent

from stormsail.engine.core import deadlines, events, progress, replay, work
from stormsail.engine.core.errors import InvalidTransition
from stormsail.engine.core.events import NAME_OF_TYPE
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.core.machines.run import CLOSING
from stormsail.engine.core.messages import RunMessage
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.schedules.state import Schedule
from stormsail.engine.core.state import Activity, RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.sim.batch_book import BatchBook
from stormsail.engine.sim.comparing import difference, few, flatten, kept, short
from stormsail.engine.sim.coverage import Coverage
from stormsail.engine.sim.fairness import Fairness
from stormsail.engine.sim.mail import Mail, Posting
from stormsail.engine.sim.network import Violated
from stormsail.engine.sim.program import CHILD_ENDS
from stormsail.engine.sim.timetable import Timetable
from stormsail.engine.sim.trace import Trace, Violation
from stormsail.engine.sim.watched import BatchChange
from stormsail.engine.store.batches import Batch
from stormsail.engine.store.errors import RunDamaged
from stormsail.engine.store.store import Store

LATE_S: Final = 3.0
REPLAYED: Final = 0.3
"""The share of commits after which the run is replayed from its first event."""
WAKING: Final = frozenset(
    {
        "WorkflowExecutionSignaled",
        "WorkflowExecutionCancelRequested",
        "TimerFired",
        "ActivityTaskCompleted",
        "ActivityTaskFailed",
        "ActivityTaskTimedOut",
        "ActivityTaskCanceled",
        "StartChildWorkflowExecutionFailed",
        "ChildWorkflowExecutionStarted",
        "ExternalWorkflowExecutionSignaled",
        "SignalExternalWorkflowExecutionFailed",
        "ExternalWorkflowExecutionCancelRequested",
        "RequestCancelExternalWorkflowExecutionFailed",
        *CHILD_ENDS,
    }
)
"""What a workflow must hear of."""


@dataclass(slots=True)
class Known:
    """A run as the commits made it."""

    state: RunState
    frames: list[bytes] = field(default_factory=list)
    events: list[HistoryEvent] = field(default_factory=list)
    outcomes: set[int] = field(default_factory=set)
    """Scheduled event ids of the activities that have one."""
    unseen: int = 0
    """The newest event that the workflow must hear of."""
    begun_at_ms: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    """Turns of one commit."""

    turns: list[Turn]
    posting: Posting


class Watch:
    """See the module."""

    def __init__(self, violated: Violated, trace: Trace, chance: random.Random, coverage: Coverage) -> None:
        self._violated = violated
        self._trace = trace
        self._chance = chance
        self._coverage = coverage
        self.mail = Mail(violated, coverage)
        self.fairness = Fairness(violated, coverage, DEFAULT_LIMITS.priority_levels)
        self.timetable = Timetable(violated, coverage, self.late_s)
        self.book = BatchBook(violated, coverage, self.late_s)
        self.heard: Callable[[str], None] = lambda _what: None
        """Told what just went to the disk that something is to follow from."""
        self.asked_to_delete: Callable[[RunKey], bool] = lambda _key: False
        self.may_delete: Callable[[RunState], bool] = lambda _state: False
        """Whether a run may leave the disk: somebody asked, or its retention is over."""
        self.attempts_forgotten: set[RunKey] = set()
        """Runs of which somebody asked to begin activities again."""
        self.book.state_of = lambda key: self.runs[key].state if key in self.runs else None
        self.book.forgets_attempts = self.attempts_forgotten.add
        self.now_ms: Callable[[], int] = lambda: 0
        """The server's clock."""
        self.time_s: Callable[[], float] = lambda: 0.0
        self.epoch_s = 0.0
        """What the server's clock said when the simulation began."""
        self.well_since_s: Callable[[], float] = lambda: 0.0
        """Since when the server has been up, with a disk that is not full and a clock that was not set."""
        self.closed_at_s: dict[RunKey, float] = {}
        self.pauses: set[str] = set()
        """Request ids of pauses of activities that were committed."""
        self.runs: dict[RunKey, Known] = {}
        self.deleted: dict[RunKey, Known] = {}
        self.begun: list[RunKey] = []
        """All runs that ever were, in the order of their beginnings."""
        self.open_runs: dict[tuple[str, str], RunKey] = {}
        self._batches: dict[int, _Batch] = {}
        self._deleting: dict[int, tuple[RunKey, bool]] = {}
        """What is on its way out, and whether it might go when that began: the next life's clock may be behind."""
        self._drawn = 0
        self.commits = 0

    def known(self, key: RunKey) -> Known:
        """Return a run that is there, or was."""
        return self.runs.get(key) or self.deleted[key]

    def uncancelled(self, key: RunKey) -> bool:
        """Whether a run is open and was not asked to cancel itself."""
        known = self.runs.get(key)
        return known is not None and known.state.open and not known.state.cancel_requested

    def submitted(self, turns: Sequence[Turn]) -> tuple[str, int]:
        """See Watching."""
        flat: list[Turn] = []
        for turn in turns:
            flatten(turn, flat)
        for turn in flat:
            if turn.now_ms > self.now_ms():
                self._broken("T1", turn.state.key, f"a turn was decided as of {turn.now_ms - self.now_ms()} ms ahead")
            self._check_due(turn)
        self._drawn += 1
        self._batches[self._drawn] = _Batch(flat, Posting.of(turns))
        return "turns", self._drawn

    def settling(self, taken: RunMessage, answers: Sequence[RunMessage]) -> tuple[str, int]:
        """See Watching."""
        return "message", self.mail.settling(taken, answers)

    def scheduling(self, before: Schedule | None, after: Schedule | None, due_ms: int | None) -> tuple[str, int]:
        """See Watching."""
        return "schedule", self.timetable.changing(before, after, due_ms, self.now_ms())

    def deleting(self, key: RunKey) -> tuple[str, int]:
        """See Watching."""
        self._drawn += 1
        known = self.runs.get(key)
        self._deleting[self._drawn] = (key, known is not None and self.may_delete(known.state))
        return "deletion", self._drawn

    def batch(self, doing: BatchChange, batch: Batch, runs: Sequence[tuple[str, str]]) -> tuple[str, int]:
        """See Watching."""
        match doing:
            case "begins":
                return "batch", self.book.beginning(batch, runs)
            case "moves":
                return "batch", self.book.moving(batch)
            case "goes":
                return "batch", self.book.forgetting(batch)

    def committed(self, named: tuple[str, int]) -> None:
        """See Watching."""
        kind, number = named
        match kind:
            case "turns" if number in self._batches:
                self._carry_out(self._batches.pop(number))
            case "message":
                self.mail.settled(number)
            case "schedule":
                self.timetable.changed(number)
                self.heard("schedule")
            case "batch":
                self.book.changed(number)
                self.heard("batch")
            case "deletion":
                self._delete(*self._deleting.pop(number))

    def dropped(self, named: tuple[str, int]) -> None:
        """See Watching."""
        kind, number = named
        match kind:
            case "turns":
                self._batches.pop(number, None)
            case "message":
                self.mail.not_settled(number)
            case "schedule":
                self.timetable.unchanged(number)
            case "batch":
                self.book.unchanged(number)
            case "deletion":
                self._deleting.pop(number, None)

    def opened(self, store: Store) -> None:
        """Hold what the store has against what was committed; what was under way is there whole, or not at all."""
        # First, for an engine that finds a schedule's decision on disk need not wait until that is told.
        self.timetable.opened(store)
        for number in sorted(self._batches):
            batch = self._batches.pop(number)
            there = [self._is_there(store, turn) for turn in batch.turns]
            if any(there) and not all(there):
                self._broken("D2", batch.turns[0].state.key, "half of a commit survived")
            if all(there) and (there or self.mail.is_there(store, batch.posting)):
                self._carry_out(batch)
        for number in sorted(self._deleting):
            key, may = self._deleting.pop(number)
            if key in self.runs and self._load(store, key) is None:
                self._delete(key, may)
        for key, known in self.runs.items():
            found = self._load(store, key)
            if found is None:
                self._broken("D1", key, "a committed run is gone")
            elif found != known.state.durable:
                self._broken(
                    "D1",
                    key,
                    f"the disk has another state than was committed: {difference(known.state.durable, found)}",
                )
        self._check_rows(store)
        self.mail.opened(store)
        self.book.opened(store)

    def _is_there(self, store: Store, turn: Turn) -> bool:
        found = self._load(store, turn.state.key)
        known = self.runs.get(turn.state.key)
        if found == turn.state.durable:
            return True
        if found is not None and (known is None or found != known.state.durable):
            self._broken("D2", turn.state.key, f"a commit survived in part: {difference(turn.state.durable, found)}")
        return False

    def _load(self, store: Store, key: RunKey) -> RunState | None:
        try:
            return store.load(key)
        except RunDamaged as damaged:
            self._broken("D1", key, str(damaged))
            return None

    def _check_rows(self, store: Store) -> None:
        """What the store tells a starting engine: tasks, deadlines, and how many runs there are."""
        tasks = {(key, task) for key, known in self.runs.items() for task in work.tasks(known.state.durable).values()}
        if tasks != (found := set(store.waiting_tasks().tasks)):
            self._violated(Violation("D1", f"the store's tasks differ: {few(tasks ^ found)}"))
        dues = {(due, key) for key, known in self.runs.items() if (due := deadlines.deadline_ms(known.state.durable))}
        if dues != (kept := set(store.due(1 << 60, 1 << 30))):
            self._violated(Violation("D1", f"the store's deadlines differ: {few(dues ^ kept)}"))
        for namespace in sorted({key.namespace for key in self.runs}):
            count = sum(1 for key in self.runs if key.namespace == namespace)
            if store.visibility.count(namespace, "").total != count:
                self._violated(Violation("D2", f"the store has runs in {namespace} that nobody committed"))

    # After each commit.

    def _carry_out(self, batch: _Batch) -> None:
        self.mail.carry_out(batch.posting)
        for turn in batch.turns:
            self._apply(turn)
        if batch.posting.sent:
            self.heard("message")

    def _delete(self, key: RunKey, may: bool) -> None:
        known = self.runs.pop(key, None)
        if known is None:
            return  # two asked for it at once
        self._trace.note(f"deleted {key.workflow_id}/{key.run_id[:8]}")
        self.deleted[key] = known
        self._coverage.saw("deleted", "asked for" if self.asked_to_delete(key) else "retention over")
        if known.state.open:
            self._broken("D1", key, "an open run was deleted")
        elif not may and not self.may_delete(known.state):
            self._broken("D1", key, "a run was deleted whose retention is not over, and nobody had asked")

    def _apply(self, turn: Turn) -> None:
        self.commits += 1
        key, state = turn.state.key, turn.state
        known = self.runs.get(key)
        if turn.before is None:
            if known is not None:
                self._broken("R1", key, "a run was begun twice")
            known = self.runs[key] = Known(state, begun_at_ms=turn.now_ms)
            self.begun.append(key)
            self.timetable.run_begun(state, self._first_open)
        elif known is None:
            self._broken("D1", key, "a turn was taken on a run that was never committed")
            return
        elif turn.before is not known.state and kept(turn.before) != kept(known.state):
            self._broken(
                "H2",
                key,
                f"a turn was decided on another state than was committed: {difference(known.state, turn.before)}",
            )
        self._trace.note(f"commit {key.workflow_id}/{key.run_id[:8]} {[short(event) for event in turn.events]}")
        for event in turn.events:
            self._coverage.saw("event", NAME_OF_TYPE[event.event_type])
        self._check_order(known, turn)
        self._check_paused(turn)
        self.fairness.committed(turn)
        self.book.told(turn)
        known.state = state
        known.frames += turn.frames
        known.events += turn.events
        self._check_open(key, state)
        self._check_activities(known, turn)
        self._check_woken(known, turn)
        if self._chance.random() < REPLAYED:
            self.check_replay(known)

    def _first_open(self, workflow: tuple[str, str]) -> str:
        key = self.open_runs.get(workflow)
        return self.runs[key].state.start.first_execution_run_id if key is not None else ""

    def check_replay(self, known: Known) -> None:
        """H2: history and progress lead to the state that is served."""
        key = known.state.key
        try:
            again = replay.replay(key, known.frames, progress.pack(known.state.durable))
        except InvalidTransition as wrong:
            self._broken("H2", key, str(wrong))
            return
        if again != known.state.durable:
            self._broken("H2", key, f"a replay leads elsewhere: {difference(known.state.durable, again)}")

    def _check_order(self, known: Known, turn: Turn) -> None:
        expected = len(known.events) + 1
        for event in turn.events:
            name = NAME_OF_TYPE[event.event_type]
            if event.event_id != expected:
                self._broken("H1", turn.state.key, f"event {event.event_id} {name} where {expected} must be")
            if (expected == 1) != (name == "WorkflowExecutionStarted"):
                self._broken("H1", turn.state.key, f"event {expected} is {name}")
            last = turn.events[expected - len(known.events) - 2] if expected > len(known.events) + 1 else None
            before = last or (known.events[-1] if known.events else None)
            if before is not None and NAME_OF_TYPE[before.event_type] in CLOSING:
                self._broken("H1", turn.state.key, f"{name} follows the closing event")
            expected += 1

    def _check_open(self, key: RunKey, state: RunState) -> None:
        other = self.open_runs.get(key.workflow)
        if state.open:
            if other is not None and other != key:
                self._broken("R1", key, f"opened while {other.run_id} is open")
            self.open_runs[key.workflow] = key
            waits = state.children or state.signals_sent or state.cancels_sent or state.paused
            waits = waits or any(activity.paused_at_ms for activity in state.activities.values())
            if not work.tasks(state) and deadlines.deadline_ms(state) is None and not waits:
                self._broken("L1", key, "nothing will ever happen to this open run")
        else:
            self.closed_at_s.setdefault(key, self.time_s())
            if other == key:
                del self.open_runs[key.workflow]

    def _check_activities(self, known: Known, turn: Turn) -> None:
        key = turn.state.key
        for event in turn.events:
            name = NAME_OF_TYPE[event.event_type]
            if name in WAKING and name.startswith("ActivityTask"):
                attributes: Any = events.attributes_of(event)
                scheduled = attributes.scheduled_event_id
                if scheduled in known.outcomes:
                    self._broken("A1", key, f"activity {scheduled} has a second outcome, {name}")
                known.outcomes.add(scheduled)
        before = turn.before.activities if turn.before is not None else {}
        for scheduled, activity in turn.state.activities.items():
            if activity.paused_at_ms:
                self.pauses.add(activity.pause_request_id)
            old = before.get(scheduled)
            if old is None:
                continue
            self._check_attempts(key, old, activity)

    def _check_paused(self, turn: Turn) -> None:
        """A1, W1: of a paused run nothing is handed out, nor of a paused activity."""
        before, after = turn.before, turn.state
        if before is None:
            return
        task = after.workflow_task
        begins = task is not None and task.started_at_ms and task != before.workflow_task
        old = before.workflow_task
        if before.paused and begins and (old is None or not old.started_at_ms):
            self._broken("W1", after.key, "a workflow task of a paused run was started")
        for scheduled, activity in before.activities.items():
            new = after.activities.get(scheduled)
            begins = new is not None and new.started_at_ms and new.nonce != activity.nonce
            if begins and (before.paused or activity.paused_at_ms):
                self._broken("A1", after.key, f"activity {scheduled} is paused, and an attempt was started")

    def _check_attempts(self, key: RunKey, old: Activity, new: Activity) -> None:
        # Somebody may have changed it, also with the same commit.
        allowed = [one.scheduled.retry_policy.maximum_attempts for one in (old, new)]
        most = max(allowed) if all(allowed) else 0
        if key in self.attempts_forgotten and new.attempt == 1:
            return
        if new.attempt not in (old.attempt, old.attempt + 1):
            self._broken(
                "A1", key, f"activity {new.scheduled_event_id} went from attempt {old.attempt} to {new.attempt}"
            )
        paused = old.paused_at_ms or new.paused_at_ms  # Temporal counts no maximum for an attempt that ends then
        if most and new.attempt > most and new.attempt != old.attempt and not paused:
            self._broken("A1", key, f"activity {new.scheduled_event_id} has attempt {new.attempt} of {most}")
        if old.started_at_ms and new.started_at_ms and old.nonce != new.nonce:
            self._broken("A1", key, f"activity {new.scheduled_event_id} was started twice in attempt {new.attempt}")
        if old.started_at_ms and not new.started_at_ms and new.attempt == old.attempt:
            self._broken("A1", key, f"activity {new.scheduled_event_id} is tried again as attempt {new.attempt}")

    def _check_woken(self, known: Known, turn: Turn) -> None:
        """W1: what a workflow must hear of leads to a workflow task."""
        state = known.state
        for event in turn.events:
            if NAME_OF_TYPE[event.event_type] in WAKING:
                known.unseen = event.event_id
        seen = known.unseen < state.last_completed_task_started_event_id
        waits = state.first_task_ready and not state.paused
        if state.open and waits and state.workflow_task is None and known.unseen and not seen:
            self._broken("W1", state.key, f"nobody will hear of event {known.unseen}")

    def _check_due(self, turn: Turn) -> None:
        """T1: nothing fires early, by the server's clock and by our own reckoning."""
        before = turn.before
        if before is None:
            return
        known = self.runs.get(before.key)
        found = [*turn.events, *turn.state.buffered[len(before.buffered) :]]
        for event in found:
            attributes: Any = events.attributes_of(event)
            match NAME_OF_TYPE[event.event_type]:
                case "TimerFired" if known is not None and attributes.started_event_id <= len(known.events):
                    started = known.events[attributes.started_event_id - 1]
                    after_ms = duration_ms(started.timer_started_event_attributes.start_to_fire_timeout)
                    due_ms = started.event_time.ToMilliseconds() + after_ms
                    if event.event_time.ToMilliseconds() == turn.now_ms:  # it fired now, not while it was buffered
                        self._check_late(before.key, max(due_ms, known.begun_at_ms))
                    if turn.now_ms < due_ms and event.event_time.ToMilliseconds() < due_ms:
                        self._broken(
                            "T1", before.key, f"timer {attributes.timer_id} fired {due_ms - turn.now_ms} ms early"
                        )
                case "ActivityTaskTimedOut":
                    activity = before.activities.get(attributes.scheduled_event_id)
                    if activity is not None and turn.now_ms < (due_ms := _earliest_timeout_ms(activity)):
                        self._broken("T1", before.key, f"an activity timed out {due_ms - turn.now_ms} ms early")
                case "WorkflowTaskTimedOut":
                    task = before.workflow_task
                    if task is not None and task.started_at_ms and turn.now_ms < task.started_at_ms + task.timeout_ms:
                        self._broken("T1", before.key, "a workflow task timed out early")

    def _check_late(self, key: RunKey, due_ms: int) -> None:
        """T2: a timer fires soon after it is due, as far as the server was there and could write."""
        late_s = self.late_s(due_ms)
        if late_s > LATE_S:
            self._broken("T2", key, f"a timer fired {late_s:.1f} s late")

    def late_s(self, due_ms: int) -> float:
        """Return for how many seconds something has been due and could have been done."""
        return self.time_s() - max(due_ms / 1000 - self.epoch_s, self.well_since_s())

    def _broken(self, invariant: str, key: RunKey, text: str) -> None:
        self._violated(Violation(invariant, f"{key}: {text}"))


def _earliest_timeout_ms(activity: Activity) -> int:
    scheduled = activity.scheduled
    at_ms = [
        since_ms + lasts_ms
        for since_ms, lasts_ms in (
            (activity.scheduled_at_ms, duration_ms(scheduled.schedule_to_close_timeout)),
            (activity.started_at_ms, duration_ms(scheduled.start_to_close_timeout)),
            (max(activity.started_at_ms, activity.heartbeat_at_ms), duration_ms(scheduled.heartbeat_timeout)),
            (activity.ready_at_ms, duration_ms(scheduled.schedule_to_start_timeout)),
        )
        if since_ms and lasts_ms
    ]
    return min(at_ms)
