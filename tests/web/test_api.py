"""The REST API on a real engine and a model cloud: what is read, what is changed, and how requests are refused."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleRange,
    ScheduleSpec,
)

from delivery.engines import NAMES
from delivery.stage import Stage
from stormsail.delivery.model.operation import ObserveRequest
from stormsail.delivery.providers.model.faults import Fault, ScriptedFaults
from stormsail.web.state import Web
from web.conftest import client_of
from web.test_door import kind

on_both = pytest.mark.parametrize("engine", NAMES, indirect=True)

WAIT_MAX_S = 60.0
CAPACITY = {"min": 2, "desired": 2, "max": 2}

EACH_HOUR_OF_2023_AND_2099 = ScheduleCalendarSpec(
    hour=[ScheduleRange(0, 23)], year=[ScheduleRange(2023), ScheduleRange(2099)]
)
"""Times to backfill and times to come, and none while a test counts what was done."""


def deployment(stage: Stage, **payload: Any) -> dict[str, Any]:
    launch = {"version": "v2", "command": ["serve"]}
    whole = {"capacity": CAPACITY, "strategy": "redblack", "launch": launch, "onFailure": "pause", **payload}
    return {
        "operation_type": "createServerGroup",
        "application": "web",
        "account": stage.account,
        "payload": whole,
        "reason": "a release",
    }


async def until(look: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Wait until something is so."""
    give_up_at = time.monotonic() + WAIT_MAX_S
    while time.monotonic() < give_up_at:
        if found := await look():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"not within {WAIT_MAX_S} s: {what}")


async def read(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    response = await client.get(f"/api/v1{path}", params=query)
    assert response.status_code == 200, response.text
    return response.json()


async def in_state(client: httpx.AsyncClient, operation_id: str, state: str) -> Any:
    async def look() -> Any:
        view = await read(client, f"/operations/{operation_id}")
        return view if view["operation"]["state"] == state and is_whole(view, state) else None

    return await until(look, f"operation {state}, with its steps")


def is_whole(view: Any, state: str) -> bool:
    """Whether its parts say the same: each is read for itself, and may be half a second older than another."""
    if state != "waiting":
        return view["steps"] is not None
    paused = [step for step in view["steps"] or () if step["status"] == "PAUSED"]
    calls = paused[-1]["attempts"] if paused else []
    return bool(paused) and (bool(calls) or paused[-1]["approval"]) and all(one["ended_at_ms"] for one in calls)


@on_both
async def test_an_operator_starts_a_deployment_finds_why_it_waits_retries_the_step_and_sees_it_end(
    stage: Stage, web: Web
) -> None:
    assert (await stage.deploy("v1")).ok
    stage.faults = ScriptedFaults({"begin enableServerGroup": [Fault.PERMANENT]})
    await stage.restart_worker()
    async with client_of(web) as client:
        planned = await client.post("/api/v1/operations/plan", json=deployment(stage))
        assert [group["name"] for group in planned.json()["server_groups"]] == ["web-v000"]
        other = await client.post("/api/v1/operations", json=deployment(stage), headers={"If-Match": '"other"'})
        assert (kind(other), other.status_code) == ("changed", 412)
        meets = {"If-Match": planned.headers["etag"]}
        started = await client.post("/api/v1/operations", json=deployment(stage), headers=meets)
        assert started.status_code == 201, started.text
        operation_id = started.json()["operation_id"]

        view = await in_state(client, operation_id, "waiting")
        [cause] = view["causes"]
        assert (cause["step"], cause["kind"]) == ("enableServerGroup", "waiting for a person")
        assert "the model cloud refuses" in cause["message"]
        [step] = [step for step in view["steps"] if step["steerable"]]
        assert (step["call"], step["status"]) == (cause["call"], "PAUSED")
        assert [attempt["outcome"] for attempt in step["attempts"]] == ["failed"]

        async def listed() -> Any:  # Temporal lists from its visibility store: a moment later.
            overview = await read(client, "/overview")
            return [row["operation_id"] for row in overview["waiting"] if row["account"] == stage.account]

        assert await until(listed, "the operation among those that wait") == [operation_id]

        conflict = await client.post("/api/v1/operations", json=deployment(stage))
        assert (kind(conflict), conflict.status_code) == ("conflict", 409)

        body = {"step": step["call"], "attempt": step["attempt"], "reason": "the cloud is well again"}
        headers = {"Idempotency-Key": f"retry-{operation_id}"}
        retried = await client.post(f"/api/v1/operations/{operation_id}/retry", json=body, headers=headers)
        assert retried.status_code == 200, retried.text
        again = await client.post(f"/api/v1/operations/{operation_id}/retry", json=body, headers=headers)
        assert (again.json(), again.headers["idempotent-replayed"]) == (retried.json(), "true")
        other = await client.post(f"/api/v1/operations/{operation_id}/skip", json=body, headers=headers)
        assert (kind(other), other.status_code) == ("key-reused", 422)

        view = await in_state(client, operation_id, "succeeded")
        assert [entry["verb"] for entry in view["steering"]] == ["retry"]
        [tried] = [step for step in view["steps"] if step["name"] == "enableServerGroup"]
        call = cause["call"]
        assert [(one["call"], one["outcome"]) for one in tried["attempts"]] == [
            (call, "failed"),
            (f"{call}#2-cancelChange", "succeeded"),  # What the first one had begun is ended before it is tried again.
            (f"{call}#2", "succeeded"),
        ]
        application = await read(client, "/applications/web")
        [cluster] = application["clusters"]
        assert (cluster["serving"], cluster["versions"]) == (["web-v001"], ["v2"])
        assert [group["traffic_percent"] for group in cluster["server_groups"]] == [100, 0]

        audit = (await read(client, "/audit", application="web"))["entries"]
        told = [(entry["via"], entry["verb"], entry["state"], entry["reason"]) for entry in audit]
        assert told[:4] == [
            ("api", "operation.retry", "done", "the cloud is well again"),
            ("api", "operation.start.createServerGroup", "refused", "a release"),
            ("api", "operation.start.createServerGroup", "done", "a release"),
            ("operation", "operation.start.createServerGroup", "done", "a test"),
        ]
        assert audit[0]["before"]["operation"]["state"] == "waiting"
        assert audit[0]["after"] == {"step": step["call"], "attempt": 1, "input": {}}
        exported = (await client.get("/api/v1/audit/export")).text.splitlines()
        assert len(exported) == 3


async def test_a_change_that_meets_something_else_than_the_caller_saw_is_not_made(stage: Stage, web: Web) -> None:
    stage.faults = ScriptedFaults({"begin enableServerGroup": [Fault.PERMANENT]})
    await stage.restart_worker()
    async with client_of(web) as client:
        operation_id = (await client.post("/api/v1/operations", json=deployment(stage))).json()["operation_id"]
        early = await client.get(f"/api/v1/operations/{operation_id}")
        await in_state(client, operation_id, "waiting")
        seen: list[httpx.Response] = []

        async def unchanged() -> Any:
            seen.append(await client.get(f"/api/v1/operations/{operation_id}"))
            meets = {"If-None-Match": seen[-1].headers["etag"]}
            again = await client.get(f"/api/v1/operations/{operation_id}", headers=meets)
            return (again.status_code, again.content) == (304, b"")

        await until(unchanged, "an answer that is the same twice")
        now = seen[-1]
        path = f"/api/v1/operations/{operation_id}/retry"
        assert early.headers["etag"] != now.headers["etag"]
        refused = await client.post(path, json={}, headers={"If-Match": early.headers["etag"]})
        assert (kind(refused), refused.status_code) == ("changed", 412)
        assert (await client.post(path, json={}, headers={"If-Match": now.headers["etag"]})).status_code == 200
        await in_state(client, operation_id, "succeeded")
        ended = await client.post(f"/api/v1/operations/{operation_id}/cancel", json={})
        assert (kind(ended), ended.status_code) == ("conflict", 409)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"operation_type": "createServerGruop"}, "operationType"),
        ({"payload": {"capacity": {"min": 1, "desired": "many", "max": 1}}}, "capacity.desired"),
        ({"account": "nowhere"}, "account"),
        ({"reason": "x" * 2001}, "reason"),
        ({"surprise": 1}, "surprise"),
        ({"application": ""}, "application"),
    ],
)
async def test_a_start_that_breaks_a_rule_names_the_field_and_the_rule_and_nothing_is_written(
    lonely: Web, change: dict[str, Any], field: str
) -> None:
    body = {"operation_type": "createServerGroup", "application": "web", "payload": {}} | change
    async with client_of(lonely) as client:
        response = await client.post("/api/v1/operations", json=body)
        problem = response.json()
        assert (kind(response), response.status_code, problem["field"]) == ("invalid", 422, field)
        assert problem["rule"]
        assert problem["next"]
        assert (await read(client, "/audit"))["entries"] == []


@pytest.mark.parametrize(
    ("path", "status", "told"),
    [
        ("/nowhere", 404, "not-found"),
        ("/operations?limit=0", 422, "invalid"),
        ("/operations?limit=501", 422, "invalid"),
        ("/operations?state=lost", 422, "invalid"),
        ("/operations?cursor=bm90IG91cnM", 400, "bad-cursor"),
        ("/audit?cursor=YXVkaXQAe30", 400, "bad-cursor"),
        ("/operations/x", 422, "invalid"),
        ("/workflows/history?workflow_id=w", 422, "invalid"),
        ("/operations/0190", 503, "source-away"),
        ("/schedules/nightly", 503, "source-away"),
        ("/task-queues/q", 503, "source-away"),
        ("/workflows/describe?workflow_id=w", 503, "source-away"),
    ],
)
async def test_what_cannot_be_read_is_told_as_a_problem_of_its_kind(
    lonely: Web, path: str, status: int, told: str
) -> None:
    async with client_of(lonely) as client:
        response = await client.get(f"/api/v1{path}")
        assert (response.status_code, kind(response)) == (status, told)
        assert (response.headers.get("retry-after") is not None) is (status == 503)


async def test_without_an_engine_lists_say_that_it_failed_and_never_that_there_is_nothing(lonely: Web) -> None:
    async with client_of(lonely) as client:
        for path in ("/overview", "/applications", "/operations", "/workflows", "/schedules", "/task-queues"):
            view = await read(client, path)
            failed = [source for source in view["sources"] if source["status"] == "failed"]
            assert failed, path
            assert all("stormsail up" in source["error"] for source in failed), view["sources"]
        change = await client.post("/api/v1/schedules/nightly/pause", json={"reason": "quiet"})
        assert (kind(change), change.status_code) == ("source-away", 503)
        [entry] = (await read(client, "/audit"))["entries"]
        assert (entry["verb"], entry["state"]) == ("schedule.pause", "unknown")


async def test_an_engine_that_goes_away_leaves_the_last_good_answer_with_its_age(stage: Stage, web: Web) -> None:
    assert (await stage.deploy("v1")).ok
    async with client_of(web) as client:
        good = await read(client, "/applications/web")
        await stage.stop_workers()

        async def stale() -> Any:
            view = await read(client, "/applications/web")
            [cloud] = [one for one in view["sources"] if one["name"] == f"account {stage.account}"]
            return view if cloud["status"] == "stale" else None

        view = await until(stale, "a stale account")
        assert view["clusters"] == good["clusters"]
        [cloud] = [one for one in view["sources"] if one["name"] == f"account {stage.account}"]
        assert cloud["age_ms"] > 0
        assert [one["status"] for one in view["sources"] if one["name"] == "engine"] == ["ok"]
        await stage.start_worker()

        async def well() -> Any:
            view = await read(client, "/applications/web")
            return all(source["status"] == "ok" for source in view["sources"])

        await until(well, "all sources well again")


@on_both
async def test_workflows_are_listed_described_and_steered_by_temporals_verbs(stage: Stage, web: Web) -> None:
    stage.faults = ScriptedFaults({"begin enableServerGroup": [Fault.PERMANENT]})
    await stage.restart_worker()
    async with client_of(web) as client:
        operation_id = (await client.post("/api/v1/operations", json=deployment(stage))).json()["operation_id"]
        await in_state(client, operation_id, "waiting")
        query = f"RunId = '{operation_id}'"
        listed = await read(client, "/workflows", query=query)
        [row] = listed["workflows"]
        assert (row["status"], listed["counts"]) == ("Running", {"Running": 1})
        run = {"workflow_id": row["workflow_id"], "run_id": operation_id}
        assert (await read(client, "/workflows/describe", **run))["workflow"]["workflow_type"] == row["workflow_type"]

        forward: list[int] = []
        cursor = ""
        while True:
            page = await read(client, "/workflows/history", **run, limit=7, cursor=cursor)
            forward += [event["event_id"] for event in page["events"]]
            cursor = page["next_cursor"]
            if not cursor:
                break
        assert forward == list(range(1, len(forward) + 1))
        newest = await read(client, "/workflows/history", **run, limit=3, order="newest")
        # Temporal gives events of one turn out together, so its pages may be longer.
        assert [event["event_id"] for event in newest["events"]][:3] == forward[:-4:-1]

        asked = await client.post("/api/v1/workflows/query", params=run, json={"name": "progress"})
        assert asked.json()["answer"]["status"] == "RUNNING"
        unknown = await client.post("/api/v1/workflows/query", params=run, json={"name": "nonsense"})
        assert (kind(unknown), unknown.status_code) == ("conflict", 409)
        bad = await client.get("/api/v1/workflows", params={"query": "no filter at all"})
        assert (kind(bad), bad.status_code) == ("invalid", 422)
        for verb in ("signal", "terminate"):
            body = {"reason": "over"} | ({"name": "steer", "arguments": [{}]} if verb == "signal" else {})
            done = await client.post(f"/api/v1/workflows/{verb}", params=run, json=body)
            assert done.status_code == 200, done.text

        async def terminated() -> Any:
            return (await read(client, "/workflows", query=query))["workflows"][0]["status"] == "Terminated"

        await until(terminated, "the end in the list")
        ended = await client.post("/api/v1/workflows/signal", params=run, json={"name": "steer"})
        assert (kind(ended), ended.status_code) == ("not-found", 404)
        reset = await client.post("/api/v1/workflows/reset", params=run, json={"to": "first-workflow-task"})
        assert reset.status_code == 200, reset.text
        new = {"workflow_id": row["workflow_id"], "run_id": reset.json()["run_id"]}
        assert (await client.post("/api/v1/workflows/cancel", params=new, json={})).status_code == 200


@on_both
async def test_schedules_are_listed_paused_triggered_backfilled_and_deleted(stage: Stage, web: Web) -> None:
    name = f"nightly-{stage.account}"
    await stage.temporal.create_schedule(
        name,
        Schedule(
            action=ScheduleActionStartWorkflow(
                "ListApplications", ObserveRequest(account=stage.account), id=f"run-{name}", task_queue=stage.account
            ),
            spec=ScheduleSpec(calendars=[EACH_HOUR_OF_2023_AND_2099]),
        ),
    )
    async with client_of(web) as client:
        path = f"/api/v1/schedules/{name}"

        async def listed() -> (
            Any
        ):  # Temporal lists from its visibility store and schedules in a workflow: a moment later.
            rows = (await read(client, "/schedules"))["schedules"]
            return [row["workflow_type"] for row in rows if row["schedule_id"] == name]

        assert await until(listed, "the schedule in the list") == ["ListApplications"]

        async def planned() -> Any:
            seen = await client.get(path)
            return seen if seen.json()["next_at_ms"] else None

        seen = await until(planned, "its next times")
        view = seen.json()
        assert (view["paused"], view["task_queue"]) == (False, stage.account)

        meets = {"If-Match": seen.headers["etag"]}
        paused = await client.post(f"{path}/pause", json={"reason": "quiet"}, headers=meets)
        assert paused.json() == {"schedule_id": name, "asked": "pause"}

        async def noted() -> Any:
            view = await read(client, f"/schedules/{name}")
            return view["notes"] if view["paused"] else None

        assert (await until(noted, "the pause")).endswith(": quiet")
        late = await client.post(f"{path}/unpause", json={}, headers=meets)
        assert (kind(late), late.status_code) == ("changed", 412)
        assert (await client.post(f"{path}/unpause", json={})).status_code == 200

        key = {"Idempotency-Key": f"trigger-{name}"}
        for _ in range(3):
            assert (await client.post(f"{path}/trigger", json={"overlap": "AllowAll"}, headers=key)).status_code == 200

        async def ran(count: int) -> Any:
            return (await read(client, f"/schedules/{name}"))["action_count"] == count

        await until(lambda: ran(1), "one run, though asked for three times under one key")
        hour = 3_600_000
        span = {"start_at_ms": 1_700_000_000_000, "end_at_ms": 1_700_000_000_000 + 2 * hour, "overlap": "AllowAll"}
        assert (await client.post(f"{path}/backfill", json=span)).status_code == 200
        await until(lambda: ran(3), "two more, backfilled")
        backwards = await client.post(f"{path}/backfill", json={**span, "end_at_ms": 1})
        assert (kind(backwards), backwards.json()["field"]) == ("invalid", "end_at_ms")
        assert (await client.delete(path, params={"reason": "over"})).status_code == 200
        gone = await client.get(path)
        assert (kind(gone), gone.status_code) == ("not-found", 404)
        audit = (await read(client, "/audit", target=f"schedule/{name}"))["entries"]
        assert [entry["verb"] for entry in reversed(audit)] == [
            *["schedule.pause", "schedule.unpause", "schedule.trigger", "schedule.backfill", "schedule.delete"]
        ]
        assert audit[-1]["before"]["paused"] is False


async def test_task_queues_say_who_polls_and_that_nobody_does(stage: Stage, web: Web) -> None:
    async with client_of(web) as client:

        async def polled(is_polled: bool) -> Any:
            return (await read(client, f"/task-queues/{stage.account}"))["has_worker"] is is_polled

        await until(lambda: polled(True), "a worker on the queue")
        names = [queue["name"] for queue in (await read(client, "/task-queues"))["task_queues"]]
        assert stage.account in names
        nobody = await read(client, f"/task-queues/nobody-{stage.account}")
        assert (nobody["has_worker"], nobody["workflows"]["pollers"]) == (False, [])
