"""Real servers for the conformance tests: our engine as a process that can be killed, and Temporal's dev server."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, DescribeWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from ports import free_port

START_S: Final = 90.0
STOP_S: Final = 60.0
_STARTS_MAX: Final = 3


class EngineProcess:
    """Our server on one data directory and one port, over any number of lives."""

    def __init__(self, data_dir: Path, *namespaces: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.environment: dict[str, str] = {}
        """Set for the server besides ours."""
        self._namespaces = namespaces or ("default",)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start a life and return once it listens, on the same port each time."""
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
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), START_S)
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"our server does not come up: {self.log()}") from None
        assert line == f"listening on {self.address}\n".encode(), (line, self.log())

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
        return await asyncio.wait_for(self._process.wait(), STOP_S)

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
        try:
            return await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            await self.kill()
            raise AssertionError(f"our server does not stop: {self.log()}") from None

    def log(self) -> str:
        """What all lives wrote to stderr."""
        return (self.data_dir.parent / "engine.log").read_text()

    async def connect(self, namespace: str = "default") -> Client:
        return await Client.connect(self.address, namespace=namespace, identity="conformance")


class DevServer:
    """Temporal's own dev server, the reference."""

    def __init__(self, *settings: str) -> None:
        """`settings`: dynamic ones, each KEY=JSON."""
        self.port = 0
        self._settings = [part for each in settings for part in ("--dynamic-config-value", each)]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it and return once it answers; again where it ends, as it does when a port that it drew is taken."""
        for _ in range(_STARTS_MAX):
            self.port = free_port()
            await self._begin()
            if await self._ready():
                return
            await self.stop()
        raise AssertionError(f"Temporal's dev server does not come up, in {_STARTS_MAX} starts")

    async def _begin(self) -> None:
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

    async def _ready(self) -> bool:
        """Wait until it knows that a workflow is absent and a task queue empty; say whether it comes to that."""
        absent = DescribeWorkflowExecutionRequest(namespace="default")
        absent.execution.workflow_id = "absent"
        empty = DescribeTaskQueueRequest(namespace="default", task_queue=TaskQueue(name="empty"))
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process is not None and self._process.returncode is None:
            try:
                service = (await self.connect()).workflow_service
                await service.describe_task_queue(empty)
                await service.describe_workflow_execution(absent)
            except RPCError as error:
                if error.status == RPCStatusCode.NOT_FOUND and self._process.returncode is None:
                    return True
            except RuntimeError:
                pass  # Nobody listens yet.
            await asyncio.sleep(0.2)
        return False

    async def stop(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def connect(self) -> Client:
        return await Client.connect(self.address, identity="conformance")


@contextlib.asynccontextmanager
async def both_servers(directory: Path, *settings: str) -> AsyncIterator[tuple[EngineProcess, DevServer]]:
    """Ours and Temporal's, with the settings for Temporal's. Both are gone afterwards, whatever happens."""
    ours, temporals = EngineProcess(directory / "data"), DevServer(*settings)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ours.start())
            group.create_task(temporals.start())
        yield ours, temporals
    finally:
        await temporals.stop()
        if ours.running:
            await ours.stop()
