"""The official Python SDK, client and worker, against our server: each behaviour that its users count on."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from temporalio.api.workflowservice.v1 import ListWorkflowRulesRequest
from temporalio.client import (
    AsyncActivityCancelledError,
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from temporalio.common import (
    QueryRejectCondition,
    RetryPolicy,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    CancelledError,
    TerminatedError,
    TimeoutError,
    WorkflowAlreadyStartedError,
)
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from conformance import workflows as w
from conformance.servers import EngineProcess
from conformance.workers import worker

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

Handle = WorkflowHandle[Any, Any]
PATIENCE_S = 60.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Client]:
    """A client of our server, whose worker polls the queue `q`."""
    engine = EngineProcess(tmp_path_factory.mktemp("engine") / "data")
    await engine.start()
    try:
        client = await engine.connect()
        async with worker(client, "q"):
            yield client
    finally:
        assert await engine.stop() == 0
    assert "internal error" not in engine.log()
    # What SDK and worker call of themselves is served; one test calls something that is not.
    unserved = re.findall(r"event='method_not_served' method='(\w+)'", engine.log())
    assert set(unserved) <= {"ListWorkflowRules"}


def new_id() -> str:
    return str(uuid.uuid4())


async def begin(client: Client, run: Any, argument: Any = "", **options: Any) -> Handle:
    defaults: dict[str, Any] = {"id": new_id(), "task_queue": "q", "execution_timeout": timedelta(minutes=10)}
    return await client.start_workflow(run, argument, **{**defaults, **options})


async def result(handle: Handle) -> Any:
    return await asyncio.wait_for(handle.result(), PATIENCE_S)


async def failure(handle: Handle) -> BaseException:
    with pytest.raises(WorkflowFailureError) as raised:
        await result(handle)
    assert raised.value.cause is not None
    return raised.value.cause


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110 - it is the server that knows
            await asyncio.sleep(0.02)


async def pending(handle: Handle) -> list[Any]:
    return list((await handle.describe()).raw_description.pending_activities)


async def test_a_workflow_with_an_activity_completes(client: Client) -> None:
    assert await result(await begin(client, w.Greet.run, "you")) == "Hello, you!"


async def test_many_activities_run_side_by_side(client: Client) -> None:
    assert await result(await begin(client, w.ManyActivities.run, 100)) == 100


async def test_fifty_workflows_at_once_complete(client: Client) -> None:
    handles = await asyncio.gather(*(begin(client, w.Greet.run, str(number)) for number in range(50)))
    results = await asyncio.gather(*(result(handle) for handle in handles))
    assert results == [f"Hello, {number}!" for number in range(50)]


async def test_a_payload_of_nearly_the_limit_passes(client: Client) -> None:
    name = "x" * 2_000_000
    assert await result(await begin(client, w.Greet.run, name)) == f"Hello, {name}!"


async def test_a_payload_over_the_limit_is_refused_and_the_workflow_id_stays_free(client: Client) -> None:
    workflow_id = new_id()
    with pytest.raises(RPCError) as raised:
        await begin(client, w.Greet.run, "x" * 2_200_000, id=workflow_id)
    assert raised.value.status == RPCStatusCode.INVALID_ARGUMENT
    assert await result(await begin(client, w.Greet.run, "small", id=workflow_id)) == "Hello, small!"


async def test_an_activity_is_retried_until_it_succeeds(client: Client) -> None:
    assert await result(await begin(client, w.RetriedActivity.run)) == 3


async def test_an_activity_that_fails_for_good_fails_the_workflow(client: Client) -> None:
    cause = await failure(await begin(client, w.FailedActivity.run))
    assert isinstance(cause, ActivityError)
    assert isinstance(cause.cause, ApplicationError)
    assert (cause.cause.type, cause.cause.details, cause.cause.non_retryable) == ("Never", ("detail",), True)


async def test_an_attempt_finds_what_the_last_one_left_in_its_heartbeat(client: Client) -> None:
    assert await result(await begin(client, w.Resumes.run)) == [7, "seven"]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("start_to_close", "activity StartToClose timeout"),
        ("heartbeat", "activity Heartbeat timeout"),
        ("schedule_to_start", "activity ScheduleToStart timeout"),
        (
            "schedule_to_close",
            "Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying",
        ),
    ],
)
async def test_each_activity_timeout_is_told_by_name(client: Client, kind: str, said: str) -> None:
    assert await result(await begin(client, w.TimesOutActivity.run, kind)) == said


async def test_timers_fire_and_can_be_cancelled(client: Client) -> None:
    assert await result(await begin(client, w.Timers.run)) == "done"


async def test_signals_arrive_in_order_and_queries_see_them(client: Client) -> None:
    handle = await begin(client, w.Waiter.run)
    for number in range(20):
        await handle.signal(w.Waiter.say, str(number))
    assert await handle.query(w.Waiter.seen) == [str(number) for number in range(20)]
    await handle.signal(w.Waiter.end)
    assert await result(handle) == [str(number) for number in range(20)]


async def test_a_closed_workflow_can_still_be_queried(client: Client) -> None:
    handle = await begin(client, w.Waiter.run)
    await handle.signal(w.Waiter.say, "word")
    await handle.signal(w.Waiter.end)
    await result(handle)
    assert await handle.query(w.Waiter.seen) == ["word"]
    with pytest.raises(WorkflowQueryRejectedError) as raised:
        await handle.query(w.Waiter.seen, reject_condition=QueryRejectCondition.NOT_OPEN)
    assert raised.value.status == WorkflowExecutionStatus.COMPLETED


async def test_a_worker_that_never_saw_the_run_answers_a_query(client: Client) -> None:
    handle = await begin(client, w.Waiter.run, task_queue="moving")
    async with worker(client, "moving"):
        await handle.signal(w.Waiter.say, "word")
        assert await handle.query(w.Waiter.seen) == ["word"]
    async with worker(client, "moving"):
        assert await handle.query(w.Waiter.seen) == ["word"]
        await handle.signal(w.Waiter.end)
        assert await result(handle) == ["word"]


async def test_a_query_that_fails_says_why(client: Client) -> None:
    handle = await begin(client, w.Waiter.run)
    with pytest.raises(WorkflowQueryFailedError, match="cannot be asked"):
        await handle.query(w.Waiter.broken)
    with pytest.raises(WorkflowQueryFailedError, match="nonsense"):
        await handle.query("nonsense")
    await handle.terminate()


async def test_a_query_that_nobody_answers_times_out(client: Client) -> None:
    handle = await begin(client, w.Waiter.run, task_queue="nobody")
    with pytest.raises(RPCError) as raised:
        await handle.query(w.Waiter.seen, rpc_timeout=timedelta(seconds=2))
    assert raised.value.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED)
    await handle.terminate()


async def test_signal_with_start_starts_once_and_signals_each_time(client: Client) -> None:
    workflow_id = new_id()
    first = await begin(client, w.Waiter.run, id=workflow_id, start_signal="say", start_signal_args=["one"])
    second = await begin(client, w.Waiter.run, id=workflow_id, start_signal="say", start_signal_args=["two"])
    assert first.first_execution_run_id == second.first_execution_run_id
    await first.signal(w.Waiter.end)
    assert await result(first) == ["one", "two"]


async def test_a_cancelled_workflow_cleans_up_and_is_cancelled(client: Client) -> None:
    handle = await begin(client, w.Forever.run)
    await until(lambda: history_has(handle, 5))
    await handle.cancel()
    assert isinstance(await failure(handle), CancelledError)
    assert (await handle.describe()).status == WorkflowExecutionStatus.CANCELED


async def history_has(handle: Handle, events: int) -> bool:
    return len((await handle.fetch_history()).events) >= events


async def test_a_terminated_workflow_says_the_reason(client: Client) -> None:
    handle = await begin(client, w.Waiter.run)
    await handle.terminate("d", reason="enough")
    cause = await failure(handle)
    assert isinstance(cause, TerminatedError)
    assert str(cause) == "enough"
    with pytest.raises(RPCError) as raised:
        await handle.signal(w.Waiter.end)
    assert raised.value.status == RPCStatusCode.NOT_FOUND
    assert raised.value.message == "workflow execution already completed"


async def test_a_cancelled_activity_hears_of_it_by_its_heartbeat(client: Client) -> None:
    handle = await begin(client, w.CancelsActivity.run)

    async def beating() -> bool:
        return any(activity.HasField("heartbeat_details") for activity in await pending(handle))

    await until(beating)
    await handle.signal(w.CancelsActivity.go)
    assert await result(handle) == "ActivityError"


async def test_a_workflow_continues_as_new_and_the_client_follows(client: Client) -> None:
    handle = await begin(client, w.Countdown.run, 2)
    assert await result(handle) == handle.first_execution_run_id
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{handle.id}'")]
    assert sorted(run.status.name for run in runs if run.status) == [
        "COMPLETED",
        "CONTINUED_AS_NEW",
        "CONTINUED_AS_NEW",
    ]


async def test_a_failed_workflow_is_retried_as_its_policy_says(client: Client) -> None:
    policy = RetryPolicy(initial_interval=timedelta(milliseconds=50), maximum_attempts=5)
    assert await result(await begin(client, w.FailsTwice.run, retry_policy=policy)) == 3
    policy.maximum_attempts = 2
    cause = await failure(await begin(client, w.FailsTwice.run, retry_policy=policy))
    assert isinstance(cause, ApplicationError)
    assert cause.message == "run 2"


async def test_a_run_that_takes_too_long_times_out(client: Client) -> None:
    cause = await failure(await begin(client, w.Waiter.run, run_timeout=timedelta(seconds=1)))
    assert isinstance(cause, TimeoutError)


async def test_a_start_can_be_delayed(client: Client) -> None:
    handle = await begin(client, w.Greet.run, "late", start_delay=timedelta(seconds=1))
    assert await result(handle) == "Hello, late!"
    info = (await handle.describe()).raw_description.workflow_execution_info
    assert info.execution_time.ToMilliseconds() == info.start_time.ToMilliseconds() + 1000


async def test_a_start_and_its_first_task_take_one_call_when_asked(client: Client) -> None:
    handle = await begin(client, w.Greet.run, "you", request_eager_start=True)
    assert handle.__temporal_eagerly_started  # type: ignore[attr-defined] # the SDK's own mark of it
    assert await result(handle) == "Hello, you!"


async def test_an_activity_is_completed_elsewhere_by_its_id(client: Client) -> None:
    handle = await begin(client, w.Elsewhere.run, "by-id")
    elsewhere = client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="by-id")
    await until(lambda: started(handle))
    await elsewhere.heartbeat("half")
    assert (await pending(handle))[0].HasField("heartbeat_details")
    await elsewhere.complete("whole")
    assert await result(handle) == "whole"


async def started(handle: Handle) -> bool:
    return any(activity.HasField("last_started_time") for activity in await pending(handle))


async def test_an_activity_is_failed_elsewhere_by_its_token(client: Client) -> None:
    name = f"by-token {new_id()}"
    handle = await begin(client, w.Elsewhere.run, name)

    async def handed() -> bool:
        return name in w.HANDED.tokens

    await until(handed)
    elsewhere = client.get_async_activity_handle(task_token=w.HANDED.tokens[name])
    await elsewhere.fail(ApplicationError("no", type="No", non_retryable=True))
    cause = await failure(handle)
    assert isinstance(cause, ActivityError)
    assert isinstance(cause.cause, ApplicationError)
    assert cause.cause.type == "No"


async def test_an_activity_elsewhere_hears_that_its_workflow_was_cancelled(client: Client) -> None:
    handle = await begin(client, w.Elsewhere.run, "cancelled")
    elsewhere = client.get_async_activity_handle(workflow_id=handle.id, run_id=None, activity_id="cancelled")
    await until(lambda: started(handle))
    await handle.cancel()

    async def cancel_heard() -> bool:
        try:
            await elsewhere.heartbeat()
        except AsyncActivityCancelledError:
            return True
        return False

    await until(cancel_heard)
    await elsewhere.report_cancellation()
    assert isinstance(await failure(handle), CancelledError)


async def test_id_policies_decide_who_may_use_a_workflow_id(client: Client) -> None:
    handle = await begin(client, w.Waiter.run)
    with pytest.raises(WorkflowAlreadyStartedError) as raised:
        await begin(client, w.Waiter.run, id=handle.id)
    assert raised.value.run_id == handle.first_execution_run_id
    used = await begin(client, w.Waiter.run, id=handle.id, id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING)
    assert used.first_execution_run_id == handle.first_execution_run_id
    newer = await begin(
        client, w.Waiter.run, id=handle.id, id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING
    )
    assert newer.first_execution_run_id != handle.first_execution_run_id
    assert isinstance(await failure(handle), TerminatedError)
    await newer.signal(w.Waiter.end)
    await result(newer)
    with pytest.raises(WorkflowAlreadyStartedError):
        await begin(client, w.Waiter.run, id=handle.id, id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE)
    with pytest.raises(WorkflowAlreadyStartedError):
        await begin(
            client, w.Waiter.run, id=handle.id, id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        )


async def test_what_a_workflow_upserts_is_shown_and_found(client: Client) -> None:
    handle = await begin(client, w.Markers.run, memo={"gone": 1, "kept": 2})
    assert await result(handle) == "Hello, local! True"
    described = await handle.describe()
    assert await described.memo() == {"kept": 2, "word": "Hello, local!"}
    fields = described.raw_description.workflow_execution_info.search_attributes.indexed_fields
    assert fields["BatcherUser"].data == b'"me"'
    assert b"second-version" in fields["TemporalChangeVersion"].data


async def test_a_broken_workflow_goes_on_once_it_is_repaired(client: Client) -> None:
    workflow_id = new_id()
    w.FLAWS[workflow_id] = ["a bug"] * 1000
    handle = await begin(client, w.Flawed.run, id=workflow_id)

    async def failed_twice() -> bool:
        return (await handle.describe()).raw_description.pending_workflow_task.attempt >= 2

    await until(failed_twice)
    w.FLAWS[workflow_id].clear()
    assert await result(handle) == "repaired"


async def test_lists_and_counts_find_workflows(client: Client) -> None:
    mark = new_id()
    handles = [await begin(client, w.Waiter.run, id=f"{mark}-{number}") for number in range(3)]
    await handles[0].terminate()
    mine = f"WorkflowId STARTS_WITH '{mark}'"
    assert {run.id async for run in client.list_workflows(mine)} == {handle.id for handle in handles}
    assert [run.id async for run in client.list_workflows(f"{mine} AND ExecutionStatus = 'Terminated'")] == [
        handles[0].id
    ]
    counted = await client.count_workflows(f"{mine} GROUP BY ExecutionStatus")
    assert counted.count == 3
    assert {group.group_values[0]: group.count for group in counted.groups} == {"Running": 2, "Terminated": 1}
    for handle in handles[1:]:
        await handle.terminate()


async def test_a_history_read_in_pages_is_the_whole_history(client: Client) -> None:
    handle = await begin(client, w.ManyActivities.run, 50)
    await result(handle)
    whole = [event.event_id async for event in handle.fetch_history_events()]
    paged = [event.event_id async for event in handle.fetch_history_events(page_size=7)]
    assert paged == whole == list(range(1, len(whole) + 1))


async def test_a_worker_without_cache_is_given_whole_histories(client: Client) -> None:
    async with worker(client, "uncached", max_cached_workflows=0):
        assert await result(await begin(client, w.Timers.run, task_queue="uncached")) == "done"
        assert await result(await begin(client, w.ManyActivities.run, 10, task_queue="uncached")) == 10


async def test_a_worker_stops_at_once_and_hands_over_its_runs(client: Client) -> None:
    handle = await begin(client, w.Waiter.run, task_queue="handed-over")
    async with worker(client, "handed-over"):
        await handle.signal(w.Waiter.say, "one")
        assert await handle.query(w.Waiter.seen) == ["one"]
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < PATIENCE_S / 2, "polls go on for a minute"
    await handle.signal(w.Waiter.end)
    async with worker(client, "handed-over"):
        assert await result(handle) == ["one"]


async def test_every_finished_history_replays(client: Client) -> None:
    query = "ExecutionStatus != 'Running' AND WorkflowType != 'Flawed'"
    histories = client.list_workflows(query).map_histories()
    replayer = Replayer(workflows=w.WORKFLOWS, workflow_runner=UnsandboxedWorkflowRunner())
    replayed = await replayer.replay_workflows(histories)
    assert not replayed.replay_failures
    assert len([run async for run in client.list_workflows(query)]) > 20


async def test_a_rare_call_that_is_not_served_says_so(client: Client) -> None:
    with pytest.raises(RPCError, match="ListWorkflowRules is not served") as raised:
        await client.workflow_service.list_workflow_rules(ListWorkflowRulesRequest(namespace="default"))
    assert raised.value.status == RPCStatusCode.UNIMPLEMENTED
