"""What must come of batches: which runs each concerns, how far it got, and that what it says is done was done.

A model beside the store, fed by what is committed. A batch tells what it will do to which runs before it does it, does
that at most once to each, and is over when all of them had it or were counted as failed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from temporalio.api.enums.v1 import BatchOperationState
from temporalio.api.workflowservice.v1 import StartBatchOperationRequest

from stormsail.engine.core import events
from stormsail.engine.core.events import NAME_OF_TYPE
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.state import RunState
from stormsail.engine.core.turn import Turn
from stormsail.engine.sim.coverage import Coverage
from stormsail.engine.sim.network import Violated
from stormsail.engine.sim.trace import Violation
from stormsail.engine.store.batches import RUNNING, Batch
from stormsail.engine.store.store import Store

Name = tuple[str, str]
JOB: Final = "job."
"""What the ids of batches begin with. What a batch does to a run bears its id as identity."""
ACTS_AFTER_S: Final = 3.0
"""For how long a batch that was stopped may still be seen to act: what was on its way to the disk is done."""
COMPLETED: Final = BatchOperationState.BATCH_OPERATION_STATE_COMPLETED
FAILED: Final = BatchOperationState.BATCH_OPERATION_STATE_FAILED
OF_ATTEMPTS: Final = ("unpause_activities_operation", "reset_activities_operation")
ALSO_CLOSED: Final = ("deletion_operation", "reset_operation")


@dataclass(slots=True)
class KnownBatch:
    """A batch as the commits made it."""

    batch: Batch
    request: StartBatchOperationRequest
    runs: list[tuple[str, str]]

    @property
    def operation(self) -> str:
        """What it does."""
        return str(self.request.WhichOneof("operation"))


@dataclass(frozen=True, slots=True)
class _Change:
    name: Name
    before: Batch | None
    after: Batch | None
    runs: list[tuple[str, str]] | None = None
    """Where it begins: which it concerns."""


class BatchBook:
    """See the module."""

    def __init__(self, violated: Violated, coverage: Coverage, late_s: Callable[[int], float]) -> None:
        """`late_s` tells for how long what was due at an instant could have been done."""
        self._violated = violated
        self._coverage = coverage
        self._late_s = late_s
        self.state_of: Callable[[RunKey], RunState | None] = lambda _key: None
        """The committed state of a run that is there."""
        self.deletes: Callable[[RunKey], None] = lambda _key: None
        """Told what a batch is about to delete."""
        self.forgets_attempts: Callable[[RunKey], None] = lambda _key: None
        """Told of which runs a batch is about to have activities begun again."""
        self.may_forget: Callable[[Batch], bool] = lambda _batch: True
        """Whether the retention of a batch that has ended is over."""
        self.batches: dict[Name, KnownBatch] = {}
        self.to_stop: set[Name] = set()
        """Batches that somebody asked to stop."""
        self._forgotten: set[Name] = set()
        self._changing: dict[int, _Change] = {}
        self._drawn = 0
        self._told: set[tuple[str, str, str]] = set()
        """Which batch did what to which run."""

    @property
    def working(self) -> list[Name]:
        """Batches that have not ended."""
        return [name for name, known in self.batches.items() if known.batch.running]

    def known(self, name: Name) -> bool:
        """Whether there is such a batch, or was until its retention was over."""
        return name in self.batches or name in self._forgotten

    def beginning(self, batch: Batch, runs: Sequence[tuple[str, str]]) -> int:
        """A batch goes to the disk; returns what to call that by."""
        request = StartBatchOperationRequest.FromString(batch.request)
        for workflow_id, run_id in runs:
            key = RunKey(batch.namespace, workflow_id, run_id)
            if request.WhichOneof("operation") == "deletion_operation":
                self.deletes(key)
            elif request.WhichOneof("operation") in OF_ATTEMPTS:
                self.forgets_attempts(key)
        return self._under_way(_Change(batch.name, None, batch, list(runs)))

    def moving(self, batch: Batch) -> int:
        """How far a batch got goes to the disk."""
        known = self.batches.get(batch.name)
        return self._under_way(_Change(batch.name, known.batch if known else None, batch))

    def forgetting(self, batch: Batch) -> int:
        """A batch that has ended leaves the disk. Looked at now, for the clock of the next life may be behind."""
        if batch.running or not self.may_forget(batch):
            self._broken("D1", batch.name, "it is forgotten, and its retention is not over")
        return self._under_way(_Change(batch.name, batch, None))

    def changed(self, number: int) -> None:
        """It is there, the store says."""
        change = self._changing.pop(number, None)
        if change is not None:
            self._carry_out(change)

    def unchanged(self, number: int) -> None:
        """It is not, the store says."""
        self._changing.pop(number, None)

    def opened(self, store: Store) -> None:
        """Hold what the disk has against what was committed; what was under way is there whole, or not at all."""
        for number in sorted(self._changing):
            change = self._changing.pop(number)
            found = store.batches.get(*change.name)
            if found == change.after:
                self._carry_out(change)
            elif found != change.before:
                self._broken("D2", change.name, "a change of it survived in part")
        for name, known in self.batches.items():
            if store.batches.get(*name) != known.batch:
                self._broken("D1", name, f"the disk has {store.batches.get(*name)}, and {known.batch} was committed")
            kept = store.batches.runs(known.batch, 0, known.batch.total) if known.batch.running else known.runs
            if kept != known.runs:
                self._broken("D1", name, "the disk has other runs that it concerns than were committed")
        if {batch.name for batch in store.batches.running()} != set(self.working):
            self._violated(Violation("D1", "the store tells other batches to be under way"))

    def told(self, turn: Turn) -> None:
        """A turn is committed: what a batch does it had said before, does once, and not after it has ended."""
        if turn.before is None and turn.state.reset_at_ms:
            return  # told again
        for event in turn.events:
            identity = str(getattr(events.attributes_of(event), "identity", ""))
            if not identity.startswith(JOB):
                continue
            self._acted(turn.state.key, identity, NAME_OF_TYPE[event.event_type], event.event_time.ToMilliseconds())

    def _acted(self, key: RunKey, job_id: str, what: str, at_ms: int) -> None:
        name = (key.namespace, job_id)
        known = self.batches.get(name)
        if known is None:
            if name not in self._forgotten:
                self._broken("D1", name, f"it acts on {key}, and is not on disk")
            return
        if (key.workflow_id, key.run_id) not in known.runs:
            self._broken("D2", name, f"it acts on {key}, which it does not concern")
        if (job_id, key.run_id, what) in self._told:
            self._broken("D2", name, f"{key} has its {what} twice")
        self._told.add((job_id, key.run_id, what))
        closed_ms = known.batch.closed_ms
        if closed_ms is not None and at_ms > closed_ms and self._late_s(closed_ms) > ACTS_AFTER_S:
            self._broken("D1", name, f"it acts on {key} although it has ended")

    def _under_way(self, change: _Change) -> int:
        self._drawn += 1
        self._changing[self._drawn] = change
        return self._drawn

    def _carry_out(self, change: _Change) -> None:
        before = self.batches.get(change.name)
        after = change.after
        if after is None:
            self.batches.pop(change.name, None)
            self._forgotten.add(change.name)
            self._coverage.saw("batch", "forgotten")
        elif change.runs is not None:
            if before is not None:
                self._broken("D2", change.name, "it was begun twice")
            request = StartBatchOperationRequest.FromString(after.request)
            known = self.batches[change.name] = KnownBatch(after, request, change.runs)
            self._coverage.saw("batch", known.operation)
        elif before is None:
            self._broken("D1", change.name, "it went on, and was never committed")
        else:
            self._check_move(before, after)
            before.batch = after

    def _check_move(self, known: KnownBatch, after: Batch) -> None:
        before = known.batch
        if replace(after, state=RUNNING, closed_ms=None, completed=0, failed=0) != replace(
            before, state=RUNNING, closed_ms=None, completed=0, failed=0
        ):
            self._broken("D2", after.name, "it has become another batch")
        if not before.running:
            self._broken("D2", after.name, "it goes on although it has ended")
        if after.completed < before.completed or after.failed < before.failed:
            self._broken("H3", after.name, "it has done less than before")
        if after.completed + after.failed > after.total:
            self._broken("D2", after.name, "it has done more than there is to do")
        if after.state == FAILED:
            self._coverage.saw("batch", "stopped")
            if after.name not in self.to_stop:
                self._broken("D1", after.name, "it was stopped, and nobody had asked")
        elif after.state == COMPLETED:
            self._coverage.saw("batch", "completed")
            self._check_done(known, after)

    def _check_done(self, known: KnownBatch, after: Batch) -> None:
        if after.completed + after.failed != after.total:
            self._broken("D1", after.name, f"it has ended after {after.completed + after.failed} of {after.total} runs")
        undone = [run for run in known.runs if not self._is_done(known, RunKey(after.namespace, *run))]
        if len(undone) > after.failed:
            told = f"{len(undone)} runs have not had it, {undone[0]} for one, and {after.failed} are counted as failed"
            self._broken("D1", after.name, told)

    def _is_done(self, known: KnownBatch, key: RunKey) -> bool:
        state = self.state_of(key)
        if state is None:
            return True
        match known.operation:
            case "deletion_operation":
                return False
            case "termination_operation":
                return not state.open
            case "cancellation_operation":
                return not state.open or state.cancel_requested
            case "signal_operation":
                return (
                    not state.open
                    or (known.batch.job_id, key.run_id, "WorkflowExecutionSignaled") in self._told
                    or _waits(state, known.batch.job_id)
                )
            case "reset_operation":
                return bool(state.reset_run_id)
            case _:
                return True

    def _broken(self, invariant: str, name: Name, text: str) -> None:
        self._violated(Violation(invariant, f"batch {name[1]} of {name[0]}: {text}"))


def _waits(state: RunState, job_id: str) -> bool:
    """Whether what a batch did waits for the end of the workflow task."""
    buffered: Sequence[Any] = state.buffered
    return any(getattr(events.attributes_of(event), "identity", "") == job_id for event in buffered)
