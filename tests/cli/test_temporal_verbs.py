"""Temporal's nouns on our command line, against a real engine with a real SDK worker."""

import asyncio
import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHistory
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner, Worker

from cli.conftest import Done, Place, eventually

pytestmark = pytest.mark.e2e
QUEUE = "orders"


@activity.defn
async def charge(item: str) -> str:
    raise RuntimeError(f"no card for {item}")


@workflow.defn
class Order:
    def __init__(self) -> None:
        self.approved_by = ""
        self.address = "none"

    @workflow.run
    async def run(self, item: str) -> dict[str, str]:
        await workflow.wait_condition(lambda: bool(self.approved_by))
        return {"item": item, "by": self.approved_by, "address": self.address}

    @workflow.signal
    def approve(self, by: str) -> None:
        self.approved_by = by

    @workflow.query
    def state(self) -> str:
        return self.address

    @workflow.update
    def move(self, address: str) -> str:
        before, self.address = self.address, address
        return before

    @move.validator
    def check(self, address: str) -> None:
        if not address:
            raise ValueError("an address is needed")


@workflow.defn
class Charge:
    @workflow.run
    async def run(self, item: str) -> str:
        return await workflow.execute_activity(
            charge,
            item,
            activity_id="pay",
            start_to_close_timeout=timedelta(seconds=30),
            retry_policy=RetryPolicy(initial_interval=timedelta(hours=1)),
        )


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, item: str) -> str:
        if item == "bad":
            raise ApplicationError("bad item", non_retryable=True)
        return item


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """An engine of its own with one worker on it."""
    place = Place(tmp_path_factory.mktemp("verbs"))
    server = place.start("server", "start", "--port", "0")
    try:
        place.until_ready(server, "engine.json")
        stop = threading.Event()
        worker = threading.Thread(target=lambda: asyncio.run(_work(place.note("engine.json")["address"], stop)))
        worker.start()
        try:
            yield place
        finally:
            stop.set()
            worker.join(30)
    finally:
        server.terminate()
        server.communicate(timeout=60)


async def _work(address: str, stop: threading.Event) -> None:
    client = await Client.connect(address)
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[Order, Charge, Echo],
        activities=[charge],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        await asyncio.to_thread(stop.wait)


def done(place: Place, *arguments: str) -> Any:
    """Run a command that must go well, and return its JSON."""
    result = place.run(*arguments, "-o", "json")
    assert result.code == 0, result.err
    return result.json


def start(place: Place, workflow_id: str, kind: str = "Order", item: str = "tea", *more: str) -> Any:
    return done(
        place, "workflow", "start", "--type", kind, "-t", QUEUE, "-w", workflow_id, "-i", json.dumps(item), *more
    )


def test_a_workflow_is_started_signalled_and_its_result_read(engine: Place) -> None:
    started = start(engine, "order-1", "Order", "tea", "--memo", 'who="kim"', "--static-summary", "tea for kim")
    assert started["workflow_id"] == "order-1"
    assert done(engine, "workflow", "query", "-w", "order-1", "--name", "state")["result"] == "none"
    moved = done(engine, "workflow", "update", "execute", "-w", "order-1", "--name", "move", "-i", '"12 Quay"')
    assert (moved["stage"], moved["result"]) == ("Completed", "none")
    done(engine, "workflow", "signal", "-w", "order-1", "--name", "approve", "-i", '"lee"')
    ended = done(engine, "workflow", "result", "-w", "order-1")
    assert ended["result"] == {"item": "tea", "by": "lee", "address": "12 Quay"}
    listed = done(engine, "workflow", "list", "--query", "WorkflowId = 'order-1'")
    assert [(row["status"], row["memo"]) for row in listed] == [("Completed", {"who": "kim"})]
    assert done(engine, "workflow", "count", "-q", "WorkflowId = 'order-1'")["count"] == 1


def test_the_json_of_a_history_is_what_the_replayer_reads(engine: Place) -> None:
    start(engine, "order-2")
    done(engine, "workflow", "signal", "-w", "order-2", "--name", "approve", "-i", '"lee"')
    done(engine, "workflow", "result", "-w", "order-2")
    whole = engine.run("workflow", "show", "-w", "order-2", "-o", "json")
    replayer = Replayer(workflows=[Order], workflow_runner=UnsandboxedWorkflowRunner())
    asyncio.run(replayer.replay_workflow(WorkflowHistory.from_json("order-2", whole.out)))
    followed = engine.run("workflow", "show", "-w", "order-2", "--follow")
    backwards = engine.run("workflow", "show", "-w", "order-2", "--reverse", "--detailed")
    assert "WorkflowExecutionStarted  workflowId=order-2  workflowType=Order" in followed.out.splitlines()[0]
    assert "WorkflowExecutionCompleted" in followed.out.splitlines()[-1]
    assert "WorkflowExecutionCompleted" in backwards.out.splitlines()[0]


def test_a_workflow_that_fails_ends_the_wait_for_it_with_3_and_the_cause(engine: Place) -> None:
    failed = engine.run("workflow", "execute", "--type", "Echo", "-t", QUEUE, "-i", '"bad"')
    assert failed.code == 3
    assert "bad item" in failed.err
    assert "next:" in failed.err
    assert done(engine, "workflow", "execute", "--type", "Echo", "-t", QUEUE, "-i", '"tea"')["result"] == "tea"


def test_an_update_that_the_workflow_turns_down_says_why(engine: Place) -> None:
    start(engine, "order-3")
    refused = engine.run("workflow", "update", "execute", "-w", "order-3", "--name", "move", "-i", '""')
    assert refused.code == 3
    assert "an address is needed" in refused.err
    engine.run("workflow", "terminate", "-w", "order-3")


def test_a_workflow_is_reset_cancelled_terminated_and_deleted(engine: Place) -> None:
    start(engine, "order-4")
    assert done(engine, "workflow", "query", "-w", "order-4", "--name", "state")["result"] == "none"
    first = done(engine, "workflow", "describe", "-w", "order-4")["workflowExecutionInfo"]["execution"]["runId"]
    again = done(engine, "workflow", "reset", "-w", "order-4", "--type", "FirstWorkflowTask", "--reason", "try")
    assert again["run_id"] != first
    done(engine, "workflow", "cancel", "-w", "order-4", "--reason", "enough")
    assert engine.run("workflow", "result", "-w", "order-4", "--timeout", "60s").code == 3
    gone = engine.run("workflow", "terminate", "-w", "order-4", "--reason", "late")
    assert (gone.code, "already completed" in gone.err) == (5, True)
    done(engine, "workflow", "delete", "-w", "order-4")
    eventually(lambda: engine.run("workflow", "describe", "-w", "order-4", "-r", again["run_id"]).code == 5)


def test_a_batch_ends_what_a_query_finds_after_asking(engine: Place) -> None:
    for number in range(3):
        start(engine, f"many-{number}", "Order", "tea")
    query = "WorkflowId STARTS_WITH 'many-'"
    begun = done(engine, "workflow", "terminate", "--query", query, "--reason", "leftovers", "--yes")
    assert begun["workflows"] == 3
    eventually(lambda: done(engine, "batch", "describe", "--job-id", begun["job_id"])["state"] == "Completed")
    assert done(engine, "batch", "describe", "--job-id", begun["job_id"])["complete"] == 3
    assert begun["job_id"] in [row["job_id"] for row in done(engine, "batch", "list")]
    assert {row["status"] for row in done(engine, "workflow", "list", "-q", query)} == {"Terminated"}
    nothing = engine.run("workflow", "terminate", "--query", "WorkflowId = 'nobody'", "--yes")
    assert (nothing.code, "no workflow matches" in nothing.err) == (5, True)


def test_an_activity_that_backs_off_is_paused_and_completed_by_hand(engine: Place) -> None:
    start(engine, "charge-1", "Charge", "tea")

    def last_failure() -> str:
        pending = done(engine, "workflow", "describe", "-w", "charge-1").get("pendingActivities", [{}])
        return str(pending[0].get("lastFailure", {}).get("message", ""))

    eventually(lambda: last_failure() == "no card for tea")
    shown = engine.run("workflow", "describe", "-w", "charge-1")
    assert "waits for activity pay charge" in shown.out
    assert "last failure: no card for tea" in shown.out
    done(engine, "activity", "pause", "-w", "charge-1", "-a", "pay", "--reason", "the bank is down")
    options = done(engine, "activity", "update-options", "-w", "charge-1", "-a", "pay", "--heartbeat-timeout", "9s")
    assert options["activityOptions"]["heartbeatTimeout"] == "9s"
    done(engine, "activity", "complete", "-w", "charge-1", "-a", "pay", "--result", '"paid"')
    assert done(engine, "workflow", "result", "-w", "charge-1")["result"] == "paid"


def test_an_activity_failed_by_hand_is_tried_again_as_its_policy_says(engine: Place) -> None:
    start(engine, "charge-2", "Charge", "tea")
    eventually(lambda: "last failure" in engine.run("workflow", "describe", "-w", "charge-2").out)
    done(engine, "activity", "reset", "-w", "charge-2", "-a", "pay")
    nobody = engine.run("activity", "fail", "-w", "charge-2", "-a", "nope")
    assert nobody.code == 5
    engine.run("workflow", "terminate", "-w", "charge-2")


def test_a_schedule_is_made_looked_at_changed_and_deleted(engine: Place) -> None:
    place = ("--type", "Echo", "-t", QUEUE, "-w", "echo", "-i", '"tea"')
    done(engine, "schedule", "create", "-s", "yearly", "--cron", "0 3 1 1 *", "--notes", "once a year", *place)
    eventually(lambda: [row["schedule_id"] for row in done(engine, "schedule", "list")] == ["yearly"])
    done(engine, "schedule", "trigger", "-s", "yearly")
    eventually(lambda: int(done(engine, "schedule", "describe", "-s", "yearly")["info"].get("actionCount", 0)) == 1)
    done(engine, "schedule", "toggle", "-s", "yearly", "--pause", "--reason", "holiday")
    assert done(engine, "schedule", "describe", "-s", "yearly")["schedule"]["state"]["notes"] == "holiday"
    span = ("--start-time", "2024-06-01T00:00:00Z", "--end-time", "2026-06-01T00:00:00Z")
    times = done(engine, "schedule", "backfill", "-s", "yearly", "--dry-run", *span)
    assert [each["at"] for each in times] == ["2025-01-01T03:00:00Z", "2026-01-01T03:00:00Z"]
    done(engine, "schedule", "update", "-s", "yearly", "--interval", "6h/5h", *place)
    spec = done(engine, "schedule", "describe", "-s", "yearly")["schedule"]["spec"]
    assert spec["interval"] == [{"interval": "21600s", "phase": "18000s"}]
    assert "next" in engine.run("schedule", "describe", "-s", "yearly").out
    done(engine, "schedule", "delete", "-s", "yearly")
    assert engine.run("schedule", "describe", "-s", "yearly").code == 5


def test_task_queues_tell_who_polls_them(engine: Place) -> None:
    def pollers() -> list[int]:
        return [len(row["pollers"]) for row in done(engine, "task-queue", "describe", "-t", QUEUE)]

    eventually(lambda: pollers() == [1, 1])
    nobody = engine.run("task-queue", "describe", "-t", "empty")
    assert nobody.code == 0
    assert "nobody polls empty" in nobody.err


def test_namespaces_and_search_attributes_are_managed(engine: Place) -> None:
    done(engine, "namespace", "create", "shop", "--retention", "48h", "--data", "team=blue")
    done(engine, "namespace", "update", "shop", "--description", "the shop")
    told = done(engine, "namespace", "describe", "shop")
    assert (told["retention_ms"], told["description"], told["data"]) == (172_800_000, "the shop", {"team": "blue"})
    done(engine, "search-attribute", "create", "-n", "shop", "--name", "Customer", "--type", "Keyword")
    own = [row for row in done(engine, "search-attribute", "list", "-n", "shop") if row["of"] == "namespace"]
    assert own == [{"name": "Customer", "type": "Keyword", "of": "namespace"}]
    started = start(engine, "order-9", "Order", "tea", "-n", "shop", "--search-attribute", 'Customer="kim"')
    found = done(engine, "workflow", "list", "-n", "shop", "-q", "Customer = 'kim'")
    assert [row["run_id"] for row in found] == [started["run_id"]]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["workflow", "describe", "-w", "nobody"], 5, "workflow not found"),
        (["workflow", "list", "-q", "Nope = 1"], 2, "Nope"),
        (["workflow", "start", "--type", "T", "-t", "q", "-i", "tea"], 2, "is not JSON. Text needs quotes"),
        (["workflow", "signal", "--name", "s"], 2, "either --workflow-id, or --query"),
        (["workflow", "reset", "-w", "x", "--reason", "r"], 2, "either --event-id or --type"),
        (["workflow", "show", "-w", "x", "--follow", "-o", "json"], 2, "leave out --reverse and -o"),
        (["schedule", "create", "-s", "x", "--type", "T", "-t", "q"], 2, "--cron, --calendar or --interval"),
        (["schedule", "backfill", "-s", "x", "--start-time", "soon"], 2, "'soon' is not a time"),
        (["schedule", "toggle", "-s", "x"], 2, "--pause or --unpause"),
        (["activity", "update-options", "-w", "x", "-a", "1"], 2, "say what to change"),
        (["task-queue", "config", "set", "-t", "q", "--queue-rps-limit", "fast"], 2, "'fast' is no rate"),
        (["search-attribute", "create", "--name", "A"], 2, "Missing option '--type'"),
        (["workflow", "start", "--type", "T", "-t", "q", "--memo", "a=b"], 2, "the value of 'a' is not JSON"),
        (["namespace", "update", "default"], 2, "say what to change"),
        (["batch", "describe", "--job-id", "nope"], 5, "nope"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_what_makes_no_sense_is_refused_with_its_rule(
    engine: Place, arguments: list[str], code: int, said: str
) -> None:
    refused: Done = engine.run(*arguments)
    assert (refused.code, said in refused.err) == (code, True), refused.err


def test_an_argument_may_stand_in_a_file(engine: Place, tmp_path: Path) -> None:
    argument = tmp_path / "item.json"
    argument.write_text('"from a file"\n')
    echoed = done(engine, "workflow", "execute", "--type", "Echo", "-t", QUEUE, "--input-file", str(argument))
    assert echoed["result"] == "from a file"
