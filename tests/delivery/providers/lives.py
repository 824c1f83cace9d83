"""Workers of one task queue, one life after the other, each of which kills itself at a boundary between activities."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from delivery.providers import boundary_worker


class Workers:
    """See the module. The task queue is also the account's name."""

    def __init__(
        self,
        engine_address: str,
        queue: str,
        provider: str,
        settings: Mapping[str, str],
        stderr: Path,
        dies_at: int = 2,
    ) -> None:
        self._command = [sys.executable, boundary_worker.__file__, engine_address, queue, provider]
        self._command.append(json.dumps(dict(settings)))
        self._stderr = stderr
        self._dies_at = dies_at
        self.kills = 0

    async def until(self, ending: "asyncio.Future[Any]", when: str) -> None:
        """Start one worker after the other, each to die `before` or `after` an activity, or `never`, until it ends."""
        while not ending.done():
            worker = self._started(when)
            try:
                while worker.poll() is None and not ending.done():
                    await asyncio.wait({ending}, timeout=0.05)
                self.kills += worker.poll() is not None
            finally:
                worker.kill()
                worker.wait()

    def said(self) -> str:
        """Return the last that they said."""
        return self._stderr.read_text()[-3000:] if self._stderr.exists() else ""

    def _started(self, when: str) -> "subprocess.Popen[bytes]":
        with self._stderr.open("ab") as written:
            return subprocess.Popen(
                [*self._command, when, str(self._dies_at)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=written,
            )
