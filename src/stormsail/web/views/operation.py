"""One operation whole: its cause first, then steps with every attempt, and what people asked of it."""

from dataclasses import dataclass
from typing import Any

from stormsail.delivery.client_types import PendingActivity
from stormsail.delivery.model.operation import (
    OperationProgress,
    OperationStatus,
    RolloutProgress,
    Step,
    StepStatus,
)
from stormsail.delivery.model.steering import SteeringRecord
from stormsail.web.sources.followed import FollowedRun
from stormsail.web.sources.held import Reading, Source
from stormsail.web.sources.operations import (
    Call,
    OperationFacts,
    find_run,
    read_calls,
    read_facts,
    read_progress,
)
from stormsail.web.sources.sources import Sources
from stormsail.web.views.operations import OperationRow, row_of

ENDED_FRESH_MS = 3_600_000
"""What has ended does not change any more."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call to the cloud that a step made."""

    call: str
    activity: str
    attempt: int
    """The engine's count of its own retries within this call."""
    outcome: str
    """`waiting`, `running`, `backing off`, `succeeded`, `failed`, `timed out` or `cancelled`."""
    scheduled_at_ms: int
    started_at_ms: int | None
    ended_at_ms: int | None
    next_retry_at_ms: int | None
    worker: str
    error: str
    detail: str
    """What the call last reported while it ran."""
    input: Any
    output: Any


@dataclass(frozen=True, slots=True)
class StepView:
    """One step with its attempts, oldest first."""

    index: int
    name: str
    target: str
    status: str
    started_at_ms: int
    ended_at_ms: int | None
    detail: str
    call: str
    """Names the step's newest call: what retry, skip and rerun take."""
    attempt: int
    input: dict[str, Any]
    error: str
    attempts: tuple[Attempt, ...]
    steerable: bool
    """Whether retry, skip and rerun may be asked of it now."""
    approval: bool = False
    """Whether it waits for an approval: not a failure, and answered by approve, promote or abort."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why an operation fails, waits or failed."""

    step: str
    call: str
    kind: str
    """`backing off`, `waiting for a person`, `waiting for an approval`, `no worker`, or the failure's own kind:
    `NeverHealthy`, `TrafficGuard`..."""
    message: str
    field: str
    since_ms: int | None
    attempt: int
    next_retry_at_ms: int | None


@dataclass(frozen=True, slots=True)
class SteeringEntry:
    """What somebody asked of the operation, as the operation itself keeps it."""

    id: str
    verb: str
    step: str
    by: str
    reason: str
    at_ms: int
    accepted: bool
    message: str
    before: dict[str, Any]
    after: dict[str, Any]


@dataclass(frozen=True, slots=True)
class OperationView:
    """One operation. `steps` is None when no worker has ever answered for it, which says nothing of the operation."""

    sources: tuple[Source, ...]
    operation: OperationRow
    causes: tuple[Cause, ...]
    """Root cause first; empty while nothing is the matter."""
    steps: tuple[StepView, ...] | None
    attempts: tuple[Attempt, ...]
    """All calls, also those that stand outside of the steps shown."""
    steering: tuple[SteeringEntry, ...]
    output: dict[str, Any]
    rolled_back: bool
    can_cancel: bool
    rollout: RolloutProgress | None = None
    """Where a rollout in steps is while it runs; None where there is none, or no worker answered."""


async def read_operation(sources: Sources, operation_id: str) -> OperationView | None:
    """Read one operation, by its id or a prefix; None when the engine is away and never answered for it.

    Raises NotThere, or Refused for a prefix that fits several.
    """
    found = await sources.held.read(
        ("operation-id", operation_id), lambda: find_run(sources.engine, operation_id), fresh_ms=ENDED_FRESH_MS
    )
    if found.value is None:
        return None
    workflow_id, run_id = found.value
    facts = await sources.held.read(("facts", run_id), lambda: read_facts(sources.engine, workflow_id, run_id))
    if facts.value is None:
        return None
    running = facts.value.summary.status is OperationStatus.RUNNING
    if running:
        asked_for = facts.value.summary
        sources.followed.look_at(FollowedRun(workflow_id, run_id, asked_for.application, asked_for.account))
    calls = await sources.held.read(
        ("calls", run_id, running),
        lambda: read_calls(sources.engine, workflow_id, run_id),
        fresh_ms=500 if running else ENDED_FRESH_MS,
    )
    asked: list[Source] = [facts.source]
    progress: Reading[OperationProgress] | None = None
    if running:
        progress = await sources.workers.read(
            ("progress", run_id), lambda: read_progress(sources.engine, workflow_id, run_id)
        )
        asked.append(progress.source)
    return _view(tuple(asked), facts.value, progress.value if progress else None, calls.value or ())


def _view(
    asked: tuple[Source, ...], facts: OperationFacts, progress: OperationProgress | None, calls: tuple[Call, ...]
) -> OperationView:
    pending = {activity.step: activity for activity in facts.pending}
    attempts = tuple(_attempt(call, pending.get(call.call)) for call in calls)
    known = facts.result.steps if facts.result is not None else progress.steps if progress is not None else None
    running = facts.summary.status is OperationStatus.RUNNING
    steering = progress.steering if progress is not None and running else facts.steering
    steps = None if known is None else _steps(known, attempts, running)
    return OperationView(
        sources=asked,
        operation=row_of(facts.summary),
        causes=tuple(_causes(facts, steps or (), attempts)),
        steps=steps,
        attempts=attempts,
        steering=tuple(_entry(record) for record in steering),
        output=facts.result.output if facts.result is not None else {},
        rolled_back=facts.result.rolled_back if facts.result is not None else False,
        can_cancel=running,
        rollout=progress.rollout if progress is not None and running else None,
    )


def _steps(known: tuple[Step, ...], attempts: tuple[Attempt, ...], running: bool) -> tuple[StepView, ...]:
    """Give each step the calls that were made from its beginning to the next one's: steps follow one another."""
    views = []
    for index, step in enumerate(known):
        until = known[index + 1].started_at_ms if index + 1 < len(known) else None
        mine = tuple(
            attempt
            for attempt in attempts
            if attempt.scheduled_at_ms >= step.started_at_ms and (until is None or attempt.scheduled_at_ms < until)
        )
        views.append(
            StepView(
                index=index,
                name=step.name,
                target=step.target,
                status=step.status.value,
                started_at_ms=step.started_at_ms,
                ended_at_ms=step.ended_at_ms or None,
                detail=step.detail,
                call=step.call,
                attempt=step.attempt,
                input=step.input,
                error=step.error,
                attempts=mine,
                steerable=running and bool(step.call) and _open(step) and not _awaits_approval(step),
                approval=running and _awaits_approval(step),
            )
        )
    return tuple(views)


def _open(step: Step) -> bool:
    return step.status in (StepStatus.RUNNING, StepStatus.PAUSED)


def _awaits_approval(step: Step) -> bool:
    # A step that failed for good keeps why; one that asks for an approval has nothing to be tried again.
    return step.status is StepStatus.PAUSED and not step.error and not step.input


def _causes(facts: OperationFacts, steps: tuple[StepView, ...], attempts: tuple[Attempt, ...]) -> list[Cause]:
    causes = []
    paused = next((step for step in reversed(steps) if step.status == StepStatus.PAUSED), None)
    if facts.summary.paused:
        name = paused.name if paused is not None else facts.summary.paused
        message = "it failed for good and waits for a person"
        if paused is not None:
            message = paused.error or paused.detail
        since = paused.attempts[-1].ended_at_ms if paused is not None and paused.attempts else None
        call = paused.call if paused is not None else facts.summary.paused
        kind = "waiting for an approval" if paused is not None and paused.approval else "waiting for a person"
        causes.append(Cause(name, call, kind, message, "", since, paused.attempt if paused else 1, None))
    for attempt in attempts:
        if attempt.outcome == "backing off" or (attempt.ended_at_ms is None and attempt.error):
            step = next((one for one in steps if attempt in one.attempts), None)
            causes.append(
                Cause(
                    step.name if step is not None else attempt.activity,
                    attempt.call,
                    "backing off",
                    attempt.error,
                    "",
                    attempt.scheduled_at_ms,
                    attempt.attempt,
                    attempt.next_retry_at_ms,
                )
            )
    failed = next((step for step in reversed(steps) if step.status == StepStatus.TERMINAL), None)
    causes += [
        Cause(
            failed.name if failed is not None else "",
            failed.call if failed is not None else "",
            error.kind,
            error.message,
            error.field,
            failed.ended_at_ms if failed is not None else facts.summary.closed_at_ms,
            failed.attempt if failed is not None else 1,
            None,
        )
        for error in (facts.result.errors if facts.result is not None else ())
    ]
    if facts.failure:
        causes.append(Cause("", "", "broke off", facts.failure, "", facts.summary.closed_at_ms, 1, None))
    return causes


def _attempt(call: Call, pending: PendingActivity | None) -> Attempt:
    backing_off = pending is not None and pending.next_retry_at_ms is not None
    shown = pending if call.ended_at_ms is None else None
    return Attempt(
        call=call.call,
        activity=call.activity,
        attempt=shown.attempt if shown is not None else call.attempt,
        outcome="backing off" if shown is not None and backing_off else call.outcome,
        scheduled_at_ms=call.scheduled_at_ms,
        started_at_ms=call.started_at_ms,
        ended_at_ms=call.ended_at_ms,
        next_retry_at_ms=shown.next_retry_at_ms if shown is not None else None,
        worker=call.worker,
        error=(shown.last_failure if shown is not None else "") or call.error,
        detail=shown.detail if shown is not None else "",
        input=call.input,
        output=call.output,
    )


def _entry(record: SteeringRecord) -> SteeringEntry:
    fields = record.model_dump(mode="json")
    return SteeringEntry(**{name: fields[name] for name in SteeringEntry.__dataclass_fields__})
