"""A run's page on a real engine: the timeline's first rows stand in it, and nothing that they do not need is asked."""

import html
import json
import re
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from temporalio.client import WorkflowHandle

from delivery.stage import Stage
from stormsail.web.state import Web
from web.browser.plays import QUEUE, Marathon, Order, plays_worker
from web.conftest import client_of
from web.test_api import until

FRAGMENT = {"Stormsail-Fragment": "1"}


@pytest.fixture
async def players(stage: Stage) -> AsyncIterator[Stage]:
    async with plays_worker(stage.temporal):
        yield stage


def first_rows(page: str) -> dict[str, Any]:
    found = re.search(r'data-first="([^"]*)"', page)
    assert found is not None
    rows: dict[str, Any] = json.loads(html.unescape(found[1]))
    return rows


def address_of(run: WorkflowHandle[Any, Any]) -> str:
    return f"/workflows/{run.id}/{run.result_run_id}"


async def test_a_page_costs_two_questions_and_holds_the_first_rows_and_its_live_part_brings_the_history(
    players: Stage, web: Web
) -> None:
    run = await players.temporal.start_workflow(Marathon.run, 200, id=f"m-{uuid.uuid4().hex}", task_queue=QUEUE)
    await run.result()
    async with client_of(web) as client:
        before = web.sources.engine.questions
        page = await client.get(address_of(run))
        assert web.sources.engine.questions - before == 2
        assert 'id="event-1"' not in page.text
        rows = (await client.get(f"{address_of(run)}/timeline.json")).json()
        assert rows["ops"]
        # The page waits for them a moment only, which says nothing on a busy machine: now they are known.
        assert first_rows((await client.get(address_of(run))).text) == rows
        live = await client.get(address_of(run), headers=FRAGMENT)
        assert 'id="event-1"' in live.text
        assert 'id="event-1"' in (await client.get(f"{address_of(run)}?whole=1")).text


async def test_pages_of_a_timeline_that_cannot_change_are_read_once_and_answered_by_their_tag(
    players: Stage, web: Web
) -> None:
    run = await players.temporal.start_workflow(Marathon.run, 200, id=f"m-{uuid.uuid4().hex}", task_queue=QUEUE)
    await run.result()
    path = f"{address_of(run)}/timeline.json"
    async with client_of(web) as client:
        first = await client.get(path)
        rest = await client.get(path, params={"token": first.json()["next"]})
        assert rest.json()["next"] == ""
        kept = web.sources.timelines.size_bytes
        assert kept == len(first.content) + len(rest.content)
        assert (await client.get(path, params={"token": first.json()["next"]})).json() == rest.json()
        again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert web.sources.timelines.size_bytes == kept


async def test_the_end_of_a_run_that_goes_on_is_read_again_and_what_it_says_is_escaped(
    players: Stage, web: Web
) -> None:
    run = await players.temporal.start_workflow(Order.run, "x", id=f"o-{uuid.uuid4().hex}", task_queue=QUEUE)
    name = "</section><script>alert('\"1\"')</script>"
    async with client_of(web) as client:

        async def marks() -> list[str]:
            answer = (await client.get(f"{address_of(run)}/timeline.json")).json()
            return [op[3] for op in answer["ops"] if op[0] == "m"]

        assert await marks() == []
        assert web.sources.timelines.size_bytes == 0
        await run.signal(name)

        async def told() -> bool:
            return await marks() == [f"signal {name}"]

        await until(told, "the signal on the timeline")
        await run.signal(Order.note, "end")
        await run.result()
        assert await marks() == [f"signal {name}", "signal note"]
        assert web.sources.timelines.size_bytes > 0
        page = (await client.get(address_of(run))).text
        assert f"signal {name}" in [op[3] for op in first_rows(page)["ops"]]
        assert "<script>alert" not in page
