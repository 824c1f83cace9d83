"""The same workflows, clients and worker on our engine and on Temporal's dev server leave the same histories."""

import asyncio
import contextlib
import difflib
import json
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import RetryPolicy
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from conformance import workflows as w
from conformance.histories import chain, comparable, comparable_message
from conformance.servers import DevServer, EngineProcess

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

QUEUE = "parity"
Handle = WorkflowHandle[Any, Any]
Scenario = Callable[[Client, str], Awaitable[Handle]]


@dataclass(frozen=True)
class Pair:
    ours: Client
    temporals: Client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Pair]:
    """Both servers, with one worker each."""
    with tempfile.TemporaryDirectory() as directory:
        engine, dev = EngineProcess(Path(directory) / "data"), DevServer()
        await asyncio.gather(engine.start(), dev.start())
        try:
            ours, temporals = await engine.connect(), await dev.connect()
            async with worker(ours), worker(temporals):
                yield Pair(ours, temporals)
        finally:
            await asyncio.gather(engine.stop(), dev.stop())


def worker(client: Client) -> Worker:
    return Worker(
        client,
        task_queue=QUEUE,
        workflows=w.WORKFLOWS,
        activities=w.ACTIVITIES,
        workflow_runner=UnsandboxedWorkflowRunner(),
        identity="worker",
        build_id="build",
    )


async def ended(handle: Handle) -> Handle:
    """Wait for the end of the chain, whatever it is."""
    with contextlib.suppress(WorkflowFailureError):
        await asyncio.wait_for(handle.result(), 60)
    return handle


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that the server has no call to wait for."""
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - it is the server that knows
            await asyncio.sleep(0.05)


async def events(handle: Handle) -> int:
    return len((await handle.fetch_history()).events)


def plain(run: Any, argument: Any, **options: Any) -> Scenario:
    """A workflow that needs nobody's help."""

    async def scenario(client: Client, workflow_id: str) -> Handle:
        return await ended(await client.start_workflow(run, argument, id=workflow_id, task_queue=QUEUE, **options))

    return scenario


async def signals(client: Client, workflow_id: str) -> Handle:
    handle = await client.start_workflow(w.Waiter.run, "", id=workflow_id, task_queue=QUEUE)
    await until(lambda: at_least(handle, 4))
    await handle.signal(w.Waiter.say, "one")
    await until(lambda: at_least(handle, 8))
    assert await handle.query(w.Waiter.seen) == ["one"]
    await handle.signal(w.Waiter.end)
    return await ended(handle)


async def at_least(handle: Handle, count: int) -> bool:
    return await events(handle) >= count


async def signal_with_start(client: Client, workflow_id: str) -> Handle:
    options: Mapping[str, Any] = {"id": workflow_id, "task_queue": QUEUE, "start_signal": "say"}
    handle = await client.start_workflow(w.Waiter.run, "", start_signal_args=["one"], **options)
    await until(lambda: at_least(handle, 5))
    await client.start_workflow(w.Waiter.run, "", start_signal_args=["two"], **options)
    await until(lambda: at_least(handle, 9))
    await handle.signal(w.Waiter.end)
    return await ended(handle)


async def cancelled(client: Client, workflow_id: str) -> Handle:
    handle = await client.start_workflow(w.Forever.run, "", id=workflow_id, task_queue=QUEUE)
    await until(lambda: at_least(handle, 5))
    await handle.cancel()
    return await ended(handle)


async def terminated(client: Client, workflow_id: str) -> Handle:
    handle = await client.start_workflow(w.Waiter.run, "", id=workflow_id, task_queue=QUEUE)
    await until(lambda: at_least(handle, 4))
    await handle.terminate("detail", reason="enough")
    return await ended(handle)


async def activity_cancelled(client: Client, workflow_id: str) -> Handle:
    handle = await client.start_workflow(w.CancelsActivity.run, "", id=workflow_id, task_queue=QUEUE)

    async def beating() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        return bool(pending and pending[0].HasField("heartbeat_details"))

    await until(beating)
    await handle.signal(w.CancelsActivity.go)
    return await ended(handle)


async def completed_by_id(client: Client, workflow_id: str) -> Handle:
    handle = await client.start_workflow(w.Elsewhere.run, "chosen", id=workflow_id, task_queue=QUEUE)
    elsewhere = client.get_async_activity_handle(workflow_id=workflow_id, run_id=None, activity_id="chosen")

    async def started() -> bool:
        pending = (await handle.describe()).raw_description.pending_activities
        return bool(pending and pending[0].HasField("last_started_time"))

    await until(started)
    await elsewhere.heartbeat("half")
    await elsewhere.complete("whole")
    return await ended(handle)


async def terminated_by_a_new_start(client: Client, workflow_id: str) -> Handle:
    first = await client.start_workflow(w.Waiter.run, "", id=workflow_id, task_queue=QUEUE)
    await until(lambda: at_least(first, 4))
    await client.execute_workflow(
        w.Timers.run,
        "",
        id=workflow_id,
        task_queue=QUEUE,
        id_conflict_policy=w.TERMINATE_EXISTING,
    )
    return first


async def failing_task(client: Client, workflow_id: str) -> Handle:
    w.Flaw.times = 1  # The second attempt follows at once, on a fast server before anybody could have looked.
    handle = await client.start_workflow(w.Flawed.run, "", id=workflow_id, task_queue=QUEUE)
    return await ended(handle)


SCENARIOS: Mapping[str, Scenario] = {
    "one activity": plain(w.Greet.run, "you"),
    "options": plain(
        w.Greet.run,
        "you",
        memo={"a": 1},
        execution_timeout=timedelta(minutes=1),
        run_timeout=timedelta(seconds=50),
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
    "run timeout": plain(w.Waiter.run, "", run_timeout=timedelta(seconds=1)),
    "start delay": plain(w.Greet.run, "late", start_delay=timedelta(seconds=1)),
    "eager start": plain(w.Greet.run, "eager", request_eager_start=True),
    "workflow task failed": failing_task,
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_servers_write_the_same_history(pair: Pair, name: str) -> None:
    workflow_id = f"{name} {uuid.uuid4()}"
    theirs = await histories(pair.temporals, name, workflow_id)
    ours = await histories(pair.ours, name, workflow_id)
    shown_ours, shown_theirs = [[comparable(history) for history in side] for side in (ours, theirs)]
    if other := difference(dump(shown_theirs), dump(shown_ours)):
        pytest.fail(other, pytrace=False)
    replayer = Replayer(workflows=w.WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    for history in ours:
        await replayer.replay_workflow(history)


async def histories(client: Client, name: str, workflow_id: str) -> list[Any]:
    handle = await SCENARIOS[name](client, workflow_id)
    return await chain(client, workflow_id, handle.first_execution_run_id)


def dump(shown: list[list[dict[str, Any]]]) -> str:
    return json.dumps(shown, indent=1, ensure_ascii=False)


def difference(theirs: str, ours: str) -> str:
    """What of the reference is missing (-) or other (+) in ours."""
    return "\n".join(difflib.unified_diff(theirs.splitlines(), ours.splitlines(), "Temporal", "Stormsail", lineterm=""))


DESCRIBED: Mapping[str, tuple[Any, Any, Mapping[str, Any]]] = {
    "an activity that backs off": (w.BacksOff.run, "", {"memo": {"a": 1}}),
    "an activity that hangs": (w.Elsewhere.run, "hangs", {"run_timeout": timedelta(minutes=1)}),
    "no worker": (w.Greet.run, "", {"task_queue": "nobody"}),
    "a timer": (w.Sleeper.run, 600_000, {}),
    "a start delay": (w.Greet.run, "", {"start_delay": timedelta(minutes=10), "static_summary": "s"}),
    "completed": (w.Greet.run, "", {}),
}


@pytest.mark.parametrize("name", DESCRIBED)
async def test_both_servers_describe_a_run_alike(pair: Pair, name: str) -> None:
    workflow_id = f"{name} {uuid.uuid4()}"
    shown = [await described(client, name, workflow_id) for client in (pair.temporals, pair.ours)]
    if other := difference(*(json.dumps(each, indent=1) for each in shown)):
        pytest.fail(other, pytrace=False)


async def described(client: Client, name: str, workflow_id: str) -> Any:
    run, argument, options = DESCRIBED[name]
    handle = await client.start_workflow(run, argument, **{"id": workflow_id, "task_queue": QUEUE, **options})
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
    return shown
