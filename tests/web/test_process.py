"""The web as a process that is killed in the middle of a change, and with 500 operations to list."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from delivery.stage import Stage
from stormsail.delivery.model.operation import OperationRequest
from stormsail.web.state import Web
from web.conftest import client_of
from web.process import at_stage, served
from web.test_api import deployment, read, until

OPERATIONS = 500
FAST = "--rate-limit=100000"


async def written(client: httpx.AsyncClient, verb: str) -> Any:
    return (await read(client, "/audit", verb=verb))["entries"]


async def test_a_change_whose_process_is_killed_is_in_the_audit_as_unknown_and_its_key_makes_it_once(
    stage: Stage, tmp_path: Path
) -> None:
    await stage.stop_workers()
    started = await stage.client.start(
        OperationRequest(
            operation_type="createServerGroup",
            payload=deployment(stage)["payload"],
            application="web",
            account=stage.account,
        )
    )
    path = f"/api/v1/operations/{started.operation_id}/cancel"
    start = {**deployment(stage), "payload": {**deployment(stage)["payload"], "stack": "eu"}}
    key = {"Idempotency-Key": "start-eu"}
    with served(tmp_path, *at_stage(stage), FAST) as first:
        async with httpx.AsyncClient(base_url=first.address, timeout=60) as client:
            assert (await client.post(path, json={"reason": "made before the kill"})).status_code == 200
            # Without a worker a retry waits for its answer: it is in the middle when the process is killed.
            steer = f"/api/v1/operations/{started.operation_id}/retry"
            waiting = asyncio.create_task(client.post(steer, json={"reason": "in the middle"}))
            await until(lambda: written(client, "operation.retry"), "the retry in the audit")
            assert (await client.post("/api/v1/operations", json=start, headers=key)).status_code == 201
            first.process.kill()
            with pytest.raises(httpx.HTTPError):
                await waiting
    with served(tmp_path, *at_stage(stage), FAST) as second:
        async with httpx.AsyncClient(base_url=second.address, timeout=60) as client:
            entries = [json.loads(line) for line in (await client.get("/api/v1/audit/export")).text.splitlines()]
            told = [(entry["verb"], entry["state"], entry["reason"]) for entry in entries]
            assert told == [
                ("operation.cancel", "done", "made before the kill"),
                ("operation.retry", "unknown", "in the middle"),
                ("operation.start.createServerGroup", "done", "a release"),
            ]
            again = await client.post("/api/v1/operations", json=start, headers=key)
            assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")


async def test_five_hundred_running_operations_are_listed_with_one_question(stage: Stage, web: Web) -> None:
    await stage.stop_workers()
    gate = asyncio.Semaphore(50)

    async def start(number: int) -> None:
        payload = {**deployment(stage)["payload"], "stack": f"s{number}"}
        request = OperationRequest(
            operation_type="createServerGroup", payload=payload, application="web", account=stage.account
        )
        async with gate:
            await stage.client.start(request)

    await asyncio.gather(*(start(number) for number in range(OPERATIONS)))
    async with client_of(web) as client:
        before = web.sources.engine.questions
        began = time.perf_counter()
        query = {"state": "open", "limit": OPERATIONS, "account": stage.account}
        rows = (await read(client, "/operations", **query))["operations"]
        took_s = time.perf_counter() - began
        assert len({row["operation_id"] for row in rows}) == OPERATIONS
        assert web.sources.engine.questions - before == 1
        print(f"{OPERATIONS} running operations listed in {took_s * 1000:.0f} ms")
        pages, cursor = 0, ""
        found: set[str] = set()
        while cursor or not pages:
            page = await read(client, "/operations", state="open", limit=120, account=stage.account, cursor=cursor)
            found |= {row["operation_id"] for row in page["operations"]}
            pages, cursor = pages + 1, page["next_cursor"]
        assert len(found) == OPERATIONS
        assert pages == 5
