"""Deadlines of calls: one alarm for all of them."""

import asyncio

from stormsail.engine.api.front.deadlines import _STALE_MAX, Deadlines


async def test_only_calls_that_still_run_are_told_that_they_are_late_the_earliest_first() -> None:
    loop = asyncio.get_running_loop()
    running, told, over = {1: "a", 3: "b", 5: "c"}, list[int](), asyncio.Event()

    def late(stream_id: int) -> None:
        told.append(stream_id)
        del running[stream_id]
        if not running:
            over.set()

    deadlines = Deadlines(loop, running, late)
    now = loop.time()
    for stream_id, after_s in ((5, 0.02), (1, 0.001), (7, 0.01), (3, 0.01)):
        deadlines.add(stream_id, now + after_s)
    await asyncio.wait_for(over.wait(), 30)
    assert told == [1, 3, 5]


async def test_deadlines_of_calls_that_have_ended_do_not_pile_up() -> None:
    loop = asyncio.get_running_loop()
    deadlines = Deadlines(loop, {1: "still there"}, lambda _: None)
    for stream_id in range(1, 4 * _STALE_MAX):
        deadlines.add(stream_id, loop.time() + 3_600)
    assert len(deadlines._heap) <= _STALE_MAX + 3
    deadlines.stop()
