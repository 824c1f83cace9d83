"""What really runs, read from /proc and from nobody's bookkeeping."""

import asyncio
import contextlib
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Final

from stormsail.delivery.providers.local import launch

SCAN_SECONDS: Final = 0.05
ASKED_SECONDS: Final = 5.0
"""How long a process may take to end by itself."""
GIVE_UP_SECONDS: Final = 60.0


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
    """Return every process that works for a data directory: services, launchers, load balancer, engine, worker.

    A shell or an editor that merely stands there is none of them, even with the directory in its environment.
    """
    return [pid for _, pid in _ranked(data_dir)]


async def end_all(
    data_dir: Path, asked_seconds: float = ASKED_SECONDS, give_up_seconds: float = GIVE_UP_SECONDS
) -> list[int]:
    """End every process of a data directory: each is asked first, then killed. Returns those that would not end.

    What starts others goes first, and the others only when it is gone: it would start them again.
    """
    clock = asyncio.get_running_loop().time
    give_up_at = clock() + give_up_seconds
    asked_at: dict[int, float] = {}
    while ranked := await asyncio.to_thread(_ranked, data_dir):
        if clock() > give_up_at:
            return [pid for _, pid in ranked]
        for pid in (pid for rank, pid in ranked if rank == ranked[0][0]):
            first = pid not in asked_at
            if first or clock() - asked_at[pid] > asked_seconds:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM if first else signal.SIGKILL)
            asked_at.setdefault(pid, clock())
        await asyncio.sleep(SCAN_SECONDS)
    return []


def _ranked(data_dir: Path) -> list[tuple[int, int]]:
    """Return (rank, pid) of every process that works for a data directory, in the order in which they are to end."""
    found = ((_rank(pid, os.fsencode(data_dir)), pid) for pid in _pids() if pid != os.getpid())
    return sorted((rank, pid) for rank, pid in found if rank)


def _rank(pid: int, data_dir: bytes) -> int:
    """Return 1 for what starts others, 2 for what is about to become one of them, 3 for these, 0 for a stranger."""
    arguments = _read(pid, "cmdline").split(b"\0")
    if b"--data-dir=" + data_dir in arguments:
        return 1
    if os.fsencode(launch.__file__) in arguments:
        return 2 if any(one.startswith(data_dir + b"/") for one in arguments) else 0
    if arguments[0].endswith(b"haproxy"):
        return 3 if _directory(pid).startswith(data_dir + b"/") else 0
    environment = _read(pid, "environ").split(b"\0")
    mine = b"STORMSAIL_DATA_DIR=" + data_dir in environment
    return 3 if mine and any(item.startswith(b"STORMSAIL_SERVER_GROUP=") for item in environment) else 0


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
