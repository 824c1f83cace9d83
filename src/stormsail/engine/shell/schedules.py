"""Schedules at work: their turns in order, the loop that wakes them, and the workflows that they start and follow.

What a turn decides is on disk before any of it is done: a start has its request id there, so that after a crash it is
tried again and finds the workflow if it had begun. What runs is looked at again when the engine opens.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import structlog
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    CreateScheduleRequest,
    PatchScheduleRequest,
    RequestCancelWorkflowExecutionRequest,
    TerminateWorkflowExecutionRequest,
    UpdateScheduleRequest,
)

from stormsail.engine.core.errors import AlreadyStarted, NotFound, Refused
from stormsail.engine.core.ids import Ids, RunKey
from stormsail.engine.core.limits import Limits
from stormsail.engine.core.requests import RequestCancel, StartReply, StartWorkflow, Terminate
from stormsail.engine.core.schedules import decide
from stormsail.engine.core.schedules.start import start_request
from stormsail.engine.core.schedules.state import Ending, Running, Schedule, ScheduleKey, Starting
from stormsail.engine.core.state import RunState
from stormsail.engine.shell.clock import Clock, wait_until
from stormsail.engine.shell.outcomes import outcome_of, run_begun_by
from stormsail.engine.shell.overload import Admission
from stormsail.engine.shell.runs import Runs
from stormsail.engine.shell.turn_order import TurnOrder
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.schedules import SchedulePage
from stormsail.engine.store.schedules import Schedules as StoredSchedules

_log: Final = structlog.get_logger(__name__)
_PASSING: Final = ("RESOURCE_EXHAUSTED", "UNAVAILABLE")
_RETRY_MS: Final = 1_000
_LOOK_AGAIN_MS: Final = 1_000
"""The longest nap: the wall clock may be set forward meanwhile."""
_HELD_NAP_MS: Final = 100
_SETTLING_MS: Final = 2_000
"""How long a description waits for starts that are under way."""
_WOKEN_AT_ONCE: Final = 200
_STARTED_AT_ONCE: Final = 100

Deciding = Callable[[Schedule, int], Schedule | None]
"""From a schedule and the time to the schedule after; None deletes it."""


class Schedules:
    """Everything that schedules do."""

    def __init__(
        self, store: StoredSchedules, runs: Runs, *, admission: Admission, clock: Clock, ids: Ids, limits: Limits
    ) -> None:
        self._store = store
        self._runs = runs
        self._admission = admission
        self._clock = clock
        self._ids = ids
        self._limits = limits
        self._order = TurnOrder()
        self._followed: dict[tuple[str, str], ScheduleKey] = {}
        """Whose workflow it is that runs, by namespace and workflow id."""
        self._beginning: set[tuple[str, str]] = set()
        """Workflows that were decided on and are not written down as begun, by namespace and workflow id."""
        self._untaken = 0
        """Schedules that have work since before the engine opened and were not looked at."""
        self._doing: dict[tuple[ScheduleKey, str], asyncio.Task[None]] = {}
        """What is under way: starts by request id, endings by workflow id."""
        self._waking: set[ScheduleKey] = set()
        """Schedules that are being woken. One whose changes before that take long keeps none of the others."""
        self._held_until_ms: dict[ScheduleKey, int] = {}
        """Schedules that could not be woken, and when to try again."""
        self._places = asyncio.Semaphore(_STARTED_AT_ONCE)
        self._tasks: dict[asyncio.Task[Any], None] = {}
        """Everything under way, in the order of its beginning."""
        self._changed: asyncio.Future[None] | None = None
        self._stopping = False

    async def create(self, request: CreateScheduleRequest, namespace_id: str) -> Schedule:
        """Add a schedule; to repeat the request changes nothing. Returns once it is on disk."""
        key = ScheduleKey(request.namespace, request.schedule_id)

        def create(found: Schedule | None, now_ms: int) -> Schedule:
            if found is None:
                return decide.create(request, namespace_id, self._ids.uuid(), now_ms)
            if found.create_request_id != request.request_id:
                raise AlreadyStarted(f'schedule "{key.schedule_id}" is already registered', "", "")
            return found

        schedule = await self._turn(key, create)
        assert isinstance(schedule, Schedule)
        return schedule

    async def update(self, request: UpdateScheduleRequest) -> None:
        """Replace what a schedule is. Returns once it is on disk."""
        key = ScheduleKey(request.namespace, request.schedule_id)
        await self._change(key, lambda found, now_ms: decide.update(found, request, now_ms))

    async def patch(self, request: PatchScheduleRequest) -> None:
        """Trigger, backfill, pause or unpause a schedule. Returns once it is on disk."""
        key = ScheduleKey(request.namespace, request.schedule_id)
        await self._change(key, lambda found, now_ms: decide.patch(found, request, now_ms))

    async def delete(self, key: ScheduleKey) -> None:
        """Delete a schedule; the workflows that it started go on. Returns once that is on disk."""
        await self._change(key, lambda _found, _now_ms: None)

    def read(self, key: ScheduleKey) -> Schedule:
        """Return a schedule as last committed; not to be changed. Its workflows that have ended are shown so."""
        found = self._read(key)
        if found is None:
            raise _not_found(key)
        for each in found.running:
            outcome = self._outcome(key, each)
            if outcome is not None:
                found = decide.over(found, outcome)
        return found

    async def settled(self, key: ScheduleKey) -> Schedule:
        """Return a schedule like `read`, once what is decided has been done, or nearly at once where that takes longer:
        who has triggered a schedule finds the action in the next description. Raises Unavailable once the server stops.
        """
        until_ms = self._clock.now_ms() + _SETTLING_MS
        while self.read(key).starting and (left_ms := until_ms - self._clock.now_ms()) > 0:
            doing = [task for (each, _), task in self._doing.items() if each == key]
            if not doing:
                break
            first = asyncio.ensure_future(asyncio.wait(doing, return_when=asyncio.FIRST_COMPLETED))
            try:
                await wait_until(self._clock, first, left_ms)
            finally:
                first.cancel()
            self._runs.check_serving()  # a server that stopped meanwhile has closed its store
        return self.read(key)

    async def page(self, namespace: str, query: str, page_size: int, token: bytes) -> SchedulePage:
        """Return part of the list of schedules."""
        with self._reading():
            return await asyncio.to_thread(self._store.page, namespace, query, page_size, token)

    async def count(self, namespace: str, query: str) -> int:
        """Count the schedules that a query finds."""
        with self._reading():
            return await asyncio.to_thread(self._store.count, namespace, query)

    def open(self) -> None:
        """Take up what was under way when the engine stopped."""
        for key in self._store.busy():
            self._untaken += 1
            self._spawn(self._take_up(key), key)

    async def run(self) -> None:
        """Wake schedules when they are due, until cancelled."""
        while True:
            self._changed = asyncio.get_running_loop().create_future()
            try:
                self._wake_due()
                nap_ms = self._nap_ms()
            except Exception:
                _log.exception("schedules_not_read")
                nap_ms = _LOOK_AGAIN_MS
            if nap_ms:
                await wait_until(self._clock, self._changed, nap_ms)
            else:
                await asyncio.sleep(0)

    async def stop(self) -> None:
        """Wait for the turns under way; what they decided is taken up at the next opening."""
        self._stopping = True
        for task in self._tasks:
            if task.get_name() == _EFFECT:
                task.cancel()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def looks_for(self, key: RunKey) -> bool:
        """Whether a schedule may still look whether this run began; a run that is gone would be begun again."""
        return self._untaken > 0 or key.workflow in self._beginning

    def run_committed(self, state: RunState) -> None:
        """Hear of a run's commit: where it is a schedule's and has ended, the schedule goes on."""
        key = None if state.open else self._followed.get(state.key.workflow)
        if key is not None:
            self._spawn(self._look_at(key, state.key.workflow_id), key)

    async def _change(self, key: ScheduleKey, deciding: Deciding) -> None:
        def change(found: Schedule | None, now_ms: int) -> Schedule | None:
            if found is None:
                raise _not_found(key)
            return deciding(found, now_ms)

        await self._turn(key, change)

    async def _turn(self, key: ScheduleKey, deciding: Callable[[Schedule | None, int], Schedule | None]) -> Any:
        """Do one change of a schedule. A caller who goes away does not stop it, and only misses the reply."""
        self._runs.check_serving()
        self._admission.enter_turn(new_work=False)
        workflow = (key.namespace, key.schedule_id)
        try:
            await self._order.acquire(workflow)
        except BaseException:
            self._admission.leave_turn()
            raise
        committing: asyncio.Task[None] | None = None
        try:
            self._runs.check_serving()
            before, now_ms = self._read(key), self._clock.now_ms()
            after = deciding(before, now_ms)
            if after is before:
                return after
            committing = asyncio.get_running_loop().create_task(self._commit(key, before, after, now_ms), name=_TURN)
        finally:
            if committing is None:
                self._leave(workflow)
        self._keep(committing)
        await asyncio.shield(committing)
        return after

    async def _commit(self, key: ScheduleKey, before: Schedule | None, after: Schedule | None, now_ms: int) -> None:
        try:
            due_ms = None if after is None else decide.due_ms(after, now_ms)
            await self._store.commit(before, after, due_ms)
            if before is not None:
                for gone in before.running:
                    self._followed.pop((key.namespace, gone.workflow_id), None)
                self._beginning -= {(key.namespace, each.workflow_id) for each in before.starting}
            if after is not None:
                self._do(after)
            self._look_again()
        except StorageFailed as error:
            raise self._runs.storage_failed(error) from error
        finally:
            self._leave((key.namespace, key.schedule_id))

    def _leave(self, workflow: tuple[str, str]) -> None:
        self._order.release(workflow)
        self._admission.leave_turn()

    def _read(self, key: ScheduleKey) -> Schedule | None:
        with self._reading():
            return self._store.get(key)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except StorageFailed as error:
            raise self._runs.storage_failed(error) from error

    def _outcome(self, key: ScheduleKey, running: Running) -> decide.Outcome | None:
        try:
            return outcome_of(self._runs, key.namespace, running)
        except Refused:
            return None  # nobody can say; what is not known to have ended is shown as running

    def _wake_due(self) -> None:
        """Begin to wake what is due. One that fails waits a little."""
        now_ms = self._clock.now_ms()
        self._held_until_ms = {key: until for key, until in self._held_until_ms.items() if until > now_ms}
        passed_over = self._waking | self._held_until_ms.keys()
        due = self._store.due(now_ms, _WOKEN_AT_ONCE + len(self._held_until_ms))
        for key in due:
            if key not in passed_over and len(self._waking) < _WOKEN_AT_ONCE:
                self._waking.add(key)
                self._spawn(self._wake(key), key)

    async def _wake(self, key: ScheduleKey) -> None:
        try:
            after = await self._turn(key, lambda found, now_ms: None if found is None else decide.wake(found, now_ms))
            due_ms = self._store.due_ms(key)
            if due_ms is None or due_ms > self._clock.now_ms() or (after is not None and after.more):
                return
        except Refused as refused:
            _log.warning("schedule_not_woken", schedule=str(key), refused=refused.message)
        except Exception:
            _log.exception("schedule_failed", schedule=str(key))
        finally:
            self._waking.discard(key)
            self._look_again()
        # It was not done, or is due again at once though it was: either way it waits, so that nothing spins.
        self._held_until_ms[key] = self._clock.now_ms() + _RETRY_MS

    def _look_again(self) -> None:
        """End the nap: another schedule may be the next that is due."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _nap_ms(self) -> int:
        due_ms = self._store.next_due_ms()
        if due_ms is None:
            return _LOOK_AGAIN_MS
        left_ms = due_ms - self._clock.now_ms()
        if left_ms <= 0 and (self._held_until_ms or self._waking):
            return _HELD_NAP_MS
        return max(0, min(_LOOK_AGAIN_MS, left_ms))

    def _do(self, schedule: Schedule) -> None:
        """Begin what a committed schedule asks for, unless it is under way."""
        key = schedule.key
        for starting in schedule.starting:
            self._beginning.add((key.namespace, starting.workflow_id))
            request_id = schedule.request_id(starting.action.number)
            self._effect(key, request_id, self._start(key, starting.action.number, starting.give_up_at_ms))
        for running in schedule.running:
            self._followed[key.namespace, running.workflow_id] = key
            if running.ending and not running.asked:
                self._effect(key, running.workflow_id, self._end(key, running))

    async def _take_up(self, key: ScheduleKey) -> None:
        try:
            schedule = self._read(key)
            if schedule is not None:
                self._do(schedule)
        finally:
            self._untaken -= 1
        for running in schedule.running if schedule is not None else ():
            await self._look_at(key, running.workflow_id)

    async def _start(self, key: ScheduleKey, number: int, give_up_at_ms: int) -> None:
        """Start an action's workflow, as often as it takes, and write down what became of it."""
        while True:
            schedule = self._read(key)
            starting = _found(schedule, number)
            if schedule is None or starting is None:
                return
            try:
                async with self._places:
                    request = start_request(schedule, starting, self._limits)
                    reply: StartReply = await self._runs.start(key.namespace, StartWorkflow(request))
                run_id = reply.run_id
            except Refused as refused:
                if refused.status in _PASSING and self._clock.now_ms() < give_up_at_ms:
                    await self._pause()
                    continue
                # An earlier attempt may have begun it, and the server died before the schedule heard of that.
                run_id = run_begun_by(self._runs, key.namespace, starting.workflow_id, schedule.request_id(number))
                if not run_id:
                    _log.warning("schedule_start_refused", schedule=str(key), refused=refused.message)
                    await self._insist(key, lambda found, now_ms: decide.not_started(found, number, now_ms))
                    return
            await self._insist(key, partial(_started, number, run_id))
            await self._look_at(key, starting.workflow_id)
            return

    async def _end(self, key: ScheduleKey, running: Running) -> None:
        """Ask a workflow to end, because the next action waits for that."""
        schedule = self._read(key)
        if schedule is None or running not in schedule.running:
            return
        execution = WorkflowExecution(workflow_id=running.workflow_id)
        fields = {
            "namespace": key.namespace,
            "workflow_execution": execution,
            "identity": schedule.identity,
            "first_execution_run_id": running.run_id,
        }
        request: RequestCancel | Terminate
        if running.ending == Ending.TERMINATE:
            reason = "terminated by schedule overlap policy"
            request = Terminate(TerminateWorkflowExecutionRequest(reason=reason, **fields))  # type: ignore[arg-type]
        else:
            reason = "cancelled by schedule overlap policy"
            request = RequestCancel(RequestCancelWorkflowExecutionRequest(reason=reason, **fields))  # type: ignore[arg-type]
        while True:
            try:
                await self._runs.execute(key.namespace, running.workflow_id, "", request)
            except NotFound:
                await self._look_at(key, running.workflow_id)
                return
            except Refused as refused:
                if refused.status in _PASSING:
                    await self._pause()
                    continue
                _log.warning("schedule_end_refused", schedule=str(key), refused=refused.message)
            await self._insist(key, lambda found, _now_ms: decide.ending_asked(found, running))
            return

    async def _look_at(self, key: ScheduleKey, workflow_id: str) -> None:
        """See whether a workflow that the schedule follows has ended, and tell it."""
        schedule = self._read(key)
        for running in schedule.running if schedule is not None else ():
            if running.workflow_id != workflow_id:
                continue
            outcome = outcome_of(self._runs, key.namespace, running, self._limits.blob_size_max)
            if outcome is not None:
                await self._insist(key, partial(_ended, outcome))
                return

    async def _insist(self, key: ScheduleKey, deciding: Deciding) -> None:
        """Write down what has happened, as often as it takes. Where the server stops, opening it finds it out again."""
        while True:
            try:
                await self._change(key, deciding)
            except NotFound:
                return  # deleted meanwhile
            except Refused as refused:
                if refused.status not in _PASSING:
                    raise
                self._runs.check_serving()
                await self._pause()
            else:
                return

    async def _pause(self) -> None:
        self._runs.check_serving()
        await wait_until(self._clock, asyncio.get_running_loop().create_future(), _RETRY_MS)

    def _effect(self, key: ScheduleKey, name: str, work: Coroutine[Any, Any, None]) -> None:
        if (key, name) in self._doing:
            work.close()
            return
        task = self._doing[key, name] = self._spawn(work, key)
        task.add_done_callback(lambda _task: self._doing.pop((key, name), None))

    def _spawn(self, work: Coroutine[Any, Any, None], key: ScheduleKey) -> "asyncio.Task[None]":
        """Do something beside; a failure is logged with its schedule."""

        async def guarded() -> None:
            try:
                await work
            except Refused as refused:
                _log.info("schedule_work_stopped", schedule=str(key), refused=refused.message)
            except Exception:
                _log.exception("schedule_work_failed", schedule=str(key))
            finally:
                work.close()

        task = asyncio.get_running_loop().create_task(guarded(), name=_EFFECT)
        self._keep(task)
        return task

    def _keep(self, task: "asyncio.Task[None]") -> None:
        self._tasks[task] = None
        task.add_done_callback(self._dropped)

    def _dropped(self, task: "asyncio.Task[None]") -> None:
        self._tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # its caller may have gone; it is logged where it arose


_TURN: Final = "schedule turn"
_EFFECT: Final = "schedule effect"


def _found(schedule: Schedule | None, number: int) -> Starting | None:
    if schedule is None:
        return None
    return next((each for each in schedule.starting if each.action.number == number), None)


def _started(number: int, run_id: str, schedule: Schedule, now_ms: int) -> Schedule:
    return decide.started(schedule, number, run_id, now_ms)


def _ended(outcome: decide.Outcome, schedule: Schedule, now_ms: int) -> Schedule:
    return decide.ended(schedule, outcome, now_ms)


def _not_found(key: ScheduleKey) -> NotFound:
    return NotFound(f"schedule not found: {key.schedule_id}")
