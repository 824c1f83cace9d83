"""Fsyncs: how many a process makes (counted with strace, where that is installed and allowed), and how many the disk takes."""

import os
import re
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_CALLS: Final = "trace=fsync,fdatasync,sync_file_range"
_LINE: Final = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*\b(?:fsync|fdatasync|sync_file_range)$", re.MULTILINE)
_ATTACH_S: Final = 5.0


class Syncs:
    """Use as a context manager around what is counted; `count()` is None where strace cannot be used."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._strace = shutil.which("strace")
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def wrapped(self, command: list[str]) -> list[str]:
        """Return the command to run so that it is counted from its first instruction."""
        if self._strace is None:
            return command
        return [self._strace, "-f", "-c", "-e", _CALLS, "-o", str(self._out), *command]

    def attach(self, pid: int) -> None:
        """Count a running process from now on."""
        if self._strace is None:
            return
        self._process = subprocess.Popen(
            [self._strace, "-f", "-c", "-e", _CALLS, "-o", str(self._out), "-p", str(pid)],
            stderr=subprocess.PIPE,
            text=True,
        )
        end = time.monotonic() + _ATTACH_S
        while time.monotonic() < end and f"TracerPid:\t{self._process.pid}" not in _status(pid):
            if self._process.poll() is not None:
                return
            time.sleep(0.02)

    def count(self) -> int | None:
        """Return how many there were."""
        if self._strace is None or not self._out.exists():
            return None
        return sum(int(number) for number in _LINE.findall(self._out.read_text()))


def taken_a_s(place: Path, seconds: float = 0.5) -> float:
    """Return how many appends of 4 KiB a second the disk takes, each synced: the most commits that nobody shares."""
    block, done, began = bytes(4096), 0, time.perf_counter()
    path = place / "syncs"
    with path.open("wb", buffering=0) as out:
        while (took := time.perf_counter() - began) < seconds:
            out.write(block)
            os.fdatasync(out.fileno())
            done += 1
    path.unlink()
    return done / took


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
