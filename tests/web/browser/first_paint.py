"""How fast long timelines show: `PYTHONPATH=tests .venv/bin/python -m web.browser.first_paint 2000 20000`.

From the beginning of the navigation: to the end of the page's answer, to the timeline's first answer, to the first rows
on the canvas, and to the whole history. Prints the fastest and the median of some runs, the first of which is cold.
"""

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, expect

from web.browser.chrome import browser, viewer
from web.browser.plays import QUEUE, Marathon
from web.browser.theatre import Theatre, theatre

RUNS: Final = 7
MARKS: Final = """() => {
  const mark = (name) => performance.getEntriesByName(name)[0].startTime;
  const page = performance.getEntriesByType("navigation")[0];
  const whole = mark("timeline-loaded");
  return [page.responseEnd, mark("timeline-answer"), mark("timeline-first-paint"), whole];
}"""


async def measure(stage: Theatre, started: Browser, events: int) -> None:
    timers = events // 2
    run = await stage.client.start_workflow(Marathon.run, timers, id=f"marathon-{events}", task_queue=QUEUE)
    await run.result()
    somebody = await viewer(started)
    took: list[list[float]] = []
    for _ in range(RUNS):
        page = await somebody.new_page()
        await page.goto(f"{stage.address}/workflows/{run.id}/{run.result_run_id}")
        await expect(page.locator("[data-timeline]")).to_have_attribute("data-loaded", "true", timeout=60_000)
        took.append(await page.evaluate(MARKS))
        there = await page.locator("[data-timeline]").get_attribute("data-events")
        drawn = await page.locator("[data-timeline]").get_attribute("data-drawn")
        await page.close()
    print(f"{there} events, {drawn} rows drawn, fastest and median of {RUNS} runs:")
    for what, times in zip(("page", "first answer", "first paint", "whole"), zip(*took, strict=True), strict=True):
        print(f"  {what:<14} {min(times):6.0f} ms {statistics.median(times):6.0f} ms", flush=True)


async def main(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with theatre(Path(directory)) as stage, browser() as started:
            for events in sizes:
                await measure(stage, started, events)


if __name__ == "__main__":
    asyncio.run(main([int(word) for word in sys.argv[1:]] or [2_000, 20_000]))
