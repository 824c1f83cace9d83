"""What really runs, read from /proc and from nobody's bookkeeping."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Final

SCAN_SECONDS: Final = 0.05
END_SECONDS: Final = 5.0


def processes_per_group(data_dir: Path) -> Counter[str]:
    """Count the living processes of each server group of one data directory."""
    counts: Counter[str] = Counter()
    mark = f"STORMSAIL_DATA_DIR={data_dir}".encode()
    for pid in _pids():
        environment = _read(pid, "environ").split(b"\0")
        if mark in environment and not _is_zombie(pid):
            for item in environment:
                if item.startswith(b"STORMSAIL_SERVER_GROUP="):
                    counts[item.partition(b"=")[2].decode()] += 1
    return counts


class Census:
    """Counts all along and keeps the most that was ever seen of each group at once."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.most: Counter[str] = Counter()
        self.scans = 0

    async def run(self) -> None:
        """Count until cancelled. A scan runs in a thread, because /proc is slow on a busy machine."""
        while True:
            for group, count in (await asyncio.to_thread(processes_per_group, self.data_dir)).items():
                self.most[group] = max(self.most[group], count)
            self.scans += 1
            await asyncio.sleep(SCAN_SECONDS)


def processes_of(data_dir: Path) -> list[int]:
    """Return every process that works for a data directory: services, load balancer, engine, worker.

    A shell or an editor that merely stands there is none of them, even with the directory in its environment.
    """
    return [pid for pid in _pids() if pid != os.getpid() and _works_for(pid, str(data_dir).encode())]


def _works_for(pid: int, data_dir: bytes) -> bool:
    arguments = _read(pid, "cmdline").split(b"\0")
    if b"--data-dir=" + data_dir in arguments:
        return True
    if arguments[0].endswith(b"haproxy"):
        return _directory(pid).startswith(data_dir + b"/")
    environment = _read(pid, "environ").split(b"\0")
    mine = b"STORMSAIL_DATA_DIR=" + data_dir in environment
    return mine and any(item.startswith(b"STORMSAIL_SERVER_GROUP=") for item in environment)


async def end_all(data_dir: Path) -> None:
    """End every process of a data directory: asked first, then killed. New ones are looked for until none is left."""
    deadline = asyncio.get_running_loop().time() + END_SECONDS
    number = signal.SIGTERM
    asked: set[int] = set()
    while pids := await asyncio.to_thread(processes_of, data_dir):
        if asyncio.get_running_loop().time() > deadline:
            number = signal.SIGKILL
            asked.clear()
        for pid in pids:
            if pid not in asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
                asked.add(pid)
        await asyncio.sleep(0.05)
        if asyncio.get_running_loop().time() > deadline + END_SECONDS:
            return


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _directory(pid: int) -> bytes:
    try:
        return bytes(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return b""


def _is_zombie(pid: int) -> bool:
    return _read(pid, "stat").rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"], [])
