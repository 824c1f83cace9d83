"""The part of `schedule` that talks to the engine."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
from temporalio.api.schedule.v1 import (
    BackfillRequest,
    CalendarSpec,
    IntervalSpec,
    Schedule,
    ScheduleAction,
    ScheduleListEntry,
    SchedulePatch,
    SchedulePolicies,
    ScheduleSpec,
    ScheduleState,
    TriggerImmediatelyRequest,
)
from temporalio.api.workflow.v1 import NewWorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    DeleteScheduleRequest,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    ListScheduleMatchingTimesRequest,
    ListSchedulesRequest,
    PatchScheduleRequest,
    UpdateScheduleRequest,
)

from stormsail.cli.audited import Entry, audited
from stormsail.cli.connection import run
from stormsail.cli.errors import ExitCode
from stormsail.cli.options import Duration, Place
from stormsail.cli.output import Column, instant, show_list, show_one, style
from stormsail.cli.temporal.options import Input
from stormsail.cli.temporal.rpc import (
    Engine,
    duration,
    engine,
    enum_name,
    listed,
    memo,
    new_id,
    record,
    search_attributes,
)
from stormsail.cli.temporal.workflow_run import start_fields

_COLUMNS: Final = (
    Column("schedule", lambda r: r["schedule_id"]),
    Column("state", lambda r: "‖ paused" if r["paused"] else "▸ running"),
    Column("starts", lambda r: r["workflow_type"]),
    Column("next", lambda r: instant(r["next_at_ms"])),
    Column("last", lambda r: instant(r["last_at_ms"])),
    Column("notes", lambda r: r["notes"] or "-", wide=True),
)

_SCHEDULE: Final = "schedule/"


def run_list(query: str, limit: int, place: Place, output: str) -> int:
    """Print schedules."""

    async def main() -> list[dict[str, Any]]:
        async with engine(place) as e:
            return await listed(
                e.workflow.list_schedules,
                ListSchedulesRequest(namespace=e.namespace, query=query),
                limit,
                lambda page: map(_entry_record, page.schedules),
                size="maximum_page_size",
            )

    show_list(run(main), _COLUMNS, "schedule_id", output, empty="no schedules")
    return int(ExitCode.OK)


def _entry_record(entry: ScheduleListEntry) -> dict[str, Any]:
    following = [at.ToMilliseconds() for at in entry.info.future_action_times]
    done = [action.actual_time.ToMilliseconds() for action in entry.info.recent_actions]
    return {
        "schedule_id": entry.schedule_id,
        "workflow_type": entry.info.workflow_type.name,
        "paused": entry.info.paused,
        "notes": entry.info.notes,
        "next_at_ms": following[0] if following else None,
        "last_at_ms": done[-1] if done else None,
    }


def run_describe(schedule_id: str, place: Place, output: str) -> int:
    """Print one schedule; as JSON it is the protocol's own DescribeScheduleResponse."""

    async def main() -> DescribeScheduleResponse:
        async with engine(place) as e:
            return await _describe(e, schedule_id)

    reply = run(main)
    show_one({"scheduleId": schedule_id, **record(reply)}, _described(schedule_id, reply), "scheduleId", output)
    return int(ExitCode.OK)


async def _describe(e: Engine, schedule_id: str) -> DescribeScheduleResponse:
    return await e.workflow.describe_schedule(
        DescribeScheduleRequest(namespace=e.namespace, schedule_id=schedule_id), retry=True
    )


def _described(schedule_id: str, reply: DescribeScheduleResponse) -> str:
    state, info, starts = reply.schedule.state, reply.info, reply.schedule.action.start_workflow
    policy = ScheduleOverlapPolicy.Name(reply.schedule.policies.overlap_policy)
    rows = {
        "schedule": schedule_id,
        "state": "‖ paused" if state.paused else "▸ running",
        "notes": state.notes or "-",
        "starts": f"{starts.workflow_type.name} on {starts.task_queue.name}, ids {starts.workflow_id}-...",
        "overlap": policy.removeprefix("SCHEDULE_OVERLAP_POLICY_").replace("_", " ").lower(),
        "counts": f"{info.action_count} started, {info.overlap_skipped} skipped, {info.missed_catchup_window} missed",
        "left": str(state.remaining_actions) if state.limited_actions else "no bound",
    }
    width = max(map(len, rows))
    lines = [f"{style(key.ljust(width), bold=True)}  {value}" for key, value in rows.items()]
    lines += ["", style("next", bold=True)]
    lines += [f"  {instant(at.ToMilliseconds())}" for at in info.future_action_times] or ["  never"]
    lines += ["", style("last", bold=True)]
    lines += [
        f"  {instant(action.actual_time.ToMilliseconds())}  {action.start_workflow_result.workflow_id}"
        for action in info.recent_actions
    ] or ["  none yet"]
    return "\n".join(lines)


def run_create(
    schedule_id: str, arguments: Sequence[Input], wanted: Mapping[str, Any], place: Place, output: str
) -> int:
    """Create a schedule."""

    async def main() -> None:
        async with engine(place) as e, audited(place, _entry(schedule_id, "create")):
            await e.workflow.create_schedule(
                CreateScheduleRequest(
                    namespace=e.namespace,
                    schedule_id=schedule_id,
                    schedule=_schedule(e, arguments, wanted),
                    identity=e.identity,
                    request_id=new_id(),
                    memo=memo(wanted["schedule_memo"]),
                    search_attributes=search_attributes(wanted["schedule_search_attribute"]),
                ),
                retry=True,
            )

    run(main)
    return _done(schedule_id, "created", output)


def run_update(
    schedule_id: str, arguments: Sequence[Input], wanted: Mapping[str, Any], place: Place, output: str
) -> int:
    """Replace a schedule's definition; a change by somebody else in between is a conflict."""

    async def main() -> None:
        async with engine(place) as e, audited(place, _entry(schedule_id, "update")):
            known = await _describe(e, schedule_id)
            await e.workflow.update_schedule(
                UpdateScheduleRequest(
                    namespace=e.namespace,
                    schedule_id=schedule_id,
                    schedule=_schedule(e, arguments, wanted),
                    conflict_token=known.conflict_token,
                    identity=e.identity,
                    request_id=new_id(),
                ),
                retry=True,
            )

    run(main)
    return _done(schedule_id, "updated", output)


def _schedule(e: Engine, arguments: Sequence[Input], wanted: Mapping[str, Any]) -> Schedule:
    fields = start_fields(e, arguments, wanted)
    for of_a_request in ("namespace", "identity"):
        del fields[of_a_request]
    remaining = wanted["remaining_actions"] or 0
    return Schedule(
        spec=_spec(wanted),
        action=ScheduleAction(start_workflow=NewWorkflowExecutionInfo(**fields)),
        policies=SchedulePolicies(
            overlap_policy=_overlap(wanted["overlap_policy"]),
            catchup_window=duration(wanted["catchup_window"]),
            pause_on_failure=wanted["pause_on_failure"],
        ),
        state=ScheduleState(
            notes=wanted["notes"],
            paused=wanted["paused"],
            limited_actions=bool(remaining),
            remaining_actions=remaining,
        ),
    )


def _spec(wanted: Mapping[str, Any]) -> ScheduleSpec:
    if not (wanted["cron"] or wanted["calendar"] or wanted["interval"]):
        raise click.UsageError("say when: --cron, --calendar or --interval")
    return ScheduleSpec(
        cron_string=wanted["cron"],
        calendar=[_calendar(text) for text in wanted["calendar"]],
        interval=[_interval(text) for text in wanted["interval"]],
        start_time=_instant(wanted["since"]),
        end_time=_instant(wanted["until"]),
        jitter=duration(wanted["jitter"]),
        timezone_name=wanted["time_zone"],
    )


def _calendar(text: str) -> CalendarSpec:
    try:
        return ParseDict(json.loads(text), CalendarSpec())
    except (ValueError, ParseError) as error:
        raise click.UsageError(f"--calendar {text!r} is not a calendar: {error}") from error


def _interval(text: str) -> IntervalSpec:
    every, _, offset = text.partition("/")
    seconds = Duration().convert(every, None, None)
    phase = Duration().convert(offset, None, None) if offset else 0.0
    return IntervalSpec(interval=duration(seconds), phase=duration(phase))


def _overlap(name: str | None) -> ScheduleOverlapPolicy.ValueType:
    if name is None:
        return ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_UNSPECIFIED
    return ScheduleOverlapPolicy.Value(enum_name("SCHEDULE_OVERLAP_POLICY_", name))


def _instant(at_s: float | None) -> Timestamp | None:
    if at_s is None:
        return None
    at = Timestamp()
    at.FromMilliseconds(int(at_s * 1000))
    return at


def run_toggle(schedule_id: str, paused: bool, reason: str, place: Place, output: str) -> int:
    """Pause a schedule or let it go on."""
    said = reason or ("paused by hand" if paused else "goes on by hand")
    patch = SchedulePatch(pause=said) if paused else SchedulePatch(unpause=said)
    verb, done = ("pause", "paused") if paused else ("unpause", "goes on")
    return _patch(_entry(schedule_id, verb, reason), patch, done, place, output)


def run_trigger(schedule_id: str, overlap: str | None, reason: str, place: Place, output: str) -> int:
    """Run a schedule's workflow now."""
    now = TriggerImmediatelyRequest(overlap_policy=_overlap(overlap))
    entry = _entry(schedule_id, "trigger", reason, overlap=overlap or "")
    return _patch(entry, SchedulePatch(trigger_immediately=now), "triggered", place, output)


def run_backfill(
    schedule_id: str, start_s: float, end_s: float, overlap: str | None, reason: str, place: Place, output: str
) -> int:
    """Run what would have run in a span."""
    span = BackfillRequest(start_time=_instant(start_s), end_time=_instant(end_s), overlap_policy=_overlap(overlap))
    asked = {"start_at_ms": int(start_s * 1000), "end_at_ms": int(end_s * 1000), "overlap": overlap or ""}
    entry = _entry(schedule_id, "backfill", reason, **asked)
    return _patch(entry, SchedulePatch(backfill_request=[span]), "backfill asked for", place, output)


def _entry(schedule_id: str, verb: str, reason: str = "", **after: Any) -> Entry:
    return Entry(f"schedule.{verb}", f"{_SCHEDULE}{schedule_id}", reason, after=after)


def _patch(entry: Entry, patch: SchedulePatch, done: str, place: Place, output: str) -> int:
    schedule_id = entry.target.removeprefix(_SCHEDULE)

    async def main() -> None:
        async with engine(place) as e, audited(place, entry):
            await e.workflow.patch_schedule(
                PatchScheduleRequest(
                    namespace=e.namespace,
                    schedule_id=schedule_id,
                    patch=patch,
                    identity=e.identity,
                    request_id=new_id(),
                ),
                retry=True,
            )

    run(main)
    return _done(schedule_id, done, output)


def run_matching(schedule_id: str, start_s: float, end_s: float, place: Place, output: str) -> int:
    """Print the times of a span at which a schedule runs."""

    async def main() -> list[dict[str, Any]]:
        async with engine(place) as e:
            reply = await e.workflow.list_schedule_matching_times(
                ListScheduleMatchingTimesRequest(
                    namespace=e.namespace,
                    schedule_id=schedule_id,
                    start_time=_instant(start_s),
                    end_time=_instant(end_s),
                ),
                retry=True,
            )
            return [{"at_ms": at.ToMilliseconds(), "at": at.ToJsonString()} for at in reply.start_time]

    show_list(run(main), (Column("time", lambda r: instant(r["at_ms"])),), "at", output, empty="no time matches")
    return int(ExitCode.OK)


def run_delete(schedule_id: str, place: Place, output: str) -> int:
    """Delete a schedule."""

    async def main() -> None:
        async with engine(place) as e, audited(place, _entry(schedule_id, "delete")):
            await e.workflow.delete_schedule(
                DeleteScheduleRequest(namespace=e.namespace, schedule_id=schedule_id, identity=e.identity), retry=True
            )

    run(main)
    return _done(schedule_id, "deleted", output)


def _done(schedule_id: str, done: str, output: str) -> int:
    show_one({"schedule_id": schedule_id, "done": done}, f"schedule {schedule_id}: {done}", "schedule_id", output)
    return int(ExitCode.OK)
