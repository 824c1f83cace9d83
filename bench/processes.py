"""Processes under measurement: started, asked how much CPU and memory they took, killed; and the loop of a client."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import uvloop

_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
_STOP_S: Final = 15.0
Said = TypeVar("Said")


def on_uvloop(main: Coroutine[Any, Any, Said]) -> Said:
    """Run a client: what it takes of the processors, the engines do not have."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and its threads have used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_A_SECOND


def machine_cpu_s() -> tuple[float, float]:
    """Return the CPU seconds of all processors since the machine began: busy, and idle."""
    user, nice, system, idle, waiting, *others = (
        int(field) / _TICKS_A_SECOND for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    )
    return user + nice + system + sum(others), idle + waiting


@dataclass
class Measured:
    """A process of ours to measure. It runs in a session of its own, so that nothing of it is left behind."""

    process: "subprocess.Popen[bytes]"
    began_s: float

    @classmethod
    def start(cls, command: Sequence[str], log: Path, **environment: str) -> "Measured":
        """Start a command; what it says goes to the log."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                list(command),
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, **environment},
            )
        return cls(process, time.monotonic())

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def cpu_s(self) -> float:
        """Return the CPU seconds that it and its threads have used."""
        return cpu_s(self.pid)

    def resident_bytes(self) -> int:
        """Return how much memory it holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it, politely first."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()


def size_bytes(directory: Path) -> int:
    """Return what a directory's files take on disk."""
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*") if path.is_file())
