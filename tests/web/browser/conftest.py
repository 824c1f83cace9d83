"""One browser, one server and one scene for all browser tests."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from web.browser.chrome import HOW_TO_GET_IT, browser, chromium, viewer
from web.browser.scene import Scene, set_scene
from web.browser.theatre import Theatre, theatre

WAIT_MAX_MS = 60_000
"""How long anything may take to show: two cores may be shared by other tests."""

HINTS = ("was preloaded using link preload but not used within a few seconds",)
"""What a browser says of how busy the machine is, and not of the page."""

expect.set_options(timeout=WAIT_MAX_MS)


@dataclass
class House:
    """What a test works with."""

    theatre: Theatre
    scene: Scene
    browser: Browser
    complaints: list[str] = field(default_factory=list)
    """What any page of the running test said on its console or threw."""
    excused: list[str] = field(default_factory=list)
    """What the running test makes its browser complain of, such as `400`: when it does is the browser's affair."""
    contexts: list[BrowserContext] = field(default_factory=list)

    async def viewer(self, scheme: str = "light") -> BrowserContext:
        """Return somebody's browser, closed with the test."""
        context = await viewer(self.browser, scheme)
        context.set_default_timeout(WAIT_MAX_MS)
        self.contexts.append(context)
        return context

    async def page(self, path: str, *, of: BrowserContext | None = None) -> Page:
        """Open a page and hear what it complains of."""
        context = of or await self.viewer()
        page = await context.new_page()
        page.on("console", lambda said: self._hear(page, said.type, said.text))
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        await page.goto(path if path.startswith("about:") else f"{self.theatre.address}{path}")
        return page

    def _hear(self, page: Page, kind: str, text: str) -> None:
        if kind in ("error", "warning") and not any(excused in text for excused in (*HINTS, *self.excused)):
            self.complaints.append(f"{page.url}: {text}")


@pytest.fixture(scope="session")
def _chromium() -> None:
    if chromium() is None:
        if os.environ.get("CI") == "true":
            pytest.fail(HOW_TO_GET_IT)
        pytest.skip(HOW_TO_GET_IT)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def opened(_chromium: None, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    async with theatre(tmp_path_factory.mktemp("theatre")) as stage, browser() as started:
        yield House(stage, await set_scene(stage), started)


@pytest_asyncio.fixture(loop_scope="session")
async def house(opened: House) -> AsyncIterator[House]:
    """The house for one test: whatever a page complained of fails it."""
    opened.complaints.clear()
    opened.excused.clear()
    try:
        yield opened
        await asyncio.sleep(0)  # What was said last is heard.
    finally:
        contexts, opened.contexts = opened.contexts, []
        for context in contexts:
            await context.close()
    assert opened.complaints == []
