"""Every screen, light and dark, as docs/img/page-*.png.

`PYTHONPATH=tests .venv/bin/python -m web.browser.screenshots` writes them all again.
"""

import asyncio
import io
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.async_api import Page, expect

from stormsail.delivery.providers.model.faults import Fault
from web.browser.chrome import browser, viewer
from web.browser.scene import Scene, set_scene
from web.browser.theatre import Theatre, theatre

IMAGES: Final = Path(__file__).resolve().parents[3] / "docs" / "img"
SCHEMES: Final = ("light", "dark")
TIMERS: Final = 1000
BYTES_MAX: Final = 100_000
COLOURS: Final = 128
"""A page has few colours; a palette of them makes a picture a third of its size."""

Prepare = Callable[[Page], Awaitable[None]]


async def as_it_is(_: Page) -> None:
    """Do nothing before the picture."""


async def timeline(page: Page) -> None:
    """Wait until the timeline is whole, and choose a row of it."""
    box = page.locator("[data-timeline]")
    await expect(box).to_have_attribute("data-loaded", "true")
    await box.focus()
    for _ in range(4):
        await page.keyboard.press("ArrowDown")


async def retrying(page: Page) -> None:
    """Open the dialog that retries a step."""
    await page.get_by_role("button", name="Retry this step").click()
    await page.get_by_label("Reason").fill("the quota was raised")
    await expect(page.locator("dialog .plan pre")).to_contain_text("--reason")


def retrying_several(*operations: str) -> Prepare:
    """Pick operations and open the dialog that retries them together."""

    async def prepare(page: Page) -> None:
        for operation_id in operations:
            await page.locator(f"#waiting #pick-{operation_id}").check()
        await page.get_by_role("button", name="Retry the picked").first.click()
        await page.get_by_label("Reason").fill("the quota was raised")
        await expect(page.locator("dialog .plan pre")).to_contain_text("--reason")

    return prepare


async def one_more_that_waits(opened: Theatre) -> str:
    """Have another deployment fail as the scene's does, so that two can be retried together."""
    begun = ("begin", "enableServerGroup")
    opened.weather.faults[begun] = Fault.PERMANENT
    operation_id = await opened.deploy("shipping", "v3", reason="CHG-1214", wait=False, onFailure="pause")
    await opened.paused(operation_id)
    del opened.weather.faults[begun]
    return operation_id


def screens(scene: Scene, other: str) -> dict[str, tuple[str, Prepare]]:
    """Every screen by name, with its address and what is done there first."""
    return {
        "overview": ("/", as_it_is),
        "overview-retry": ("/", retrying_several(scene.waiting, other)),
        "applications": ("/applications", as_it_is),
        "application": ("/applications/checkout", as_it_is),
        "operations": ("/operations", as_it_is),
        "operation": (f"/operations/{scene.waiting}", timeline),
        "operation-canary": (f"/operations/{scene.canary}", timeline),
        "operation-retry": (f"/operations/{scene.waiting}", retrying),
        "workflows": ("/workflows", as_it_is),
        "workflow": ("/workflows/{}/{}".format(*scene.marathon), timeline),
        "schedules": ("/schedules", as_it_is),
        "schedule": ("/schedules/nightly-report", as_it_is),
        "workers": ("/task-queues", as_it_is),
        "audit": ("/audit", as_it_is),
        "settings": ("/settings", as_it_is),
        "sign-in": ("/sign-in", as_it_is),
    }


def keep(picture: bytes, at: Path) -> None:
    """Write a picture small."""
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(at, optimize=True)
    size = at.stat().st_size
    assert size < BYTES_MAX, f"{at.name} has {size} bytes"
    print(f"{at.name}  {size // 1000} kB", flush=True)


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with theatre(Path(directory)) as opened, browser() as started:
            scene = await set_scene(opened, timers=TIMERS)
            other = await one_more_that_waits(opened)
            for scheme in SCHEMES:
                somebody = await viewer(started, scheme)
                for name, (path, prepare) in screens(scene, other).items():
                    page = await somebody.new_page()
                    await page.goto(f"{opened.address}{path}")
                    await expect(page.locator("h1")).to_be_visible()
                    await prepare(page)
                    await page.wait_for_load_state("load")
                    keep(await page.screenshot(animations="disabled"), IMAGES / f"page-{name}-{scheme}.png")
                    await page.close()
                await somebody.close()


if __name__ == "__main__":
    asyncio.run(main())
