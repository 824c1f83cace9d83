"""Many operations steered at once, a rollout led over the API, and the search for runs that retry, page by page."""

import asyncio
import uuid
from typing import Any

import httpx

from delivery.stage import Stage
from stormsail.delivery.model.priority import Priority
from stormsail.delivery.providers.model.faults import Fault, ScriptedFaults
from stormsail.web.changes.bulk import BULK_KEY_MAX, OPERATIONS_MAX
from stormsail.web.state import Web
from web.browser.plays import QUEUE, Reservation, plays_worker
from web.conftest import client_of
from web.test_api import CAPACITY, deployment, in_state, read, until
from web.test_door import kind


async def waiting(client: httpx.AsyncClient, stage: Stage, stack: str) -> str:
    """Start a deployment that fails for good and waits for a person."""
    body = deployment(stage, stack=stack)
    operation_id: str = (await client.post("/api/v1/operations", json=body)).json()["operation_id"]
    await in_state(client, operation_id, "waiting")
    return operation_id


def bulk(verb: str, *operations: str) -> dict[str, Any]:
    return {"verb": verb, "operations": operations, "reason": "the quota was raised"}


async def test_many_are_retried_each_with_its_own_outcome_and_audit_row_and_the_same_key_does_it_once(
    stage: Stage, web: Web
) -> None:
    stage.faults = ScriptedFaults({"begin enableServerGroup": [Fault.PERMANENT, Fault.PERMANENT]})
    await stage.restart_worker()
    async with client_of(web) as client:
        two = [await waiting(client, stage, stack) for stack in ("eu", "us")]
        nobodys = str(uuid.uuid4())
        key = {"Idempotency-Key": "all-of-them"}
        answer = await client.post("/api/v1/operations/bulk", json=bulk("retry", *two, nobodys), headers=key)
        assert answer.status_code == 200, answer.text
        view = answer.json()
        assert [one["outcome"] for one in view["results"]] == ["done", "done", "refused"]
        assert (view["done"], view["refused"], view["unknown"]) == (2, 1, 0)
        assert view["results"][2]["kind"] == "not-found"
        for operation_id in two:
            await in_state(client, operation_id, "succeeded")
        rows = (await read(client, "/audit", verb="operation.retry"))["entries"]
        assert {(row["target"], row["reason"], row["state"]) for row in rows} == {
            (f"operation/{one}", "the quota was raised", "done") for one in two
        }
        again = (await client.post("/api/v1/operations/bulk", json=bulk("retry", *two), headers=key)).json()
        assert [one["outcome"] for one in again["results"]] == ["done", "done"]
        assert len((await read(client, "/audit", verb="operation.retry"))["entries"]) == 2
        other = (await client.post("/api/v1/operations/bulk", json=bulk("cancel", *two))).json()
        assert [(one["outcome"], one["kind"]) for one in other["results"]] == [("refused", "conflict")] * 2


async def test_a_request_for_many_that_breaks_a_rule_changes_nothing(lonely: Web) -> None:
    async with client_of(lonely) as client:
        for body, headers, field in (
            (bulk("retry"), {}, "operations"),
            (bulk("retry", *(f"{n:08}" for n in range(OPERATIONS_MAX + 1))), {}, "operations"),
            (bulk("retry", "0190aaaa", "0190aaaa"), {}, "operations"),
            (bulk("skip", "0190aaaa"), {}, "verb"),
            (bulk("retry", "0190aaaa"), {"Idempotency-Key": "x" * (BULK_KEY_MAX + 1)}, "Idempotency-Key"),
        ):
            refused = await client.post("/api/v1/operations/bulk", json=body, headers=headers)
            assert (kind(refused), refused.json()["field"]) == ("invalid", field), refused.text
        assert (await read(client, "/audit"))["entries"] == []


async def test_a_canary_is_held_approved_and_promoted_over_the_api_and_started_with_a_priority(
    stage: Stage, web: Web
) -> None:
    assert (await stage.deploy("v1")).ok
    steps = [{"setWeight": 10}, {"approval": {"message": "look first"}}, {"setWeight": 50}, {"approval": {}}]
    body = {
        **deployment(stage, strategy="canary", canary={"steps": steps}, capacity=CAPACITY),
        "priority": Priority.TRIGGER.value,
    }
    async with client_of(web) as client:
        wrong = await client.post("/api/v1/operations", json={**body, "priority": "urgent"})
        assert (kind(wrong), wrong.json()["field"]) == ("invalid", "priority")
        operation_id = (await client.post("/api/v1/operations", json=body)).json()["operation_id"]
        described = await stage.temporal.get_workflow_handle(
            (await read(client, f"/operations/{operation_id}"))["operation"]["workflow_id"], run_id=operation_id
        ).describe()
        assert described.raw_description.workflow_execution_info.priority.priority_key == Priority.TRIGGER.key
        await in_state(client, operation_id, "waiting")
        path = f"/api/v1/operations/{operation_id}"
        approved = await client.post(f"{path}/approve", json={"reason": "the errors are those of yesterday"})
        assert (approved.status_code, approved.json()["verb"]) == (200, "approve"), approved.text

        async def at_the_second() -> bool:
            view = await read(client, f"/operations/{operation_id}")
            return bool(view["operation"]["state"] == "waiting" and view["rollout"]["weight"] == 50)

        await until(at_the_second, "the second approval")
        promoted = await client.post(f"{path}/promote", json={"full": True, "reason": "it mends an outage"})
        assert promoted.status_code == 200, promoted.text
        await in_state(client, operation_id, "succeeded")
        over = await client.post(f"{path}/abort", json={"reason": "too late"})
        assert over.status_code == 409, over.text


async def test_runs_that_retry_are_found_page_by_page_and_how_many_were_looked_at_is_told(
    stage: Stage, web: Web
) -> None:
    tag = uuid.uuid4().hex[:8]
    async with plays_worker(stage.temporal):
        first = await stage.temporal.start_workflow(Reservation.run, "x", id=f"r-{tag}-0", task_queue=QUEUE)

        async def retried() -> bool:
            return any(one.attempt > 1 for one in (await first.describe()).raw_description.pending_activities)

        await until(retried, "a second attempt")
        await asyncio.gather(
            *(
                stage.temporal.start_workflow(Reservation.run, "x", id=f"r-{tag}-{n}", task_queue=f"nobody-{tag}")
                for n in range(1, 101)
            )
        )
        async with client_of(web) as client:
            query = f"WorkflowId STARTS_WITH 'r-{tag}'"
            page = await read(client, "/workflows/retrying", query=query)
            assert (page["rows"], page["looked_at"], page["running"]) == ([], 100, 101)
            shown = (await client.get("/workflows", params={"query": query, "retrying": "1"})).text
            assert "Looked at 100 of 101 running runs that fit" in shown
            assert "None of those looked at is retrying; there are older ones" in shown
            rest = await read(client, "/workflows/retrying", query=query, cursor=page["next_cursor"])
            assert [row["workflow"]["workflow_id"] for row in rest["rows"]] == [f"r-{tag}-0"]
            assert (rest["looked_at_from"], rest["looked_at"], rest["next_cursor"]) == (100, 1, "")
            params = {"query": query, "retrying": "1", "cursor": page["next_cursor"]}
            shown = (await client.get("/workflows", params=params)).text
            assert "Looked at numbers 101 to 101 of 101" in shown
            assert kind(await client.get("/api/v1/workflows/retrying?cursor=x")) == "bad-cursor"
        await first.terminate()
