"""What people do to runs and activities has the same outcome on our engine and on Temporal's dev server."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import (
    PauseActivityRequest,
    ResetActivityRequest,
    ResetWorkflowExecutionRequest,
    UnpauseActivityRequest,
)
from temporalio.client import Client, WorkflowHandle

from conformance import test_parity as parity
from conformance import workflows as w
from conformance.histories import comparable, comparable_message

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[parity.Pair]:
    """Both servers, with one worker each."""
    async for both in parity.servers_with_workers(parity.worker):
        yield both


async def reset(client: Client, workflow_id: str, point: int, **more: Any) -> WorkflowHandle[Any, Any]:
    request = ResetWorkflowExecutionRequest(
        namespace="default",
        workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        reason="why",
        request_id=str(uuid.uuid4()),
        workflow_task_finish_event_id=point,
        **more,
    )
    answer = await client.workflow_service.reset_workflow_execution(request)
    return client.get_workflow_handle(workflow_id, run_id=answer.run_id)


async def signalled(client: Client, workflow_id: str) -> WorkflowHandle[Any, Any]:
    """A workflow with two signals done, each in a workflow task of its own: 12 events."""
    handle = await client.start_workflow(w.Waiter.run, "", id=workflow_id, task_queue=parity.QUEUE)
    for count, word in ((4, "one"), (8, "two")):
        await parity.until(lambda count=count: parity.at_least(handle, count))
        await handle.signal(w.Waiter.say, word)
    await parity.until(lambda: parity.at_least(handle, 12))
    return client.get_workflow_handle(workflow_id, run_id=handle.first_execution_run_id)


async def told(*handles: WorkflowHandle[Any, Any]) -> Any:
    return [comparable(await handle.fetch_history()) for handle in handles]


async def reset_of_an_open_run(client: Client, workflow_id: str) -> Any:
    old = await signalled(client, workflow_id)
    new = await reset(client, workflow_id, 8)
    await parity.until(lambda: parity.at_least(new, 12))
    await new.signal(w.Waiter.end)
    assert await new.result() == ["one", "two"]
    return await told(old, new)


async def reset_of_a_closed_run(client: Client, workflow_id: str) -> Any:
    old = await signalled(client, workflow_id)
    await old.signal(w.Waiter.end)
    await old.result()
    signals = ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_SIGNAL
    new = await reset(client, workflow_id, 4, reset_reapply_exclude_types=[signals])
    await parity.until(lambda: parity.at_least(new, 7))
    await new.signal(w.Waiter.end)
    assert await new.result() == []
    return await told(old, new)


async def pause_and_reset_of_an_activity(client: Client, workflow_id: str) -> Any:
    """An activity of a queue that nobody polls is paused, unpaused, paused again and reset."""
    handle = await client.start_workflow(w.BacksOff.run, "", id=workflow_id, task_queue=parity.QUEUE)

    async def pending() -> Any:
        return (await handle.describe()).raw_description.pending_activities

    async def backing_off() -> bool:
        found = await pending()
        return bool(found and found[0].HasField("next_attempt_schedule_time"))

    await parity.until(backing_off)
    (activity,) = await pending()
    named: dict[str, Any] = {
        "namespace": "default",
        "execution": WorkflowExecution(workflow_id=workflow_id),
        "id": activity.activity_id,
    }
    service = client.workflow_service
    shown = []
    await service.pause_activity(PauseActivityRequest(**named, identity="ann", reason="why"))
    shown.append((await pending())[0])
    await service.reset_activity(ResetActivityRequest(**named, keep_paused=True))
    shown.append((await pending())[0])
    await service.unpause_activity(UnpauseActivityRequest(**named))
    await parity.until(backing_off)
    shown.append((await pending())[0])
    await handle.terminate()
    return [comparable_message(one) for one in shown]


Scenario = Callable[[Client, str], Awaitable[Any]]
SCENARIOS: dict[str, Scenario] = {
    each.__name__: each for each in (reset_of_an_open_run, reset_of_a_closed_run, pause_and_reset_of_an_activity)
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_servers_do_the_same(pair: parity.Pair, name: str) -> None:
    workflow_id = f"{name} {uuid.uuid4()}"
    shown = await asyncio.gather(*(SCENARIOS[name](client, workflow_id) for client in (pair.temporals, pair.ours)))
    if other := parity.difference(*(json.dumps(each, indent=1) for each in shown)):
        pytest.fail(other, pytrace=False)
