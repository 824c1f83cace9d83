"""The processes of the demo: an engine, a worker, the traffic; and the killing of the first two."""

import asyncio
import contextlib
import json
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stormsail.cli.errors import CommandFailed
from stormsail.cli.options import Place
from stormsail.cli.process import Child, stormsail_command, until_ready

GAP_SECONDS: Final = (0.05, 2.0)
"""Between two kills: short enough to hit a start, long enough to let work happen."""


class Stage:
    """Engine and worker of one demo. With an engine given, only the worker is ours."""

    def __init__(self, data_dir: Path, engine: str) -> None:
        self.data_dir = data_dir
        self.address = engine
        self.port = 0
        logs = data_dir / "logs"
        self.engine = None if engine else Child("engine", self._engine_command, logs / "engine.log", _silent, 0.0)
        self.worker = Child("worker", self._worker_command, logs / "worker.log", _silent, 0.0)
        self.tasks: list[asyncio.Task[None]] = []

    @property
    def place(self) -> Place:
        """Where commands find this demo."""
        return Place(self.address, "default", self.data_dir)

    async def start(self) -> None:
        """Start both and wait until they answer."""
        if self.engine is not None:
            self.tasks.append(asyncio.create_task(self.engine.run()))
            self.address = await until_ready(self.engine, self.data_dir / "engine.json")
            self.port = int(self.address.rpartition(":")[2])
        self.tasks.append(asyncio.create_task(self.worker.run()))
        await until_ready(self.worker, self.data_dir / "worker.json")

    async def stop(self) -> None:
        """Stop worker and engine in order."""
        for child in filter(None, (self.worker, self.engine)):
            await child.stop()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def _engine_command(self) -> list[str]:
        return stormsail_command(
            "server",
            "start",
            f"--data-dir={self.data_dir}",
            f"--port={self.port}",
            f"--follow-parent={os.getpid()}",
        )

    def _worker_command(self) -> list[str]:
        return stormsail_command(
            "worker",
            "start",
            f"--engine={self.address}",
            "--namespace=default",
            f"--data-dir={self.data_dir}",
            f"--follow-parent={os.getpid()}",
        )


@dataclass
class Killer:
    """Kills engine and worker with SIGKILL at seeded random moments."""

    stage: Stage
    seed: int
    total: int
    say: Callable[[str], None]
    done: dict[str, int] = field(default_factory=dict)
    _random: random.Random = field(init=False)
    _victims: list[Child] = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - seeded on purpose
        targets = [child for child in (self.stage.engine, self.stage.worker) if child is not None]
        self._victims = [targets[number % len(targets)] for number in range(self.total)]
        self._random.shuffle(self._victims)

    @property
    def left(self) -> int:
        """How many kills are still to come."""
        return len(self._victims)

    async def kill(self, count: int) -> None:
        """Kill so many times, each after a random pause; the killed are started again at once by their supervisor."""
        for _ in range(min(count, self.left)):
            await asyncio.sleep(self._random.uniform(*GAP_SECONDS))
            child = self._victims.pop()
            process = await self._alive(child)
            process.kill()
            await process.wait()
            self.done[child.name] = self.done.get(child.name, 0) + 1
            self.say(f"kill -9 {child.name} (pid {process.pid})")

    async def _alive(self, child: Child) -> asyncio.subprocess.Process:
        """Return the child's process once it runs: a kill that hits nothing does not count."""
        while True:
            await child.running.wait()
            if child.process is not None and child.process.returncode is None:
                return child.process
            await asyncio.sleep(0.01)


class TrafficProcess:
    """The traffic generator, read line by line."""

    def __init__(self) -> None:
        self.latest: dict[str, Any] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int, rate: float) -> None:
        """Start it and wait for its first answers."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "stormsail.cli.demo.traffic",
            host,
            str(port),
            str(rate),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._reading = asyncio.create_task(self._read(self._process))
        while not self.latest.get("versions"):
            if self._process.returncode is not None or self.latest.get("failed", 0) > 100:
                raise CommandFailed(f"no traffic reaches the service: {self.latest.get('reasons')}")
            await asyncio.sleep(0.05)

    async def stop(self) -> dict[str, Any]:
        """End it; answers still owed are waited for. Returns the final counts."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()
        if self._reading is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
        return self.latest

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.latest = json.loads(line)


def _silent(_: str) -> None:
    """Say nothing: in the demo deaths are the point, and the killer tells of them."""
