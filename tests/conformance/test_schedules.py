"""Schedules on both servers: the same times, jitter included, and the same descriptions after the same requests."""

import asyncio
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.schedule.v1 import (
    BackfillRequest,
    CalendarSpec,
    IntervalSpec,
    Range,
    SchedulePatch,
    ScheduleSpec,
    StructuredCalendarSpec,
    TriggerImmediatelyRequest,
)
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    DeleteScheduleRequest,
    DescribeNamespaceRequest,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    ListScheduleMatchingTimesRequest,
    PatchScheduleRequest,
)
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleState,
)
from temporalio.client import ScheduleSpec as SdkScheduleSpec

from conformance import workflows as w
from conformance.reference import alike, confirmed
from conformance.servers import EngineProcess, both_servers
from conformance.workers import worker
from stormsail.engine.core.schedule_spec import canonical, compile_spec, shown

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

ZONES = (
    "",
    "America/New_York",
    "Europe/London",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "America/St_Johns",
    "Africa/Casablanca",
    "America/Santiago",
)
WINDOWS = (
    "2024-03-08",
    "2024-11-01",
    "2018-11-02",
    "2018-02-16",
    "2024-03-29",
    "2024-10-25",
    "2024-04-05",
    "2024-09-06",
)
"""Days on which the clocks change somewhere."""


@dataclass(frozen=True)
class Pair:
    ours: Client
    temporals: Client
    engine: EngineProcess


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with both_servers(tmp_path_factory.mktemp("schedules")) as (engine, dev):
        yield Pair(await engine.connect(), await dev.connect(), engine)


def creation(schedule_id: str, spec: ScheduleSpec, policy: int = 0, *, paused: bool = True) -> CreateScheduleRequest:
    request = CreateScheduleRequest(namespace="default", schedule_id=schedule_id, request_id=schedule_id)
    request.schedule.spec.CopyFrom(spec)
    request.schedule.state.paused = paused
    request.schedule.policies.overlap_policy = policy  # type: ignore[assignment]
    action = request.schedule.action.start_workflow
    action.workflow_id, action.workflow_type.name, action.task_queue.name = schedule_id, "T", "nobody"
    return request


def specs() -> list[tuple[ScheduleSpec, str]]:
    """Specs of every kind, each with a day around which it is asked for times."""
    chosen = random.Random(11)
    found: list[tuple[ScheduleSpec, str]] = []
    for zone in ZONES:
        for window in WINDOWS:
            jitter = chosen.choice((0, 0, 7, 4_000))
            spec = ScheduleSpec(timezone_name=zone, structured_calendar=[_calendar(chosen)])
            if chosen.random() < 0.4:
                spec.exclude_structured_calendar.append(_calendar(chosen, second=Range(end=59)))
            if jitter:
                spec.jitter.seconds = jitter
            found.append((spec, window))
        found.append((ScheduleSpec(timezone_name=zone, cron_string=["30 0-3 * * *"]), chosen.choice(WINDOWS)))
    crons = ("@hourly", "@weekly", "@every 90m/7m", "*/7 3-9/2 1,15 jan-mar sun-tue 2024-2026", "0 0 * * 5-7")
    found += [(ScheduleSpec(cron_string=[cron]), "2024-03-01") for cron in crons]
    weekend = CalendarSpec(second="*", minute="*", hour="*", day_of_week="sat,sun")
    every = IntervalSpec()
    every.interval.seconds, every.phase.seconds = 3_600, 1_800
    found.append((ScheduleSpec(interval=[every], exclude_calendar=[weekend]), "2024-03-08"))
    return found


def _calendar(chosen: random.Random, second: Range | None = None) -> StructuredCalendarSpec:
    return StructuredCalendarSpec(
        second=[second or Range(start=chosen.randint(0, 59))],
        minute=_ranges(chosen, 59),
        hour=_ranges(chosen, 23),
        day_of_month=[Range(start=1, end=31)],
        month=[Range(start=1, end=12)],
        day_of_week=_ranges(chosen, 6) if chosen.random() < 0.4 else [Range(end=6)],
    )


def _ranges(chosen: random.Random, high: int) -> list[Range]:
    start = chosen.randint(0, high)
    return [Range(start=start, end=chosen.randint(start, high) or start, step=chosen.choice((0, 1, 3)))]


async def test_times_and_canonical_forms_are_those_of_temporal(pair: Pair) -> None:
    described = await pair.temporals.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    places = asyncio.Semaphore(8)

    async def compare(spec: ScheduleSpec, day: str) -> None:
        async with places:
            await confirmed("", lambda: _difference(pair.temporals, described.namespace_info.id, spec, day))

    async with asyncio.TaskGroup() as group:
        for spec, day in specs():
            group.create_task(compare(spec, day))


async def _difference(temporals: Client, namespace_id: str, spec: ScheduleSpec, day: str) -> str:
    """Say how our times and canonical form of a spec differ from Temporal's, "" where they do not."""
    service = temporals.workflow_service
    name = f"times-{uuid.uuid4()}"
    named: dict[str, Any] = {"namespace": "default", "schedule_id": name}
    after, until = Timestamp(), Timestamp()
    after.FromDatetime(datetime.fromisoformat(day))
    until.FromDatetime(datetime.fromisoformat(day) + timedelta(days=5))
    await service.create_schedule(creation(name, spec))
    described = await service.describe_schedule(DescribeScheduleRequest(**named))
    listing = ListScheduleMatchingTimesRequest(**named, start_time=after, end_time=until)
    theirs = [each.ToMilliseconds() for each in (await service.list_schedule_matching_times(listing)).start_time]
    await service.delete_schedule(DeleteScheduleRequest(**named))
    ours = _times(spec, f"{namespace_id}-{name}", after.ToMilliseconds(), until.ToMilliseconds())
    if ours == theirs and shown(canonical(spec)) == described.schedule.spec:
        return ""
    return f"{len(ours)} times, Temporal has {len(theirs)}: {spec}"


def _times(spec: ScheduleSpec, seed: str, after_ms: int, until_ms: int) -> list[int]:
    compiled = compile_spec(canonical(spec))
    found: list[int] = []
    while len(found) < 1_000 and (following := compiled.next_time(seed, after_ms)) and following.at_ms <= until_ms:
        after_ms = following.at_ms
        found.append(after_ms)
    return found


def triggering(policy: int) -> SchedulePatch:
    return SchedulePatch(trigger_immediately=TriggerImmediatelyRequest(overlap_policy=policy))  # type: ignore[arg-type]


def backfilling(policy: int, minutes: int) -> SchedulePatch:
    backfill = BackfillRequest(overlap_policy=policy)  # type: ignore[arg-type]
    backfill.start_time.seconds, backfill.end_time.seconds = 1_700_000_040, 1_700_000_040 + minutes * 60
    return SchedulePatch(backfill_request=[backfill])


MINUTE_S, CENTURY_S = 60, 100 * 365 * 86_400
HAPPENINGS: dict[str, tuple[int, int, list[tuple[SchedulePatch, int]]]] = {
    "created": (MINUTE_S, 0, []),
    "paused and on again": (CENTURY_S, 0, [(SchedulePatch(unpause="on"), 0), (SchedulePatch(pause="off"), 0)]),
    "skipped": (MINUTE_S, 1, [(backfilling(0, 4), 1)]),
    "one in the buffer": (MINUTE_S, 2, [(backfilling(0, 4), 1)]),
    "all in the buffer": (MINUTE_S, 3, [(backfilling(0, 4), 1)]),
    "the last instead of the first": (MINUTE_S, 4, [(backfilling(0, 4), 1)]),
    "terminated": (MINUTE_S, 5, [(backfilling(1, 0), 1), (triggering(5), 2)]),
    "side by side": (MINUTE_S, 6, [(backfilling(0, 4), 5)]),
    "as the patch says": (MINUTE_S, 1, [(backfilling(6, 3), 4), (backfilling(3, 2), 4)]),
}
"""The time between two actions, a policy, and patches with the number of actions there have been once each is done.

A schedule that is not paused must not act on its own meanwhile: what acts each minute does so now and then."""


@pytest.mark.parametrize("name", HAPPENINGS)
async def test_descriptions_are_those_of_temporal(pair: Pair, name: str) -> None:
    happening = HAPPENINGS[name]
    await alike(lambda: _described(pair.temporals, *happening), _described(pair.ours, *happening))


async def _described(client: Client, every_s: int, policy: int, patches: Sequence[tuple[SchedulePatch, int]]) -> str:
    service = client.workflow_service
    schedule_id = f"described-{uuid.uuid4()}"
    every = IntervalSpec()
    every.interval.seconds = every_s
    await service.create_schedule(creation(schedule_id, ScheduleSpec(interval=[every]), policy))
    named: dict[str, Any] = {"namespace": "default", "schedule_id": schedule_id}
    shown_ = await _quiet(client, named, 0)
    for patch, actions in patches:
        await service.patch_schedule(PatchScheduleRequest(**named, patch=patch, request_id=str(uuid.uuid4())))
        shown_ = await _quiet(client, named, actions)
    await service.delete_schedule(DeleteScheduleRequest(**named))
    return shown_.replace(schedule_id, "described")


async def _quiet(client: Client, named: dict[str, Any], actions: int) -> str:
    """Describe a schedule once it has had so many actions and is the same three times, a moment apart."""
    last, same = "", 0
    async with asyncio.timeout(60):
        while same < 3:
            found = await client.workflow_service.describe_schedule(DescribeScheduleRequest(**named))
            done, shown_ = found.info.action_count == actions, _comparable(found)
            last, same = shown_, same + 1 if done and shown_ == last else 0
            await asyncio.sleep(0.3)
    return last


def _comparable(shown_: DescribeScheduleResponse) -> str:
    """What must be alike: all but the instants of the two clocks, and the ids that are drawn."""
    info = shown_.info
    for each in info.recent_actions:
        each.ClearField("actual_time")
        each.start_workflow_result.run_id = "run"
        if each.schedule_time.ToDatetime(UTC) > datetime(2025, 1, 1, tzinfo=UTC):
            each.ClearField("schedule_time")
            each.start_workflow_result.workflow_id = "now"
    for running in info.running_workflows:
        running.run_id = "run"
        running.workflow_id = running.workflow_id if "-2023-" in running.workflow_id else "now"
    count = len(info.future_action_times)
    del info.future_action_times[:]
    info.ClearField("create_time")
    info.ClearField("update_time")
    return f"{count} to come\n{shown_}"


async def test_the_sdk_drives_a_schedule_through_a_kill_of_the_server(pair: Pair) -> None:
    client = pair.ours
    action = ScheduleActionStartWorkflow(w.Waiter.run, "", id=f"w-{uuid.uuid4()}", task_queue="scheduled")
    every = SdkScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=1))])
    limited = ScheduleState(limited_actions=True, remaining_actions=2)
    handle = await client.create_schedule(f"killed-{uuid.uuid4()}", Schedule(action, every, state=limited))

    async def actions(count: int) -> list[ScheduleActionExecutionStartWorkflow]:
        async with asyncio.timeout(60):
            while True:
                found = [each.action for each in (await handle.describe()).info.recent_actions]
                if len(found) >= count:
                    return [each for each in found if isinstance(each, ScheduleActionExecutionStartWorkflow)]
                await asyncio.sleep(0.1)

    [first] = await actions(1)
    await pair.engine.kill()
    await pair.engine.start()
    async with worker(client, "scheduled"):
        run = client.get_workflow_handle(first.workflow_id, run_id=first.first_execution_run_id)
        await run.signal(w.Waiter.end)
        await run.result()
        second = (await actions(2))[1]
    assert second.workflow_id != first.workflow_id
    info = (await handle.describe()).info
    assert info.num_actions == 2
    await handle.delete()
