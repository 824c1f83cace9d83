"""Schedules: when each starts what next, what it started of late, and whether it is paused."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
from temporalio.api.schedule.v1 import ScheduleActionResult, ScheduleListEntry

from stormsail.web.sources.held import Source
from stormsail.web.sources.payloads import message_json, payloads_json
from stormsail.web.sources.sources import Sources
from stormsail.web.views.paging import LIMIT_DEFAULT, cursor_of, token_of


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """One time that a schedule started something."""

    scheduled_at_ms: int | None
    """The time that it was due."""
    started_at_ms: int | None
    workflow_id: str
    run_id: str


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """One schedule in a list."""

    schedule_id: str
    workflow_type: str
    paused: bool
    notes: str
    next_at_ms: tuple[int, ...]
    recent: tuple[ScheduleRun, ...]
    spec: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SchedulesView:
    """One page of schedules."""

    sources: tuple[Source, ...]
    schedules: tuple[ScheduleRow, ...]
    next_cursor: str


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """One schedule whole."""

    sources: tuple[Source, ...]
    schedule_id: str
    workflow_type: str
    workflow_id: str
    task_queue: str
    input: Any
    spec: dict[str, Any]
    overlap: str
    """What happens where the last run is not over: `Skip`, `BufferOne`, `BufferAll`, `CancelOther`..."""
    paused: bool
    notes: str
    next_at_ms: tuple[int, ...]
    recent: tuple[ScheduleRun, ...]
    running: tuple[str, ...]
    """The workflow ids that it started and that run."""
    action_count: int
    missed_count: int
    skipped_count: int
    created_at_ms: int | None
    updated_at_ms: int | None


async def read_schedules(sources: Sources, *, limit: int = LIMIT_DEFAULT, cursor: str = "") -> SchedulesView:
    """Read a page of schedules. Raises BadCursor."""
    token = token_of("schedules", cursor)
    reading = await sources.held.read(("schedules", limit, token), lambda: sources.engine.list_schedules(limit, token))
    entries, next_token = reading.value or ([], b"")
    return SchedulesView((reading.source,), tuple(_row(entry) for entry in entries), cursor_of("schedules", next_token))


async def read_schedule(sources: Sources, schedule_id: str) -> ScheduleView | None:
    """Describe a schedule; None when the engine is away and never answered for it. Raises NotThere."""
    reading = await sources.held.read(("schedule", schedule_id), lambda: sources.engine.describe_schedule(schedule_id))
    if reading.value is None:
        return None
    schedule, known = reading.value.schedule, reading.value.info
    action = schedule.action.start_workflow
    return ScheduleView(
        sources=(reading.source,),
        schedule_id=schedule_id,
        workflow_type=action.workflow_type.name,
        workflow_id=action.workflow_id,
        task_queue=action.task_queue.name,
        input=payloads_json(action.input),
        spec=message_json(schedule.spec),
        overlap=_overlap(schedule.policies.overlap_policy),
        paused=schedule.state.paused,
        notes=schedule.state.notes,
        next_at_ms=tuple(at.ToMilliseconds() for at in known.future_action_times),
        recent=tuple(_run(one) for one in reversed(known.recent_actions)),
        running=tuple(one.workflow_id for one in known.running_workflows),
        action_count=known.action_count,
        missed_count=known.missed_catchup_window,
        skipped_count=known.overlap_skipped,
        created_at_ms=_ms(known.create_time),
        updated_at_ms=_ms(known.update_time),
    )


def _row(entry: ScheduleListEntry) -> ScheduleRow:
    known = entry.info
    return ScheduleRow(
        schedule_id=entry.schedule_id,
        workflow_type=known.workflow_type.name,
        paused=known.paused,
        notes=known.notes,
        next_at_ms=tuple(at.ToMilliseconds() for at in known.future_action_times),
        recent=tuple(_run(one) for one in reversed(known.recent_actions)),
        spec=message_json(known.spec),
    )


def _run(result: ScheduleActionResult) -> ScheduleRun:
    started = result.start_workflow_result
    return ScheduleRun(_ms(result.schedule_time), _ms(result.actual_time), started.workflow_id, started.run_id)


def _overlap(policy: "ScheduleOverlapPolicy.ValueType") -> str:
    words = ScheduleOverlapPolicy.Name(policy).removeprefix("SCHEDULE_OVERLAP_POLICY_").split("_")
    return "Skip" if words == ["UNSPECIFIED"] else "".join(word.capitalize() for word in words)


def _ms(instant: Timestamp) -> int | None:
    return instant.ToMilliseconds() or None
