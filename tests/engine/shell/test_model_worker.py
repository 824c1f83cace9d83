"""Model workers drive workflows to their end while polls break off, workers die and the engine restarts.

What a model workflow does next is a function of its history alone, so every worker that gets a task does the same, and
a history with a gap, a repetition or a lost event shows at once.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.query.v1 import WorkflowQueryResult
from temporalio.api.workflowservice.v1 import RespondQueryTaskCompletedRequest

from stormsail.engine.core.errors import Refused
from stormsail.engine.core.requests import ActivityRef, CompleteActivity
from stormsail.engine.shell import tokens

WORKFLOWS = 5
SIGNALS = 2
ACTIVITIES = 2
ROUNDS = 400
"""In which workers die and the engine restarts; then there is peace, for on a slow disk they would die for ever."""
PATIENCE_S = 90.0


def counted(events: list[HistoryEvent]) -> Counter[str]:
    return Counter(EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in events)


class ModelWorker:
    """A worker with a cache and a sticky queue of its own."""

    def __init__(self, world: Any, name: str, random: random.Random) -> None:
        self.world = world
        self.sticky = f"sticky-{name}"
        self.random = random
        self.cache: dict[str, list[HistoryEvent]] = {}
        self.dead = False
        self.tasks = [
            asyncio.create_task(self.loop(work))
            for work in (self.from_normal_queue, self.from_sticky_queue, self.from_activity_queue)
        ]

    async def die(self) -> None:
        """Go away in the middle of whatever it does."""
        self.dead = True  # asyncio.wait_for of Python 3.11 can swallow a cancellation that comes with the result
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def loop(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work until killed. A refused or failed call is one whose outcome is unknown."""
        while not self.dead:
            try:
                await work()
            except Refused:
                await asyncio.sleep(0.001)

    async def from_normal_queue(self) -> None:
        """Do one workflow task from the normal queue."""
        await self.do(await self.world.polling("q"))

    async def from_sticky_queue(self) -> None:
        """Do one workflow task of a run in the cache."""
        await self.do(await self.world.polling(self.sticky, sticky=True))

    async def from_activity_queue(self) -> None:
        """Do one activity."""
        task = await self.world.polling_activity("q")
        if task.task_token:
            await asyncio.sleep(self.random.random() * 0.002)
            ref = ActivityRef(token=tokens.decode_activity(task.task_token))
            run = task.workflow_execution
            done = CompleteActivity(ref, self.world.payloads(task.activity_id), "me")
            await self.world.engine.execute("default", run.workflow_id, run.run_id, done)

    async def do(self, task: Any) -> None:
        """Do a workflow task or answer a query."""
        if not task.task_token:
            return
        events = await self.events_of(task)
        if task.HasField("query"):
            answer = RespondQueryTaskCompletedRequest(
                namespace="default", task_token=task.task_token, completed_type=1, query_result=self.answer(events)
            )
            await self.world.engine.answer_query(answer)
            return
        assert events[-1].event_id == task.started_event_id
        results = {
            query_id: WorkflowQueryResult(result_type=1, answer=self.answer(events))  # type: ignore[arg-type]
            for query_id in task.queries
        }
        sticky = self.sticky if self.random.random() < 0.8 else ""
        await self.world.complete(task, self.commands(events), sticky=sticky, query_results=results)

    async def events_of(self, task: Any) -> list[HistoryEvent]:
        """Return the history that a task shows, checking that it goes on where the cache ends."""
        run_id = task.workflow_execution.run_id
        shown = list(task.history.events)
        if shown and shown[0].event_id == 1:
            events = shown
        elif run_id in self.cache:
            events = self.cache[run_id] + shown
        else:
            page = await self.world.history(task.workflow_execution.workflow_id, run_id=run_id)
            before = shown[0].event_id if shown else 1 << 60
            events = [event for event in page.history.events if event.event_id < before] + shown
        assert [event.event_id for event in events] == list(range(1, len(events) + 1))
        started = task.started_event_id or len(events)
        self.cache[run_id] = [event for event in events if event.event_id <= started]
        return events

    def commands(self, events: list[HistoryEvent]) -> list[Command]:
        """What the workflow does next."""
        seen = counted(events)
        if seen["ACTIVITY_TASK_SCHEDULED"] < ACTIVITIES:
            if seen["ACTIVITY_TASK_SCHEDULED"] == seen["ACTIVITY_TASK_COMPLETED"]:
                return [self.world.schedule_activity(f"a{seen['ACTIVITY_TASK_SCHEDULED']}")]
            return []
        if not seen["TIMER_STARTED"]:
            return [self.world.start_timer(2)] if seen["ACTIVITY_TASK_COMPLETED"] == ACTIVITIES else []
        if seen["TIMER_FIRED"] and seen["WORKFLOW_EXECUTION_SIGNALED"] >= SIGNALS:
            return [self.world.complete_workflow()]
        return []

    def answer(self, events: list[HistoryEvent]) -> Any:
        """What the workflow answers to a query: how many signals it has seen."""
        return self.world.payloads(str(counted(events)["WORKFLOW_EXECUTION_SIGNALED"]))


async def client(world: Any, workflow_id: str, seed: int) -> None:
    """Signal a workflow, and query it: the answer counts at least the signals acknowledged."""
    from temporalio.api.common.v1 import WorkflowExecution
    from temporalio.api.workflowservice.v1 import QueryWorkflowRequest

    chance = random.Random(seed)
    for number in range(SIGNALS):
        await asyncio.sleep(chance.random() * 0.05)
        await retried(world, lambda number=number: world.signal(workflow_id, f"s{number}"))  # type: ignore[misc]
        request = QueryWorkflowRequest(namespace="default", execution=WorkflowExecution(workflow_id=workflow_id))
        request.query.query_type = "signals"
        try:
            response = await world.engine.query(request, 30)
        except (Refused, AttributeError):
            continue
        assert int(response.query_result.payloads[0].data) >= number + 1


async def retried(world: Any, call: Callable[[], Awaitable[Any]]) -> None:
    """Do a call again until it is acknowledged. AttributeError: the engine is just restarting."""
    while True:
        try:
            await call()
            return
        except (Refused, AttributeError):
            await asyncio.sleep(0.002)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", range(6))
async def test_every_workflow_ends_with_each_effect_once_whatever_breaks_meanwhile(world: Any, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(WORKFLOWS):
        await world.start(f"w{number}")
    workers = [ModelWorker(world, f"{seed}-{number}", chance) for number in range(2)]
    clients = [asyncio.create_task(client(world, f"w{number}", seed + number)) for number in range(WORKFLOWS)]
    named = 2
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    for turn in itertools.count():
        await world.clock.advance(chance.choice([0, 10, 100, 500]))
        await asyncio.sleep(0.001)
        if turn < ROUNDS and chance.random() < 0.05:
            await workers.pop(0).die()
            named += 1
            workers.append(ModelWorker(world, f"{seed}-{named}", chance))
        if turn < ROUNDS and chance.random() < 0.02:
            await world.restart()
        if all(not world.engine.read("default", f"w{number}", "").open for number in range(WORKFLOWS)):
            break
        late = asyncio.get_running_loop().time() > deadline
        assert not late, [await world.event_types(f"w{number}") for number in range(WORKFLOWS)]
    await asyncio.wait_for(asyncio.gather(*clients), PATIENCE_S)
    for worker in workers:
        await worker.die()
    await world.restart()
    for number in range(WORKFLOWS):
        events = list((await world.history(f"w{number}")).history.events)
        assert [event.event_id for event in events] == list(range(1, len(events) + 1))
        seen = counted(events)
        assert seen["ACTIVITY_TASK_SCHEDULED"] == seen["ACTIVITY_TASK_COMPLETED"] == ACTIVITIES
        assert seen["TIMER_FIRED"] == seen["WORKFLOW_EXECUTION_COMPLETED"] == 1
        assert seen["WORKFLOW_EXECUTION_SIGNALED"] >= SIGNALS
