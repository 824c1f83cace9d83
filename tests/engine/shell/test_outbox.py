"""What runs tell each other happens once, in order, wherever the process dies."""

import asyncio
import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.command.v1 import Command
from temporalio.api.enums.v1 import CommandType, EventType, ParentClosePolicy, WorkflowExecutionStatus
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflowservice.v1 import DescribeNamespaceResponse

from stormsail.engine.core.errors import NotFound, Unavailable
from stormsail.engine.core.limits import DEFAULT_LIMITS
from stormsail.engine.store.errors import StorageFailed
from stormsail.engine.store.namespaces import StoredNamespace
from stormsail.engine.store.store import Store

OTHERS = ("heard", "stopped")


class DyingStore:
    """A store that fails for good at one of its writes, before or after that write is on disk: for the engine above it
    that is a kill at this point."""

    def __init__(self, store: Store, dies_at: int, *, after: bool) -> None:
        self._store = store
        self._dies_at = dies_at
        self._after = after
        self.writes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    @property
    def outbox(self) -> "DyingStore":
        """The store's outbox."""
        return self

    def waiting(self, most: int, bytes_max: int) -> Any:
        """See Outbox."""
        return self._store.outbox.waiting(most, bytes_max)

    async def commit(self, turns: Any) -> None:
        """See Store."""
        await self._write(lambda: self._store.commit(turns))

    async def settle(self, taken: Any, answers: Any) -> None:
        """See Outbox."""
        await self._write(lambda: self._store.outbox.settle(taken, answers))

    async def _write(self, write: Any) -> None:
        number, self.writes = self.writes, self.writes + 1
        if number > self._dies_at or (number == self._dies_at and not self._after):
            raise StorageFailed("killed")
        await write()
        if number == self._dies_at:
            raise StorageFailed("killed")


def command(kind: str, **fields: Any) -> Command:
    made = Command(command_type=CommandType.Value(f"COMMAND_TYPE_{kind}"))
    attributes = getattr(made, f"{kind.lower()}_command_attributes")
    attributes.SetInParent()
    for name, value in fields.items():
        owner, _, last = name.rpartition("__")
        setattr(getattr(attributes, owner) if owner else attributes, last, value)
    return made


def child(workflow_id: str, policy: str = "TERMINATE") -> Command:
    return command(
        "START_CHILD_WORKFLOW_EXECUTION",
        workflow_id=workflow_id,
        workflow_type__name="T",
        parent_close_policy=ParentClosePolicy.Value(f"PARENT_CLOSE_POLICY_{policy}"),
    )


def asked_of_others() -> list[Command]:
    return [
        child("quick"),
        child("patient"),
        child("alone", "ABANDON"),
        child("asked", "REQUEST_CANCEL"),
        child("heard"),  # which is there already
        command("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION", signal_name="s", execution__workflow_id="heard"),
        command("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION", signal_name="s", execution__workflow_id="nobody"),
        command("REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION", workflow_id="stopped"),
        command("REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION", workflow_id="nobody"),
    ]


def names(events: Any) -> list[str]:
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in events]


ANSWERS = {
    "CHILD_WORKFLOW_EXECUTION_STARTED": 4,
    "START_CHILD_WORKFLOW_EXECUTION_FAILED": 1,
    "CHILD_WORKFLOW_EXECUTION_COMPLETED": 1,
    "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED": 1,
    "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED": 1,
    "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED": 1,
    "REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION_FAILED": 1,
}


def what_a_worker_does(world: Any, workflow_id: str, events: list[HistoryEvent]) -> list[Command]:
    seen = Counter(names(events))
    if workflow_id == "quick":
        return [world.complete_workflow()]
    if workflow_id != "parent":
        return []
    if not seen["START_CHILD_WORKFLOW_EXECUTION_INITIATED"]:
        return asked_of_others()
    return [world.complete_workflow()] if all(seen[name] >= count for name, count in ANSWERS.items()) else []


PATIENCE_S = 60.0


async def live(world: Any) -> None:
    """Work until the parent has closed and nobody has anything to tell any more; die and live on meanwhile."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE_S
    while loop.time() < deadline:
        try:
            polling = world.polling("q")
            done, _ = await asyncio.wait([polling], timeout=0.02)
            if not done:
                polling.cancel()
                await asyncio.wait([polling])
                if world.engine.failed.is_set():
                    raise Unavailable("killed")
                if await over(world):
                    return
                await world.clock.advance(11_000)
                continue
            task = polling.result()
            if task.task_token:
                events = list((await world.history(task.workflow_execution.workflow_id)).history.events)
                await world.complete(task, what_a_worker_does(world, task.workflow_execution.workflow_id, events))
        except (Unavailable, StorageFailed):
            world.store_of = lambda store: store
            await world.restart()
        except NotFound:
            continue
    raise AssertionError("it does not end")


async def over(world: Any) -> bool:
    parent = world.engine.read("default", "parent", "")
    return not parent.open and not world.engine.outbox.waiting and not world.store.outbox.waiting(1, 1)[0]


async def open_with_namespace(world: Any) -> None:
    await world.open()
    described = DescribeNamespaceResponse()
    described.namespace_info.name = "default"
    described.config.workflow_execution_retention_ttl.FromSeconds(30 * 86_400)
    await world.store.namespaces.register(StoredNamespace("default", "default-id", described))


async def one_life(directory: Path, make_world: Any, dies_at: int, *, after: bool) -> Any:
    world = make_world(directory)
    await open_with_namespace(world)
    for workflow_id in OTHERS:
        await world.start(workflow_id, queue="nobody")
    await world.start("parent")
    await world.close()
    world.store_of = lambda store: DyingStore(store, dies_at, after=after)
    await world.open()
    return world


async def check(world: Any) -> None:
    """Each thing that the parent asked for happened once, and it heard of each once."""
    parent = (await world.history("parent")).history.events
    seen = Counter(names(parent))
    assert {name: seen[name] for name in ANSWERS} == ANSWERS
    told = [event for event in parent if "CHILD" in names([event])[0] and "INITIATED" not in names([event])[0]]
    for one in told:
        if names([one])[0] == "CHILD_WORKFLOW_EXECUTION_COMPLETED":
            ended = one.child_workflow_execution_completed_event_attributes
            started = parent[ended.started_event_id - 1].child_workflow_execution_started_event_attributes
            assert started.initiated_event_id == ended.initiated_event_id
    heard = Counter(names((await world.history("heard")).history.events))
    stopped = Counter(names((await world.history("stopped")).history.events))
    assert heard["WORKFLOW_EXECUTION_SIGNALED"] == 1
    assert stopped["WORKFLOW_EXECUTION_CANCEL_REQUESTED"] == 1
    for workflow_id, ends in (("quick", "COMPLETED"), ("patient", "TERMINATED"), ("alone", ""), ("asked", "")):
        state = world.engine.read("default", workflow_id, "")
        assert state.key.run_id == state.start.first_execution_run_id
        expected = f"WORKFLOW_EXECUTION_STATUS_{ends or 'RUNNING'}"
        assert WorkflowExecutionStatus.Name(state.status) == expected, workflow_id
        runs = await runs_of(world, workflow_id)
        assert runs == 1, (workflow_id, runs)
    # Where its workflow task was lost with the process, the child has yet to hear of it.
    buffered = world.engine.read("default", "asked", "").buffered
    asked = Counter(names([*(await world.history("asked")).history.events, *buffered]))
    assert asked["WORKFLOW_EXECUTION_CANCEL_REQUESTED"] == 1


async def runs_of(world: Any, workflow_id: str) -> int:
    page = world.store.visibility.list("default", f"WorkflowId = '{workflow_id}'", 10, b"")
    return len(page.rows)


@pytest.mark.slow
@pytest.mark.timeout(400)
async def test_effects_happen_once_whichever_write_the_process_dies_at(closed_world: Any, tmp_path: Path) -> None:
    make_world = type(closed_world)
    writes = 0
    for number in itertools.count():
        for after in (False, True):
            world = await one_life(tmp_path / f"{number} {after}", make_world, number, after=after)
            mortal = world.store
            try:
                await live(world)
                await check(world)
            finally:
                await world.close()
            writes = max(writes, mortal.writes)
        if mortal.writes <= number:
            break
    assert writes > 15, "the scenario is not what it was"


@pytest.mark.parametrize(
    "held", [{"outbox_held_max": 2}, {"outbox_held_bytes_max": 500}], ids=["in number", "in bytes"]
)
async def test_more_messages_than_memory_holds_are_all_delivered_in_order(
    closed_world: Any, held: dict[str, int]
) -> None:
    world = closed_world
    world.limits = replace(DEFAULT_LIMITS, outbox_deliveries_max=1, **held)
    await open_with_namespace(world)
    await world.start("heard", queue="nobody")
    await world.start("parent")
    signals = [
        command("SIGNAL_EXTERNAL_WORKFLOW_EXECUTION", signal_name=f"{number}", execution__workflow_id="heard")
        for number in range(30)
    ]
    await world.complete(await world.poll(), signals)
    await world.until(lambda: not world.engine.read("default", "parent", "").signals_sent)
    told = (await world.history("heard")).history.events
    given = [event.workflow_execution_signaled_event_attributes.signal_name for event in told]
    assert [name for name in given if name] == [f"{number}" for number in range(30)]
    assert not world.store.outbox.waiting(1, 1)[0]


async def test_what_a_run_asked_for_is_dropped_when_it_has_closed_before(closed_world: Any) -> None:
    await open_with_namespace(closed_world)
    await closed_world.start("heard", queue="nobody")
    await closed_world.start("parent")
    task = await closed_world.poll()
    asked = [*asked_of_others()[:1], asked_of_others()[5], closed_world.complete_workflow()]
    await closed_world.complete(task, asked)
    await closed_world.until(
        lambda: not closed_world.engine.outbox.waiting and not closed_world.store.outbox.waiting(1, 1)[0]
    )
    with pytest.raises(NotFound):
        closed_world.engine.read("default", "quick", "")
    assert names((await closed_world.history("heard")).history.events) == [
        "WORKFLOW_EXECUTION_STARTED",
        "WORKFLOW_TASK_SCHEDULED",
    ]
