"""Real servers for the conformance tests: our engine as a process that can be killed, and Temporal's dev server."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path

from temporalio.client import Client

START_S = 30.0


class EngineProcess:
    """Our server on one data directory and one port, over any number of lives."""

    def __init__(self, data_dir: Path, *namespaces: str) -> None:
        self.data_dir = data_dir
        self.port = 0
        self.environment: dict[str, str] = {}
        """Set for the server besides ours."""
        self._namespaces = namespaces or ("default",)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start a life and return once it listens; after the first life always on the same port."""
        names = [part for name in self._namespaces for part in ("--namespace", name)]
        log = (self.data_dir.parent / "engine.log").open("ab")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "stormsail.engine.api.server"),
            *("--data-dir", str(self.data_dir), "--port", str(self.port), *names),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            env={**os.environ, **self.environment},
        )
        log.close()
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), START_S)
        assert line.startswith(b"listening on "), (line, self.log())
        self.port = int(line.rsplit(b":", 1)[1])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def ended(self) -> int:
        """Wait for this life to end by itself and return its exit code."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), START_S)

    async def kill(self) -> None:
        """End this life with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        """End this life with SIGTERM and return its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self._process.wait(), START_S)

    def log(self) -> str:
        """What all lives wrote to stderr."""
        return (self.data_dir.parent / "engine.log").read_text()

    async def connect(self, namespace: str = "default") -> Client:
        return await Client.connect(self.address, namespace=namespace, identity="conformance")


class DevServer:
    """Temporal's own dev server, the reference."""

    def __init__(self, *settings: str) -> None:
        """`settings`: dynamic ones, each KEY=JSON."""
        self.port = free_port()
        self._settings = [part for each in settings for part in ("--dynamic-config-value", each)]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        binary = Path(sys.executable).parent / "temporal"
        self._process = await asyncio.create_subprocess_exec(
            str(binary),
            *("server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)),
            *("--log-level", "never", "--ui-port", "0"),
            *self._settings,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "DO_NOT_TRACK": "1"},
        )
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(RuntimeError):
                await self.connect()
                return
            assert time.monotonic() < deadline, "Temporal's dev server does not come up"
            await asyncio.sleep(0.2)

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()

    async def connect(self) -> Client:
        return await Client.connect(self.address, identity="conformance")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
