"""Cron schedules on both servers: the same next times, and the same words for those that are none."""

import asyncio
import re
import tempfile
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from temporalio.client import Client
from temporalio.service import RPCError

from conformance.servers import DevServer, EngineProcess

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


@dataclass(frozen=True)
class Pair:
    ours: Client
    temporals: Client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair() -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory() as directory:
        engine, dev = EngineProcess(Path(directory) / "data"), DevServer()
        await asyncio.gather(engine.start(), dev.start())
        try:
            yield Pair(await engine.connect(), await dev.connect())
        finally:
            await asyncio.gather(engine.stop(), dev.stop())


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
    waits = []
    for client in (pair.temporals, pair.ours):
        handle = await client.start_workflow(
            "Ticks", id=f"cron {uuid.uuid4()}", task_queue="nobody", cron_schedule=schedule
        )
        first = (await handle.fetch_history()).events[0]
        wait = first.workflow_execution_started_event_attributes.first_workflow_task_backoff.ToTimedelta()
        waits.append(first.event_time.ToDatetime() + wait)
        await handle.terminate()
    apart = abs(waits[0] - waits[1])
    assert apart <= timedelta(seconds=2) or (schedule.startswith("@every") and apart < timedelta(seconds=5))


@pytest.mark.parametrize(
    "schedule",
    ["", "nonsense", "60 * * * *", "* * * * 7", "* * * *", "0 0 30 2 *", "TZ=No/Where * * * * *", "@every x"],
)
async def test_both_servers_refuse_the_same_schedules(pair: Pair, schedule: str) -> None:
    texts = []
    for client in (pair.temporals, pair.ours):
        try:
            handle = await client.start_workflow(
                "Ticks", id=f"cron {uuid.uuid4()}", task_queue="nobody", cron_schedule=schedule
            )
        except RPCError as refused:
            texts.append(re.sub(r"\s+", " ", refused.message))
        else:
            texts.append("started")
            await handle.terminate()
    assert texts[0] == texts[1]
