"""The same workflows, clients and worker on our engine and on Temporal's dev server leave the same histories."""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowHistory
from temporalio.common import RetryPolicy
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from conformance import workflows as w
from conformance.histories import chain, comparable, comparable_message
from conformance.reference import alike
from conformance.servers import both_servers
from conformance.workers import worker

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

QUEUE = "parity"
LONG = timedelta(minutes=2)
"""For what is not meant to run out, however slow the machine is."""
WORKER: Mapping[str, Any] = {
    "identity": "worker",
    "build_id": "build",
    "sticky_queue_schedule_to_start_timeout": LONG,
}
Handle = WorkflowHandle[Any, Any]
Scenario = Callable[[Client, str], Awaitable[Handle]]


@dataclass(frozen=True)
class Pair:
    ours: Client
    temporals: Client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """Both servers, with one worker each."""
    async with both_servers(tmp_path_factory.mktemp("parity")) as (engine, dev):
        ours, temporals = await engine.connect(), await dev.connect()
        async with worker(ours, QUEUE, **WORKER), worker(temporals, QUEUE, **WORKER):
            yield Pair(ours, temporals)


async def begin(client: Client, run: Any, argument: Any, **options: Any) -> Handle:
    defaults: dict[str, Any] = {"task_queue": QUEUE, "task_timeout": LONG}
    return await client.start_workflow(run, argument, **{**defaults, **options})


async def ended(handle: Handle) -> Handle:
    """Wait for the end of the chain, whatever it is."""
    with contextlib.suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 120)
    return handle


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that the server has no call to wait for."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - it is the server that knows
            await asyncio.sleep(0.05)


async def events(handle: Handle) -> int:
    return len((await handle.fetch_history()).events)


def plain(run: Any, argument: Any, **options: Any) -> Scenario:
    """A workflow that needs nobody's help."""

    async def scenario(client: Client, workflow_id: str) -> Handle:
        return await ended(await begin(client, run, argument, id=workflow_id, **options))

    return scenario


async def signals(client: Client, workflow_id: str) -> Handle:
    handle = await begin(client, w.Waiter.run, "", id=workflow_id)
    await until(lambda: at_least(handle, 4))
    await handle.signal(w.Waiter.say, "one")
    await until(lambda: at_least(handle, 8))
    assert await handle.query(w.Waiter.seen) == ["one"]
    await handle.signal(w.Waiter.end)
    return await ended(handle)


async def at_least(handle: Handle, count: int) -> bool:
    return await events(handle) >= count


async def signal_with_start(client: Client, workflow_id: str) -> Handle:
    options: Mapping[str, Any] = {"id": workflow_id, "start_signal": "say"}
    handle = await begin(client, w.Waiter.run, "", start_signal_args=["one"], **options)
    await until(lambda: at_least(handle, 5))
    await begin(client, w.Waiter.run, "", start_signal_args=["two"], **options)
    await until(lambda: at_least(handle, 9))
    await handle.signal(w.Waiter.end)
    return await ended(handle)


async def cancelled(client: Client, workflow_id: str) -> Handle:
    handle = await begin(client, w.Forever.run, "", id=workflow_id)
    await until(lambda: at_least(handle, 5))
    await handle.cancel()
    return await ended(handle)


async def terminated(client: Client, workflow_id: str) -> Handle:
    handle = await begin(client, w.Waiter.run, "", id=workflow_id)
    await until(lambda: at_least(handle, 4))
    await handle.terminate("detail", reason="enough")
    return await ended(handle)


async def activity_cancelled(client: Client, workflow_id: str) -> Handle:
    handle = await begin(client, w.CancelsActivity.run, "", id=workflow_id)

    async def beating() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        return bool(pending and pending[0].HasField("heartbeat_details"))

    await until(beating)
    await handle.signal(w.CancelsActivity.go)
    return await ended(handle)


async def completed_by_id(client: Client, workflow_id: str) -> Handle:
    handle = await begin(client, w.Elsewhere.run, "chosen", id=workflow_id)
    elsewhere = client.get_async_activity_handle(workflow_id=workflow_id, run_id=None, activity_id="chosen")

    async def started() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        return bool(pending and pending[0].HasField("last_started_time"))

    await until(started)
    await elsewhere.heartbeat("half")
    await elsewhere.complete("whole")
    return await ended(handle)


async def terminated_by_a_new_start(client: Client, workflow_id: str) -> Handle:
    first = await begin(client, w.Waiter.run, "", id=workflow_id)
    await until(lambda: at_least(first, 4))
    await client.execute_workflow(
        w.Timers.run,
        "",
        id=workflow_id,
        task_queue=QUEUE,
        task_timeout=LONG,
        id_conflict_policy=w.TERMINATE_EXISTING,
    )
    return first


async def failing_task(client: Client, workflow_id: str) -> Handle:
    w.FLAWS[workflow_id] = [
        "a bug"
    ]  # The second attempt follows at once, on a fast server before anybody could have looked.
    handle = await begin(client, w.Flawed.run, "", id=workflow_id)
    return await ended(handle)


SCENARIOS: Mapping[str, Scenario] = {
    "one activity": plain(w.Greet.run, "you"),
    "options": plain(
        w.Greet.run,
        "you",
        memo={"a": 1},
        execution_timeout=timedelta(minutes=5),
        run_timeout=timedelta(minutes=4),
        task_timeout=timedelta(seconds=7),
        static_summary="summary",
        static_details="details",
    ),
    "activity retried": plain(w.RetriedActivity.run, ""),
    "activity failed": plain(w.FailedActivity.run, ""),
    "activity resumed from a heartbeat": plain(w.Resumes.run, ""),
    "activity start-to-close": plain(w.TimesOutActivity.run, "start_to_close"),
    "activity heartbeat timeout": plain(w.TimesOutActivity.run, "heartbeat"),
    "activity schedule-to-start": plain(w.TimesOutActivity.run, "schedule_to_start"),
    "activity schedule-to-close": plain(w.TimesOutActivity.run, "schedule_to_close"),
    "activity cancelled": activity_cancelled,
    "activity completed by id": completed_by_id,
    "timers": plain(w.Timers.run, ""),
    "markers": plain(w.Markers.run, ""),
    "signals": signals,
    "signal with start": signal_with_start,
    "cancelled": cancelled,
    "terminated": terminated,
    "terminated by a new start": terminated_by_a_new_start,
    "continued as new": plain(w.Countdown.run, 1),
    "workflow retried": plain(
        w.FailsTwice.run,
        "",
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_attempts=5),
    ),
    "workflow retries exhausted": plain(
        w.FailsTwice.run,
        "",
        retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_attempts=2),
    ),
    "run timeout": plain(w.Waiter.run, "", run_timeout=timedelta(seconds=8)),
    "start delay": plain(w.Greet.run, "late", start_delay=timedelta(seconds=2)),
    "eager start": plain(w.Greet.run, "eager", request_eager_start=True),
    "workflow task failed": failing_task,
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_servers_write_the_same_history(pair: Pair, name: str) -> None:
    ours = await alike(lambda: histories(pair.temporals, name), histories(pair.ours, name), shown=dump)
    replayer = Replayer(workflows=w.WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    for history in ours:
        await replayer.replay_workflow(history)


async def histories(client: Client, name: str) -> list[WorkflowHistory]:
    workflow_id = f"{name} {uuid.uuid4()}"
    handle = await SCENARIOS[name](client, workflow_id)
    return await chain(client, workflow_id, handle.first_execution_run_id)


def dump(runs: list[WorkflowHistory]) -> str:
    return json.dumps([comparable(history) for history in runs], indent=1, ensure_ascii=False)


DESCRIBED: Mapping[str, tuple[Any, Any, Mapping[str, Any]]] = {
    "an activity that backs off": (w.BacksOff.run, "", {"memo": {"a": 1}}),
    "an activity that hangs": (w.Elsewhere.run, "hangs", {"run_timeout": timedelta(minutes=10)}),
    "no worker": (w.Greet.run, "", {"task_queue": "nobody"}),
    "a timer": (w.Sleeper.run, 600_000, {}),
    "a start delay": (w.Greet.run, "", {"start_delay": timedelta(minutes=10), "static_summary": "s"}),
    "completed": (w.Greet.run, "", {}),
}


@pytest.mark.parametrize("name", DESCRIBED)
async def test_both_servers_describe_a_run_alike(pair: Pair, name: str) -> None:
    await alike(lambda: described(pair.temporals, name), described(pair.ours, name))


async def described(client: Client, name: str) -> str:
    workflow_id = f"{name} {uuid.uuid4()}"
    run, argument, options = DESCRIBED[name]
    handle = await begin(client, run, argument, id=workflow_id, **options)
    resting = {"an activity that backs off": 8, "an activity that hangs": 5, "a timer": 11, "completed": 11}.get(
        name, 0
    )

    async def at_rest() -> bool:
        raw = (await handle.describe()).raw_description
        activity = raw.pending_activities[0] if raw.pending_activities else None
        if name == "an activity that backs off":
            return activity is not None and activity.HasField("next_attempt_schedule_time")
        if name == "an activity that hangs":
            return activity is not None and activity.HasField("last_started_time")
        return raw.workflow_execution_info.history_length >= resting

    await until(at_rest)
    shown = comparable_message((await handle.describe()).raw_description)
    if name != "completed":
        await handle.terminate()
    return json.dumps(shown, indent=1)
