"""`PYTHONPATH=tests .venv/bin/python -m web.browser.serve`: the page on the tests' scene, to look at until Ctrl-C."""

import asyncio
import sys
import tempfile
from pathlib import Path

from web.browser.scene import set_scene
from web.browser.theatre import theatre


async def main(timers: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with theatre(Path(directory)) as opened:
            scene = await set_scene(opened, timers=timers)
            print(opened.address, scene, flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 250))
