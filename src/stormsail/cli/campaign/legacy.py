"""The legacy arm: an orchestrator that polls an operations service which keeps its tasks in memory.

It is the shape that Netflix left, with published numbers alone (published.py). It runs on the same loop, clock, weather
and cloud as the durable arm, through the same provider; it only makes no use of tokens across calls, having none.
"""

import asyncio
import contextvars
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from stormsail.cli.campaign import published
from stormsail.cli.campaign.kinds import NEW, Operation, group_name
from stormsail.cli.campaign.plan import Kill, Victim
from stormsail.cli.campaign.world import Said, Stage
from stormsail.delivery.model.names import next_sequence
from stormsail.delivery.model.server_group import Capacity, Health, LaunchSpec, ServerGroup
from stormsail.delivery.providers.errors import Conflict, Permanent, ProviderError
from stormsail.delivery.providers.provider import (
    Change,
    CreateServerGroup,
    DestroyServerGroup,
    DisableServerGroup,
    EnableServerGroup,
    Progress,
    ResizeServerGroup,
    ShiftTraffic,
)
from stormsail.engine.sim.loop import LIFE, Life

T = TypeVar("T")
Bag = dict[str, Any]
"""The untyped fields of an operation."""

HTTP_S: Final = (0.002, 0.02)
"""How long a call between the two takes, each way."""
HTTP_TIMEOUT_S: Final = 5.0
"""After which a call with no reply is given up."""
WHOLE: Final = 100
CHANGE_POLL_S: Final = 0.5
"""How often the service looks how a change in the cloud stands."""


class NoReply(Exception):
    """An HTTP call failed on its way; it may have been carried out."""


class NotFound(Exception):
    """HTTP 404: the service knows no such task."""


class GivenUp(Exception):
    """The orchestrator ends the operation as failed."""


class CalledOff(Exception):
    """A person cancelled the operation."""


@dataclass(slots=True)
class Task:
    """One task of the service."""

    done: bool = False
    failed: str = ""
    result: str = ""
    """The server group that it was about."""


@dataclass(slots=True)
class Service:
    """One life of the operations service, with all the tasks that it knows."""

    life: Life
    context: contextvars.Context
    tasks: dict[str, Task] = field(default_factory=dict)


class LegacyArm:
    """See the module."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._chance = random.Random(f"{stage.plan.seed}/legacy")
        self._lives = 0
        self._calls = 0
        self._service = self._new_service()
        self._orchestrator_up = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Let both processes run."""
        self._orchestrator_up.set()

    async def operate(self, operation: Operation) -> Said:
        """Run an operation's steps one after the other."""
        run = _Orchestration(self, operation, self._stage.time_s)
        try:
            try:
                await _STAGES[operation.kind.operation_type](run)
            except CalledOff:
                await _clean_up(run)
        except GivenUp as why:
            return Said(ok=False, detail=str(why))
        return Said(ok=True)

    async def kill(self, kill: Kill) -> None:
        """Kill the service's instance with its tasks, or the orchestrator, which polls on when it is back."""
        if kill.victim is Victim.WORKER:
            self._service.life.alive = False
            self._service = self._new_service()
            return
        self._orchestrator_up.clear()
        await asyncio.sleep(kill.down_s)
        self._orchestrator_up.set()

    def close(self) -> None:
        """Nothing is held."""

    async def post(self, request_id: str, bag: Bag) -> str:
        """POST /ops: begin a task, or find the one of this request id; answers its id."""

        def begin(service: Service) -> str:
            if request_id not in service.tasks:
                task = service.tasks[request_id] = Task()
                work = _Work(self._stage, service, self._cloud_token, self._chance).run(task, bag)
                loop = self._stage.loop
                self._running.append(loop.create_task(work, context=service.context))
            return request_id

        return await self._http(begin)

    async def look_up(self, task_id: str) -> Task:
        """GET /task/<id>. Raises NotFound."""

        def look(service: Service) -> Task:
            if task_id not in service.tasks:
                raise NotFound(task_id)
            return service.tasks[task_id]

        return await self._http(look)

    async def read(self, application: str) -> tuple[ServerGroup, ...]:
        """GET the server groups of an application, as the cloud has them. Raises NoReply."""
        await self._http(lambda _: None)
        try:
            return (await self._stage.provider.observe(application)).server_groups
        except ProviderError as error:
            raise NoReply(str(error)) from error

    async def pause(self, seconds: float) -> None:
        """Wait, and longer while the orchestrator is down."""
        await asyncio.sleep(seconds)
        await self._orchestrator_up.wait()

    async def _http(self, serve: Callable[[Service], T]) -> T:
        """Make a call, with the tries that one gets. Raises NoReply when none came through."""
        for left in reversed(range(int(published.HTTP_TRIES.value))):
            try:
                return await self._once(serve)
            except NoReply:
                if not left:
                    raise
                await self.pause(published.HTTP_PAUSE.value)
        raise AssertionError("the last try returns or raises")

    async def _once(self, serve: Callable[[Service], T]) -> T:
        lost = self._stage.plan.lost
        drawn = self._chance.random()
        await asyncio.sleep(self._chance.uniform(*HTTP_S))
        if drawn < lost:
            await asyncio.sleep(HTTP_TIMEOUT_S)
            raise NoReply("the request was lost")
        answer = serve(self._service)
        if drawn < 2 * lost:
            raise NoReply("the connection was reset")
        await asyncio.sleep(self._chance.uniform(*HTTP_S))
        if not self._orchestrator_up.is_set():
            await self._orchestrator_up.wait()
            raise NoReply("the orchestrator was killed and asks again")
        return answer

    def _new_service(self) -> Service:
        """Return another instance, which knows no tasks. It answers from the first moment on: there are several."""
        self._lives += 1
        life = Life(f"service {self._lives}")
        context = contextvars.copy_context()
        context.run(LIFE.set, life)
        return Service(life, context)

    def _cloud_token(self) -> str:
        """Return what stands for no token at all: another one for each call."""
        self._calls += 1
        return f"legacy-{self._calls}"


class _Work:
    """One task of the service under way: atomic operations, each cloud call with its bounded retries."""

    def __init__(self, stage: Stage, service: Service, token: Callable[[], str], chance: random.Random) -> None:
        self._provider = stage.provider
        self._service = service
        self._token = token
        self._chance = chance

    async def run(self, task: Task, bag: Bag) -> None:
        """Do what the bag says."""
        try:
            task.result = await self._done(bag)
        except ProviderError as error:
            task.failed = f"{error.kind}: {error}"
        task.done = True

    async def _done(self, bag: Bag) -> str:
        name = bag.get("serverGroupName", "")
        match bag["type"]:
            case "createServerGroup":
                return await self._create(bag)
            case "resizeServerGroup":
                await self._change(ResizeServerGroup(name=name, capacity=Capacity.model_validate(bag["capacity"])))
            case "enableServerGroup":
                await self._change(EnableServerGroup(name=name))
            case "disableServerGroup":
                await self._change(DisableServerGroup(name=name, percent=bag.get("desiredPercentage", WHOLE)))
            case "shiftTraffic":
                await self._change(ShiftTraffic(name=name, percent=bag["percent"]))
            case "destroyServerGroup":
                await self._change(DestroyServerGroup(name=name))
            case other:
                raise Permanent(f"there is no operation {other!r}")
        return str(name)

    async def _create(self, bag: Bag) -> str:
        """Make the next version, enabled. What has its name and its version already is taken for its own."""
        application = bag["application"]
        groups = await self._groups(application)
        taken = [group.moniker.sequence for group in groups if group.moniker.sequence is not None]
        name = group_name(application, next_sequence(taken, taken[-1] if taken else None))
        launch = LaunchSpec.model_validate(bag["launch"])
        capacity = Capacity.model_validate(bag["capacity"])
        try:
            await self._change(CreateServerGroup(name=name, capacity=capacity, launch=launch, enabled=True))
        except Conflict:
            there = [group for group in await self._groups(application) if group.name == name]
            if not there or there[0].launch.version != launch.version:
                raise
        return name

    async def _groups(self, application: str) -> tuple[ServerGroup, ...]:
        return (await self._retried(lambda: self._provider.observe(application))).server_groups

    async def _change(self, change: Change) -> None:
        token = ""

        def begin() -> Awaitable[Progress]:
            nonlocal token
            token = self._token()
            return self._provider.begin(token, change)

        progress = await self._retried(begin)
        while not progress.done:
            await asyncio.sleep(CHANGE_POLL_S)
            progress = await self._retried(lambda: self._provider.resume(token, change))

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        pause_s = published.CLOUD_PAUSE.value
        for _ in range(int(published.CLOUD_RETRIES.value)):
            try:
                return await call()
            except Permanent:
                raise
            except ProviderError:
                # Half of it is fixed and half by chance, as the SDK does for throttled calls.
                await asyncio.sleep(pause_s * (0.5 + self._chance.random() / 2))
                pause_s = min(pause_s * 2, published.CLOUD_PAUSE_MAX.value)
        return await call()


class _Orchestration:
    """One operation as the orchestrator runs it: post, poll, wait for health, and on to the next."""

    def __init__(self, arm: LegacyArm, operation: Operation, now_s: Callable[[], float]) -> None:
        self._arm = arm
        self._posted = 0
        self._now_s = now_s
        self._cancel_at_s = math.inf
        if operation.cancel_after_s is not None:
            self._cancel_at_s = operation.starts_at_s + operation.cancel_after_s
        self.operation = operation
        self.application = operation.application

    def check_cancelled(self) -> None:
        """Raise CalledOff once, when a person has cancelled: a task that was posted is let come to its end before."""
        if self._now_s() >= self._cancel_at_s:
            self._cancel_at_s = math.inf
            raise CalledOff

    async def task(self, operation_type: str, **fields: Any) -> str:
        """Post an operation and poll its task until it is done; return the server group that it was about."""
        self.check_cancelled()
        self._posted += 1
        request_id = f"{self.operation.number}-{self._posted}"
        bag = {"type": operation_type, "application": self.application, **fields}
        try:
            task_id = await self._arm.post(request_id, bag)
        except NoReply as why:
            raise GivenUp(f"{operation_type} could not be posted: {why}") from why
        waited_s, not_found = 0.0, 0
        while waited_s < published.TASK_TIMEOUT.value:
            await self._arm.pause(published.POLL.value)
            waited_s += published.POLL.value
            try:
                task = await self._arm.look_up(task_id)
            except NotFound:
                not_found += 1
                if not_found >= published.NOT_FOUND_MAX.value:
                    raise GivenUp(f"{operation_type}: the task is not known any more") from None
                continue
            except NoReply:
                continue
            not_found = 0
            if task.failed:
                raise GivenUp(f"{operation_type}: {task.failed}")
            if task.done:
                return task.result
        raise GivenUp(f"{operation_type}: the task did not end within its time")

    async def until(self, what: str, reached: Callable[[dict[str, ServerGroup]], bool]) -> None:
        """Poll the server groups until they are as wanted."""
        waited_s = 0.0
        while waited_s < published.HEALTH_TIMEOUT.value:
            self.check_cancelled()
            try:
                groups = {group.name: group for group in await self._arm.read(self.application)}
            except NoReply:
                groups = None
            if groups is not None and reached(groups):
                return
            await self._arm.pause(published.HEALTH_POLL.value)
            waited_s += published.HEALTH_POLL.value
        raise GivenUp(f"{what}: not within its time")

    async def wait(self, seconds: float) -> None:
        """Let time pass, and look now and then whether the operation was cancelled."""
        while seconds > 0:
            self.check_cancelled()
            await self._arm.pause(min(seconds, published.POLL.value))
            seconds -= published.POLL.value

    async def up(self, name: str, size: int) -> None:
        """Wait until all instances of a group serve."""
        await self.until("waitForUpInstances", lambda groups: name in groups and groups[name].count(Health.UP) >= size)

    async def serving(self) -> tuple[ServerGroup, ...]:
        """Read which server groups serve."""
        found: list[ServerGroup] = []

        def seen(groups: dict[str, ServerGroup]) -> bool:
            found[:] = [group for group in groups.values() if group.enabled]
            return True

        await self.until("determineSourceServerGroup", seen)
        return tuple(found)

    async def disable(self, name: str) -> None:
        """Disable a group and wait until it takes no traffic."""
        await self.task("disableServerGroup", serverGroupName=name)
        await self.until("waitForDownInstances", lambda groups: name not in groups or not groups[name].enabled)


async def _deploy(run: _Orchestration) -> None:
    asked = run.operation.payload
    if asked["strategy"] in _BY_SHARES:
        await _BY_SHARES[asked["strategy"]](run)
        return
    older = await run.serving() if asked["strategy"] == "redblack" else ()
    name = await run.task("createServerGroup", launch=asked["launch"], capacity=asked["capacity"])
    await run.up(name, asked["capacity"]["desired"])
    await run.wait(asked.get("delayBeforeCleanup", 0))
    for group in older:
        await run.disable(group.name)


async def _clean_up(run: _Orchestration) -> None:
    """Destroy what a deployment made that was cancelled."""
    there: list[str] = []

    def seen(groups: dict[str, ServerGroup]) -> bool:
        there[:] = [name for name, group in groups.items() if group.launch.version == NEW]
        return True

    await run.until("determineServerGroup", seen)
    for name in there:
        await _destroyed(run, name)


async def _deploy_by_shares(run: _Orchestration) -> None:
    """Grow the new group and disable the older one, share by share."""
    asked = run.operation.payload
    (older,) = await run.serving()
    name = await run.task("createServerGroup", launch=asked["launch"], capacity=_EMPTY)
    for percent in (*asked["targetPercentages"], WHOLE):
        await _grow(run, name, older, percent)
        await run.task("disableServerGroup", serverGroupName=older.name, desiredPercentage=percent)
    await run.until("waitForDownInstances", lambda groups: not groups[older.name].enabled)


async def _deploy_by_weight(run: _Orchestration) -> None:
    """Grow the new group and give it requests, share by share; then disable the older one."""
    asked = run.operation.payload
    (older,) = await run.serving()
    name = await run.task("createServerGroup", launch=asked["launch"], capacity=_EMPTY)
    for step in (*asked["canary"]["steps"], {"setWeight": WHOLE}):
        if "pause" in step:
            await run.wait(step["pause"]["duration"])
            continue
        await run.task("shiftTraffic", serverGroupName=name, percent=step["setWeight"])
        await _grow(run, name, older, step["setWeight"])
    await run.disable(older.name)
    await run.task("shiftTraffic", serverGroupName=name, percent=None)


async def _grow(run: _Orchestration, name: str, older: ServerGroup, percent: int) -> None:
    size = math.ceil(older.capacity.desired * percent / WHOLE)
    await run.task("resizeServerGroup", serverGroupName=name, capacity=Capacity.fixed(size).model_dump())
    await run.up(name, size)


async def _resize(run: _Orchestration) -> None:
    asked = run.operation.payload
    name, size = asked["serverGroupName"], asked["capacity"]["desired"]
    await run.task("resizeServerGroup", serverGroupName=name, capacity=asked["capacity"])
    await run.until(
        "waitForCapacityMatch",
        lambda groups: name in groups and len(groups[name].instances) == size == groups[name].count(Health.UP),
    )


async def _enable(run: _Orchestration) -> None:
    name = run.operation.payload["serverGroupName"]
    await run.task("enableServerGroup", serverGroupName=name)
    await run.up(name, run.operation.kind.after[1].size)


async def _disable(run: _Orchestration) -> None:
    await run.disable(run.operation.payload["serverGroupName"])


async def _destroy(run: _Orchestration) -> None:
    await _destroyed(run, run.operation.payload["serverGroupName"])


async def _destroyed(run: _Orchestration, name: str) -> None:
    await run.task("destroyServerGroup", serverGroupName=name)
    await run.until("waitForDestroyedServerGroup", lambda groups: name not in groups)


async def _roll_back(run: _Orchestration) -> None:
    (current,) = await run.serving()
    older = group_name(run.application, 0)
    await run.task("enableServerGroup", serverGroupName=older)
    await run.up(older, run.operation.kind.after[0].size)
    await run.disable(current.name)


_EMPTY: Final = {"min": 0, "desired": 0, "max": 0}
_BY_SHARES: Final[dict[str, Callable[[_Orchestration], Awaitable[None]]]] = {
    "rollingredblack": _deploy_by_shares,
    "canary": _deploy_by_weight,
}

_STAGES: Final[dict[str, Callable[[_Orchestration], Awaitable[None]]]] = {
    "createServerGroup": _deploy,
    "resizeServerGroup": _resize,
    "enableServerGroup": _enable,
    "disableServerGroup": _disable,
    "destroyServerGroup": _destroy,
    "rollbackServerGroup": _roll_back,
}
