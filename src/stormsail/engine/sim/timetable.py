"""K1: a schedule acts once at each of its times and misses none, held against every commit of it.

The model knows one spec: every so many seconds, without jitter, until an end. It reckons the times by itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from temporalio.api.enums.v1 import ScheduleOverlapPolicy as Policy
from temporalio.api.schedule.v1 import ScheduleSpec

from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.retry import duration_ms
from stormsail.engine.core.schedules.bounds import CATCHUP_WINDOW_DEFAULT_MS
from stormsail.engine.core.schedules.state import Buffered, Schedule, ScheduleKey
from stormsail.engine.core.state import RunState
from stormsail.engine.sim.coverage import Coverage
from stormsail.engine.sim.network import Violated
from stormsail.engine.sim.trace import Violation
from stormsail.engine.store.errors import ScheduleDamaged
from stormsail.engine.store.store import Store

WORKFLOWS: Final = "scheduled-"
"""How the ids of the workflows begin that schedules start."""
LATE_S: Final = 4.0
TURN_S: Final = 0.5
"""How long each change may take that another waits for: a commit on the slowest disk. A schedule's turn waits for its
others, and who wakes those that are due waits for all of them."""
_EVERYTHING: Final = 1 << 60
_COUNTED: Final = (
    Policy.SCHEDULE_OVERLAP_POLICY_SKIP,
    Policy.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE,
    Policy.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL,
    Policy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL,
)
"""The policies that count what they leave out. The others put one action in another's place."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A schedule under way to the disk."""

    key: ScheduleKey
    before: Schedule | None
    after: Schedule | None
    due_ms: int | None
    now_ms: int


@dataclass(slots=True)
class _Action:
    """Something that a schedule has decided to do."""

    key: ScheduleKey
    incarnation: str
    """A schedule that is deleted and made again knows nothing of what the one before had begun."""
    action: Buffered
    workflow_id: str = ""
    tracked: bool = False
    lasting: bool = False
    """Whether its start is tried for long."""


class Timetable:
    """See the module."""

    def __init__(
        self,
        violated: Violated,
        coverage: Coverage,
        late_s: Callable[[int], float],
    ) -> None:
        """`late_s` tells for how long what was due at an instant could have been done."""
        self._violated = violated
        self._coverage = coverage
        self._late_s = late_s
        self.schedules: dict[ScheduleKey, Schedule] = {}
        self._due: dict[ScheduleKey, int | None] = {}
        self._changing: dict[int, _Change] = {}
        self._turns: list[int] = []
        """When schedules were changed, by the server's clock."""
        self._drawn = 0
        self._actions: dict[str, _Action] = {}
        """By the request id of its start."""
        self._times: dict[tuple[ScheduleKey, str], set[int]] = {}
        """For which times a schedule has acted by itself, by incarnation."""
        self._begun: dict[str, RunKey] = {}
        self._asked: set[tuple[ScheduleKey, str, str]] = set()
        self._acted_on: set[int] = set()
        """Changes that somebody has read before the store said what became of them."""

    def changing(self, before: Schedule | None, after: Schedule | None, due_ms: int | None, now_ms: int) -> int:
        """A schedule goes to the disk; returns what to call that by."""
        one = after or before
        assert one is not None
        self._drawn += 1
        self._changing[self._drawn] = _Change(one.key, before, after, due_ms, now_ms)
        self._turns.append(now_ms)
        if after is not None:
            self._check_late(after)
        return self._drawn

    def changed(self, number: int) -> None:
        """It is there, the store says."""
        change = self._changing.pop(number, None)
        if change is not None:
            self._carry_out(change)

    def unchanged(self, number: int) -> None:
        """It is not, the store says."""
        change = self._changing.pop(number, None)
        if change is None and number in self._acted_on:
            self._violated(Violation("K1", "a schedule acted on a change that the store had not made"))

    def opened(self, store: Store) -> None:
        """Hold what the disk has against what was committed; what was under way is there whole, or not at all."""
        for number in sorted(self._changing):
            change = self._changing.pop(number)
            found = self._load(store, change.key)
            if found == change.after:
                self._carry_out(change)
            elif found != change.before:
                self._broken("D2", change.key, "a change of it survived in part")
        for key, schedule in self.schedules.items():
            if self._load(store, key) != schedule:
                self._broken("D1", key, "the disk has another schedule than was committed")
            elif store.schedules.due_ms(key) != self._due[key]:
                self._broken("D1", key, "the disk has another time at which it is due")
        busy = {key for key, schedule in self.schedules.items() if schedule.busy}
        if busy != set(store.schedules.busy()):
            self._violated(Violation("D1", "the store tells other schedules to be busy"))
        dues = {key for key, due_ms in self._due.items() if due_ms is not None}
        if dues != set(store.schedules.due(_EVERYTHING, 1 << 30)):
            self._violated(Violation("D1", "the store tells other schedules to be due"))

    def run_begun(self, state: RunState, first_open: Callable[[tuple[str, str]], str]) -> None:
        """A run was begun: where a schedule did it, it had decided to, does it once, and overlaps as it may.
        `first_open` tells the first run of the chain that is open under a workflow id."""
        started = state.key.workflow_id.startswith(WORKFLOWS)
        if not started or state.start.continued_execution_run_id or state.reset_at_ms:
            return
        self._coverage.saw("schedule", "run begun")
        if state.start_request_id not in self._actions:
            self._read_already(state.start_request_id)
        action = self._actions.get(state.start_request_id)
        if action is None or not action.workflow_id:
            self._violated(Violation("K1", f"{state.key} was begun by a schedule that had not decided it on disk"))
            return
        before = self._begun.setdefault(state.start_request_id, state.key)
        if before != state.key:
            self._broken("K1", action.key, f"one action has begun {before} and {state.key}")
        if action.tracked:
            self._check_overlap(state.key, action, first_open)

    def _read_already(self, request_id: str) -> None:
        """Take a change under way to the disk for made, where a start is of it: between its commit and its being
        told it can be read, and who takes a schedule up when an engine opens does read it."""
        for number, change in sorted(self._changing.items()):
            after = change.after
            if after is not None and request_id in {after.request_id(one.action.number) for one in after.starting}:
                self._acted_on.add(number)
                self.changed(number)
                return

    def _check_overlap(self, key: RunKey, action: _Action, first_open: Callable[[tuple[str, str]], str]) -> None:
        for request_id, begun in self._begun.items():
            other = self._actions[request_id]
            if (
                other.tracked
                and (other.key, other.incarnation) == (action.key, action.incarnation)
                and begun != key
                and first_open(begun.workflow) == begun.run_id
            ):
                self._broken("K1", action.key, f"{key.workflow_id} was begun while {begun.workflow_id} runs")

    def acting(self, now_s: float) -> bool:
        """Whether schedules have something to do that comes to an end."""
        return any(
            schedule.busy or schedule.backfills or (not schedule.paused and schedule.spec.end_time.seconds >= now_s)
            for schedule in self.schedules.values()
        )

    def at_rest(self, ids: set[tuple[str, str]]) -> None:
        """When all has come to rest, what was decided is done. `ids`: of all workflows that ever were."""
        for key, schedule in self.schedules.items():
            if schedule.starting or schedule.running or schedule.backfills:
                self._broken("L1", key, "it waits for something although everything is at rest")
        for action in self._actions.values():
            there = (action.key.namespace, action.workflow_id) in ids
            known = self.schedules.get(action.key)
            same = known is not None and known.incarnation == action.incarnation
            if action.workflow_id and action.lasting and not there and same:
                self._broken("K1", action.key, f"{action.workflow_id} was never begun")

    def asked(self, key: ScheduleKey, request_id: str) -> bool:
        """Whether a change was made that a request asked for."""
        schedule = self.schedules.get(key)
        return schedule is None or (key, schedule.incarnation, request_id) in self._asked

    def _carry_out(self, change: _Change) -> None:
        before, after = change.before, change.after
        if before != self.schedules.get(change.key):
            self._broken("H2", change.key, "a change was decided on another schedule than was committed")
        if after is None:
            self.schedules.pop(change.key, None)
            self._due.pop(change.key, None)
            self._coverage.saw("schedule", "deleted")
            return
        self.schedules[change.key] = after
        self._due[change.key] = change.due_ms
        for request_id in after.request_ids:
            if before is None or request_id not in before.request_ids:
                name = (change.key, after.incarnation, request_id)
                if name in self._asked:
                    self._broken("D2", change.key, "a repeated request has an effect again")
                self._asked.add(name)
        new = self._decided(after, change.now_ms)
        if before is not None:
            self._check_times(before, after, change.now_ms, new)
            self._check_counts(before, after)

    def _decided(self, after: Schedule, now_ms: int) -> list[int]:
        """Take note of actions; return the times of the new ones that nobody asked for."""
        new: list[int] = []
        for action in (*after.buffered, *(starting.action for starting in after.starting)):
            request_id = after.request_id(action.number)
            if request_id in self._actions:
                continue
            self._actions[request_id] = _Action(after.key, after.incarnation, action)
            self._coverage.saw("schedule", "asked for" if action.manual else "due")
            if action.manual:
                continue
            new.append(action.nominal_ms)
            times = self._times.setdefault((after.key, after.incarnation), set())
            if action.nominal_ms in times:
                self._broken("K1", after.key, f"it acts twice at {action.nominal_ms}")
            times.add(action.nominal_ms)
            if action.nominal_ms > now_ms:
                self._broken("T1", after.key, f"it acts {action.nominal_ms - now_ms} ms early")
        lasting = duration_ms(after.policies.catchup_window) == CATCHUP_WINDOW_DEFAULT_MS
        for starting in after.starting:
            found = self._actions[after.request_id(starting.action.number)]
            if found.workflow_id:
                continue  # how long a start is tried is decided with it: a window that is wider later comes too late
            found.workflow_id, found.tracked = starting.workflow_id, starting.tracked
            found.lasting = lasting and not starting.action.manual
        return new

    def _check_late(self, after: Schedule) -> None:
        for action in (*after.buffered, *(starting.action for starting in after.starting)):
            if after.request_id(action.number) in self._actions or action.manual:
                continue
            waited_for = sum(at_ms >= action.nominal_ms for at_ms in self._turns)
            if (late_s := self._late_s(action.nominal_ms)) > LATE_S + TURN_S * waited_for:
                self._broken("T2", after.key, f"it acts {late_s:.1f} s late")

    def _check_times(self, before: Schedule, after: Schedule, now_ms: int, new: list[int]) -> None:
        """None is missed that is due by then and within the catch-up window."""
        expected: list[int] = []
        if before.may_act():
            expected = _times_of(before.spec, before.processed_ms, after.processed_ms, before.updated_ms)
        missed = after.missed_catchup_window - before.missed_catchup_window
        if missed:
            self._coverage.saw("schedule", "missed")
        window_ms = duration_ms(before.policies.catchup_window)
        if any(now_ms - at_ms <= window_ms for at_ms in expected[:missed]):
            self._broken("K1", after.key, "it passes over a time within its catch-up window")
        if len(expected) - missed > 1:
            self._coverage.saw("schedule", "caught up")
        quiet = not (before.backfills or after.backfills) and before.request_ids == after.request_ids
        if quiet and after.drawn - before.drawn != len(expected) - missed:
            told = f"it decides on {after.drawn - before.drawn} actions of {len(expected)} due, {missed} of them missed"
            self._broken("K1", after.key, told)
        everything = _policies(before, after) == {Policy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL}
        if everything and quiet and after.may_act() and not after.limited_actions and sorted(new) != expected[missed:]:
            self._broken("K1", after.key, f"it acts at {sorted(new)}, and {expected[missed:]} were due")

    def _check_counts(self, before: Schedule, after: Schedule) -> None:
        """What was decided and is not there any more was counted as skipped."""
        if not after.may_act() or before.limited_actions or after.limited_actions:
            return
        if not _policies(before, after) <= set(_COUNTED):
            return
        begun = {each.action.number for each in after.starting} - {each.action.number for each in before.starting}
        skipped = after.overlap_skipped - before.overlap_skipped
        if skipped:
            self._coverage.saw("schedule", "skipped")
        if len(before.buffered) + after.drawn - before.drawn != skipped + len(after.buffered) + len(begun):
            self._broken("K1", after.key, "an action is gone that was neither begun nor counted as skipped")

    def _load(self, store: Store, key: ScheduleKey) -> Schedule | None:
        try:
            return store.schedules.get(key)
        except ScheduleDamaged as damaged:
            self._broken("D1", key, str(damaged))
            return None

    def _broken(self, invariant: str, key: ScheduleKey, text: str) -> None:
        self._violated(Violation(invariant, f"{key}: {text}"))


def _policies(before: Schedule, after: Schedule) -> set[Policy.ValueType]:
    """Return every overlap policy that counts in a change."""
    actions = [*before.buffered, *after.buffered, *(starting.action for starting in after.starting)]
    own = {before.policies.overlap_policy, after.policies.overlap_policy}
    return own | {action.overlap for action in actions if action.overlap}


def _times_of(spec: ScheduleSpec, after_ms: int, until_ms: int, updated_ms: int) -> list[int]:
    """Return the times after one instant up to another."""
    every_ms = duration_ms(spec.interval[0].interval)
    phase_ms = duration_ms(spec.interval[0].phase)
    if spec.HasField("end_time"):
        until_ms = min(until_ms, spec.end_time.ToMilliseconds())
    first = (after_ms - phase_ms) // every_ms + 1
    last = (until_ms - phase_ms) // every_ms
    times = [number * every_ms + phase_ms for number in range(first, last + 1)]
    return [at_ms for at_ms in times if at_ms >= updated_ms]
