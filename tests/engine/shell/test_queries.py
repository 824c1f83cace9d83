"""Queries reach a worker and their answers come back, or the asker learns why not."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import QueryRejectCondition, QueryResultType, WorkflowExecutionStatus
from temporalio.api.failure.v1 import Failure
from temporalio.api.query.v1 import WorkflowQueryResult
from temporalio.api.workflowservice.v1 import (
    QueryWorkflowRequest,
    RespondQueryTaskCompletedRequest,
    ShutdownWorkerRequest,
)

from stormsail.engine.core.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    QueryFailed,
    ResourceExhausted,
    Unavailable,
    WorkflowNotReady,
)
from stormsail.engine.core.ids import RunKey
from stormsail.engine.core.requests import FailWorkflowTask
from stormsail.engine.shell import tokens

ANSWERED = QueryResultType.QUERY_RESULT_TYPE_ANSWERED
FAILED = QueryResultType.QUERY_RESULT_TYPE_FAILED


def asking(
    world: Any, *, workflow_id: str = "w", run_id: str = "", deadline_s: float | None = 10, **fields: Any
) -> "asyncio.Task[Any]":
    execution = WorkflowExecution(workflow_id=workflow_id, run_id=run_id)
    request = QueryWorkflowRequest(namespace="default", execution=execution, **fields)
    request.query.query_type = "state"
    return asyncio.create_task(world.engine.query(request, deadline_s))


async def answer(world: Any, task: Any, text: str = "answer", **fields: Any) -> None:
    fields = fields or {"completed_type": ANSWERED, "query_result": world.payloads(text)}
    request = RespondQueryTaskCompletedRequest(namespace="default", task_token=task.task_token, **fields)
    await world.engine.answer_query(request)


async def idle(world: Any, sticky: str = "") -> str:
    """Start a workflow and complete its first task; return its run id."""
    run_id: str = await world.start()
    await world.complete(await world.poll(), sticky=sticky)
    return run_id


async def test_a_query_of_an_idle_run_goes_alone_to_a_worker_with_the_whole_history(world: Any) -> None:
    run_id = await idle(world)
    asked = asking(world)
    task = await world.poll()
    assert task.query.query_type == "state"
    assert [event.event_id for event in task.history.events] == [1, 2, 3, 4]
    assert (task.started_event_id, task.previous_started_event_id) == (0, 3)
    await answer(world, task)
    response = await world.soon(asked)
    assert response.query_result == world.payloads("answer")
    assert (response.link.workflow.run_id, response.link.workflow.reason) == (run_id, "Query processed")
    assert len((await world.history()).history.events) == 4


async def test_a_query_goes_to_the_worker_that_has_the_run_in_its_cache_without_history(world: Any) -> None:
    await idle(world, sticky="s")
    polling = world.polling("s", sticky=True)
    await world.settle()
    asked = asking(world)
    task = await world.soon(polling)
    assert len(task.history.events) == 0 and task.HasField("history")
    await answer(world, task)
    await world.soon(asked)


async def test_a_query_goes_to_any_worker_when_the_one_with_the_cache_does_not_answer(world: Any) -> None:
    await idle(world, sticky="s")
    asked = asking(world)
    await world.clock.advance(5_001)
    task = await world.poll("q")
    assert len(task.history.events) == 4
    await answer(world, task)
    await world.soon(asked)
    assert world.engine.read("default", "w", "").sticky_queue == ""


async def test_a_query_moves_on_at_once_when_the_worker_with_the_cache_shuts_down(world: Any) -> None:
    await idle(world, sticky="s")
    asked = asking(world)
    await world.settle()
    await world.engine.shutdown_worker(ShutdownWorkerRequest(namespace="default", sticky_task_queue="s"))
    await answer(world, await world.poll("q"))
    await world.soon(asked)


async def test_a_query_of_a_run_with_unseen_events_goes_with_the_workflow_task_that_shows_them(world: Any) -> None:
    await idle(world)
    await world.signal()
    asked = asking(world)
    await world.settle()
    task = await world.poll()
    ((query_id, query),) = task.queries.items()
    assert query.query_type == "state" and not task.HasField("query")
    assert "WORKFLOW_EXECUTION_SIGNALED" in await world.event_types()
    result = WorkflowQueryResult(result_type=ANSWERED, answer=world.payloads("with task"))
    await world.complete(task, query_results={query_id: result})
    assert (await world.soon(asked)).query_result == world.payloads("with task")


async def test_a_query_that_comes_after_the_task_was_started_goes_alone_once_it_is_completed(world: Any) -> None:
    await world.start()
    task = await world.poll()
    asked = asking(world)
    await world.settle()
    await world.complete(task)
    query_task = await world.poll()
    assert query_task.query.query_type == "state"
    await answer(world, query_task)
    await world.soon(asked)


async def test_a_query_that_comes_after_the_task_was_started_goes_with_the_next_one_if_there_is_news(
    world: Any,
) -> None:
    await world.start()
    task = await world.poll()
    asked = asking(world)
    await world.settle()
    await world.signal()
    reply = await world.complete(task, sticky="s", return_new_workflow_task=True)
    ((query_id, _),) = reply.workflow_task.queries.items()
    result = WorkflowQueryResult(result_type=ANSWERED, answer=world.payloads("x"))
    await world.complete(reply.workflow_task, query_results={query_id: result})
    assert (await world.soon(asked)).query_result == world.payloads("x")


async def test_a_query_sees_every_event_acknowledged_before_it(world: Any) -> None:
    await idle(world)
    for number in range(3):
        await world.signal(name=f"s{number}")
        asked = asking(world)
        task = await world.poll()
        shown = [event.workflow_execution_signaled_event_attributes.signal_name for event in task.history.events]
        assert f"s{number}" in shown
        await world.complete(
            task,
            query_results={
                query_id: WorkflowQueryResult(result_type=ANSWERED, answer=world.payloads("x"))
                for query_id in task.queries
            },
        )
        await world.soon(asked)


async def test_a_query_that_waits_while_its_run_is_deleted_is_told_and_reaches_no_worker(world: Any) -> None:
    run_id = await world.start()
    await world.complete(await world.poll(), [world.complete_workflow()])
    await world.close()  # what was written last is still in memory before, and a worker gets it from there
    await world.open()
    asked = asking(world)
    await world.settle()
    # The moment inside a deletion when the rows are gone and the state is still in memory.
    assert await world.store.delete(RunKey("default", "w", run_id))
    polling = world.polling()
    with pytest.raises(NotFound, match="workflow execution not found"):
        await world.soon(asked)
    assert not polling.done()
    polling.cancel()


async def test_a_closed_workflow_answers_queries(world: Any) -> None:
    await world.start()
    await world.complete(await world.poll(), [world.complete_workflow()])
    asked = asking(world)
    await answer(world, await world.poll())
    await world.soon(asked)


@pytest.mark.parametrize(
    ("condition", "rejected"),
    [
        (QueryRejectCondition.QUERY_REJECT_CONDITION_NONE, False),
        (QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_OPEN, True),
        (QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY, True),
    ],
)
async def test_a_terminated_workflow_rejects_queries_that_ask_for_it(
    world: Any, condition: Any, rejected: bool
) -> None:
    await idle(world)
    await world.terminate()
    asked = asking(world, query_reject_condition=condition)
    if not rejected:
        await answer(world, await world.poll())
    response = await world.soon(asked)
    assert response.HasField("query_rejected") == rejected
    if rejected:
        assert response.query_rejected.status == WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_TERMINATED
        assert response.link.workflow.reason == "Query rejected"


async def test_a_cleanly_completed_workflow_is_not_rejected_as_unclean(world: Any) -> None:
    await world.start()
    await world.complete(await world.poll(), [world.complete_workflow()])
    condition = QueryRejectCondition.QUERY_REJECT_CONDITION_NOT_COMPLETED_CLEANLY
    asked = asking(world, query_reject_condition=condition)
    await answer(world, await world.poll())
    assert not (await world.soon(asked)).HasField("query_rejected")


async def test_a_failed_query_carries_the_workers_message_and_failure(world: Any) -> None:
    await idle(world)
    asked = asking(world)
    failure = Failure(message="boom", source="test")
    task = await world.poll()
    await answer(world, task, completed_type=FAILED, error_message="boom", failure=failure)
    with pytest.raises(QueryFailed, match="boom") as refusal:
        await world.soon(asked)
    assert refusal.value.detail.failure == failure  # type: ignore[union-attr]


async def test_a_query_nobody_polls_for_says_so_before_the_caller_gives_up(world: Any) -> None:
    await idle(world)
    await world.clock.advance(30_000)
    asked = asking(world, deadline_s=10)
    await world.clock.advance(9_100)
    with pytest.raises(FailedPrecondition, match="no poller seen for task queue recently"):
        await world.soon(asked)


async def test_a_query_nobody_answers_in_time_ends_with_its_callers_deadline(world: Any) -> None:
    await idle(world)
    asked = asking(world, deadline_s=3)
    task = await world.poll()
    await world.clock.advance(3_000)
    with pytest.raises(DeadlineExceeded, match="before a worker could process it"):
        await world.soon(asked)
    with pytest.raises(NotFound, match="query task not found, or already expired"):
        await answer(world, task)


async def test_a_query_with_a_task_nobody_completes_ends_with_its_callers_deadline(world: Any) -> None:
    await world.start()
    asked = asking(world, deadline_s=3)
    await world.clock.advance(3_000)
    with pytest.raises(DeadlineExceeded):
        await world.soon(asked)
    assert not (await world.poll()).queries


async def test_a_query_is_answered_once(world: Any) -> None:
    await idle(world)
    asked = asking(world)
    task = await world.poll()
    await answer(world, task)
    with pytest.raises(NotFound):
        await answer(world, task)
    await world.soon(asked)


async def test_an_answer_of_unknown_kind_is_refused_and_the_query_stays_open(world: Any) -> None:
    await idle(world)
    asked = asking(world)
    task = await world.poll()
    with pytest.raises(InvalidArgument, match="completed_type"):
        await answer(world, task, query_result=world.payloads("x"))
    await answer(world, task)
    await world.soon(asked)


async def test_an_answer_that_is_too_large_fails_the_query(closed_world: Any) -> None:
    world = closed_world
    world.limits = replace(world.limits, blob_size_max=1_000)
    await world.open()
    await idle(world)
    asked = asking(world)
    await answer(world, await world.poll(), "x" * 1_001)
    with pytest.raises(QueryFailed, match="Blob data size exceeds limit"):
        await world.soon(asked)


async def test_a_query_whose_worker_vanishes_before_it_got_it_goes_to_the_next(world: Any) -> None:
    await idle(world)
    polling = world.polling()
    await world.settle()
    asked = asking(world)
    await asyncio.sleep(0)
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    await answer(world, await world.poll())
    await world.soon(asked)


async def test_only_so_many_queries_wait_for_one_workflow_task(world: Any) -> None:
    await world.start()
    asked = asking(world)
    await world.settle()
    with pytest.raises(ResourceExhausted, match="consistent query buffer is full"):
        await asking(world)
    asked.cancel()


async def test_a_run_closed_before_its_first_task_cannot_be_queried(world: Any) -> None:
    await world.start()
    asked = asking(world)
    await world.settle()
    await world.terminate()
    for one in (asked, asking(world)):
        with pytest.raises(WorkflowNotReady, match="closed before WorkflowTaskStarted event"):
            await world.soon(one)


async def test_a_run_whose_first_task_comes_too_late_cannot_be_queried(world: Any) -> None:
    await world.start(workflow_start_delay={"seconds": 60})
    with pytest.raises(WorkflowNotReady, match="not scheduled yet"):
        await asking(world, deadline_s=10)


async def test_a_run_whose_workflow_task_keeps_failing_cannot_be_queried(world: Any) -> None:
    await world.start()
    asked = None
    for attempt in (1, 2):
        task = await world.poll()
        assert task.attempt == attempt
        if asked is None:
            asked = asking(world, deadline_s=600)
            await world.settle()
        token = tokens.decode_workflow_task(task.task_token)
        fail = FailWorkflowTask(token, 1, Failure(message="no"), "me")  # type: ignore[arg-type]
        await world.engine.execute("default", "w", "", fail)
    for one in (asked, asking(world)):
        with pytest.raises(WorkflowNotReady, match="Workflow Task in failed state"):
            await world.soon(one)


async def test_an_unknown_workflow_cannot_be_queried(world: Any) -> None:
    with pytest.raises(NotFound, match="workflow not found for ID: w"):
        await asking(world)


async def test_a_query_ends_when_the_server_stops(world: Any) -> None:
    await idle(world)
    alone = asking(world, deadline_s=60)
    await world.start("busy")
    buffered = asking(world, workflow_id="busy", deadline_s=60)
    await world.settle()
    await world.engine.close()
    for one in (alone, buffered):
        with pytest.raises(Unavailable, match="stopping"):
            await world.soon(one)
