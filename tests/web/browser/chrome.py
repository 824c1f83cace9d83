"""Debian's chromium under Playwright, for tests and for screenshots."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from typing import Final

from playwright.async_api import Browser, BrowserContext, async_playwright

START_MAX_MS: Final = 120_000

HOW_TO_GET_IT: Final = "no chromium on this machine: `apt-get install --no-install-recommends chromium` brings it"


def chromium() -> str | None:
    """Return where the browser is, or None."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Start the browser. Playwright's own builds are not used: none can be downloaded everywhere."""
    path = chromium()
    assert path is not None, HOW_TO_GET_IT
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(
            executable_path=path, args=[*flags, "--disable-gpu"], timeout=START_MAX_MS
        )
        try:
            yield started
        finally:
            await started.close()


async def viewer(of: Browser, scheme: str = "light") -> BrowserContext:
    """Return somebody's browser: own cookies, own storage, a screen 1280 wide."""
    return await of.new_context(
        viewport={"width": 1280, "height": 800},
        color_scheme="dark" if scheme == "dark" else "light",
        locale="en-GB",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
