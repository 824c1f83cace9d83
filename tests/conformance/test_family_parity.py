"""Children, signals and cancellations between workflows, and cron schedules: both servers write the same histories."""

import asyncio
import contextlib
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowHistory
from temporalio.service import RPCError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from conformance import family as f
from conformance.histories import chain, comparable, comparable_message
from conformance.test_parity import Pair, difference, dump, servers_with_workers, until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

QUEUE = "family"
Handle = WorkflowHandle[Any, Any]
Scenario = Callable[[Client, str], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Pair]:
    async for both in servers_with_workers(worker):
        yield both


def worker(client: Client) -> Worker:
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=f.WORKFLOWS,
        workflow_runner=UnsandboxedWorkflowRunner(),
        identity="worker",
        build_id="build",
    )


async def start(client: Client, run: Any, argument: Any, workflow_id: str, **options: Any) -> Handle:
    return await client.start_workflow(run, argument, id=workflow_id, task_queue=QUEUE, **options)


async def ended(handle: Handle) -> None:
    with contextlib.suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 60)


async def at_rest(handle: Handle) -> None:
    """Wait until nothing happens to a workflow any more: it has its children and no workflow task."""

    async def resting() -> bool:
        with contextlib.suppress(RPCError):
            raw = (await handle.describe()).raw_description
            done = raw.workflow_execution_info.history_length > 3
            started = all(child.run_id for child in raw.pending_children)
            return done and started and not raw.HasField("pending_workflow_task")
        return False

    await until(resting)


async def closed(handle: Handle) -> None:
    async def has_closed() -> bool:
        return (await handle.describe()).close_time is not None

    await until(has_closed)


def child(order: f.Order) -> Scenario:
    """A parent that waits for its child, whatever that does."""

    async def scenario(client: Client, workflow_id: str) -> None:
        await ended(await start(client, f.Parent.run, order, workflow_id))

    return scenario


async def child_terminated(client: Client, workflow_id: str) -> None:
    parent = await start(client, f.Parent.run, f.Order("waits"), workflow_id)
    await at_rest(parent)
    kin = client.get_workflow_handle(f"{workflow_id} kin")
    await at_rest(kin)
    await kin.terminate(reason="enough")
    await ended(parent)


async def child_already_started(client: Client, workflow_id: str) -> None:
    kin = await start(client, f.Kin.run, "waits", f"{workflow_id} kin")
    await at_rest(kin)
    await ended(await start(client, f.Parent.run, f.Order("waits"), workflow_id))
    await kin.signal(f.Kin.hear, "end")
    await ended(kin)


async def parent_cancelled(client: Client, workflow_id: str) -> None:
    parent = await start(client, f.Parent.run, f.Order("lingers"), workflow_id)
    await at_rest(parent)
    await at_rest(client.get_workflow_handle(f"{workflow_id} kin"))
    await parent.cancel(reason="stop it")
    await ended(parent)


def left(policy: int, how: str) -> Scenario:
    """A parent that closes before its child."""

    async def scenario(client: Client, workflow_id: str) -> None:
        parent = await start(client, f.Leaver.run, f.Order("", policy), workflow_id)
        await at_rest(parent)
        kin = client.get_workflow_handle(f"{workflow_id} kin")
        await at_rest(kin)
        if how == "terminate":
            await parent.terminate(reason="gone")
        else:
            await parent.signal(f.Leaver.leave, how)
        await ended(parent)
        if policy == 2:
            await asyncio.sleep(0.5)  # an abandoned child must not change, and nothing says when it would have
            await kin.signal(f.Kin.hear, "alone")
        await closed(kin)

    return scenario


def cancelling(cancellation: int, what: str) -> Scenario:
    """A parent that cancels its child, in one of the ways in which it waits for that."""

    async def scenario(client: Client, workflow_id: str) -> None:
        parent = await start(client, f.Canceller.run, f.Order(what, cancellation=cancellation), workflow_id)
        await at_rest(parent)
        kin = client.get_workflow_handle(f"{workflow_id} kin")
        await at_rest(kin)
        await parent.signal(f.Canceller.go)
        await ended(parent)
        await closed(kin)

    return scenario


def calling(what: str, *, there: bool) -> Scenario:
    """A workflow that signals or cancels another, which may not be there."""

    async def scenario(client: Client, workflow_id: str) -> None:
        if there:
            other = await start(client, f.Kin.run, "lingers" if what == "cancel" else "waits", f"{workflow_id} kin")
            await at_rest(other)
        await ended(await start(client, f.Caller.run, [what, f"{workflow_id} kin"], workflow_id))
        if there:
            await ended(other)

    return scenario


async def calling_itself(client: Client, workflow_id: str) -> None:
    await ended(await start(client, f.Caller.run, ["signal", workflow_id], workflow_id))


async def calling_one_that_has_closed(client: Client, workflow_id: str) -> None:
    await ended(await start(client, f.Kin.run, "echo", f"{workflow_id} kin"))
    await ended(await start(client, f.Caller.run, ["signal", f"{workflow_id} kin"], workflow_id))
    await ended(await start(client, f.Caller.run, ["cancel", f"{workflow_id} kin"], f"{workflow_id} again"))


async def ticking(client: Client, workflow_id: str) -> None:
    handle = await client.start_workflow(f.Ticks.run, id=workflow_id, task_queue=QUEUE, cron_schedule="@every 1s")

    async def three_done() -> bool:
        found = [one async for one in client.list_workflows(f'WorkflowId = "{workflow_id}"')]
        return len(found) >= 4

    await until(three_done)
    await client.get_workflow_handle(handle.id).terminate()


def child_ends() -> Mapping[str, Scenario]:
    whats = ("echo", "fails", "fails twice", "continues", "sleeps")
    return {f"child that {what}": child(f.Order(what)) for what in whats}


def parents_that_leave() -> Mapping[str, Scenario]:
    names = {1: "terminates", 2: "abandons", 3: "cancels"}
    return {
        f"parent {how}s and {names[policy]}": left(policy, how)
        for how in ("complete", "fail", "continue", "terminate")
        for policy in names
        if how == "complete" or policy == 1
    }


SCENARIOS: Mapping[str, Scenario] = {
    **child_ends(),
    **parents_that_leave(),
    "child terminated": child_terminated,
    "child already started": child_already_started,
    "parent cancelled": parent_cancelled,
    "child abandoned when cancelled": cancelling(0, "lingers"),
    "child cancelled, not waited for": cancelling(1, "lingers"),
    "child cancelled and waited for": cancelling(2, "lingers"),
    "child cancellation requested": cancelling(3, "lingers"),
    "signal": calling("signal", there=True),
    "signal to nobody": calling("signal", there=False),
    "cancel": calling("cancel", there=True),
    "cancel of nobody": calling("cancel", there=False),
    "signal to a child": calling("child", there=False),
    "signal to itself": calling_itself,
    "signal and cancel of one that has closed": calling_one_that_has_closed,
    "cron": ticking,
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_servers_write_the_same_histories_of_all_that_took_part(pair: Pair, name: str) -> None:
    workflow_id = f"{name} {uuid.uuid4()}"
    theirs, ours = await asyncio.gather(
        histories(pair.temporals, name, workflow_id), histories(pair.ours, name, workflow_id)
    )
    shown_theirs, shown_ours = ([comparable(however_handed_out(one)) for one in side] for side in (theirs, ours))
    if other := difference(dump(shown_theirs), dump(shown_ours)):
        pytest.fail(other, pytrace=False)
    replayer = Replayer(workflows=f.WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    for history in ours:
        await replayer.replay_workflow(history)


def however_handed_out(history: WorkflowHistory) -> WorkflowHistory:
    """Drop who took a workflow task. Where another run's answer meets the end of a task, on both servers the next one
    comes with the reply to the last or with a poll, as it happens."""
    events = []
    for event in history.events:
        kept = HistoryEvent.FromString(event.SerializeToString())
        if kept.HasField("workflow_task_started_event_attributes"):
            kept.workflow_task_started_event_attributes.ClearField("request_id")
        events.append(kept)
    return WorkflowHistory(history.workflow_id, events)


async def histories(client: Client, name: str, workflow_id: str) -> list[Any]:
    """Run a scenario; return the histories of each workflow that it made, chain by chain."""
    await SCENARIOS[name](client, workflow_id)
    found = []
    for one in (workflow_id, f"{workflow_id} kin", f"{workflow_id} again"):
        runs = [run async for run in client.list_workflows(f'WorkflowId = "{one}"')]
        if runs:
            first = (await client.get_workflow_handle(one).describe()).raw_description.workflow_execution_info
            found += await chain(client, one, first.first_run_id)
    return found[:3] if name == "cron" else found


@dataclass(frozen=True)
class Shown:
    parent: Any
    child: Any


async def test_both_servers_describe_a_parent_and_its_child_alike(pair: Pair) -> None:
    workflow_id = f"described {uuid.uuid4()}"
    shown = [await described(client, workflow_id) for client in (pair.temporals, pair.ours)]
    if other := difference(*(dump([[{"parent": one.parent, "child": one.child}]]) for one in shown)):
        pytest.fail(other, pytrace=False)


async def described(client: Client, workflow_id: str) -> Shown:
    parent = await start(client, f.Parent.run, f.Order("waits"), workflow_id)
    kin = client.get_workflow_handle(f"{workflow_id} kin")
    await at_rest(parent)
    await at_rest(kin)
    # Temporal schedules a child's first workflow task in a transaction of its own, and counts it.
    shown = Shown(*[comparable_message((await one.describe()).raw_description) for one in (parent, kin)])
    await parent.terminate()
    shown.child["workflowExecutionInfo"].pop("stateTransitionCount")
    return shown


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "*/7 3-20/2 * * *",
        "15 10 ? * 6",
        "0 0 1,15 * 3",
        "30 4 1 jan-mar mon",
        "CRON_TZ=Asia/Kolkata 0 9 * * 1-5",
        "TZ=America/New_York 30 2 * * *",
        "CRON_TZ=Australia/Lord_Howe 15 2 * * *",
        "@hourly",
        "@weekly",
        "@monthly",
        "@yearly",
        "@every 90m",
        "@every 1.5h",
        "0 0 29 2 *",
    ],
)
async def test_both_servers_find_the_same_next_time(pair: Pair, schedule: str) -> None:
    waits = []
    for client in (pair.temporals, pair.ours):
        handle = await client.start_workflow(
            f.Ticks.run, id=f"cron {uuid.uuid4()}", task_queue="nobody", cron_schedule=schedule
        )
        first = (await handle.fetch_history()).events[0]
        wait = first.workflow_execution_started_event_attributes.first_workflow_task_backoff.ToTimedelta()
        waits.append(first.event_time.ToDatetime() + wait)
        await handle.terminate()
    apart = abs(waits[0] - waits[1])
    assert apart <= timedelta(seconds=2) or (schedule.startswith("@every") and apart < timedelta(seconds=5))


@pytest.mark.parametrize(
    "schedule",
    ["", "nonsense", "60 * * * *", "* * * * 7", "* * * *", "0 0 30 2 *", "TZ=No/Where * * * * *", "@every x"],
)
async def test_both_servers_refuse_the_same_schedules(pair: Pair, schedule: str) -> None:
    texts = []
    for client in (pair.temporals, pair.ours):
        try:
            handle = await client.start_workflow(
                f.Ticks.run, id=f"cron {uuid.uuid4()}", task_queue="nobody", cron_schedule=schedule
            )
        except RPCError as refused:
            texts.append(re.sub(r"\s+", " ", refused.message))
        else:
            texts.append("started")
            await handle.terminate()
    assert texts[0] == texts[1]
