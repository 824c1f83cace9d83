"""Schedules on a whole engine with a real store: what they start, what they learn, and what a crash leaves of them."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.enums.v1 import ScheduleOverlapPolicy as Policy
from temporalio.api.schedule.v1 import SchedulePatch, TriggerImmediatelyRequest
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    DeleteScheduleRequest,
    PatchScheduleRequest,
    UpdateScheduleRequest,
)

from engine.shell.conftest import NAMESPACE, STARTED_AT_MS, World
from stormsail.engine.core.errors import AlreadyStarted, NotFound, ResourceExhausted, Unavailable
from stormsail.engine.core.schedules import show
from stormsail.engine.core.schedules.state import Schedule, ScheduleKey
from stormsail.engine.store.errors import StorageFull

KEY = ScheduleKey(NAMESPACE, "s")
MINUTE = 60_000
FIRST_MS = (STARTED_AT_MS // MINUTE + 1) * MINUTE
"""The first full minute of the test's clock."""


def creation(overlap: int = 0, queue: str = "q") -> CreateScheduleRequest:
    """A schedule of every minute."""
    request = CreateScheduleRequest(namespace=NAMESPACE, schedule_id="s", request_id="r")
    request.schedule.spec.interval.add().interval.seconds = 60
    action = request.schedule.action.start_workflow
    action.workflow_id, action.workflow_type.name, action.task_queue.name = "w", "T", queue
    request.schedule.policies.overlap_policy = overlap  # type: ignore[assignment]
    return request


def trigger(overlap: int = 0, request_id: str = "") -> PatchScheduleRequest:
    patch = SchedulePatch(trigger_immediately=TriggerImmediatelyRequest(overlap_policy=overlap))  # type: ignore[arg-type]
    return PatchScheduleRequest(namespace=NAMESPACE, schedule_id="s", request_id=request_id, patch=patch)


async def create(world: World, overlap: int = 0) -> None:
    await world.soon(world.engine.schedules.create(creation(overlap), "id"))


def seen(world: World) -> Schedule:
    return world.engine.schedules.read(KEY)


async def until_actions(world: World, count: int) -> Schedule:
    await world.until(lambda: seen(world).actions == count and not seen(world).starting)
    return seen(world)


async def finish_next(world: World) -> str:
    """Complete the workflow that waits in the queue; return its id."""
    task = await world.poll()
    await world.complete(task, [world.complete_workflow()])
    return task.workflow_execution.workflow_id


async def test_a_schedule_starts_its_workflow_when_the_clock_gets_there(world: World) -> None:
    await create(world)
    await world.clock.advance(FIRST_MS - STARTED_AT_MS - 1)
    assert seen(world).actions == 0
    await world.clock.advance(1)
    schedule = await until_actions(world, 1)
    [recent] = schedule.recent
    assert recent.schedule_ms == FIRST_MS
    state = world.engine.read(NAMESPACE, recent.workflow_id, "")
    assert state.start.identity == "temporal-scheduler-default-s"
    assert set(state.search_attributes) == {"TemporalScheduledById", "TemporalScheduledStartTime"}


async def test_the_next_run_gets_the_result_of_the_one_before(world: World) -> None:
    await create(world)
    for count in (1, 2):
        await world.clock.advance(MINUTE)
        await until_actions(world, count)
        workflow_id = await finish_next(world)
        await world.until(lambda: not world.store.schedules.get(KEY).running)
        history = await world.history(workflow_id)
        start = history.history.events[0].workflow_execution_started_event_attributes
        assert start.last_completion_result == (world.payloads("out") if count == 2 else type(world.payloads(""))())
    assert [each.status for each in seen(world).recent] == [2, 2]


async def test_what_was_buffered_starts_when_the_run_before_ends(world: World) -> None:
    await create(world, Policy.SCHEDULE_OVERLAP_POLICY_BUFFER_ONE)
    await world.clock.advance(MINUTE)
    await until_actions(world, 1)
    await world.clock.advance(MINUTE)
    await world.until(lambda: len(seen(world).buffered) == 1)
    await finish_next(world)
    assert (await until_actions(world, 2)).buffered == ()


@pytest.mark.parametrize(
    ("policy", "event", "reason"),
    [
        (
            Policy.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER,
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED,
            "terminated by schedule overlap policy",
        ),
        (
            Policy.SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER,
            EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CANCEL_REQUESTED,
            "cancelled by schedule overlap policy",
        ),
    ],
)
async def test_the_run_before_is_ended_where_the_policy_says_so(
    world: World, policy: int, event: EventType.ValueType, reason: str
) -> None:
    await create(world, policy)
    await world.clock.advance(MINUTE)
    first = (await until_actions(world, 1)).recent[0].workflow_id
    await world.clock.advance(MINUTE)

    async def last() -> Any:
        return (await world.history(first)).history.events[-1]

    if policy == Policy.SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER:
        await until_actions(world, 2)
        assert (await last()).workflow_execution_terminated_event_attributes.reason == reason
    else:
        await world.until(lambda: bool(seen(world).running) and seen(world).running[0].asked)
        assert (await last()).workflow_execution_cancel_requested_event_attributes.cause == reason
        await finish_next(world)
        await until_actions(world, 2)
    assert (await last()).event_type in (event, EventType.EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED)


async def test_a_schedule_goes_on_after_a_restart_and_makes_up_for_what_it_missed(world: World) -> None:
    await create(world, Policy.SCHEDULE_OVERLAP_POLICY_ALLOW_ALL)
    await world.close()
    world.clock._now_ms += 3 * MINUTE
    await world.open()
    schedule = await until_actions(world, 3)
    assert [each.schedule_ms for each in schedule.recent] == [FIRST_MS + minute * MINUTE for minute in range(3)]


async def test_an_end_that_came_while_the_server_was_down_is_found_when_it_opens(closed_world: World) -> None:
    world = closed_world
    await world.open()
    await create(world)
    await world.clock.advance(MINUTE)
    running = (await until_actions(world, 1)).recent[0]
    # The run's end is on disk and the schedule's turn about it never was.
    world.engine.schedules.run_committed = lambda _state: None  # type: ignore[method-assign]
    await finish_next(world)
    assert len(world.store.schedules.get(KEY).running) == 1
    assert seen(world).running == (), "what is shown as running runs"
    await world.restart()
    await world.until(lambda: not world.store.schedules.get(KEY).running)
    assert seen(world).recent[0].run_id == running.run_id
    assert seen(world).recent[0].status == 2


class _DyingSchedules:
    """Schedules that cannot be written any more from a commit on: as if the process died there."""

    def __init__(self, schedules: Any, dies_at: int) -> None:
        self._schedules = schedules
        self._dies_at = dies_at
        self.commits = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._schedules, name)

    async def commit(self, *given: Any) -> None:
        self.commits += 1
        if self.commits >= self._dies_at:
            raise StorageFull(Path("engine.db"))
        await self._schedules.commit(*given)


class _DyingStore:
    """A store of such schedules."""

    def __init__(self, store: Any, dies_at: int) -> None:
        self._store = store
        self.schedules = _DyingSchedules(store.schedules, dies_at)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


@pytest.mark.parametrize("dies_at", [2, 3])
async def test_an_action_is_done_once_wherever_the_server_dies(closed_world: World, dies_at: int) -> None:
    """2: the decision to start is not on disk. 3: the workflow is started, and the schedule does not know."""
    world = closed_world
    world.store_of = lambda store: _DyingStore(store, dies_at)
    await world.open()
    await create(world)
    await world.clock.advance(FIRST_MS - STARTED_AT_MS)
    await world.until(lambda: world.store.schedules.commits >= dies_at)
    workflow_id = "w-2023-11-14T22:14:00Z"
    if dies_at == 3:
        began = world.engine.read(NAMESPACE, workflow_id, "").key.run_id
    else:
        with pytest.raises(NotFound):
            world.engine.read(NAMESPACE, workflow_id, "")
    world.store_of = lambda store: store
    await world.restart()
    schedule = await until_actions(world, 1)
    [recent] = schedule.recent
    assert recent.workflow_id == workflow_id
    if dies_at == 3:
        assert recent.run_id == began, "the same run, and no second one"
    assert [each.run_id for each in schedule.running] == [recent.run_id]


async def test_a_run_whose_beginning_the_schedule_never_heard_of_is_followed_though_its_start_is_refused_in_the_end(
    closed_world: World,
) -> None:
    world = closed_world
    world.store_of = lambda store: _DyingStore(store, 3)
    await world.open()
    request = creation()
    request.schedule.policies.catchup_window.seconds = 10
    await world.soon(world.engine.schedules.create(request, "id"))
    await world.clock.advance(FIRST_MS - STARTED_AT_MS)
    await world.until(lambda: world.store.schedules.commits >= 3)
    began = world.engine.read(NAMESPACE, "w-2023-11-14T22:14:00Z", "").key.run_id
    world.store_of = lambda store: store
    world.limits = replace(world.limits, commit_queue_max=1)
    await world.clock.advance(MINUTE // 2)  # past the instant at which it gives the start up
    await world.restart()
    with pytest.raises(ResourceExhausted):
        await world.start("another")
    schedule = await until_actions(world, 1)
    assert [each.run_id for each in schedule.running] == [began]


async def test_a_run_whose_beginning_the_schedule_did_not_hear_of_outlives_its_retention_until_it_does(
    closed_world: World,
) -> None:
    """Seed 350864 of the simulator: it was deleted, and the action done once more."""
    world = closed_world

    async def swept() -> int:
        world.engine.retention._lasts_ms = lambda: [(NAMESPACE, 0)]
        return await world.soon(world.engine.retention.sweep())

    world.store_of = lambda store: _DyingStore(store, 3)
    await world.open()
    await create(world)
    await world.clock.advance(FIRST_MS - STARTED_AT_MS)
    await world.until(lambda: world.store.schedules.commits >= 3)
    began = world.engine.read(NAMESPACE, await finish_next(world), "").key
    assert await swept() == 0
    world.store_of = lambda store: _DyingStore(store, 1)
    await world.restart()
    assert world.engine.schedules.looks_for(began), "nobody has read yet what the schedules are about to do"
    assert await swept() == 0
    await world.until(lambda: world.store.schedules.commits >= 1)
    assert await swept() == 0
    world.store_of = lambda store: store
    await world.restart()
    schedule = await until_actions(world, 1)
    assert [each.run_id for each in schedule.recent] == [began.run_id]
    assert await swept() == 1


class _SlowSchedules(_DyingSchedules):
    """Schedules of which one cannot be written until the test lets it."""

    def __init__(self, schedules: Any, slow: str) -> None:
        super().__init__(schedules, dies_at=sys.maxsize)
        self._slow = slow
        self.gate = asyncio.Event()

    async def commit(self, before: Schedule | None, after: Schedule | None, due_ms: int | None) -> None:
        if before is not None and before.key.schedule_id == self._slow:
            await self.gate.wait()
        await super().commit(before, after, due_ms)


async def test_a_schedule_whose_changes_take_long_keeps_no_other_from_its_time(closed_world: World) -> None:
    world = closed_world

    def slowed(store: Any) -> Any:
        slow = _DyingStore(store, dies_at=sys.maxsize)
        slow.schedules = _SlowSchedules(store.schedules, "s")
        return slow

    world.store_of = slowed
    await world.open()
    await create(world)
    other = creation()
    other.schedule_id, other.schedule.action.start_workflow.workflow_id = "t", "t"
    await world.soon(world.engine.schedules.create(other, "id"))
    await world.clock.advance(FIRST_MS - STARTED_AT_MS)
    for minute in (1, 2):
        await world.until(lambda so_many=minute: _actions_of(world, "t") == so_many)  # type: ignore[misc]
        assert seen(world).actions == 0
        await finish_next(world)
        await world.clock.advance(MINUTE)
    world.store.schedules.gate.set()
    await until_actions(world, 1)


def _actions_of(world: World, schedule_id: str) -> int:
    return world.engine.schedules.read(ScheduleKey(NAMESPACE, schedule_id)).actions


async def test_who_waits_for_what_a_schedule_does_is_turned_away_when_the_server_stops(closed_world: World) -> None:
    """Seed 142755 of the simulator: the description was read from a store that was closed."""
    world = closed_world
    store = await world.open_gated()
    await create(world)
    store.open.clear()
    await world.clock.advance(FIRST_MS - STARTED_AT_MS)
    await world.until(lambda: seen(world).starting)
    waiting = asyncio.create_task(world.engine.schedules.settled(KEY))
    await world.settle()
    closing = asyncio.create_task(world.close())
    await world.settle()
    store.open.set()
    await closing
    with pytest.raises(Unavailable):
        await world.soon(waiting)


async def test_requests_that_are_sent_again_are_done_once(world: World) -> None:
    await create(world)
    await create(world)
    other = creation()
    other.request_id = "r2"
    with pytest.raises(AlreadyStarted, match='schedule "s" is already registered'):
        await world.engine.schedules.create(other, "id")
    for _ in range(2):
        await world.soon(world.engine.schedules.patch(trigger(request_id="p")))
    await until_actions(world, 1)


async def test_a_deleted_schedule_is_gone_and_its_workflow_goes_on(world: World) -> None:
    await create(world)
    await world.engine.schedules.patch(trigger())
    recent = (await until_actions(world, 1)).recent[0]
    await world.engine.schedules.delete(DeleteScheduleRequest(namespace=NAMESPACE, schedule_id="s"))
    with pytest.raises(NotFound, match="schedule not found: s"):
        seen(world)
    assert world.engine.read(NAMESPACE, recent.workflow_id, "").open
    # One of the same name afterwards is another: its starts are not taken for those of the first.
    await create(world)
    await finish_next(world)
    await world.engine.schedules.patch(trigger())
    again = (await until_actions(world, 1)).recent[0]
    assert again.run_id != recent.run_id


async def test_an_update_moves_the_alarm(world: World) -> None:
    await create(world)
    wanted = creation().schedule
    wanted.spec.interval[0].interval.seconds = 5
    token = show.conflict_token(seen(world))
    update = UpdateScheduleRequest(namespace=NAMESPACE, schedule_id="s", schedule=wanted, conflict_token=token)
    await world.soon(world.engine.schedules.update(update))
    await world.clock.advance(5_000)
    await until_actions(world, 1)


async def test_schedules_are_listed_page_by_page_and_found_by_their_state(world: World) -> None:
    for number in range(5):
        request = creation()
        request.schedule_id = f"s{number}"
        request.schedule.state.paused = number % 2 == 1
        await world.soon(world.engine.schedules.create(request, "id"))
        world.clock._now_ms += 1
    schedules = world.engine.schedules

    async def ids(query: str = "", size: int = 2) -> list[str]:
        found, token = [], b""
        while True:
            page = await schedules.page(NAMESPACE, query, size, token)
            found += [each.key.schedule_id for each in page.schedules]
            token = page.next_token
            if not token:
                return found

    assert await ids() == ["s4", "s3", "s2", "s1", "s0"]
    assert await ids("TemporalSchedulePaused = true") == ["s3", "s1"]
    assert await ids("ScheduleId IN ('s0', 's4') OR ScheduleId STARTS_WITH 's3'", 1) == ["s4", "s3", "s0"]
    assert await schedules.count(NAMESPACE, "TemporalSchedulePaused = false") == 3
    assert await schedules.count("other", "") == 0
