"""Changing schedules: pause, unpause, trigger, backfill, delete."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.enums.v1 import ScheduleOverlapPolicy
from temporalio.api.schedule.v1 import BackfillRequest, SchedulePatch, TriggerImmediatelyRequest
from temporalio.api.workflowservice.v1 import DeleteScheduleRequest, PatchScheduleRequest

from stormsail.delivery.engine_link import EngineLink
from stormsail.delivery.records.keys import Role
from stormsail.web.changes.change import Caller, Done, Wanted, carry_out
from stormsail.web.changes.failures import invalid, sorted_failures
from stormsail.web.sources.engine import CHANGE_OUTAGE_MAX_S
from stormsail.web.views.schedules import read_schedule

OVERLAPS: Final = {
    "": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_UNSPECIFIED,
    "Skip": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_SKIP,
    "BufferOne": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE,
    "BufferAll": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_BUFFER_ALL,
    "CancelOther": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER,
    "TerminateOther": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER,
    "AllowAll": ScheduleOverlapPolicy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL,
}
"""What happens where the run before is not over; empty leaves it to the schedule."""

INSTANT_MAX_MS: Final = 253_402_300_799_000
"""The year 9999: what a protocol timestamp can say."""


@dataclass(frozen=True, slots=True)
class ScheduleAskedView:
    """A schedule that was changed."""

    schedule_id: str
    asked: str


async def pause_schedule(caller: Caller, schedule_id: str) -> Done:
    """Have a schedule start nothing until it is unpaused; the reason becomes its note."""
    note = _note(caller, "paused")
    return await _patched(caller, schedule_id, "pause", SchedulePatch(pause=note), None)


async def unpause_schedule(caller: Caller, schedule_id: str) -> Done:
    """Have a schedule go on."""
    note = _note(caller, "unpaused")
    return await _patched(caller, schedule_id, "unpause", SchedulePatch(unpause=note), None)


async def trigger_schedule(caller: Caller, schedule_id: str, overlap: str = "") -> Done:
    """Have a schedule start its workflow now."""
    patch = SchedulePatch(trigger_immediately=TriggerImmediatelyRequest(overlap_policy=_overlap(overlap)))
    return await _patched(caller, schedule_id, "trigger", patch, {"overlap": overlap})


async def backfill_schedule(
    caller: Caller, schedule_id: str, start_at_ms: int, end_at_ms: int, overlap: str = ""
) -> Done:
    """Have a schedule do what was due in a span of the past."""
    if not 0 <= start_at_ms < end_at_ms <= INSTANT_MAX_MS:
        raise invalid([("end_at_ms", "after start_at_ms, both Unix milliseconds")])
    start, end = Timestamp(), Timestamp()
    start.FromMilliseconds(start_at_ms)
    end.FromMilliseconds(end_at_ms)
    request = BackfillRequest(start_time=start, end_time=end, overlap_policy=_overlap(overlap))
    after = {"start_at_ms": start_at_ms, "end_at_ms": end_at_ms, "overlap": overlap}
    return await _patched(caller, schedule_id, "backfill", SchedulePatch(backfill_request=[request]), after)


async def delete_schedule(caller: Caller, schedule_id: str) -> Done:
    """Delete a schedule. The workflows that it started go on."""
    engine = caller.web.sources.engine
    message = DeleteScheduleRequest(
        namespace=engine.at.namespace, schedule_id=schedule_id, identity=caller.principal.name
    )

    async def make(_: str) -> ScheduleAskedView:
        link = EngineLink(engine.client, engine.at.address, CHANGE_OUTAGE_MAX_S)
        await link.ask(lambda: engine.client.workflow_service.delete_schedule(message))
        return ScheduleAskedView(schedule_id, "delete")

    return await _change(caller, schedule_id, "delete", make, None)


async def _patched(
    caller: Caller, schedule_id: str, verb: str, patch: SchedulePatch, after: dict[str, Any] | None
) -> Done:
    engine = caller.web.sources.engine

    async def make(request_id: str) -> ScheduleAskedView:
        message = PatchScheduleRequest(
            namespace=engine.at.namespace,
            schedule_id=schedule_id,
            patch=patch,
            identity=caller.principal.name,
            request_id=request_id,
        )
        link = EngineLink(engine.client, engine.at.address, CHANGE_OUTAGE_MAX_S)
        await link.ask(lambda: engine.client.workflow_service.patch_schedule(message))
        return ScheduleAskedView(schedule_id, verb)

    return await _change(caller, schedule_id, verb, make, after)


async def _change(
    caller: Caller, schedule_id: str, verb: str, make: Callable[[str], Any], after: dict[str, Any] | None
) -> Done:
    caller.principal.must(Role.EXECUTE)

    async def before() -> Any:
        with sorted_failures():
            return await read_schedule(caller.web.sources, schedule_id)

    return await carry_out(
        caller, Wanted(f"schedule.{verb}", f"schedule/{schedule_id}", after=after), make, before=before
    )


def _note(caller: Caller, what: str) -> str:
    return f"{what} by {caller.principal.name}" + (f": {caller.reason}" if caller.reason else "")


def _overlap(name: str) -> "ScheduleOverlapPolicy.ValueType":
    if name not in OVERLAPS:
        raise invalid([("overlap", f"one of {', '.join(filter(None, OVERLAPS))}, or left out")])
    return OVERLAPS[name]
