"""Cron schedules on both servers: the same next times, and the same words for those that are none."""

import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.service import RPCError

from conformance.reference import alike
from conformance.servers import both_servers
from stormsail.engine.core.cron import backoff_ms

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

ROUNDED_MS = 1_000
"""Waits are whole seconds."""


@dataclass(frozen=True)
class Pair:
    ours: Client
    temporals: Client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with both_servers(tmp_path_factory.mktemp("cron")) as (engine, dev):
        yield Pair(await engine.connect(), await dev.connect())


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
    """The two are started at instants of their own, so each is held against what the core finds from its instant."""

    async def off(client: Client) -> str:
        handle = await client.start_workflow(
            "Ticks", id=f"cron {uuid.uuid4()}", task_queue="nobody", cron_schedule=schedule
        )
        first = (await handle.fetch_history()).events[0]
        await handle.terminate()
        wait = first.workflow_execution_started_event_attributes.first_workflow_task_backoff.ToMilliseconds()
        started_at_ms = first.event_time.ToMilliseconds()
        expected = backoff_ms(schedule, started_at_ms, started_at_ms)
        assert expected is not None
        return "the core's" if abs(wait - expected) <= ROUNDED_MS else f"{wait} ms from {started_at_ms}, not {expected}"

    assert await alike(lambda: off(pair.temporals), off(pair.ours)) == "the core's"


@pytest.mark.parametrize(
    "schedule",
    ["", "nonsense", "60 * * * *", "* * * * 7", "* * * *", "0 0 30 2 *", "TZ=No/Where * * * * *", "@every x"],
)
async def test_both_servers_refuse_the_same_schedules(pair: Pair, schedule: str) -> None:
    async def said(client: Client) -> str:
        try:
            handle = await client.start_workflow(
                "Ticks", id=f"cron {uuid.uuid4()}", task_queue="nobody", cron_schedule=schedule
            )
        except RPCError as refused:
            return re.sub(r"\s+", " ", refused.message)
        await handle.terminate()
        return "started"

    await alike(lambda: said(pair.temporals), said(pair.ours))
