"""The event stream: each topic told once, from where a listener left off, by one watcher for everybody."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from delivery.stage import Stage
from stormsail.delivery.providers.model.faults import Fault, ScriptedFaults
from stormsail.delivery.records.keys import Grant, Role
from stormsail.web.api.events import stream_of
from stormsail.web.guard.principals import EVERYTHING, Principal
from stormsail.web.news import LATELY_S, LISTENERS_MAX, RUN_TOPICS_MAX, TOPICS, News
from stormsail.web.settings import WebSettings
from stormsail.web.sources.engine import EngineAddress
from stormsail.web.state import Web
from stormsail.web.watch import Watcher
from web.conftest import client_of, opened
from web.test_api import deployment, in_state, until
from web.test_door import kind

ADA = Principal("local:ada", EVERYTHING)


async def heard(news: News, who: Principal = ADA, last_id: str = "", limit: int = 1) -> list[str]:
    """Return the topics that a stream tells until it ends."""
    told = [text async for text in stream_of(news, who, frozenset(), last_id, limit)]
    return [json.loads(text.split("data: ")[1])["topic"] for text in told if "event: topic" in text]


async def test_a_listener_that_was_away_hears_of_each_topic_once_from_where_it_left_off() -> None:
    news = News()
    news.bump("operations", "workflows")
    left_at = f"{news.epoch}-{news.version}"
    for _ in range(50):
        news.bump("operations", "audit")
    assert await heard(news, last_id=left_at, limit=2) == ["operations", "audit"]


async def test_a_listener_of_another_process_hears_of_everything_again() -> None:
    news = News()
    news.bump("workers")
    for strange in ("0000-5", "nonsense", f"{news.epoch}-x", f"{news.epoch}-{'9' * 50}"):
        assert await heard(news, last_id=strange, limit=len(TOPICS)) == [
            *[t for t in TOPICS if t != "workers"],
            "workers",
        ]


async def test_a_new_listener_hears_of_what_may_have_changed_since_it_read_its_page_and_of_nothing_older() -> None:
    now_s = [1000.0]
    news = News(lambda: now_s[0])
    news.bump("operations")
    now_s[0] += LATELY_S
    news.bump("workers")
    assert await heard(news) == ["workers"]
    now_s[0] += LATELY_S
    listening = asyncio.create_task(heard(news))
    await asyncio.sleep(0)
    news.bump("schedules")
    assert await listening == ["schedules"]


async def test_the_news_of_a_run_goes_to_those_who_may_read_its_application() -> None:
    news = News()
    left_at = f"{news.epoch}-0"
    news.bump("operation:1", application="web", account="local")
    news.bump("operation:2", application="shop", account="local")
    news.bump("operations")
    web_only = Principal("key:ci", (Grant(Role.READ, "web"),))
    assert await heard(news, web_only, left_at, 2) == ["operation:1", "operations"]
    assert await heard(news, ADA, left_at, 3) == ["operation:1", "operation:2", "operations"]


async def test_no_more_topics_and_listeners_are_kept_than_the_bounds(lonely: Web) -> None:
    news = lonely.news
    for number in range(RUN_TOPICS_MAX + 5):
        news.bump(f"operation:{number}")
    assert len(news.since(-1)) == RUN_TOPICS_MAX + len(TOPICS)
    listeners = [news.listener() for _ in range(LISTENERS_MAX)]
    for listener in listeners:
        listener.__enter__()
    async with client_of(lonely) as client:
        response = await client.get("/api/v1/events")
        assert (kind(response), response.status_code) == ("too-many-viewers", 503)
    for listener in listeners:
        listener.__exit__(None, None, None)
    assert not news.listening.is_set()


async def test_a_process_that_ends_ends_its_streams() -> None:
    news = News()
    listening = asyncio.create_task(heard(news))
    await asyncio.sleep(0)
    news.close()
    assert await asyncio.wait_for(listening, 60) == []


@asynccontextmanager
async def watching(web: Web) -> AsyncIterator[list[str]]:
    """Watch and listen; yield the topics heard so far."""
    watcher = asyncio.create_task(Watcher(web.sources, web.trail, web.news).run())
    topics: list[str] = []

    async def listen() -> None:
        with web.news.listener():
            async for text in stream_of(web.news, ADA, frozenset(), "", 0):
                topics.extend(json.loads(line[6:])["topic"] for line in text.splitlines() if '"topic"' in line)

    listening = asyncio.create_task(listen())
    try:
        yield topics
    finally:
        for task in (watcher, listening):
            task.cancel()
        await asyncio.gather(watcher, listening, return_exceptions=True)


async def test_an_operation_that_moves_on_is_told_to_whoever_looks_at_it_and_who_looks_then_sees_it(
    stage: Stage, web: Web
) -> None:
    stage.faults = ScriptedFaults({"begin enableServerGroup": [Fault.PERMANENT]})
    await stage.restart_worker()
    async with watching(web) as topics, client_of(web) as client:
        operation_id = (await client.post("/api/v1/operations", json=deployment(stage))).json()["operation_id"]
        await in_state(client, operation_id, "waiting")

        async def told(*wanted: str) -> Any:
            return set(wanted) <= set(topics)

        await until(lambda: told("operations", "applications", "audit", f"operation:{operation_id}"), "the start")
        topics.clear()
        assert (await client.post(f"/api/v1/operations/{operation_id}/retry", json={})).status_code == 200
        await until(lambda: told("operations", "audit", f"operation:{operation_id}"), "the retry")
        await in_state(client, operation_id, "succeeded")


async def test_a_hundred_viewers_are_one_question_to_the_engine(stage: Stage, tmp_path: Path, migrated: bytes) -> None:
    assert (await stage.deploy("v1")).ok
    settings = WebSettings(tmp_path, EngineAddress(stage.address), requests_max=1000)
    async with opened(settings, migrated, lambda: 1_800_000_000_000) as web, client_of(web) as client:
        before = web.sources.engine.questions
        views = await asyncio.gather(*(client.get("/api/v1/operations") for _ in range(100)))
        assert {view.status_code for view in views} == {200}
        assert web.sources.engine.questions - before == 1


async def test_a_watcher_asks_as_much_for_many_runs_as_for_none_and_nothing_while_nobody_listens(
    stage: Stage, web: Web
) -> None:
    asked = []
    for version in ("v1", "v2"):
        before = web.sources.engine.questions
        await Watcher(web.sources, web.trail, web.news).look()
        asked.append(web.sources.engine.questions - before)
        assert (await stage.deploy(version)).ok
    assert asked == [6, 6]
    before = web.sources.engine.questions
    idle = asyncio.create_task(Watcher(web.sources, web.trail, web.news).run())
    for _ in range(20):
        await asyncio.sleep(0)
    idle.cancel()
    await asyncio.gather(idle, return_exceptions=True)
    assert web.sources.engine.questions == before
