"""How fast long timelines show: `PYTHONPATH=tests .venv/bin/python -m web.browser.first_paint 2000 20000`.

From the beginning of the navigation, as the browser itself counts: to the end of the page's answer, to the first paint
of anything, to the timeline's rows drawn on the canvas, to the end of the frame that they are in, and to the whole
history. Once by a link from the list of workflows, as an operator comes; once in a tab of its own, for which the
browser starts a process first. Nothing of the measuring runs in the page before it has ended.
"""

import asyncio
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, BrowserContext, Page, expect

from web.browser.chrome import browser, viewer
from web.browser.plays import QUEUE, Marathon
from web.browser.theatre import Theatre, theatre

RUNS: Final = 7
STEPS: Final = ("page", "first paint", "rows drawn", "frame shown", "whole")
MARKS: Final = """() => {
  const mark = (name) => performance.getEntriesByName(name)[0].startTime;
  const page = performance.getEntriesByType("navigation")[0];
  return [page.responseEnd, mark("first-contentful-paint"), mark("timeline-first-paint"), mark("timeline-shown"),
    mark("timeline-loaded")];
}"""
SETTLED_MS: Final = 2_000
"""How long a page is left alone: Playwright's own scripts would run in the midst of what is measured."""


async def measure(stage: Theatre, started: Browser, events: int) -> None:
    run = await stage.client.start_workflow(Marathon.run, events // 2, id=f"marathon-{events}", task_queue=QUEUE)
    await run.result()
    path = f"/workflows/{run.id}/{run.result_run_id}"
    somebody = await viewer(started)
    for how in ("by a link", "in a new tab"):
        took = [await _once(somebody, stage.address, path, by_link=how == "by a link") for _ in range(RUNS)]
        print(f"{events} events, {how}: first run, fastest and median of {RUNS}", flush=True)
        for what, times in zip(STEPS, zip(*took, strict=True), strict=True):
            print(
                f"  {what:<12} {times[0]:6.0f} ms {min(times):6.0f} ms {statistics.median(times):6.0f} ms", flush=True
            )


async def _once(somebody: BrowserContext, address: str, path: str, *, by_link: bool) -> list[float]:
    page = await somebody.new_page()
    if by_link:
        await page.goto(f"{address}/workflows?query=WorkflowType='Marathon'")
        await page.wait_for_timeout(SETTLED_MS)
    await page.goto(f"{address}{path}", wait_until="commit")
    await page.wait_for_timeout(SETTLED_MS)
    await expect(page.locator("[data-timeline]")).to_have_attribute("data-loaded", "true", timeout=60_000)
    marks = await _marks(page)
    await page.close()
    return marks


async def _marks(page: Page) -> list[float]:
    marks: list[float] = await page.evaluate(MARKS)
    return marks


async def main(sizes: list[int]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with theatre(Path(directory)) as stage, browser() as started:
            for events in sizes:
                await measure(stage, started, events)


if __name__ == "__main__":
    asyncio.run(main([int(word) for word in sys.argv[1:]] or [2_000, 20_000]))
