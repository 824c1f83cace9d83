"""The one event stream: which topic has a new version. What is new, a listener asks for with its ETag."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query
from starlette.responses import Response, StreamingResponse

from stormsail.web.api.context import Here, Who, problems
from stormsail.web.guard.principals import Principal
from stormsail.web.news import News, Topic
from stormsail.web.problems import Problem

router = APIRouter(tags=["events"])

HEARTBEAT_S: Final = 15.0
GATHER_S: Final = 0.25
"""How long news gathers before it is told: a burst of changes is told once."""

RETRY_MS: Final = 1000


@router.get(
    "/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "`topic` events with `{topic, version}`, and `alive` every 15 s.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **problems("too-many-viewers"),
    },
)
async def get_events(
    web: Here,
    who: Who,
    topics: Annotated[
        str, Query(max_length=2000, description="Only these, with commas between; left out, all that may be read.")
    ] = "",
    last_event_id: Annotated[
        str, Header(max_length=100, description="The id of the last event heard: what came since is told first.")
    ] = "",
    limit: Annotated[int, Query(ge=0, le=1_000_000, description="End after so many events; 0 never ends.")] = 0,
) -> Response:
    """Hear of changes as they happen. The ids make a stream that broke off go on where it was."""
    if web.news.is_full:
        raise Problem(
            "too-many-viewers", "as many streams are open as may be", "close some, or come again", retry_after_s=10
        )
    wanted = frozenset(filter(None, topics.split(",")))

    async def told() -> AsyncIterator[bytes]:
        with web.news.listener():
            async for text in stream_of(web.news, who, wanted, last_event_id, limit):
                yield text.encode()

    return StreamingResponse(
        told(), media_type="text/event-stream", headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


async def stream_of(news: News, who: Principal, wanted: frozenset[str], last_id: str, limit: int) -> AsyncIterator[str]:
    """Yield the stream's text: what came since the last id, then news as it comes, and a heartbeat where none does."""
    known = news.known(last_id) if last_id else news.lately()
    sent = 0
    # Tells whoever listens that it is heard, and where it stands.
    yield f"retry: {RETRY_MS}\nid: {news.epoch}-{max(known, 0)}\nevent: alive\ndata: {{}}\n\n"
    while True:
        for topic in news.since(known):
            known = topic.version
            if not _is_for(topic, who, wanted):
                continue
            data = json.dumps({"topic": topic.name, "version": topic.version})
            yield f"id: {news.epoch}-{topic.version}\nevent: topic\ndata: {data}\n\n"
            sent += 1
            if sent == limit:
                return
        known = max(known, news.version)
        if await news.wait(known, HEARTBEAT_S):
            await asyncio.sleep(GATHER_S)
        elif news.closed:
            return
        else:
            yield f"id: {news.epoch}-{known}\nevent: alive\ndata: {{}}\n\n"


def _is_for(topic: Topic, who: Principal, wanted: frozenset[str]) -> bool:
    if wanted and topic.name not in wanted:
        return False
    return who.sees(topic.application or "*", topic.account or "*") or ":" not in topic.name
