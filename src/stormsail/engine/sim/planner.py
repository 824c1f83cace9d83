"""A client that makes schedules, has them act, pauses, changes and deletes them."""

import asyncio
from collections.abc import Callable
from typing import Final

from temporalio.api.enums.v1 import ScheduleOverlapPolicy as Policy
from temporalio.api.schedule.v1 import BackfillRequest, IntervalSpec, Schedule
from temporalio.api.workflowservice.v1 import (
    CountSchedulesRequest,
    CountSchedulesResponse,
    CreateScheduleRequest,
    CreateScheduleResponse,
    DeleteScheduleRequest,
    DeleteScheduleResponse,
    DescribeScheduleRequest,
    DescribeScheduleResponse,
    ListSchedulesRequest,
    ListSchedulesResponse,
    PatchScheduleRequest,
    PatchScheduleResponse,
    UpdateScheduleRequest,
    UpdateScheduleResponse,
)

from stormsail.engine.core.errors import Refused
from stormsail.engine.core.schedules.state import ScheduleKey
from stormsail.engine.sim.caller import Caller
from stormsail.engine.sim.network import Unknown
from stormsail.engine.sim.program import SHAPE_MARK, payloads
from stormsail.engine.sim.swarm import Swarm
from stormsail.engine.sim.timetable import WORKFLOWS, Timetable
from stormsail.engine.sim.trace import Violation
from stormsail.engine.sim.worker import WORKFLOW_QUEUE

LASTS_S: Final = 25
"""How long a schedule goes on by itself."""
SCHEDULES_MAX: Final = 3
_CATCHUP_S: Final = (0, 0, 10)
"""0 is Temporal's own: a year."""


class Planner:
    """See the module."""

    def __init__(self, caller: Caller, swarm: Swarm, timetable: Timetable, now_s: Callable[[], float]) -> None:
        self._caller = caller
        self._swarm = swarm
        self._timetable = timetable
        self._now_s = now_s
        self._chance = caller.chance
        self._made: list[ScheduleKey] = []

    async def work(self) -> None:
        """Do one thing after the other."""
        await self._create()
        operations = (self._create, self._trigger, self._backfill, self._pause, self._update, self._look, self._delete)
        for _ in range(self._swarm.operations):
            await asyncio.sleep(self._chance.random() * self._chance.choice((0.3, 3.0)))
            await self._chance.choices(operations, (2, 3, 2, 3, 2, 2, 1))[0]()

    async def _create(self) -> None:
        if len(self._made) >= SCHEDULES_MAX:
            return
        name = f"{self._caller.name}.{len(self._made)}"
        key = ScheduleKey(self._caller.namespace, name)
        request = CreateScheduleRequest(
            namespace=key.namespace,
            schedule_id=name,
            schedule=self._definition(name),
            request_id=self._caller.ids.uuid(),
        )
        request.initial_patch.SetInParent()
        if self._chance.random() < 0.2:
            request.initial_patch.trigger_immediately.SetInParent()
        self._made.append(key)
        done = await self._caller.done("CreateSchedule", request, CreateScheduleResponse)
        if done and key not in self._timetable.schedules:
            self._broken("D1", key, "it was acknowledged as created, and is not there")

    def _definition(self, name: str) -> Schedule:
        schedule = Schedule()
        every = IntervalSpec()
        every.interval.FromSeconds(self._chance.choice((1, 2, 5)))
        schedule.spec.interval.append(every)
        schedule.spec.end_time.FromSeconds(int(self._now_s()) + LASTS_S)
        start = schedule.action.start_workflow
        start.workflow_id = f"{WORKFLOWS}{name}"
        start.workflow_type.name = "W"
        start.task_queue.name = WORKFLOW_QUEUE
        start.input.CopyFrom(payloads(f"{self._chance.getrandbits(32)}{SHAPE_MARK}short"))
        schedule.policies.overlap_policy = self._policy()
        if catchup_s := self._chance.choice(_CATCHUP_S):
            schedule.policies.catchup_window.FromSeconds(catchup_s)
        schedule.policies.pause_on_failure = self._chance.random() < 0.2
        if self._chance.random() < 0.2:
            schedule.state.limited_actions, schedule.state.remaining_actions = True, self._chance.randint(1, 6)
        return schedule

    def _policy(self) -> Policy.ValueType:
        return self._chance.choice([each for each in Policy.values() if each])

    async def _trigger(self) -> None:
        request = self._patch()
        if request is not None:
            request.patch.trigger_immediately.overlap_policy = self._policy()
            await self._do(request)

    async def _backfill(self) -> None:
        request = self._patch()
        if request is not None:
            backfill = BackfillRequest(overlap_policy=self._policy())
            start_s = int(self._now_s()) - self._chance.randint(10, 40)
            backfill.start_time.FromSeconds(start_s)
            backfill.end_time.FromSeconds(start_s + self._chance.randint(0, 8))
            request.patch.backfill_request.append(backfill)
            await self._do(request)

    async def _pause(self) -> None:
        """Pause a schedule, and mostly let it go on."""
        request = self._patch()
        if request is None:
            return
        request.patch.pause = "to look at it"
        await self._do(request)
        await asyncio.sleep(self._chance.random() * 4.0)
        if self._chance.random() < 0.8:
            request.patch.pause, request.patch.unpause = "", "seen"
            request.request_id = self._caller.ids.uuid()
            await self._do(request)

    def _patch(self) -> PatchScheduleRequest | None:
        if not self._made:
            return None
        key = self._chance.choice(self._made)
        return PatchScheduleRequest(
            namespace=key.namespace, schedule_id=key.schedule_id, request_id=self._caller.ids.uuid()
        )

    async def _do(self, request: PatchScheduleRequest) -> None:
        key = ScheduleKey(request.namespace, request.schedule_id)
        if await self._caller.done("PatchSchedule", request, PatchScheduleResponse):
            self._check_asked(key, request.request_id)

    async def _update(self) -> None:
        key = self._chance.choice(self._made)
        request = UpdateScheduleRequest(
            namespace=key.namespace,
            schedule_id=key.schedule_id,
            schedule=self._definition(key.schedule_id),
            request_id=self._caller.ids.uuid(),
        )
        if await self._caller.done("UpdateSchedule", request, UpdateScheduleResponse):
            self._check_asked(key, request.request_id)

    async def _look(self) -> None:
        key = self._chance.choice(self._made)
        described = DescribeScheduleRequest(namespace=key.namespace, schedule_id=key.schedule_id)
        counted = CountSchedulesRequest(namespace=key.namespace)
        listed = ListSchedulesRequest(namespace=key.namespace, maximum_page_size=self._chance.choice((0, 1)))
        try:
            await self._caller.network.call(self._caller.name, "DescribeSchedule", described, DescribeScheduleResponse)
            await self._caller.network.call(self._caller.name, "CountSchedules", counted, CountSchedulesResponse)
            await self._caller.network.call(self._caller.name, "ListSchedules", listed, ListSchedulesResponse)
        except (Refused, Unknown):
            return

    async def _delete(self) -> None:
        key = self._chance.choice(self._made)
        request = DeleteScheduleRequest(namespace=key.namespace, schedule_id=key.schedule_id)
        done = await self._caller.done("DeleteSchedule", request, DeleteScheduleResponse)
        # A creation that the network doubles may come after it, and makes it once more.
        if done and key in self._timetable.schedules and not self._swarm.doubled:
            self._broken("D1", key, "it was acknowledged as deleted, and is there")

    def _check_asked(self, key: ScheduleKey, request_id: str) -> None:
        if not self._timetable.asked(key, request_id):
            self._broken("D1", key, f"what request {request_id} asked for was acknowledged, and is not there")

    def _broken(self, invariant: str, key: ScheduleKey, text: str) -> None:
        self._caller.ledger.violated(Violation(invariant, f"{key}: {text}"))
