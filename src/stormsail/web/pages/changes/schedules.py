"""Changing schedules: pause, unpause, trigger, backfill with a preview."""

from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest

from stormsail.delivery.records.keys import Role
from stormsail.web.changes import schedules as changing
from stormsail.web.changes.change import Caller
from stormsail.web.pages.changes.change import (
    Field,
    PageChange,
    Plan,
    Values,
    command,
    count_of,
    gone,
    invalid,
    must_say_why,
    no_fields,
    sorted_failures,
)
from stormsail.web.pages.words import instant
from stormsail.web.views.schedules import ScheduleView, read_schedule

SUBJECT: Final = ("schedule",)
SHOWN: Final = 5
OVERLAPS: Final = (("", "as the schedule says"), ("BufferAll", "one after the other"), ("AllowAll", "all at once"))


async def _seen(caller: Caller, values: Values) -> ScheduleView:
    caller.principal.must(Role.READ)
    with sorted_failures():
        view = await read_schedule(caller.web.sources, values["schedule"])
    if view is None:
        raise gone(f"schedule {values['schedule']}")
    return view


async def _pause_plan(caller: Caller, values: Values) -> Plan:
    view = await _seen(caller, values)
    next_one = f" Next would have been {instant(view.next_at_ms[0])}." if view.next_at_ms else ""
    lines = (f"{view.schedule_id} starts nothing until it is unpaused.{next_one}", "What it started goes on.")
    return Plan(lines, _toggle("--pause", values))


async def _unpause_plan(caller: Caller, values: Values) -> Plan:
    view = await _seen(caller, values)
    lines = (f"{view.schedule_id} starts {view.workflow_type} again at its next time.",)
    return Plan(lines, _toggle("--unpause", values))


async def _trigger_plan(caller: Caller, values: Values) -> Plan:
    view = await _seen(caller, values)
    lines = (f"{view.schedule_id} starts {view.workflow_type} now, besides its own times.",)
    running = ("The run before is not over: " + view.overlap,) if view.running else ()
    return Plan(
        lines, command("schedule", "trigger", "-s", values["schedule"], reason=values.get("reason", "")), running
    )


async def _backfill_fields(_: Caller, __: Values) -> tuple[Field, ...]:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (
        Field("start", "From (UTC)", "datetime-local", f"{today - timedelta(days=1):%Y-%m-%dT%H:%M}", required=True),
        Field("end", "To (UTC)", "datetime-local", f"{today:%Y-%m-%dT%H:%M}", required=True),
        Field("overlap", "Where runs overlap", "select", "BufferAll", options=OVERLAPS),
    )


def _span(values: Values) -> tuple[int, int]:
    span = []
    for name in ("start", "end"):
        try:
            at = datetime.fromisoformat(values.get(name, "")).replace(tzinfo=UTC)
        except ValueError:
            raise invalid([(name, "a time such as 2026-11-21T08:00, in UTC")]) from None
        span.append(int(at.timestamp() * 1000))
    if span[0] >= span[1]:
        raise invalid([("end", "after the beginning")])
    return span[0], span[1]


async def _backfill_plan(caller: Caller, values: Values) -> Plan:
    start_ms, end_ms = _span(values)
    await _seen(caller, values)
    times = await _due(caller, values["schedule"], start_ms, end_ms)
    shown = [instant(at).removesuffix(".000Z") + "Z" for at in times[:SHOWN]]
    more = f" and {len(times) - SHOWN} more" if len(times) > SHOWN else ""
    lines = (
        (f"Starts {count_of(len(times), 'run')} that were due: {', '.join(shown)}{more}",)
        if times
        else ("Nothing was due in that time: nothing would be started.",)
    )
    span = ("--start-time", instant(start_ms), "--end-time", instant(end_ms))
    overlap = ("--overlap-policy", values["overlap"]) if values.get("overlap") else ()
    return Plan(
        lines,
        command("schedule", "backfill", "-s", values["schedule"], *span, *overlap, reason=values.get("reason", "")),
    )


async def _due(caller: Caller, schedule_id: str, start_ms: int, end_ms: int) -> list[int]:
    """Ask the engine which times fall into a span: it has the schedule's time zone and jitter."""
    engine = caller.web.sources.engine
    start, end = Timestamp(), Timestamp()
    start.FromMilliseconds(start_ms)
    end.FromMilliseconds(end_ms)
    question = ListScheduleMatchingTimesRequest(
        namespace=engine.at.namespace, schedule_id=schedule_id, start_time=start, end_time=end
    )
    with sorted_failures():
        reply = await engine.asked(lambda: engine.client.workflow_service.list_schedule_matching_times(question))
    return [at.ToMilliseconds() for at in reply.start_time]


def _toggle(flag: str, values: Values) -> str:
    return command("schedule", "toggle", "-s", values["schedule"], flag, reason=values.get("reason", ""))


async def _make_pause(caller: Caller, values: Values) -> str:
    must_say_why(values)
    await changing.pause_schedule(caller, values["schedule"])
    return ""


async def _make_unpause(caller: Caller, values: Values) -> str:
    must_say_why(values)
    await changing.unpause_schedule(caller, values["schedule"])
    return ""


async def _make_trigger(caller: Caller, values: Values) -> str:
    must_say_why(values)
    await changing.trigger_schedule(caller, values["schedule"])
    return ""


async def _make_backfill(caller: Caller, values: Values) -> str:
    must_say_why(values)
    start_ms, end_ms = _span(values)
    await changing.backfill_schedule(caller, values["schedule"], start_ms, end_ms, values.get("overlap", ""))
    return ""


CHANGES: Final = {
    "pause": PageChange("Pause the schedule", "Pause", SUBJECT, _pause_plan, _make_pause, no_fields),
    "unpause": PageChange("Unpause the schedule", "Unpause", SUBJECT, _unpause_plan, _make_unpause, no_fields),
    "trigger": PageChange("Start a run now", "Trigger", SUBJECT, _trigger_plan, _make_trigger, no_fields),
    "backfill": PageChange("Backfill", "Backfill", SUBJECT, _backfill_plan, _make_backfill, _backfill_fields),
}
